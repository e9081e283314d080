import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as PoolFlag from "./dev/PoolFlag.ts"
import * as Pairs from "./Pairs.ts"

it.effect("values are JSON where they can be, text otherwise; only the first = counts", () =>
  Effect.gen(function*() {
    const values = yield* Pairs.values("--param", [
      "n=3",
      "b=true",
      "l=[\"a\"]",
      "s=\"3\"",
      "day=2026-11-21",
      "q=a=b",
      "e="
    ])
    assert.deepStrictEqual(values, { n: 3, b: true, l: ["a"], s: "3", day: "2026-11-21", q: "a=b", e: "" })
    const refused = (pair: string) => Effect.flip(Pairs.values("--param", [pair]))
    assert.deepInclude(yield* refused("=x"), { exit: 2, message: "--param \"=x\" has no key." })
    assert.deepInclude(yield* refused("x"), { exit: 2, message: "--param \"x\" has no =." })
  }))

it.effect("--pool: name, size, provider; inline is there unless asked for otherwise", () =>
  Effect.gen(function*() {
    const names = (pools: ReadonlyArray<{ readonly name: string; readonly size: number; readonly provider: string }>) =>
      pools.map(({ name, provider, size }) => `${name}=${size},${provider}`)
    assert.deepStrictEqual(names(yield* PoolFlag.parseAll([], undefined)), ["default=4,local", "inline=256,inline"])
    assert.deepStrictEqual(names(yield* PoolFlag.parseAll(["a=2", "inline=8"], "b=1")), [
      "a=2,local",
      "inline=8,inline"
    ])
    assert.deepStrictEqual(names(yield* PoolFlag.parseAll([], "b=1  c=2,simulated")), [
      "b=1,local",
      "c=2,simulated",
      "inline=256,inline"
    ])
    for (const bad of ["a", "a=", "a=x", "a=1,", "a b=1", "=1"]) {
      assert.strictEqual((yield* Effect.flip(PoolFlag.parse(bad))).exit, 2, bad)
    }
    assert.strictEqual((yield* Effect.flip(PoolFlag.parseAll(["a=1", "a=2"], undefined))).exit, 2)
  }))
