import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { outcome } from "../../shared/plugin/PoolProvider.ts"
import { ClaimId } from "../../shared/protocol/Token.ts"
import { last, setup, state } from "./ScriptedScheduler.ts"

const quotas = { default: 2, teams: new Map([["red", 1]]) }

describe("TeamQuotas", () => {
  it("a team at its quota waits while others are served, in flight counts, and goes on when one of its own ends", () => {
    const { claim, grantAll, scheduler, world } = setup({ idle: 5, quotas })
    claim("r1", { team: "red" })
    claim("r2", { team: "red" })
    claim("b1", { team: "blue" })
    assert.deepStrictEqual(world.claims.map((_) => _.write.mark.claimId as string), ["r1", "b1"])
    assert.deepInclude(scheduler.snapshot(), { queueLen: 3, quotaBlocked: 1 })
    grantAll()
    scheduler.release(ClaimId.make("r1"))
    assert.strictEqual(last(world.claims).write.mark.claimId, "r2")
    assert.strictEqual(scheduler.snapshot().quotaBlocked, 0)
  })

  it("a write that fails gives the place in the quota back", () => {
    const { claim, world } = setup({ idle: 3, quotas, attemptsMax: 1 })
    claim("r1", { team: "red" })
    claim("r2", { team: "red" })
    last(world.claims).answer(outcome.hardError("broken", false))
    assert.strictEqual(last(world.claims).write.mark.claimId, "r2")
  })

  it("refuses with QuotaExceeded where the pool says so, and always what never fits", () => {
    const { batch, claim, results, world } = setup({ idle: 5, quotas, whenQuotaReached: "refuse" })
    claim("r1", { team: "red" })
    claim("r2", { team: "red" })
    assert.deepStrictEqual(results.get("r2")?.[0]?.error?.details, { team: "red", quota: 1, held: 1 })
    assert.strictEqual(results.get("r2")?.[0]?.error?.code, "QuotaExceeded")
    claim("task", { team: "red", ttlMs: 0 })
    assert.isUndefined(results.get("task")?.[0], "a task waits in any case")
    assert.strictEqual(world.claims.length, 1)
    const waiting = setup({ idle: 5, quotas })
    waiting.batch("b", 3)
    assert.strictEqual(waiting.results.get("b")?.[0]?.error?.code, "QuotaExceeded")
    batch("fits", 2, { team: "blue" })
    assert.isUndefined(results.get("fits")?.[0])
  })

  it("a batch waits until its team may hold all of it; another quota counts at once", () => {
    const { batch, claim, grantAll, scheduler, world } = setup({ idle: 5, quotas })
    claim("one", { team: "blue" })
    batch("b", 2, { team: "blue" })
    assert.strictEqual(world.claims.length, 1)
    grantAll()
    scheduler.adjust({ quotas: { teams: new Map([["blue", 3]]) } })
    assert.deepStrictEqual(world.claims.slice(1).map((_) => _.write.mark.claimId as string), ["b-0", "b-1"])
  })

  it("what an owner before this one gave to a team counts", () => {
    const { claim, scheduler, upsert, world } = setup({ idle: 1, quotas, size: 2 })
    upsert({
      ...state("s7", "Running", 1),
      claim: { claimId: ClaimId.make("old"), holder: "h", sessionId: 3 as never, ttlMs: 5_000, team: "red" } // an older session
    })
    claim("r1", { team: "red" })
    assert.strictEqual(world.claims.length, 0)
    scheduler.release(ClaimId.make("old"))
    assert.strictEqual(world.claims.length, 1)
  })

  const Step = Schema.Struct({
    team: Schema.Literals(["red", "blue", "green"]),
    act: Schema.Literals(["claim", "claim", "batch", "release", "conflict", "grant", "idle"])
  })
  it.prop(
    "no team ever holds more than its quota, writes in flight included, and nothing waits that could be served",
    { steps: Schema.Array(Step).check(Schema.isMaxLength(60)) },
    ({ steps }) => {
      const { batch, claim, grantAll, outcomes, scheduler, upsert, world } = setup({ idle: 6, quotas, size: 6 })
      const made: Array<{ readonly id: string; readonly team: string }> = []
      let version = 100
      for (const { act, team } of steps) {
        const id = `c${made.length}`
        if (act === "claim") {
          made.push({ id, team })
          claim(id, { team })
        } else if (act === "batch") {
          made.push({ id, team })
          batch(id, 2, { team })
        } else if (act === "grant") grantAll()
        else if (act === "conflict") last([...world.claims, { answer: () => {} }]).answer(outcome.conflict)
        else if (act === "release") {
          const held = made.find((one) => one.team === team && outcomes(one.id).at(-1) === "Claimed")
          if (held !== undefined) scheduler.release(ClaimId.make(held.id))
        } else {
          for (const release of world.releases.splice(0)) {
            release.answer({ _tag: "Done" })
            upsert(state(release.write.uid, "Idle", ++version))
          }
        }
        for (const [name, held] of scheduler.heldByTeam) {
          if (held > (name === "red" ? 1 : 2)) return false
        }
        const { idleReady, inflightCas, queueLen, quotaBlocked } = scheduler.snapshot()
        if (idleReady < 0 || queueLen < quotaBlocked || inflightCas < 0) return false
      }
      return true
    }
  )
})
