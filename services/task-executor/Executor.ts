/**
 * One life of a task executor: what its parts tell each other. An assignment comes from a Dequeuer, is registered by the Registrar, run by the TaskRunner, told
 * by the Reporter, and its sandbox is settled with the pool.
 *
 * Keeps true: an attempt holds one slot from its assignment to its settlement, across a hand-off too; every assignment is settled with its pool exactly once
 * as to its entry (registered, dropped or returned) and, when registered, once as to its sandbox (released or lost). Follows design/04 section 3.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type { Messaging } from "../../shared/plugin/Messaging.ts"
import type { Contributed } from "../../shared/plugin/Plugin.ts"
import type { SandboxLost } from "../../shared/plugin/SandboxClient.ts"
import type { TaskOutcome } from "../../shared/plugin/TaskType.ts"
import type { TaskSpec } from "../../shared/protocol/Report.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import type { MemberId, Shard } from "../../shared/protocol/Token.ts"
import { type Attempt, Attempts, type Identity } from "./Attempt.ts"
import type { ControlOptions } from "./Control.ts"
import { Dequeuer } from "./Dequeuer.ts"
import type { ExecutorMeters } from "./ExecutorMeters.ts"
import * as Later from "./Later.ts"
import { Registrar } from "./Registrar.ts"
import { Reporter } from "./Reporter.ts"
import { Settler } from "./Settler.ts"
import { Slots } from "./Slots.ts"
import { TaskRunner } from "./TaskRunner.ts"
import type { Wire } from "./Wire.ts"

export interface ExecutorOptions {
  readonly identity: Identity
  readonly slots: number
  readonly host: Pick<Contributed, "taskTypes" | "poolProviders">
  readonly wire: Wire
  readonly messaging: Messaging
  readonly ownerOf: (shard: Shard) => MemberId | undefined
  /** Absent: nothing is counted for anybody. */
  readonly meters?: ExecutorMeters
  /** A broken invariant: takes the service down. */
  readonly onDefect: (cause: unknown) => void
}

/** How long a drain waits for pools once every task is reported: a pool that nobody answers for takes back what it gave when it sees that the executor is gone. */
export const poolsAnswerMs = 3_000
/** How often the end of a drain is looked for; only while one is under way. */
const drainLookMs = 10

export interface Executor {
  readonly slots: Slots
  readonly attempts: Attempts
  /** Attempts with facts that no owner has acknowledged. */
  readonly reportsPending: () => number
  readonly control: ControlOptions
  /** The pools to draw from, from now on; those that are left out are asked no more. */
  readonly setPools: (pools: ReadonlyArray<PoolRef>) => void
  /**
   * Asks no more, lets what runs end for `finishMs`, then stops the rest (it is reported as lost, so that it runs elsewhere), and returns when everything is
   * reported and settled, or after `settleMs` more: then it says how many attempts were left. Once all is reported it waits `poolsAnswerMs` for pools at most.
   */
  readonly drain: (bounds: { readonly finishMs: number; readonly settleMs: number }) => Effect.Effect<number>
}

