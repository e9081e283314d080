/**
 * The task-executor service: wiring only. A life of the executor is a registration and everything under it; one that was lost (the process was cut off) ends with
 * its tasks, and another begins under a new startup id (design/05 rules 1 and 6).
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import { hostname } from "node:os"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Outage from "../../shared/jetstream/Outage.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import { PluginHost } from "../../shared/plugin/Plugin.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { Member } from "../../shared/protocol/Member.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { type MemberId, StartupId } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as ShardMap from "../../shared/registry/ShardMap.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { stopwatch, Telemetry } from "../../shared/telemetry/Meters.ts"
import { ProcessReadiness } from "../../shared/telemetry/Readiness.ts"
import * as Acknowledgements from "./Acknowledgements.ts"
import * as Control from "./Control.ts"
import * as Executor from "./Executor.ts"
import { ExecutorMeters } from "./ExecutorMeters.ts"
import * as Later from "./Later.ts"
import * as Messaging from "./Messaging.ts"
import * as Pools from "./Pools.ts"
import * as Wire from "./Wire.ts"

export interface TaskExecutorConfig {
  readonly member: MemberId
  /** Of heddle, for the registry. */
  readonly version: string
  /** Tasks at one time, default 256. */
  readonly slots?: number
  /** The pools to draw tasks from; `all` follows the list of pools. */
  readonly pools: ReadonlyArray<PoolRef> | "all"
  /** At the end: how long running tasks may go on, default 10 s. */
  readonly finishMs?: number
  /** After that: how long reports and settlements may take, default 15 s (a kill takes up to 10 s of it). */
  readonly settleMs?: number
  /** Of the registry entry, default 10 s. */
  readonly ttlMs?: number
}
export const slotsDefault = 256
/** How long a broker that is there may keep a new life from beginning before the service ends. */
const beginForMs = 60_000
const finishMsDefault = 10_000
const settleMsDefault = 15_000

/** What runs, for the program around it and for tests. */
export class TaskExecutor extends Context.Service<TaskExecutor, {
  readonly identity: () => { readonly member: MemberId; readonly startup: StartupId }
  readonly running: () => number
}>()("heddle/task-executor/TaskExecutor") {}

/** Ready when the executor is registered, answers, and asks for tasks. What breaks it later fails `Nats.failure`. */
export const layer = (
  config: TaskExecutorConfig
): Layer.Layer<TaskExecutor, ContractError, Nats | PluginHost> => Layer.effect(TaskExecutor, make(config))

