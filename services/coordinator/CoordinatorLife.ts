/**
 * One life of a coordinator: from the opening of its ledger until that is sealed by another, the registration is lost, or the process ends.
 *
 * A life that ends while the process goes on has lost all its shards; the next one has a new startup id and a new ledger (design/05 rule 4: "drops its shards without
 * exiting"). Here the parts are put together; what they do stands in their files.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Forwarding from "../../shared/jetstream/Forwarding.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { JobStateRequest } from "../../shared/protocol/Lane.ts"
import type { Member } from "../../shared/protocol/Member.ts"
import { FactRequest, RegisterRequest } from "../../shared/protocol/Report.ts"
import { shardOf } from "../../shared/protocol/Shard.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { type MemberId, type SessionId, type Shard, type StartupId } from "../../shared/protocol/Token.ts"
import { finalStatuses } from "../../shared/protocol/Workflow.ts"
import * as LiveMembers from "../../shared/registry/LiveMembers.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as ShardMap from "../../shared/registry/ShardMap.ts"
import * as LedgerSeal from "../../shared/session/LedgerSeal.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { stopwatch, Telemetry } from "../../shared/telemetry/Meters.ts"
import { ProcessReadiness } from "../../shared/telemetry/Readiness.ts"
import { ProcessSpans } from "../../shared/telemetry/Spans.ts"
import { type AlertConfig, Alerts } from "./Alerts.ts"
import { Archive } from "./Archive.ts"
import type { ArchivePolicy } from "./ArchivePolicy.ts"
import * as Checkpoints from "./Checkpoints.ts"
import { CommandHandler } from "./CommandHandler.ts"
import { CommandInbox } from "./CommandInbox.ts"
import { CoordinatorMeters } from "./CoordinatorMeters.ts"
import * as DefinitionRpc from "./DefinitionRpc.ts"
import { type ArgumentProblems, Definitions } from "./Definitions.ts"
import { Dependencies } from "./Dependencies.ts"
import { controls, EffectRunner, failoverOf } from "./EffectRunner.ts"
import * as Outstanding from "./engine/Outstanding.ts"
import { ExecutorControl } from "./ExecutorControl.ts"
import { ExecutorPort } from "./ExecutorPort.ts"
import { FailoverReaction } from "./FailoverReaction.ts"
import { FinishedInstances } from "./FinishedInstances.ts"
import * as GroupRpc from "./GroupRpc.ts"
import { HistoryProjector, type Projected } from "./HistoryProjector.ts"
import * as InstanceLoader from "./InstanceLoader.ts"
import { Instances } from "./Instances.ts"
import * as JetStreamJournal from "./JetStreamJournal.ts"
import { LanePublisher } from "./LanePublisher.ts"
import { Ledger, type LedgerEnd } from "./Ledger.ts"
import { PassiveInstances } from "./PassiveInstances.ts"
import * as RunSpans from "./RunSpans.ts"
import * as Scheduling from "./Scheduling.ts"
import { type Adoption, ShardOwnership } from "./ShardOwnership.ts"
import { Signals } from "./Signals.ts"
import { Timers } from "./Timers.ts"
import { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"
import * as WorkflowRpc from "./WorkflowRpc.ts"

export interface LifeConfig {
  /** As registered; `startup` and `ledger` are this life's. */
  readonly member: Omit<Member, "startup" | "ledger" | "role" | "startedAt">
  readonly startup: StartupId
  /** How streams are made that the broker has lost. */
  readonly streams: Streams.StreamsOptions | undefined
  readonly shardCount: number
  readonly registryTtlMs: number
  readonly version: string
  /** Absent: alerts are logged. */
  readonly alerts: AlertConfig | undefined
  /** Of definitions that are new; absent: nothing is known of task types here. */
  readonly argumentProblems: ArgumentProblems | undefined
  /** Absent: runs may take as long as they take. */
  readonly runMaxMs: number | undefined
  /** Instances that wait longer than this leave memory. */
  readonly passivateAfterMs: number
  /** Absent: nothing is archived. */
  readonly archive: ArchivePolicy | undefined
}

/** Why a life ended: the next one may begin. */
export class LifeEnded extends Schema.TaggedError<LifeEnded>()("LifeEnded", { reason: Schema.String }) {
  override get message(): string {
    return this.reason
  }
}

