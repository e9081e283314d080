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
  it("a stream of another version: what to do never throws data away, and names the server only when it is the server", () => {
    const of = (name: string) => {
      const wanted = Streams.definitions().find((one) => one.name === name)
      assert.isDefined(wanted)
      return wanted ?? { name, subjects: [] }
    }
    const history = of(Streams.name.history)
    // made with three replicas, or before async existed: safer than asked for
    const { persist_mode: _, ...synchronous } = history
    assert.deepStrictEqual(Streams.differences(history, synchronous), [])
    const journal = of(Streams.name.journal)
    const fields = (found: object) => Streams.differences(journal, { ...journal, ...found })
    assert.deepStrictEqual(fields({ persist_mode: "async" }).map(({ field }) => field), ["persist_mode"])

    const [direct] = fields({ allow_direct: false })
    const [retention] = fields({ retention: "workqueue" })
    const lanes = of(Streams.name.ready)
    const [lane] = Streams.differences(lanes, { ...lanes, retention: "limits" as typeof lanes.retention & string })
    assert.isDefined(direct)
    assert.isDefined(retention)
    assert.isDefined(lane)
    if (direct === undefined || retention === undefined || lane === undefined) return
    assert.match(Streams.fixOf(direct, false), /set allow_direct to true .*nats stream edit HEDDLE_JOURNAL/)
    assert.notMatch(Streams.fixOf(direct, false), /upgrade nats-server/)
    assert.match(Streams.fixOf(direct, true), /^upgrade nats-server/)
    assert.match(Streams.fixOf(retention, false), /loses data.*nats stream backup HEDDLE_JOURNAL/)
    assert.notMatch(Streams.fixOf(retention, false), /stream edit|stream rm/)
    assert.match(Streams.fixOf(lane, false), /nats stream rm HEDDLE_READY/)
  })
})
