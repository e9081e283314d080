import { assert, describe, it } from "@effect/vitest"
import * as Streams from "./Streams.ts"

/** Whether a subject exists that both patterns match. */
const overlap = (a: string, b: string): boolean => {
  const left = a.split(".")
  const right = b.split(".")
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    if (left[i] === ">" || right[i] === ">") return true
    if (left[i] === undefined || right[i] === undefined) return false
    if (left[i] !== right[i] && left[i] !== "*" && right[i] !== "*") return false
  }
  return true
}

describe("Streams", () => {
  it("no two streams share a subject, each bounds its consumers", () => {
    const all = Streams.definitions()
    for (const [i, one] of all.entries()) {
      for (const other of all.slice(i + 1)) {
        for (const a of one.subjects) {
          for (const b of other.subjects) assert.isFalse(overlap(a, b), `${one.name} ${a} and ${other.name} ${b}`)
        }
      }
      assert.isAbove(one.max_consumers ?? 0, 1_000)
    }
  })
  it("async persistence only where one replica makes it possible", () => {
    const history = (replicas: number) =>
      Streams.definitions({ replicas }).find((one) => one.name === Streams.name.history)
    assert.strictEqual(history(1)?.persist_mode, "async")
    assert.strictEqual(history(3)?.persist_mode, undefined)
    assert.strictEqual(history(3)?.num_replicas, 3)
  })
  it("names what differs, and only what matters", () => {
    const wanted = Streams.definitions().find((one) => one.name === Streams.name.journal)
    assert.isDefined(wanted)
    if (wanted === undefined) return
    assert.deepStrictEqual(Streams.differences(wanted, wanted), [])
    assert.deepStrictEqual(Streams.differences(wanted, { ...wanted, max_age: 1, description: "mine" }), [])
    assert.deepStrictEqual(
      Streams.differences(wanted, { ...wanted, deny_delete: false, subjects: ["other"] }).map((difference) =>
        difference.field
      ),
      [
        "deny_delete",
        "subjects"
      ]
    )
  })
})