/** What a life holds at this moment: for tests and for whoever looks after the process. Counted when asked, from what is in memory. */
export interface LifeStats {
  readonly shards: number
  /** Instances in memory whose run goes on, and those that rest there because they can be resumed; semaphores are neither. */
  readonly live: number
  readonly resting: number
  /** What semaphores have given away, what waits for it, and what was refused and not heard of since. */
  readonly tickets: number
  /** Instances whose runs go on outside of memory: a record each. */
  readonly passive: number
  /** Events that wait on a bus. */
  readonly events: number
  /** Entries that the derived history does not have yet. */
  readonly unprojected: number
  /** Clients that wait for a result. */
  readonly waiters: number
  /** Keys of the timers that are armed. */
  readonly timers: ReadonlyArray<string>
}

/** Of what is wrong with the journal, as the registry shows it: how many, and how long each. */
const problemsMax = 8
const problemCharsMax = 400
const damagedFix =
  "Only coordinators may publish on heddle.journal.>: see the permissions in docs/design/session-protocol.md; of a newer version: upgrade and restart this coordinator"
/** How long leaving may take: handing over, writing the last checkpoint. */
const leaveMs = 10_000
/** How often a life asks for the lanes before it cannot begin; each try waits 5 s. */
const lanesTriesMax = 11
/** Instances looked at between two yields when something concerns all of them. */
const pageSize = 512

const decodeSystemEvent = Decode.decoder(SystemEvent)