const make = Effect.fnUntraced(function*(config: TaskExecutorConfig) {
  const nats = yield* Nats
  const host = yield* PluginHost
  const unavailable = (error: { readonly message: string }) =>
    new ContractError({ code: "Unavailable", message: `the task executor cannot start: ${error.message}` })
  const shards = yield* ShardMap.make(nats).pipe(Effect.mapError(unavailable))
  const later = yield* Later.make((cause) => nats.fail("the task executor could not take in an acknowledgement", cause))
  const wire = Wire.make(nats, yield* Acknowledgements.make(nats, config.member, later))
  let current: { readonly startup: StartupId; readonly executor: Executor.Executor } | undefined
  const ready = yield* Deferred.make<void, ContractError>()
  const telemetry = yield* Telemetry
  const meters = new ExecutorMeters(telemetry, stopwatch(nats.clock))
  let standing: string | undefined = "it is starting"
  yield* (yield* ProcessReadiness).addScoped("task-executor", () => standing)

  const life = Effect.fnUntraced(function*() {
    const startup = yield* newStartup
    const identity = { member: config.member, startup }
    const slots = config.slots ?? slotsDefault
    const named = config.pools === "all" ? [] : config.pools
    const member: Member = {
      ...identity,
      role: "task-executor",
      host: hostname(),
      pid: process.pid,
      version: config.version,
      startedAt: timestamp(nats.clock.currentTimeMillisUnsafe()),
      slots,
      pools: named
    }
    const registration = yield* Registry.register(
      nats,
      member,
      config.ttlMs === undefined ? {} : { ttlMs: config.ttlMs }
    )
      .pipe(Effect.mapError(unavailable))
    const executor = yield* Executor.make({
      identity,
      slots,
      host,
      wire,
      messaging: Messaging.make(nats),
      ownerOf: (shard) => shards.ownerOf(shard)?.owner,
      meters,
      onDefect: (cause) => nats.fail("the task executor found its own state broken", cause)
    })
    yield* RpcService.serve(nats, {
      service: "heddle-task-executor",
      version: config.version,
      description: "Runs tasks in sandboxes",
      id: startup
    }, [Control.endpoint(executor.control)])
    let isCutOff = false
    yield* Effect.addFinalizer(() =>
      executor.drain({
        finishMs: isCutOff ? 0 : config.finishMs ?? finishMsDefault,
        settleMs: config.settleMs ?? settleMsDefault
      }).pipe(
        Effect.flatMap((left) =>
          left === 0
            ? Effect.void
            : Effect.logWarning(`task executor ${config.member} ended with ${left} tasks that are not reported`)
        )
      )
    )
    yield* telemetry.gaugeScoped(Catalog.slotsTotal, {}, () => executor.slots.capacity)
    yield* telemetry.gaugeScoped(Catalog.slotsUsed, {}, () => executor.slots.used)
    yield* telemetry.gaugeScoped(Catalog.reportsPending, {}, executor.reportsPending)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        standing = "it asks for no tasks: it ends, or registers anew"
      })
    )
    executor.setPools(named)
    let following: Effect.Effect<never> = Effect.never
    if (config.pools === "all") {
      const fiber = yield* Pools.follow(nats, (pools) => {
        executor.setPools(pools)
        return registration.update((_) => ({ ..._, pools })).pipe(Effect.ignore) // a registration that is lost tells by itself
      }).pipe(Effect.forkScoped)
      following = Fiber.join(fiber)
    }
    current = { startup, executor }
    standing = undefined
    Deferred.doneUnsafe(ready, Effect.void)
    return yield* registration.lost.pipe(
      Effect.raceFirst(following),
      Effect.catch((lost) => {
        isCutOff = true
        return lost.reason === "Replaced"
          ? Effect.fail(
            new ContractError({
              code: "Conflict",
              message: `another process runs as task executor ${config.member}: give each a member name of its own`
            })
          )
          : Effect.logWarning(`${lost.message}: the tasks of this life are ended, a new one begins`)
      })
    )
  }, Effect.scoped)

  const lives = Effect.raceFirst(
    Effect.forever(
      Effect.suspend(life).pipe(
        Outage.outlast(nats, {
          forMs: beginForMs,
          isPassing: (error) => current !== undefined && error.code === "Unavailable",
          failed: (error) => Effect.logWarning(`task executor ${config.member} begins anew: ${error.message}`),
          waitMs: { first: 200, max: 2_000 }
        })
      )
    ),
    shards.failure.pipe(Effect.mapError(unavailable))
  )
  yield* lives.pipe(
    Effect.onExit((exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return
        const error = Cause.findErrorOption(exit.cause)
        if (error._tag === "Some" && Deferred.doneUnsafe(ready, Effect.fail(error.value))) return
        nats.fail(`task executor ${config.member}: ${Cause.pretty(exit.cause)}`, exit.cause)
      })
    ),
    Effect.forkScoped
  )
  yield* Deferred.await(ready)
  return TaskExecutor.of({
    identity: () => ({ member: config.member, startup: current?.startup ?? StartupId.make("none") }),
    running: () => current?.executor.attempts.size ?? 0
  })
})

const newStartup = Effect.gen(function*() {
  const random = yield* Random.Random
  const part = () => Math.floor(random.nextDoubleUnsafe() * 36 ** 8).toString(36).padStart(8, "0")
  return StartupId.make(part() + part())
})
