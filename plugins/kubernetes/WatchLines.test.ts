import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { lineLengthMax, WatchLines } from "./WatchLines.ts"

const Lines = Schema.Array(Schema.String).check(Schema.isMaxLength(10))

it.prop("lines come out as they went in, however they are cut", [Lines, Schema.Int], ([texts, cut]) => {
  const lines = texts.map((text) => JSON.stringify(text))
  const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""))
  const found: Array<string> = []
  const reader = new WatchLines((line) => found.push(line))
  const step = 1 + (Math.abs(cut) % 7)
  for (let at = 0; at < bytes.length; at += step) assert.isTrue(reader.push(bytes.subarray(at, at + step)))
  // What JSON cannot hold (half a pair of code units) becomes the same replacement on both ways.
  assert.deepStrictEqual(found, lines.map((line) => new TextDecoder().decode(new TextEncoder().encode(line))))
})

it("a line without end is refused, not kept", () => {
  const reader = new WatchLines(() => assert.fail("no line"))
  const chunk = new Uint8Array(1024 * 1024).fill(120)
  let taken = 0
  while (reader.push(chunk)) taken += chunk.length
  assert.isAtMost(taken, lineLengthMax)
})
