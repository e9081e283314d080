import { assert, describe, it } from "@effect/vitest"
import { outcome } from "../../shared/plugin/PoolProvider.ts"
import { ClaimId, SessionId } from "../../shared/protocol/Token.ts"
import { last, setup, state } from "./ScriptedScheduler.ts"

const id = (text: string) => ClaimId.make(text)

describe("Batch", () => {
  it("waits at one place until all of it is idle, and is told once, with every sandbox", () => {
    const { batch, grantAll, outcomes, results, scheduler, upsert, world } = setup({ idle: 2, size: 3 })
    batch("b", 3)
    assert.strictEqual(world.claims.length, 0, "two idle are not enough: none is taken")
    assert.deepInclude(scheduler.snapshot(), { queueLen: 3, idleReady: 2 })
    upsert(state("s2", "Idle", 1))
    assert.strictEqual(world.claims.length, 3)
    grantAll()
    assert.deepStrictEqual(outcomes("b"), ["Claimed"])
    assert.deepStrictEqual(results.get("b")?.[0]?.sandboxes?.map((_) => _.name), ["s0", "s1", "s2"])
    assert.deepInclude(scheduler.snapshot(), { queueLen: 0, claimed: 3 })
  })

  it("all or none: one that cannot be had ends it, and the others are given back", () => {
    const { batch, claim, outcomes, scheduler, world } = setup({ idle: 2, attemptsMax: 1 })
    batch("b", 2)
    world.claims[0]?.answer(outcome.success(2))
    world.claims[1]?.answer(outcome.hardError("broken", false))
    assert.deepStrictEqual(outcomes("b"), ["Failed"])
    assert.strictEqual(last(world.releases).write.claimId, "b-0")
    assert.deepInclude(scheduler.snapshot(), { queueLen: 0, claimed: 0 })
    // The same id again is the same claim: its result.
    batch("b", 2)
    assert.deepStrictEqual(outcomes("b"), ["Failed", "Failed"])
    claim("b")
    assert.deepStrictEqual(outcomes("b"), ["Failed", "Failed", "Failed"])
  })

  it("its lease begins when the last of it is there: a member that waits long for its sandbox ends nobody's lease", () => {
    const { batch, outcomes, results, tickAt, upsert, world } = setup({ idle: 2, size: 3 })
    batch("b", 2, { ttlMs: 100 })
    world.claims[0]?.answer(outcome.success(2))
    world.claims[1]?.answer(outcome.gone)
    tickAt(5_000)
    assert.deepStrictEqual(world.events.map((_) => _.kind), ["Claimed"])
    upsert(state("s2", "Idle", 1))
    last(world.claims).answer(outcome.success(2))
    assert.deepStrictEqual(outcomes("b"), ["Claimed"])
    assert.strictEqual(results.get("b")?.[0]?.leaseExpiresAt, 5_100)
    tickAt(5_100)
    assert.deepStrictEqual(world.events.map((_) => _.kind), ["Claimed", "Claimed", "Expired", "Expired"])
  })

  it("a sandbox of it that is lost, or given back by its own id, before the last one is there ends it", () => {
    const lost = setup({ idle: 2 })
    lost.batch("b", 2)
    lost.world.claims[0]?.answer(outcome.success(2))
    lost.scheduler.observe({ _tag: "Removed", uid: state("s0", "Idle", 1).sandbox.uid })
    assert.deepStrictEqual(lost.outcomes("b"), ["Failed"])
    lost.world.claims[1]?.answer(outcome.success(2))
    assert.strictEqual(last(lost.world.releases).write.claimId, "b-1", "what is won for it later is given back")
    const released = setup({ idle: 2 })
    released.batch("b", 2)
    released.world.claims[0]?.answer(outcome.success(2))
    released.scheduler.release(id("b-0"))
    assert.deepStrictEqual(released.outcomes("b"), ["Cancelled"])
    assert.strictEqual(released.scheduler.snapshot().queueLen, 0)
  })

  it("after a take-over one that was not complete begins anew when its claimer asks again: never fewer than were asked for", () => {
    const { batch, outcomes, results, scheduler, upsert, world } = setup({ idle: 2, size: 3 })
    const running = state("s9", "Running", 5, "b-0")
    upsert({
      ...running,
      claim: { claimId: id("b-0"), batch: id("b"), holder: "h", sessionId: SessionId.make(6), ttlMs: 60_000 }
    })
    assert.deepInclude(scheduler.snapshot(), { claimed: 1 })
    batch("b", 2)
    assert.strictEqual(last(world.releases).write.uid, running.sandbox.uid)
    for (const call of world.claims) call.answer(outcome.success(2))
    assert.deepStrictEqual(outcomes("b"), ["Claimed"])
    assert.deepStrictEqual(results.get("b")?.[0]?.sandboxes?.map((_) => _.name), ["s0", "s1"])
    assert.deepInclude(scheduler.snapshot(), { claimed: 2, queueLen: 0 })
  })

  it("its deadline ends it, waiting or half claimed; what is still written for it is given back", () => {
    const { batch, outcomes, tickAt, world } = setup({ idle: 2 })
    batch("b", 2, { deadlineAt: 2_000 })
    world.claims[0]?.answer(outcome.success(2))
    world.claims[1]?.answer(outcome.conflict)
    tickAt(2_000)
    assert.deepStrictEqual(outcomes("b"), ["DeadlineExceeded"])
    assert.strictEqual(last(world.releases).write.claimId, "b-0")
    const waits = setup({ idle: 1, size: 2 })
    waits.batch("c", 2, { deadlineAt: 2_000 })
    waits.tickAt(2_000)
    assert.deepStrictEqual(waits.outcomes("c"), ["DeadlineExceeded"])
    assert.strictEqual(waits.scheduler.snapshot().queueLen, 0)
  })

  it("holds up what comes after it, so that it is not starved; one with a selector holds up its like only", () => {
    const { batch, claim, upsert, world } = setup({ idle: 1, size: 3 })
    batch("b", 2)
    claim("later")
    claim("less", { priority: 1 })
    assert.strictEqual(world.claims.length, 0)
    claim("more", { priority: 9 })
    assert.strictEqual(last(world.claims).write.mark.claimId, "more")
    upsert(state("s1", "Idle", 1))
    upsert(state("s2", "Idle", 1))
    assert.deepStrictEqual(world.claims.slice(1).map((_) => _.write.mark.claimId as string), ["b-0", "b-1"])

    const mixed = setup({ idle: 2, size: 4 })
    mixed.batch("gpus", 2, { selector: { kind: "gpu" } })
    mixed.claim("any")
    assert.strictEqual(last(mixed.world.claims).write.mark.claimId, "any")
    mixed.upsert(state("g1", "Idle", 1, undefined, { kind: "gpu" }))
    assert.strictEqual(mixed.world.claims.length, 1, "one of two")
    mixed.upsert(state("g2", "Idle", 1, undefined, { kind: "gpu" }))
    assert.deepStrictEqual(mixed.world.claims.slice(1).map((_) => _.write.uid as string), ["g1", "g2"])
  })

  it("members go before everything else once it has begun: two batches never hold parts of what both need", () => {
    const { batch, claim, upsert, world } = setup({ idle: 4, inflightCasMax: 1, size: 4 })
    batch("a", 2)
    batch("b", 2)
    claim("single", { priority: 9 })
    const order: Array<string> = []
    for (let i = 0; i < 5; i++) {
      const call = world.claims[i]
      if (call === undefined) break
      order.push(call.write.mark.claimId)
      if (i === 0) {
        call.answer(outcome.conflict)
        upsert(state(call.write.uid, "Idle", 2))
      } else call.answer(outcome.success(3))
    }
    assert.deepStrictEqual(order, ["a-0", "a-0", "a-1", "single", "b-0"].slice(0, order.length))
    assert.isAbove(order.length, 3)
  })

  it("one release, one renewal, one lease; its record follows the last of its members", () => {
    const { batch, grantAll, scheduler, tickAt, world } = setup({ idle: 2 })
    batch("b", 2, { ttlMs: 1_000 })
    grantAll()
    world.now = 1_500
    assert.strictEqual(scheduler.renew(id("b"), 2_000)?.leaseExpiresAt, 3_500)
    tickAt(3_499)
    assert.strictEqual(scheduler.snapshot().claimed, 2)
    tickAt(3_500)
    assert.strictEqual(scheduler.get(id("b"))?.settled?.outcome, "Expired")
    assert.strictEqual(scheduler.snapshot().claimed, 0)
    const other = setup({ idle: 2 })
    other.batch("b", 2)
    other.grantAll()
    assert.strictEqual(other.scheduler.release(id("b"))?.outcome, "Released")
    assert.deepStrictEqual(other.world.releases.map((_) => _.write.claimId as string), ["b-0", "b-1"])
    assert.strictEqual(other.scheduler.release(id("b"))?.outcome, "Released", "idempotent")
  })

  it("cancelled, refused for want of room in the queue, or larger than the pool can ever be", () => {
    const { batch, outcomes, scheduler } = setup({ idle: 1, size: 4, queueLengthMax: 4 })
    batch("b", 3)
    batch("full", 2)
    batch("huge", 5)
    assert.deepStrictEqual([outcomes("full"), outcomes("huge")], [["QueueFull"], ["Invalid"]])
    assert.strictEqual(scheduler.snapshot().queueLen, 3)
    scheduler.cancel(id("b"))
    assert.deepStrictEqual([outcomes("b"), scheduler.snapshot().queueLen], [["Cancelled"], 0])
  })

  it("a shutdown answers a waiting batch once", () => {
    const { batch, outcomes, scheduler } = setup({ idle: 1, size: 2 })
    batch("b", 2)
    let isDrained = false
    scheduler.shutdown(() => isDrained = true)
    assert.deepStrictEqual([outcomes("b"), isDrained], [["ShuttingDown"], true])
  })

  it("goes on under its id at the next owner", () => {
    const { scheduler, upsert, world } = setup({ idle: 0 })
    for (const i of [0, 1]) {
      const one = state(`s${i}`, "Running", 3)
      upsert({
        ...one,
        claim: {
          claimId: id(`b-${i}`),
          holder: "h",
          sessionId: SessionId.make(3),
          ttlMs: 5_000,
          team: "red",
          batch: id("b")
        }
      })
    }
    assert.strictEqual(scheduler.get(id("b"))?.settled?.sandboxes?.length, 2)
    assert.strictEqual(scheduler.release(id("b"))?.outcome, "Released")
    assert.strictEqual(world.releases.length, 2)
  })
})
