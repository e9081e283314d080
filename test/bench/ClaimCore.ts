/**
 * The claim scheduler alone, without provider, broker or clock of its own: what one decision costs and how it grows (`npm run bench -- claims`).
 *
 * The provider only notes when a write reaches it and answers when the bench says so; so what is measured is the scheduler's own work, to the start of the compare-and-set.
 */
import { scoreOf } from "../../services/pool-scheduler/EnvScheduler.ts"
import * as EnvScheduler from "../../services/pool-scheduler/EnvScheduler.ts"
import { PoolScheduler } from "../../services/pool-scheduler/PoolScheduler.ts"
import { type ClaimOutcome, type ClaimWrite, outcome, type SandboxState } from "../../shared/plugin/PoolProvider.ts"
import { ClaimId, Namespace, PoolName, SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import * as Samples from "./Samples.ts"

export interface Row {
  readonly name: string
  readonly unit: "us" | "ns"
  readonly value: number
}

const stateOf = (index: number, version: number, phase: "Idle" | "Starting" = "Idle"): SandboxState => ({
  sandbox: {
    uid: SandboxUid.make(`s${index}`),
    name: `s${index}`,
    namespace: Namespace.make("default"),
    provider: "bench",
    labels: {}
  },
  phase,
  version
})

interface Write {
  readonly write: ClaimWrite
  readonly answer: (outcome: ClaimOutcome) => void
}

const make = (states: ReadonlyArray<SandboxState>, isSynchronous: boolean) => {
  const writes: Array<Write> = []
  const released: Array<SandboxUid> = []
  /** By number of the claim: when its write reached the provider. */
  const startedAt = new Map<string, number>()
  let now = 1_000
  const scheduler = new PoolScheduler({
    provider: {
      claim: (write, answer) => {
        startedAt.set(write.mark.claimId, performance.now())
        if (isSynchronous) answer(outcome.success(write.version + 1))
        else writes.push({ write, answer })
      },
      readBack: () => {},
      release: (write, answer) => {
        released.push(write.uid)
        answer({ _tag: "Done" })
      },
      create: () => {},
      delete: () => {}
    },
    now: () => now,
    arm: () => {},
    repair: () => {},
    event: () => {},
    adoptedTask: () => {},
    fenced: () => {},
    warn: () => {}
  }, {
    sessionId: SessionId.make(1),
    poolName: "bench",
    size: states.length,
    queueLengthMax: 1_000_000
  })
  scheduler.listed(scheduler.listing(), states)
  let claims = 0
  const claim = (selector?: Readonly<Record<string, string>>): string => {
    const id = `c${claims++}`
    scheduler.enqueue({
      claimId: ClaimId.make(id),
      holder: "bench",
      team: `team-${claims % 8}`,
      priority: 5,
      deadlineAt: now + 60_000,
      ttlMs: 600_000,
      selector
    }, () => {})
    return id
  }
  /** What a watch would show of it: given back and idle again. */
  const idleAgain = (uid: SandboxUid, version: number): void => {
    scheduler.observe({ _tag: "Upsert", state: { ...stateOf(0, version), sandbox: sandboxOf(uid) } })
  }
  const sandboxOf = (uid: SandboxUid) => ({ ...stateOf(0, 1).sandbox, uid, name: uid })
  return { scheduler, writes, released, startedAt, claim, idleAgain, tick: (ms: number) => (now += ms) }
}

const statesOf = (count: number, phase?: "Idle" | "Starting") =>
  Array.from({ length: count }, (_, index) => stateOf(index, 1, phase))

/** 10,000 idle, 10,000 that wait for what there is not: one more claim, to the start of its write. */
const enqueueToWrite = (count: number): ReadonlyArray<Row> => {
  const world = make(statesOf(count), false)
  for (let i = 0; i < count; i++) world.claim({ zone: "none" })
  const times: Array<number> = []
  for (let i = 0; i < count; i++) {
    const from = performance.now()
    const id = world.claim()
    times.push((world.startedAt.get(id) ?? Number.NaN) - from)
    const write = world.writes.pop()
    write?.answer(outcome.success(2))
  }
  if (world.scheduler.snapshot().claimed !== count) throw new Error("not every claim was granted")
  return rows(`enqueue -> write, ${count} idle, ${count} waiting`, times)
}

/** 10,000 wait, and sandboxes become idle one by one: from the watch's word to the start of the write. */
const idleToWrite = (count: number): ReadonlyArray<Row> => {
  const world = make(statesOf(count, "Starting"), false)
  for (let i = 0; i < count; i++) world.claim()
  const times: Array<number> = []
  for (let i = 0; i < count; i++) {
    const from = performance.now()
    world.scheduler.observe({ _tag: "Upsert", state: stateOf(i, 2) })
    const write = world.writes.pop()
    if (write === undefined) throw new Error("an idle sandbox was not claimed")
    times.push((world.startedAt.get(write.write.mark.claimId) ?? Number.NaN) - from)
    write.answer(outcome.success(3))
  }
  return rows(`idle -> write, ${count} waiting`, times)
}

/** 10,000 claims at once onto 10,000 idle, at most 128 writes in flight, each answered as soon as the next one can go. */
const burst = (count: number): ReadonlyArray<Row> => {
  const world = make(statesOf(count), false)
  const from = performance.now()
  const enqueuedAt: Array<number> = []
  for (let i = 0; i < count; i++) {
    enqueuedAt.push(performance.now())
    world.claim()
  }
  for (let write = world.writes.shift(); write !== undefined; write = world.writes.shift()) {
    write.answer(outcome.success(2))
  }
  const took = performance.now() - from
  const times = enqueuedAt.map((at, index) => (world.startedAt.get(`c${index}`) ?? Number.NaN) - at)
  return [
    ...rows(`burst of ${count}, enqueue -> write`, times),
    { name: `burst of ${count}, each`, unit: "us", value: took * 1_000 / count }
  ]
}

const rows = (name: string, times: ReadonlyArray<number>): ReadonlyArray<Row> => [
  { name: `${name}, p50`, unit: "us", value: Samples.percentile(times, 0.5) * 1_000 },
  { name: `${name}, p99`, unit: "us", value: Samples.percentile(times, 0.99) * 1_000 }
]

/** A claim and its release in a pool of so many: must not grow with the pool. */
const costIn = (poolSize: number, claims: number): Row => {
  const world = make(statesOf(poolSize), true)
  const version = new Map<SandboxUid, number>()
  const turn = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const id = world.claim()
      world.scheduler.release(ClaimId.make(id))
      const uid = world.released.pop()
      if (uid === undefined) throw new Error("nothing was released")
      const next = (version.get(uid) ?? 2) + 2
      version.set(uid, next)
      world.idleAgain(uid, next)
      world.startedAt.clear()
    }
  }
  turn(Math.min(claims, 20_000)) // warm-up
  const best = [0, 1, 2].map(() => {
    const from = performance.now()
    turn(claims)
    return (performance.now() - from) * 1_000 / claims
  })
  return { name: `claim and release, pool of ${poolSize}`, unit: "us", value: Math.min(...best) }
}

