/** 100,000 sandboxes in 200 pools under one process's schedulers: how long until all are ready, what they take, and what a claim costs among them. */
import * as Schema from "effect/Schema"
import { Config, SimulatedPool } from "../../plugins/simulated/SimulatedPool.ts"
import { SimulatedSandboxes } from "../../plugins/simulated/SimulatedSandboxes.ts"
import * as Timeline from "../../plugins/simulated/Timeline.ts"
import { PoolScheduler } from "../../services/pool-scheduler/PoolScheduler.ts"
import { ClaimId, Namespace, PoolName, SandboxUid, SessionId } from "../../shared/protocol/Token.ts"

export interface Large {
  readonly pools: number
  readonly sandboxes: number
  /** CPU from the first list to the last sandbox in a ready queue; the lists themselves are made before. */
  readonly readyMs: number
  /** Of scheduler and ready queues, without what the provider holds of the sandboxes. */
  readonly heapBytesEach: number
  /** CPU of a claim and its release. */
  readonly claimUs: number
}

const decodeConfig = Schema.decodeUnknownSync(Config)

const heapUsed = (): number => {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

/** Virtual time, so that only work is measured; sandboxes that exist already, as a new owner finds them. */
export const run = (pools: number, each: number, claims: number): Large => {
  const timeline = Timeline.virtual(1_000)
  const config = decodeConfig({ latencyMs: [0, 0], watchLagMs: [0, 0], resetMs: [0, 0] })
  const found = Array.from({ length: pools }, (_, at) => {
    const sandboxes = new SimulatedSandboxes(timeline, at, false)
    const labels = { app: "bench" }
    for (let i = 0; i < each; i++) {
      const uid = SandboxUid.make(`p${at}-${i}-00000000-0000-4000-8000-000000000000`)
      const name = `pool-${at}-${i}`
      const sandbox = { uid, name, namespace: Namespace.make("default"), provider: "simulated", labels }
      sandboxes.truth.set(uid, { sandbox, phase: "Idle", version: 1 })
    }
    const pool = { namespace: Namespace.make("default"), name: PoolName.make(`pool-${at}`) }
    const provider = new SimulatedPool(
      { pool, sessionId: SessionId.make(1), size: each, labels, startedAt: 0 },
      config,
      timeline,
      sandboxes
    )
    return { pool, provider, states: Array.from(sandboxes.truth.values()) }
  })
  const before = heapUsed()
  const from = process.cpuUsage()
  const schedulers = found.map(({ pool, provider, states }) => {
    const scheduler = new PoolScheduler({
      provider,
      now: timeline.now,
      arm: () => {},
      repair: () => {},
      event: () => {},
      adoptedTask: () => {},
      fenced: () => {},
      warn: () => {}
    }, { sessionId: SessionId.make(1), poolName: pool.name, size: each })
    provider.watchUnsafe((delta) => scheduler.observe(delta))
    scheduler.listed(scheduler.listing(), states)
    return scheduler
  })
  const used = process.cpuUsage(from)
  const readyMs = (used.system + used.user) / 1_000
  const ready = schedulers.reduce((sum, scheduler) => sum + scheduler.idleReady, 0)
  if (ready !== pools * each) throw new Error(`${ready} of ${pools * each} sandboxes are ready`)
  const heapBytesEach = (heapUsed() - before) / ready
  let granted = 0
  const claimTurn = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const scheduler = schedulers[i * 7 % pools]
      const claimId = ClaimId.make(`c${granted}-${i}`)
      scheduler?.enqueue({
        claimId,
        holder: "bench",
        team: "default",
        priority: 5,
        deadlineAt: Infinity,
        ttlMs: 600_000
      }, ({ outcome }) => {
        if (outcome === "Claimed") granted++
        scheduler.release(claimId)
      })
      if (i % 100 === 99) timeline.advance(1)
    }
    timeline.advance(10)
  }
  claimTurn(claims)
  const since = process.cpuUsage()
  const already = granted
  claimTurn(claims)
  const { system, user } = process.cpuUsage(since)
  const claimUs = (system + user) / claims
  if (granted - already !== claims) throw new Error(`${granted - already} of ${claims} claims were granted`)
  return { pools, sandboxes: ready, readyMs, heapBytesEach, claimUs }
}