/** Lives until it ends; `ready` runs once, when requests are answered, with a way to see what this life holds. */
export const run = Effect.fn("CoordinatorLife.run")(
  function*(nats: Connection, config: LifeConfig, ready: (stats: () => LifeStats) => Effect.Effect<void>) {
    const clock = yield* Clock.Clock
    const random = yield* Random.Random
    const now = () => clock.currentTimeMillisUnsafe()
    const telemetry = yield* Telemetry
    const spans = yield* ProcessSpans
    const meters = new CoordinatorMeters(telemetry, stopwatch(clock))
    const ended = yield* Deferred.make<never, LifeEnded | ContractError>()
    const fibers = yield* FiberSet.make<unknown, LifeEnded | ContractError>()
    const runFork = yield* FiberSet.runtime(fibers)<never>()
    const inboxes = yield* FiberMap.make<Shard, never, LifeEnded | ContractError>()
    const runInbox = yield* FiberMap.runtime(inboxes)<never>()
    const log = (message: string): void => void runFork(Effect.logWarning(message))
    const fork = (effect: Effect.Effect<unknown, { readonly message: string }>): void =>
      void runFork(Effect.mapError(effect, lifeError))

    const { ledger: ledgerName, sequence: openedAt } = yield* LedgerSeal.openLedger(
      nats,
      config.member.member,
      config.startup
    )
    const shardMap = yield* ShardMap.make(nats)
    const live = yield* LiveMembers.make(nats)
    const definitions = new Definitions(nats, now, config.argumentProblems)
    const timers = new Timers(clock)
    const alerts = new Alerts({ nats, timers, config: config.alerts, now, warn: log, fork })
    const finished = new FinishedInstances(config.shardCount)
    const history = new HistoryProjector({ nats, timers })

    /** Whom to pass a request on to: nobody who has given the shard away or is gone, since such a one would never answer. */
    const ownerOf = (shard: Shard): MemberId | undefined => {
      const owned = shardMap.ownerOf(shard)
      if (owned === undefined || owned.owner === config.member.member || owned.released !== undefined) return undefined
      return live.isAlive(owned.owner, owned.startup) ? owned.owner : undefined
    }

    const buses: WorkflowEventBusCoordinator = new WorkflowEventBusCoordinator({
      now,
      listener: {
        sent: (bus, effects) => effectRunner.dispatch(bus, effects),
        recorded: (bus, effects, transitions) => {
          meters.recorded(bus.committed, transitions)
          if (spans !== undefined) RunSpans.recorded(spans, bus.committed, transitions)
          checkpoints.touch(bus.shard)
          effectRunner.run(bus, effects)
          passives.recorded(bus, effects)
        },
        told: () => effectRunner.flush(),
        defect: (bus, cause) =>
          log(
            `a defect in the engine at instance ${bus.instance}: ${
              cause instanceof Error ? cause.stack ?? cause.message : String(cause)
            }`
          )
      }
    })
    yield* nats.readReplies(Subject.acknowledgementsOf(config.startup))
    const ledger = new Ledger({
      journal: meters.journal(JetStreamJournal.make(nats, ledgerName, fork)),
      source: meters.turns(buses),
      startup: config.startup,
      openedAt,
      onEnd: (end: LedgerEnd) => {
        for (const worker of buses.workers) {
          passives.close(worker.shard)
          buses.close(worker.shard)
        }
        fork(FiberMap.clear(inboxes))
        if (end._tag === "Fenced") {
          Deferred.doneUnsafe(
            ended,
            Effect.fail(
              new LifeEnded({ reason: `ledger ${ledgerName} was sealed by another coordinator at ${end.lastSequence}` })
            )
          )
        }
      }
    })
    buses.wakeLedger = () => ledger.wake()

    const isCurrent = (shard: Shard, session: SessionId): boolean => buses.worker(shard)?.session === session
    const control = new ExecutorControl({
      nats,
      owner: config.member.member,
      timers,
      now,
      isAlive: live.isAlive,
      outstanding: (bus) =>
        buses.bus(bus.shard, bus.instance) === bus ? controls(Outstanding.outstanding(bus.committed)) : [],
      hasMail: (bus, answer) =>
        fork(
          Effect.match(Read.lastMessage(nats, Streams.name.commands, Subject.command(bus.shard, bus.instance)), {
            onSuccess: (message) => answer(Option.isSome(message)),
            onFailure: () => answer(true)
          })
        ),
      lost: (bus, effect, reason) => void buses.publish(bus, { event: failoverOf(effect, reason) })
    })
    const signals = new Signals({
      nats,
      timers,
      buses: () => buses,
      shardOf: (instance) => shardOf(instance, config.shardCount),
      startChild: (child, request) => instances.startChild(child, request),
      wake: (instance, then) => passives.wake(instance, then),
      fork,
      warn: log
    })
    const effectRunner = new EffectRunner({
      nats,
      buses: () => buses,
      lanes: new LanePublisher({ nats, owner: config.member.member, timers, isCurrent }),
      control,
      signals,
      dependencies: new Dependencies({ nats, buses: () => buses, fork }),
      timers,
      history,
      finished,
      alert: (bus, alert) => alerts.ofRun(bus, alert)
    })
    const passives: PassiveInstances = new PassiveInstances({
      nats,
      definitions,
      buses: () => buses,
      timers,
      history,
      signals,
      afterMs: config.passivateAfterMs,
      now,
      arm: (bus) => effectRunner.again(bus, "ArmTimer"),
      disarm: (bus) => effectRunner.forget(bus),
      changed: (shard) => checkpoints.changed(shard),
      fork,
      warn: log
    })
    const instances: Instances = new Instances({
      nats,
      buses,
      definitions,
      finished,
      passives,
      history,
      ownerOf,
      shardCount: config.shardCount,
      runMaxMs: config.runMaxMs,
      hasSpans: spans !== undefined,
      random
    })
    const scheduling = Scheduling.make({
      nats,
      member: config.member.member,
      shardCount: config.shardCount,
      sessionOf: (shard) => buses.worker(shard)?.session,
      ownerOf,
      now,
      warn: log,
      timers,
      fork,
      alert: (alert) => alerts.raise(alert)
    })
    const archive = new Archive({
      nats,
      definitions,
      buses,
      policy: config.archive ?? { afterMs: undefined, namespaces: new Map() },
      now,
      warn: log
    })
    const port = new ExecutorPort({
      buses,
      isPassive: (instance) => passives.get(instance) !== undefined,
      ownerOf,
      ask: (bus, taskInstanceId) => {
        const ask = controls(Outstanding.outstanding(bus.committed)).find((one) =>
          one.taskInstanceId === taskInstanceId
        )
        if (ask !== undefined) control.send(bus, ask)
      }
    })

    const commands = new CommandHandler({ instances, definitions, port, signals, fork })
    const inbox = new CommandInbox({
      nats,
      warn: log,
      shardOf: (instance) => shardOf(instance, config.shardCount),
      handle: (_shard, instance, message, replyTo, done) => commands.handle(instance, message, replyTo, done)
    })
    const restore = (adoption: Adoption): void => {
      for (const recovered of adoption.shards) {
        const worker = buses.open(recovered.shard, adoption.session)
        checkpoints.adopted(recovered)
        for (const bus of recovered.buses.values()) worker.buses.set(bus.instance, bus)
        for (const one of recovered.finished) finished.add(one.summary.instanceId, one)
        passives.restored(recovered.passive)
        for (const { instance, reason } of recovered.unrestored) {
          worker.unrestored.set(instance, reason)
          log(
            `instance ${instance} could not be restored and rests as it is: ${reason}`
          )
        }
        runInbox(
          recovered.shard,
          inbox.consume(recovered.shard).pipe(
            Effect.mapError(lifeError),
            Effect.tapError((error) => Deferred.fail(ended, error))
          )
        )
      }
      scheduling.moved(adoption.shards.map(({ shard }) => shard))
      archive.moved()
      fork(patiently(resume(adoption)))
    }
    /** Does again what the adopted states say is outstanding, in pages; and brings their derived history up to date first, so that nothing finished leaves memory without one. */
    const resume = (adoption: Adoption): Effect.Effect<void, ContractError> =>
      Effect.gen(function*() {
        const all = adoption.shards.flatMap((recovered) => [...recovered.buses.values()])
        for (let at = 0; at < all.length; at += pageSize) {
          yield* Effect.forEach(all.slice(at, at + pageSize), (bus) =>
            Effect.map(unprojectedOnly(bus), () => {
              if (buses.bus(bus.shard, bus.instance) !== bus) return
              effectRunner.project(bus)
              effectRunner.again(bus)
              passives.considerTimed(bus)
            }), { concurrency: 32, discard: true })
          effectRunner.flush()
          yield* Effect.yieldNow
        }
        yield* Effect.forEach(adoption.shards.flatMap((recovered) => recovered.unrestored), (one) =>
          Effect.map(unprojectedOnly(one), () => {
            if (one.unprojected.length > 0) {
              history.touch(one)
            }
          }), { concurrency: 32, discard: true })
        for (const { shard } of adoption.shards) {
          if (isCurrent(shard, adoption.session)) {
            checkpoints.settled(shard)
          }
        }
      })
    /** Of the entries that were read from the journal only those stay that the derived history lacks. */
    const unprojectedOnly = (one: Projected): Effect.Effect<void, ContractError> =>
      one.unprojected.length === 0
        ? Effect.void // from a checkpoint: that was written after the history had it all
        : InstanceLoader.projectedUpTo(nats, one.shard, one.instance).pipe(
          Effect.catchIf((error) => error.code !== "Unavailable", (error) =>
            Effect.sync(() => {
              // what is damaged there is this instance's alone; an entry that stands there twice is known by its n
              log(`the history of ${one.instance}: ${error.message}`)
              return 0
            })),
          Effect.map((n) => {
            const missing = one.unprojected.filter((entry) => entry.n > n)
            one.unprojected.splice(0, one.unprojected.length, ...missing)
          })
        )

    const problems = new Set<string>()
    const ownership: ShardOwnership = new ShardOwnership({
      nats,
      member: config.member.member,
      startup: config.startup,
      ledgerName,
      ledger,
      shardCount: config.shardCount,
      shardMap,
      live,
      definitions,
      meters: telemetry,
      adopted: restore,
      damaged: (problem) => {
        fork(Effect.logError(`${problem}. ${damagedFix}`))
        problems.add(problem.slice(0, problemCharsMax))
        const told = [...problems].slice(-problemsMax)
        fork(Effect.ignore(registration.update((member) => ({ ...member, problems: told })))) // a registration that is lost tells by itself
      },
      renewed: (session) => {
        for (const worker of buses.workers) {
          worker.session = session
          for (const bus of worker.buses.values()) effectRunner.again(bus, "Dispatch")
        }
        effectRunner.flush()
      },
      released: (shard) => {
        for (const bus of buses.worker(shard)?.buses.values() ?? []) effectRunner.forget(bus)
        passives.close(shard)
        buses.close(shard)
        scheduling.moved([shard])
        checkpoints.released(shard)
        finished.forget(shard)
        fork(FiberMap.remove(inboxes, shard))
      }
    })
    const checkpoints: Checkpoints.Checkpoints = new Checkpoints.Checkpoints({
      nats,
      startup: config.startup,
      ledger,
      buses,
      history,
      alerts,
      finished,
      passives,
      ownership
    })

    const failover = new FailoverReaction({
      nats,
      member: config.member.member,
      startup: config.startup,
      now,
      buses,
      ownership,
      control
    })

    const others = (): ReadonlyArray<MemberId> =>
      live.of("coordinator").map(({ member }) => member).filter((member) => member !== config.member.member)

    // from here on requests can come
    const service = yield* RpcService.serve(
      nats,
      {
        service: "heddle-coordinator",
        version: config.version,
        description: "Workflow definitions and instances",
        id: config.startup
      },
      [
        ...DefinitionRpc.endpoints(definitions),
        ...scheduling.endpoints,
        ...GroupRpc.endpoints({ nats, buses, signals, shardOf: instances.shardOf.bind(instances), ownerOf, others }),
        ...WorkflowRpc.endpoints({
          nats,
          instances,
          buses,
          definitions,
          finished,
          passives,
          ownerOf,
          others
        }),
        RpcService.endpointUnsafe({
          name: "register",
          subject: Subject.member(config.member.member, "register"),
          queue: false,
          inFlightMax: 65_536,
          request: RegisterRequest,
          handler: port.register
        }),
        RpcService.endpointUnsafe({
          name: "facts",
          subject: Subject.member(config.member.member, "facts"),
          queue: false,
          inFlightMax: 65_536,
          request: FactRequest,
          handler: port.facts
        }),
        RpcService.endpointUnsafe({
          name: "job-state",
          subject: Subject.member(config.member.member, "job-state"),
          queue: false,
          request: JobStateRequest,
          handler: (request, respond) => respond.answer(port.jobState(request))
        })
      ]
    )
    yield* Forwarding.takeForwarded(nats, Subject.forwarded(config.member.member, ""), service)
    const registration = yield* Registry.register(
      nats,
      {
        ...config.member,
        role: "coordinator",
        startup: config.startup,
        ledger: ledgerName,
        startedAt: new Date(now()).toISOString()
      },
      { ttlMs: config.registryTtlMs }
    )

    // ownership is level-triggered: anything that may have changed who should own what only wakes its loop
    const changed = Latch.makeUnsafe(true)
    // before it is looked at who is there: who goes from then on is told here, and never again
    const systemConsumer = yield* Consume.consume(nats, Streams.name.system, {
      filter: "heddle.system.*",
      from: "new",
      acknowledge: "none"
    }, (delivery) => {
      const event = decodeSystemEvent(delivery.text)
      if (Result.isFailure(event)) return log(`a system event can't be read: ${event.failure.message}`)
      const reaction = failover.to(event.success)
      if (reaction !== undefined) {
        fork(
          Effect.catch(reaction, (error) =>
            Effect.andThen(
              Effect.logError(`${event.success._tag}: ${error.message}`),
              Effect.sync(() => changed.openUnsafe()) // what was not taken now is taken by the loop
            ))
        )
      }
    })

    yield* live.onChange((event) => {
      if (event._tag !== "UpToDate" && event.member.role === "coordinator") changed.openUnsafe()
    })
    yield* shardMap.onChange((_, owned) => {
      if (owned === undefined || owned.ownership.startup !== config.startup) changed.openUnsafe()
    })
    ownership.declareUnregisteredDead()
    yield* patiently(ownership.claim)
    const ownershipLoop = Effect.gen(function*() {
      for (;;) {
        yield* changed.await
        changed.closeUnsafe()
        yield* Effect.tapError(
          Effect.andThen(ownership.claim, ownership.rebalance),
          () => Effect.sync(() => changed.openUnsafe()) // nothing else may ever change
        )
      }
    })

    const checkpointLoop = Effect.gen(function*() {
      for (;;) {
        yield* checkpoints.due
        yield* checkpoints.write.pipe(
          Effect.catch((error) => Effect.logWarning(`no checkpoint this time: ${error.message}`))
        )
      }
    })

    // lanes live in memory storage: a restarted broker has lost them
    // a broker that is slow to answer while everything starts is no reason not to begin
    let lanesCreated = yield* Effect.retry(lanesIdentity(nats), { times: lanesTriesMax })
    yield* nats.onDisconnect(() => ledger.pause())
    let connections = 0
    yield* nats.onReconnect(() => {
      const connection = ++connections
      fork(
        patiently(Effect.gen(function*() {
          yield* Streams.ensure(nats, config.streams)
          if (!(yield* ownership.holdsItsKeys)) {
            return yield* new LifeEnded({ reason: "the broker does not know that it gave this coordinator its shards" })
          }
          // a later connection has to be looked at anew
          if (connection !== connections || !nats.isConnected) return
          // only now: an append before the keys were looked at could stand behind another owner's (docs/design/session-protocol.md, hole 4)
          ledger.resume()
          const identity = yield* lanesIdentity(nats)
          if (identity !== undefined && identity === lanesCreated) return
          lanesCreated = identity
          yield* ownership.renew
        }))
      )
    })

    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        if (ledger.ended) return
        yield* ownership.releaseAll // and claims nothing any more
        yield* checkpoints.write
        yield* Effect.callback<void>((resume) => ledger.close(() => resume(Effect.void)))
      }).pipe(
        Effect.interruptible,
        Effect.timeoutOption(leaveMs),
        Effect.catch((error) => Effect.logWarning(`left without handing everything over: ${error.message}`))
      )
    )
    yield* telemetry.gaugeScoped(Catalog.shardsOwned, {}, () => buses.shardsOwned)
    yield* telemetry.gaugeScoped(Catalog.instances, { held: "memory" }, () => buses.instances)
    yield* telemetry.gaugeScoped(Catalog.instances, { held: "passive" }, () => passives.size)
    yield* (yield* ProcessReadiness).addScoped("coordinator", () => ownership.unready())
    yield* ready(() => statsOf(buses, passives, timers))
    const endless: ReadonlyArray<Effect.Effect<never, { readonly message: string }>> = [
      Effect.andThen(timers.run, Effect.never),
      Effect.andThen(definitions.watch, Effect.never),
      Effect.andThen(scheduling.run, Effect.never),
      passives.run,
      alerts.run,
      archive.run,
      Effect.andThen(patiently(ownershipLoop), Effect.never),
      checkpointLoop,
      shardMap.failure,
      live.failure,
      systemConsumer.failure,
      nats.failure,
      Effect.mapError(registration.lost, (error) => new LifeEnded({ reason: error.message })),
      Deferred.await(ended)
    ]
    for (const one of endless) fork(one)
    return yield* FiberSet.join(fibers)
  },
  Effect.scoped
)

