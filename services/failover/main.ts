/**
 * The failover service: wiring only. A life is a registration and everything under it; one that lost its registration begins another under a new startup id.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { hostname } from "node:os"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Outage from "../../shared/jetstream/Outage.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { Member } from "../../shared/protocol/Member.ts"
import { NoFields } from "../../shared/protocol/NoFields.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { type MemberId, StartupId } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import { ProcessReadiness } from "../../shared/telemetry/Readiness.ts"
import * as FailoverRecords from "./FailoverRecords.ts"
import * as FailoverService from "./FailoverService.ts"

export interface FailoverConfig {
  readonly member: MemberId
  /** Of heddle, for the registry. */
  readonly version: string
  /** Between suspicion and event, default 10 s. */
  readonly graceMs?: number
  /** Of its own registry entry, default 10 s. */
  readonly ttlMs?: number
  /** Of the lease that makes one replica active, default 5 s. */
  readonly leaseMs?: number
}

/** What runs, for the program around it and for tests. */
export class Failover extends Context.Service<Failover, {
  readonly startup: () => StartupId
  readonly isActive: () => boolean
}>()("heddle/failover/Failover") {}

/** How long a broker that is there may keep a new life from beginning before the service ends. */
const beginForMs = 60_000

const FailoverQuery = Schema.Struct({
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: FailoverRecords.recordsMax })))
})

/** Ready when it watches and answers. The streams must exist (Streams.ensure). What breaks it later fails `Nats.failure`. */
export const layer = (config: FailoverConfig): Layer.Layer<Failover, ContractError, Nats> =>
  Layer.effect(Failover, make(config))

const make = Effect.fnUntraced(function*(config: FailoverConfig) {
  const nats = yield* Nats
  const ready = yield* Deferred.make<void, ContractError>()
  let standing: string | undefined = "it is starting"
  yield* (yield* ProcessReadiness).addScoped("failover", () => standing)
  const unavailable = (error: { readonly message: string }) =>
    new ContractError({ code: "Unavailable", message: `the failover service cannot start: ${error.message}` })
  let current: { readonly startup: StartupId; readonly service: FailoverService.FailoverService } | undefined

  const life = Effect.fnUntraced(function*() {
    const startup = yield* newStartup
    const { graceMs, leaseMs, member: name, ttlMs, version } = config
    const service = yield* FailoverService.make(nats, {
      startup,
      ...(graceMs === undefined ? {} : { graceMs }),
      ...(leaseMs === undefined ? {} : { leaseMs })
    }).pipe(Effect.mapError(unavailable))
    const member: Member = {
      member: name,
      startup,
      role: "failover",
      host: hostname(),
      pid: process.pid,
      version,
      startedAt: timestamp(nats.clock.currentTimeMillisUnsafe())
    }
    const registration = yield* Registry.register(nats, member, ttlMs === undefined ? {} : { ttlMs }).pipe(
      Effect.mapError(unavailable)
    )
    yield* RpcService.serve(nats, {
      service: "heddle-failover",
      version,
      description: "Finds members that are gone, keeps failover records",
      id: startup
    }, [
      RpcService.endpoint({
        name: "member-list",
        subject: Subject.rpc.memberList,
        description: "Members of the mesh, as the registry shows them",
        request: NoFields,
        handler: () => Effect.sync(() => ({ items: service.members() }))
      }),
      RpcService.endpoint({
        name: "failover-list",
        subject: Subject.rpc.failoverList,
        description: "Failovers and what came of them, newest first",
        request: FailoverQuery,
        handler: ({ limit }) => Effect.sync(() => ({ items: service.records(limit) }))
      })
    ])
    current = { startup, service }
    standing = undefined
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        standing = "it is not registered: it ends, or registers anew"
      })
    )
    Deferred.doneUnsafe(ready, Effect.void)
    return yield* Effect.raceFirst(
      registration.lost.pipe(Effect.catch((lost) =>
        lost.reason === "Replaced"
          ? Effect.fail(
            new ContractError({
              code: "Conflict",
              message: `another process runs as failover service ${name}: give each a member name of its own`
            })
          )
          : Effect.logWarning(`${lost.message}: registering again`)
      )),
      service.failure
    )
  }, Effect.scoped)

  const anew = Effect.suspend(life).pipe(
    Outage.outlast(nats, {
      forMs: beginForMs,
      isPassing: (error) => current !== undefined && (error._tag !== "ContractError" || error.code === "Unavailable"),
      failed: (error) => Effect.logWarning(`failover service ${config.member} begins anew: ${error.message}`),
      waitMs: { first: 200, max: 2_000 }
    })
  )
  yield* Effect.raceFirst(Effect.forever(anew), nats.failure).pipe(
    Effect.onExit((exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return
        const error = Cause.findErrorOption(exit.cause)
        if (error._tag === "Some" && Deferred.doneUnsafe(ready, Effect.fail(unavailable(error.value)))) return
        nats.fail(`failover service ${config.member}: ${Cause.pretty(exit.cause)}`, exit.cause)
      })
    ),
    Effect.forkScoped
  )
  yield* Deferred.await(ready)
  return Failover.of({
    startup: () => current?.startup ?? StartupId.make("none"),
    isActive: () => current?.service.isActive() ?? false
  })
})

const newStartup = Effect.gen(function*() {
  const random = yield* Random.Random
  const part = () => Math.floor(random.nextDoubleUnsafe() * 36 ** 8).toString(36).padStart(8, "0")
  return StartupId.make(part() + part())
})
