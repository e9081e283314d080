import { assert, it } from "@effect/vitest"
import { AnswerBatch } from "./AnswerBatch.ts"

const setUp = (size: number) => {
  const answers: Array<readonly [outcomes: string, onceAcknowledged: string | undefined]> = []
  const batch = new AnswerBatch<string>(size, (outcomes, subject) => void answers.push([outcomes.join(" "), subject]))
  return { answers, batch }
}

it("a batch of nothing is answered at once", () => {
  assert.deepStrictEqual(setUp(0).answers, [["", undefined]])
})

it("a batch is answered when the last item is settled, in its own order", () => {
  const { answers, batch } = setUp(2)
  batch.settle(1, "b")
  assert.deepStrictEqual(answers, [])
  batch.settle(0, "a")
  assert.deepStrictEqual(answers, [["a b", undefined]])
})

it("it is answered ahead of the append when all that is open is in it, and only once", () => {
  const { answers, batch } = setUp(3)
  batch.settle(0, "a")
  batch.expect(1, "b", "ack")
  assert.deepStrictEqual(answers, [], "the third item is nowhere yet")
  batch.expect(2, "c", "ack")
  assert.deepStrictEqual(answers, [["a b c", "ack"]])
  batch.settle(1, "b")
  batch.settle(2, "not ours any more")
  assert.strictEqual(answers.length, 1, "whoever asked sees no acknowledgement and asks again")
})

it("what was in an earlier append is settled when the next one goes", () => {
  const { answers, batch } = setUp(2)
  batch.expect(0, "a", "ack 1")
  batch.settle(0, "not ours any more")
  batch.expect(1, "b", "ack 2")
  assert.deepStrictEqual(
    answers,
    [["not ours any more b", "ack 2"]],
    "the settled outcome counts, not the expected one"
  )
})