const statsOf = (buses: WorkflowEventBusCoordinator, passives: PassiveInstances, timers: Timers): LifeStats => {
  const all = [...buses.workers].flatMap((worker) => [...worker.buses.values()])
  const semaphores = all.flatMap(({ state }) => state.semaphore ?? [])
  const resting = all.filter((bus) => finalStatuses.has(bus.state.status) && bus.state === bus.committed).length
  return {
    shards: buses.shardsOwned,
    live: all.length - semaphores.length - resting,
    resting,
    tickets: semaphores.reduce(
      (sum, { held, refused, waiting }) => sum + held.length + refused.length + waiting.length,
      0
    ),
    passive: passives.size,
    events: all.reduce((sum, bus) => sum + bus.length, 0),
    unprojected: all.reduce((sum, bus) => sum + bus.unprojected.length, 0),
    waiters: passives.waiters + all.reduce((sum, bus) => sum + bus.resultWaiters.size, 0),
    timers: timers.keys
  }
}

/** What ends a life is LifeEnded; any other failure ends the service with its reason. */
const lifeError = (error: { readonly message: string }): LifeEnded | ContractError =>
  error instanceof LifeEnded || error instanceof ContractError
    ? error
    : new ContractError({ code: "Unavailable", message: error.message })

/** Tries again while a part of the mesh does not answer. */
const patiently = <A, E extends { readonly message: string }>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.retry(effect, {
    while: (error) => error instanceof ContractError && error.code === "Unavailable",
    schedule: Schedule.spaced("500 millis")
  })

/** Tells one life of the lanes' stream from the next; nothing in a cluster, whose stream keeps its date when all that held it have lost it. */
const lanesIdentity = (nats: Connection): Effect.Effect<string | undefined, ContractError> =>
  Streams.info(nats, Streams.name.ready).pipe(
    Effect.mapError((error) => new ContractError({ code: "Unavailable", message: error.message })),
    Effect.map((found) =>
      Option.isNone(found) ? "" : Streams.isClustered(found.value) ? undefined : String(found.value.created)
    )
  )
