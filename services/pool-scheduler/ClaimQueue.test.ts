import { assert, describe, it } from "@effect/vitest"
import { ClaimId } from "../../shared/protocol/Token.ts"
import { Claim } from "./Claim.ts"
import { ClaimQueue } from "./ClaimQueue.ts"

let sequence = 0
const claim = (
  id: string,
  more: { readonly team?: string; readonly priority?: number; readonly selector?: Record<string, string> } = {}
) =>
  new Claim(
    {
      claimId: ClaimId.make(id),
      holder: "",
      team: more.team ?? "default",
      priority: more.priority ?? 5,
      deadlineAt: Infinity,
      ttlMs: 1,
      selector: more.selector
    },
    sequence++,
    0,
    () => {}
  )
const takeAll = (queue: ClaimQueue) => {
  const taken: Array<string> = []
  for (let next = queue.take(); next !== undefined; next = queue.take()) {
    taken.push(next.spec.claimId)
    queue.settle(next, false)
  }
  return taken
}

describe("ClaimQueue", () => {
  it("priority first, then order of arrival", () => {
    const queue = new ClaimQueue({ lengthMax: 10 })
    for (const one of [claim("a"), claim("b", { priority: 9 }), claim("c"), claim("d", { priority: 0 })]) {
      queue.admit(one)
    }
    assert.deepStrictEqual(takeAll(queue), ["b", "a", "c", "d"])
    assert.strictEqual(queue.length, 0)
  })

  it("teams share by weight: one that floods does not starve another", () => {
    const queue = new ClaimQueue({ lengthMax: 1_000, weights: new Map([["blue", 3]]) })
    for (let i = 0; i < 100; i++) queue.admit(claim(`r${i}`, { team: "red" }))
    for (let i = 0; i < 100; i++) queue.admit(claim(`b${i}`, { team: "blue" }))
    const first = takeAll(queue).slice(0, 40)
    assert.strictEqual(first.filter((_) => _.startsWith("b")).length, 30)
    assert.deepStrictEqual(first.filter((_) => _.startsWith("r")), Array.from({ length: 10 }, (_, i) => `r${i}`))
  })

  it("a team cannot save up turns while it asks for nothing", () => {
    const queue = new ClaimQueue({ lengthMax: 1_000 })
    for (let i = 0; i < 50; i++) queue.admit(claim(`r${i}`, { team: "red" }))
    for (let i = 0; i < 40; i++) {
      const one = queue.take()
      if (one !== undefined) queue.settle(one, false)
    }
    for (let i = 0; i < 10; i++) queue.admit(claim(`b${i}`, { team: "blue" }))
    assert.isBelow(takeAll(queue).slice(0, 10).filter((_) => _.startsWith("b")).length, 7)
  })

  it("a team that was served, and comes back after a pause, has saved up none of it", () => {
    const queue = new ClaimQueue({ lengthMax: 1_000 })
    queue.admit(claim("b", { team: "blue" }))
    for (let i = 0; i < 50; i++) queue.admit(claim(`r${i}`, { team: "red" }))
    for (let i = 0; i < 41; i++) {
      const one = queue.take()
      if (one !== undefined) queue.settle(one, false)
    }
    for (let i = 0; i < 10; i++) queue.admit(claim(`b${i}`, { team: "blue" }))
    assert.isAtMost(takeAll(queue).slice(0, 10).filter((_) => _.startsWith("b")).length, 6)
  })

  it("the team of a claim that is put back pays for no turn, however often that is", () => {
    const queue = new ClaimQueue({ lengthMax: 10 })
    for (let i = 0; i < 2; i++) {
      queue.admit(claim(`b${i}`, { team: "blue" }))
      queue.admit(claim(`r${i}`, { team: "red" }))
    }
    for (let turn = 0; turn < 5; turn++) {
      const one = queue.take()
      assert.strictEqual(one?.spec.claimId as string | undefined, "b0")
      if (one !== undefined) queue.putBack(one)
    }
    assert.deepStrictEqual(takeAll(queue), ["b0", "r0", "b1", "r1"])
  })

  it("what is put back has its old place, and its team is not charged", () => {
    const queue = new ClaimQueue({ lengthMax: 10 })
    const [a, b, c] = [claim("a"), claim("b"), claim("c")] as const
    for (const one of [a, b, c]) queue.admit(one)
    const taken = [queue.take(), queue.take()]
    assert.deepStrictEqual(taken, [a, b])
    queue.putBack(b)
    queue.putBack(a)
    assert.deepStrictEqual(takeAll(queue), ["a", "b", "c"])
  })

  it("the bound counts what was taken and not settled", () => {
    const queue = new ClaimQueue({ lengthMax: 2 })
    queue.admit(claim("a"))
    queue.take()
    queue.admit(claim("b"))
    assert.isFalse(queue.admit(claim("c")))
    assert.deepStrictEqual([queue.length, queue.waiting], [2, 1])
  })

  it("a class without a match waits apart, until one is there", () => {
    const queue = new ClaimQueue({ lengthMax: 10 })
    const gpu = claim("gpu", { selector: { kind: "gpu" } })
    queue.admit(gpu)
    queue.admit(claim("any"))
    assert.strictEqual(queue.take(), gpu)
    queue.exhaust(gpu)
    queue.putBack(gpu)
    assert.strictEqual(queue.servable, 1)
    assert.strictEqual(queue.take()?.spec.claimId, "any")
    assert.isUndefined(queue.take())
    queue.revive(JSON.stringify([["kind", "cpu"]]))
    assert.strictEqual(queue.servable, 0)
    queue.revive(JSON.stringify([["kind", "gpu"]]))
    assert.strictEqual(queue.take(), gpu)
  })

  it("a claim that is settled while it waits leaves the middle of the queue", () => {
    const queue = new ClaimQueue({ lengthMax: 10 })
    const [a, b, c] = [claim("a"), claim("b"), claim("c")] as const
    for (const one of [a, b, c]) queue.admit(one)
    queue.settle(b, true)
    assert.deepStrictEqual(takeAll(queue), ["a", "c"])
  })
})
