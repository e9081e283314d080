import { assert, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Cursor from "./Cursor.ts"

it("what is written is read as the same", () => {
  const positions = [undefined, { seq: 0 }, { seq: 7 }, { seq: 812, index: 0 }, { seq: 999_999_999_999_999, index: 12 }]
  for (const journal of positions) {
    for (const pools of positions) {
      for (const system of positions) {
        if (journal === undefined && pools === undefined && system === undefined) continue
        const cursor = {
          ...(journal === undefined ? {} : { journal }),
          ...(pools === undefined ? {} : { pools }),
          ...(system === undefined ? {} : { system })
        }
        assert.deepStrictEqual(Cursor.parse(Cursor.format(cursor)), Result.succeed(cursor))
      }
    }
  }
  assert.deepStrictEqual(Cursor.parse("812"), Result.succeed({ journal: { seq: 812 } }))
})

it("what is no cursor is refused", () => {
  for (const text of ["", "x", "j", "j1.", "j1-j2", "j-1", "j1 ", "1.2", "j1.2.3", "q1", "j1--p2", "9".repeat(16)]) {
    assert.isTrue(Result.isFailure(Cursor.parse(text)), JSON.stringify(text))
  }
})

it("a reader in the middle of a message has got what is before, and not what is after", () => {
  const middle = { seq: 5, index: 1 }
  assert.deepStrictEqual([0, 1, 2].map((index) => Cursor.isPast(middle, 5, index)), [true, true, false])
  assert.deepStrictEqual([Cursor.isPast(middle, 4, 9), Cursor.isPast(middle, 6, 0)], [true, false])
  assert.isTrue(Cursor.isPast({ seq: 5 }, 5, 99))
  assert.deepStrictEqual([Cursor.nextSequence(middle), Cursor.nextSequence({ seq: 5 })], [5, 6])
})
