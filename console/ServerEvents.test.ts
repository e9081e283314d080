import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { reader } from "./ServerEvents.ts"

const stream = [
  ": a comment\n",
  "id: j1\nevent: hello\ndata: {\"cursor\":\"j1\"}\n\n",
  "\n",
  "id: j2\r\nevent: run\r\ndata: {\"a\":1}\r\n\r\n",
  "data: first\ndata:second\n\n",
  "event: empty\n\n",
  "id\ndata\n\n",
  "unknown: x\ndata: é🧵\n\n",
  "data: not ended\n"
].join("")

const events = [
  { id: "j1", event: "hello", data: "{\"cursor\":\"j1\"}" },
  { id: "j2", event: "run", data: "{\"a\":1}" },
  { id: "j2", event: "message", data: "first\nsecond" },
  { id: "", event: "message", data: "" },
  { id: "", event: "message", data: "é🧵" }
]

it.prop(
  "events come out whole, however the text was cut",
  [Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: stream.length })))],
  ([cuts]) => {
    const read = reader()
    const places = [0, ...cuts.toSorted((a, b) => a - b), stream.length]
    assert.deepStrictEqual(places.slice(1).flatMap((end, at) => read(stream.slice(places[at], end))), events)
  }
)
