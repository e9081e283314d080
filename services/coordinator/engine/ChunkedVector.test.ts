import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as ChunkedVector from "./ChunkedVector.ts"

const Index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2_099 }))

it.prop(
  "set changes one place of the new value and none of the old",
  [Schema.Array(Schema.Tuple([Index, Schema.Int]))],
  ([changes]) => {
    let vector = ChunkedVector.filled(2_100, 0)
    const plain = ChunkedVector.toArray(vector)
    for (const [index, value] of changes) {
      const before = ChunkedVector.toArray(vector)
      const next = ChunkedVector.set(vector, index, value)
      assert.deepStrictEqual(ChunkedVector.toArray(vector), before)
      vector = next
      plain[index] = value
    }
    assert.deepStrictEqual(ChunkedVector.toArray(vector), plain)
    assert.deepStrictEqual(ChunkedVector.fromArray(plain), vector)
  }
)

it("changedChunks names the chunks that two values do not share", () => {
  const before = ChunkedVector.filled(2_100, 0)
  const after = ChunkedVector.set(ChunkedVector.set(before, 5, 1), 2_099, 2)
  const changed = [...ChunkedVector.changedChunks(after, before)].map(({ other, self, start }) =>
    [start, self.indexOf(Math.max(...self)), other.length] as const
  )
  assert.deepStrictEqual(changed, [[0, 5, 32], [2_080, 19, 20]])
})

it("a place outside is an error, not undefined", () => {
  const vector = ChunkedVector.fromArray([1, 2, 3])
  for (const index of [-1, 3, 32]) {
    assert.throws(() => ChunkedVector.get(vector, index), RangeError)
    assert.throws(() => ChunkedVector.set(vector, index, 0), RangeError)
  }
})
