import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { read, type Route, runTabs, write } from "./Route.ts"

const text = Schema.String.check(Schema.isMinLength(1))
const maybe = Schema.optionalKey(text)
const AnyRoute: Schema.Codec<Route, unknown> = Schema.Union([
  Schema.Struct({ page: Schema.Literals(["overview", "pools", "definitions", "schedules", "mesh"]) }),
  Schema.Struct({ page: Schema.Literal("runs"), state: maybe, definition: maybe, prefix: maybe }),
  Schema.Struct({ page: Schema.Literal("run"), id: text, tab: Schema.Literals(runTabs), task: maybe }),
  Schema.Struct({ page: Schema.Literal("pool"), namespace: text, name: text }),
  Schema.Struct({ page: Schema.Literal("definition"), name: text, namespace: maybe })
])

it.prop("an address says which page it is, whatever the names hold", [AnyRoute], ([route]) => {
  // half a surrogate pair, which no address can hold, becomes U+FFFD
  const wellFormed = Object.fromEntries(Object.entries(route).map(([name, value]) => [name, value.toWellFormed()]))
  assert.deepStrictEqual<unknown>(read(write(route)), wellFormed)
})

it.prop("no address throws", [Schema.String], ([hash]) => void read(hash))

it("an address that nobody knows is the overview", () => {
  assert.deepStrictEqual(["", "#", "#/", "#/nothing/here", "#/%", "#/pools/only"].map((hash) => read(hash).page), [
    "overview",
    "overview",
    "overview",
    "overview",
    "overview",
    "pools"
  ])
})