/** Its fibers end with the scope; drain first. */
export const make = Effect.fnUntraced(function*(options: ExecutorOptions) {
  const { host, identity, messaging, meters, onDefect, ownerOf, wire } = options
  const later = yield* Later.make(onDefect)
  const fork = yield* FiberSet.makeRuntime<never, TaskOutcome, SandboxLost>()
  const slots = new Slots(options.slots)
  const attempts = new Attempts()
  const dequeuers = new Map<string, Dequeuer>()
  const settlers = new Map<string, Settler>()
  /** Settled with the pool already, but still to be told to the owner. */
  const returned = new WeakSet<Attempt>()
  let order: ReadonlyArray<Dequeuer> = []
  let turn = 0
  let isPumpScheduled = false

  const settlerOf = (pool: PoolRef): Settler => {
    const key = poolKey(pool)
    let settler = settlers.get(key)
    if (settler === undefined) {
      settler = new Settler(pool, identity, wire, later)
      settlers.set(key, settler)
    }
    return settler
  }
  /** After this turn: everything that becomes free in it is asked for at once, and the pools take turns at going first. */
  const pump = () => {
    if (isPumpScheduled) return
    isPumpScheduled = true
    queueMicrotask(() => {
      isPumpScheduled = false
      turn = order.length === 0 ? 0 : (turn + 1) % order.length
      for (let i = 0; i < order.length; i++) order[(turn + i) % order.length]?.pump()
    })
  }
  const release = (attempt: Attempt) => {
    attempts.remove(attempt)
    if (--attempt.hold.attempts > 0) return
    if (!returned.has(attempt)) settlerOf(attempt.pool).tell(attempt.isLost ? "lost" : "released", attempt.claimId)
    slots.release()
    pump()
  }

  const reporter = new Reporter({
    member: identity.member,
    wire,
    later,
    ownerOf,
    onAcknowledged: (attempt, next) => next === undefined ? release(attempt) : follow(attempt, next),
    onSuperseded: (attempt) => {
      if (attempt.phase === "Reporting") {
        attempt.stop = "superseded"
        release(attempt)
      } else runner.stop(attempt, "superseded")
    }
  })
  const runner = new TaskRunner({
    host,
    messaging,
    wire,
    later,
    fork,
    report: (attempt, fact) => reporter.report(attempt, fact),
    onEnded: release,
    onDefect,
    meters
  })
  /** The sandbox and the slot go to the next tasks of the instance, one after the other; the last of them may offer the sandbox again. */
  const follow = (attempt: Attempt, specs: ReadonlyArray<TaskSpec>) => {
    const following: Array<Attempt> = []
    for (const [index, spec] of specs.entries()) {
      // One that runs here already, in another sandbox, does not need this one.
      if (attempts.get(spec.instance, spec.taskInstanceId)?.spec !== undefined) continue
      const next = attempt.next(spec, index === specs.length - 1 ? attempt.handOff - specs.length : 0)
      attempt.hold.attempts++
      attempts.put(next)
      following.push(next)
    }
    release(attempt)
    for (const next of following) if (next.spec !== undefined) runner.run(next, next.spec)
  }
  const registrar = new Registrar({
    identity,
    attempts,
    wire,
    later,
    ownerOf,
    onRegistered: (attempt, spec) => {
      const settler = settlerOf(attempt.pool)
      if (host.taskTypes.get(spec.type)?._tag === "Inline") settler.tellRegisteredLater(attempt.claimId)
      else settler.tell("registered", attempt.claimId)
      runner.run(attempt, spec)
    },
    onDropped: (attempt) => {
      settlerOf(attempt.pool).tell("dropped", attempt.claimId)
      slots.release()
      pump()
    },
    onReturned: (attempt, isOpen) => {
      settlerOf(attempt.pool).tell("returned", attempt.claimId)
      if (!isOpen) {
        slots.release()
        return pump()
      }
      // Perhaps it is registered here. Then this report makes a new attempt; if not, the owner says so.
      returned.add(attempt)
      attempt.phase = "Reporting"
      reporter.report(attempt, { _tag: "SANDBOX_LOST", reason: "its registration was not answered" })
    }
  })

  const setPools = (pools: ReadonlyArray<PoolRef>) => {
    const wanted = new Set(pools.map(poolKey))
    for (const [key, dequeuer] of dequeuers) {
      if (wanted.has(key)) continue
      dequeuer.stop()
      dequeuers.delete(key)
      stopped.add(dequeuer)
    }
    for (const pool of pools) {
      const key = poolKey(pool)
      if (dequeuers.has(key)) continue
      dequeuers.set(
        key,
        new Dequeuer({
          pool,
          identity,
          slots,
          wire,
          later,
          onAssignments: (pool, session, assignments) => registrar.receive(pool, session, assignments),
          onSurplus: (pool, assignments) => {
            for (const { claimId } of assignments) settlerOf(pool).tell("returned", claimId)
          },
          onSettled: pump
        })
      )
    }
    order = Array.from(dequeuers.values())
    pump()
  }
  const stopped = new Set<Dequeuer>()
  const polls = () => {
    let count = 0
    for (const dequeuer of stopped) {
      count += dequeuer.inFlight
      if (dequeuer.inFlight === 0) stopped.delete(dequeuer)
    }
    for (const dequeuer of order) count += dequeuer.inFlight
    return count
  }
  const isReported = () => attempts.size === 0 && reporter.isIdle && runner.isIdle && runner.isLogIdle
  const isSettled = () => isReported() && polls() === 0 && Array.from(settlers.values()).every((_) => _.isIdle)

  /** Waits for `isDone`, at most `boundMs`. */
  const until = (isDone: () => boolean, boundMs: number) =>
    Effect.suspend(() => {
      const end = later.nowMs() + boundMs
      const look: Effect.Effect<void> = Effect.suspend(() =>
        isDone() || later.nowMs() >= end ? Effect.void : Effect.andThen(Effect.sleep(drainLookMs), look)
      )
      return look
    })

  const executor: Executor = {
    slots,
    attempts,
    reportsPending: () => reporter.pending,
    control: {
      identity,
      attempts,
      kill: (attempt) => runner.stop(attempt, "kill"),
      pause: (attempt) => runner.pause(attempt)
    },
    setPools,
    drain: Effect.fnUntraced(function*({ finishMs, settleMs }) {
      setPools([])
      reporter.close()
      yield* until(isReported, finishMs)
      for (const attempt of attempts.all()) runner.stop(attempt, "shutdown")
      yield* until(isReported, settleMs)
      yield* until(isSettled, Math.min(settleMs, poolsAnswerMs))
      return attempts.size
    })
  }
  return executor
})