/** Best of five, so that other work on the machine counts as little as it can. */
const nsEach = (times: number, act: () => void): number => {
  const once = (): number => {
    const from = performance.now()
    for (let i = 0; i < times; i++) act()
    return (performance.now() - from) * 1e6 / times
  }
  once()
  return Math.min(once(), once(), once(), once(), once())
}

const snapshotNs = (times: number): Row => {
  const { scheduler } = make(statesOf(10_000), false)
  let sum = 0
  const value = nsEach(times, () => sum += scheduler.snapshot().idleReady)
  if (sum === 0) throw new Error("nothing is idle")
  return { name: "snapshot()", unit: "ns", value }
}

const rankingNs = (times: number): Row => {
  const members = Array.from({ length: 10 }, (_, index) => {
    const one = EnvScheduler.member(PoolName.make(`p${index}`), index % 3)
    one.counters = {
      idleReady: index * 7 % 10,
      queueLen: index * 3 % 5,
      claimed: index * 2,
      total: index * 2 + 10,
      max: 100,
      isDraining: index === 4
    }
    return one
  })
  const weights = EnvScheduler.weightsOf(undefined)
  let sum = 0
  const value = nsEach(times, () => sum += EnvScheduler.rank(members, weights, 1, 1_000).length)
  const [first] = EnvScheduler.rank(members, weights, 1, 1_000)
  if (sum === 0 || first === undefined || scoreOf(first.member, weights, 1_000) !== first.score) {
    throw new Error("the ranking is not right")
  }
  return { name: "ranking of 10 pools", unit: "ns", value }
}

export const run = (isQuick: boolean): ReadonlyArray<Row> => {
  const count = isQuick ? 200 : 10_000
  if (!isQuick) enqueueToWrite(count) // warm-up
  return [
    ...enqueueToWrite(count),
    ...idleToWrite(count),
    ...burst(count),
    ...(isQuick ? [100, 1_000] : [100, 10_000, 100_000]).map((size) => costIn(size, isQuick ? 200 : 50_000)),
    snapshotNs(isQuick ? 1_000 : 1_000_000),
    rankingNs(isQuick ? 1_000 : 200_000)
  ]
}
