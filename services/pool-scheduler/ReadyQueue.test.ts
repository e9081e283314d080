import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { Labels } from "../../shared/protocol/Sandbox.ts"
import { SandboxUid } from "../../shared/protocol/Token.ts"
import { ReadyQueue } from "./ReadyQueue.ts"
import * as Selector from "./Selector.ts"

const uid = (text: string) => SandboxUid.make(text)

describe("ReadyQueue", () => {
  const Value = Schema.Literals(["x", "y"])
  const Step = Schema.Struct({
    act: Schema.Literals(["push", "push", "delete", "shift", "select", "select", "relabel"]),
    which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 7 })),
    a: Value,
    b: Schema.Literals(["x", "y", "none"])
  })
  const labelsOf = (a: string, b: string): Labels => b === "none" ? { a } : { a, b }

  it.prop(
    "the index finds what a walk from the head would find, whatever came and went",
    { steps: Schema.Array(Step).check(Schema.isMaxLength(80)), shapesMax: Schema.Literals([1, 2, 64]) },
    ({ shapesMax, steps }) => {
      const queue = new ReadyQueue(shapesMax)
      let model: Array<{ readonly uid: SandboxUid; labels: Labels }> = []
      for (const { a, act, b, which } of steps) {
        const one = uid(`s${which}`)
        const known = model.find((_) => _.uid === one)
        if (act === "push" && known === undefined) {
          const labels = labelsOf(a, b)
          queue.push(one, labels)
          model.push({ uid: one, labels })
        } else if (act === "delete") {
          queue.delete(one)
          model = model.filter((_) => _.uid !== one)
        } else if (act === "relabel" && known !== undefined) {
          known.labels = labelsOf(a, b)
          queue.push(one, known.labels)
        } else if (act === "shift") {
          assert.strictEqual(queue.shift(), model.shift()?.uid)
        } else if (act === "select") {
          const selector = Selector.compile(labelsOf(a, b))
          if (selector === undefined) return
          const matching = model.filter((_) => Selector.matches(selector.labels, _.labels))
          assert.strictEqual(queue.count(selector), matching.length)
          const taken = queue.shift(selector)
          // Among those that match, by when they began to match; here only that it is one of them.
          if (matching.length === 0) assert.isUndefined(taken)
          else {
            assert.isTrue(matching.some((_) => _.uid === taken))
            model = model.filter((_) => _.uid !== taken)
          }
        }
        assert.strictEqual(queue.size, model.length)
      }
    }
  )

  it("a claim with a selector costs the same in a large pool: the last of 20,000 is found without a walk", () => {
    const queue = new ReadyQueue()
    for (let i = 0; i < 20_000; i++) queue.push(uid(`s${i}`), { kind: i === 19_999 ? "gpu" : "cpu" })
    const selector = Selector.compile({ kind: "gpu" })
    queue.count(selector) // makes the index
    let looked = 0
    const first = queue.shift(selector)
    for (const _ of queue.newestFirst()) {
      looked++
      break
    }
    assert.strictEqual(first, "s19999")
    assert.strictEqual(looked, 1)
  })

  it("keys: what a sandbox's labels say through the shapes in use", () => {
    const queue = new ReadyQueue()
    const selector = Selector.compile({ b: "1", a: "2" })
    queue.count(selector)
    const keys: Array<string> = []
    queue.eachKey({ a: "2", b: "1", c: "3" }, (key) => keys.push(key))
    assert.deepStrictEqual(keys, [selector?.key ?? ""])
  })
})
