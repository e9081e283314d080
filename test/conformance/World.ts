/**
 * What a conformance case runs in: a real coordinator on a real broker, under a clock that the case may skip, with a scripted executor; and the leak assertion that ends it.
 *
 * A case speaks the public surface only (`heddle.rpc.*`); what is asserted beyond it are counts: what the coordinator holds in memory (`Coordinator.stats`), what stands on the
 * lanes and in the inbox, what the executor double holds.
 */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Coordinator from "../../services/coordinator/main.ts"
import type { ConsumeFailed } from "../../shared/jetstream/Consume.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type Definition, DefinitionPut } from "../../shared/protocol/Definition.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { Entry } from "../../shared/protocol/Journal.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { type InstanceId, MemberId, StreamSequence } from "../../shared/protocol/Token.ts"
import { Accepted, StartAnswer, WorkflowList, WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { type Plan, Script } from "./Script.ts"
import { type Passing, severable } from "./Severable.ts"
import { SkippingClock } from "./SkippingClock.ts"

type Encoded = typeof Definition.Encoded
export type Spec = Encoded["spec"]
export type Task = Spec["tasks"][number]

/** A task of a definition. */
export const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  ...(dependsOn.length === 0 ? {} : { dependsOn }),
  ...more
})

/** How long a case waits for something that must happen: real time. */
const deadlineMs = 60_000
const lookMs = 3

/** Until `look` gives something. `what` names it in the failure. */
export const until = <A, E = never, R = never>(
  what: string,
  look: Effect.Effect<A | undefined | false, E, R>,
  withinMs = deadlineMs
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const end = clock.currentTimeMillisUnsafe() + withinMs
    for (;;) {
      const found = yield* look
      if (found !== undefined && found !== false) return found as A // neither of the two is left
      if (clock.currentTimeMillisUnsafe() > end) return yield* Effect.die(new Error(`within ${withinMs} ms: ${what}`))
      yield* Effect.sleep(lookMs)
    }
  })

export interface Running {
  readonly name: string
  readonly clock: SkippingClock
  readonly stats: typeof Coordinator.Coordinator.Service["stats"]
  /** Everything it logged, oldest first. */
  readonly logs: ReadonlyArray<string>
  /** Leaves in order. */
  readonly stop: Effect.Effect<void>
  /** Dead from here on, nothing handed over; the broker is not told. */
  readonly cut: () => void
  /** The broker has heard everything: after a cut, that it subscribes to nothing any more. */
  readonly settled: Effect.Effect<unknown>
  readonly isCut: () => boolean
  readonly mend: () => void
}

export interface CoordinatorOptions {
  readonly onMessage?: (passing: Passing) => boolean
  readonly clock?: SkippingClock
  readonly shardCount?: number
  /** Settings of the deployment. */
  readonly config?: Pick<Coordinator.CoordinatorConfig, "alerts" | "runMaxMs" | "passivateAfterMs">
}

/** A coordinator with a connection, a clock and a scope of its own. */
export const coordinator = (
  name: string,
  options: CoordinatorOptions = {}
): Effect.Effect<Running, ContractError, Broker | Scope.Scope> =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const clock = options.clock ?? new SkippingClock(yield* Clock.Clock)
    const logs: Array<string> = []
    const scope = yield* Scope.make()
    const connection = yield* Scope.provide(open({ url: broker.url, name }), scope)
    const wire = severable(connection, options.onMessage)
    const logger = Logger.make((entry) => void logs.push(`${entry.logLevel} ${String(entry.message)}`))
    const services = yield* Layer.buildWithScope(
      Coordinator.layer({
        member: MemberId.make(name),
        version: "test",
        shardCount: options.shardCount ?? 4,
        ttlMs: 24 * 3_600_000,
        ...options.config
      }).pipe(
        Layer.provide(Layer.succeed(Nats, wire.connection)),
        Layer.provideMerge(Logger.layer([logger]))
      ),
      scope
    ).pipe(Effect.provideService(Clock.Clock, clock))
    // waits for answers that never come end by the service's own deadlines
    const close = Effect.gen(function*() {
      if (wire.isCut()) wire.bury()
      const closing = yield* Effect.forkDetach(Scope.close(scope, Exit.void))
      while (wire.isCut() && closing.pollUnsafe() === undefined) {
        clock.skip(60_000)
        yield* Effect.sleep(5)
      }
      yield* Fiber.join(closing)
    })
    yield* Effect.addFinalizer(() => close)
    return {
      name,
      clock,
      stats: Context.get(services, Coordinator.Coordinator).stats,
      logs,
      stop: close,
      cut: wire.cut,
      settled: connection.flush,
      isCut: wire.isCut,
      mend: wire.mend
    }
  })

/** One started instance, as a client sees it. */
export interface Case {
  readonly id: InstanceId
  readonly view: Effect.Effect<WorkflowView, ContractError>
  /** `name:STATE/attempts` of each task, in the definition's order; `-` for one that has no state. */
  readonly summary: Effect.Effect<string, ContractError>
  readonly taskView: (name: string) => Effect.Effect<WorkflowView["tasks"][number], ContractError>
  readonly result: Effect.Effect<WorkflowResult, ContractError>
  /** The sub-workflow that this task is, as soon as it has one. */
  readonly child: (task: string) => Effect.Effect<Case, ContractError>
  readonly command: (verb: Subject.WorkflowVerb, more?: Record<string, unknown>) => Effect.Effect<void, ContractError>
  /** Until the double holds an attempt of this task. */
  readonly running: (task: string) => Effect.Effect<ReturnType<Script["of"]> & {}>
  /** Ends what is held of this task. */
  readonly succeed: (task: string, outputs?: Record<string, unknown>) => Effect.Effect<void>
  readonly fail: (task: string, reason?: string) => Effect.Effect<void>
  /** Until the task's state is this. */
  readonly reaches: (task: string, state: string) => Effect.Effect<void, ContractError>
  readonly workflowReaches: (state: string) => Effect.Effect<void, ContractError>
  /** Attempts that the double ran, in order. */
  readonly ran: () => ReadonlyArray<string>
  readonly log: () => ReadonlyArray<string>
  readonly history: Effect.Effect<ReadonlyArray<{ readonly seq: number; readonly entry: Entry }>, ContractError>
}

const History = Schema.Struct({
  items: Schema.Array(Schema.Struct({ seq: Schema.Int, entry: Entry })),
  next: Schema.optionalKey(Schema.String)
})

const isNotNow = (error: ContractError): boolean => error.code === "NotOwner" || error.code === "Unavailable"

/** A "not now" of an owner that is changing is asked again; anything else is the answer. */
const again = <A>(effect: Effect.Effect<A, ContractError>): Effect.Effect<A, ContractError> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const end = clock.currentTimeMillisUnsafe() + deadlineMs
    for (;;) {
      const result = yield* Effect.result(effect)
      if (Result.isSuccess(result)) return result.success
      if (!isNotNow(result.failure) || clock.currentTimeMillisUnsafe() > end) return yield* result.failure
      yield* Effect.sleep(20)
    }
  })

let started = 0

/** What a client and an executor do, whichever coordinator answers. */
export class Mesh {
  readonly nats: Connection
  readonly executor: Script

  constructor(nats: Connection, executor: Script) {
    this.nats = nats
    this.executor = executor
  }

  static readonly make = (executor: string): Effect.Effect<Mesh, ContractError | ConsumeFailed, Broker | Scope.Scope> =>
    Effect.gen(function*() {
      const broker = yield* Broker
      const nats = yield* open({ url: broker.url, name: "test" })
      yield* Effect.orDie(Streams.ensure(nats))
      const script = new Script(nats, executor)
      yield* script.run
      return new Mesh(nats, script)
    })

  call<S extends Schema.Top & { readonly DecodingServices: never }>(
    verb: Subject.WorkflowVerb,
    answer: S,
    body: Record<string, unknown>,
    timeoutMs = 30_000
  ): Effect.Effect<S["Type"], ContractError> {
    return Rpc.call(this.nats, Subject.rpc.workflow(verb), answer, body, { timeoutMs })
  }

  /** Stores a version of a definition. */
  define(name: string, spec: Spec, namespace = "default"): Effect.Effect<typeof DefinitionPut.Type, ContractError> {
    return again(
      Rpc.call(this.nats, Subject.rpc.definition("put"), DefinitionPut, { metadata: { name, namespace }, spec })
    )
  }

  /** Instances of a definition that coordinators hold or remember. */
  runsOf(definition: string): Effect.Effect<ReadonlyArray<InstanceId>, ContractError> {
    return Effect.map(
      again(this.call("list", WorkflowList, { definition })),
      ({ items }) => items.map(({ instanceId }) => instanceId)
    )
  }

  /** Starts an instance with a new id (or that of the request). */
  start(
    name: string,
    spec: Spec | { readonly definition: string },
    plan: Plan = {},
    request: Record<string, unknown> = {}
  ): Effect.Effect<Case, ContractError> {
    const id = typeof request["instanceId"] === "string" ? request["instanceId"] : `${name}-${++started}`
    this.executor.plan(id, plan)
    const what = "definition" in spec ? spec : { inline: { metadata: { name }, spec } }
    return Effect.map(
      again(this.call("start", StartAnswer, { ...what, instanceId: id, ...request })),
      ({ instanceId }) => this.of(instanceId)
    )
  }

  of(id: InstanceId): Case {
    const { executor } = this
    const view = again(this.call("get", WorkflowView, { instanceId: id }))
    const taskView = (name: string) =>
      Effect.map(view, ({ tasks }) => {
        const found = tasks.find((one) => one.name === name)
        if (found === undefined) throw new Error(`${id} has no task ${name}`)
        return found
      })
    const running = (name: string) => until(`${name} of ${id} runs`, Effect.sync(() => executor.of(id, name)))
    return {
      id,
      view,
      taskView,
      summary: Effect.map(
        view,
        ({ tasks }) => tasks.map((one) => `${one.name}:${one.state ?? "-"}/${one.attempts.length}`).join(" ")
      ),
      result: again(this.call("result", WorkflowResult, { instanceId: id, wait: "10m" }, deadlineMs)),
      child: (name) =>
        Effect.map(
          until(`${name} of ${id} has a child`, Effect.map(taskView(name), ({ attempts }) => attempts.at(-1)?.child)),
          (child) => this.of(child)
        ),
      command: (verb, more = {}) => again(Effect.asVoid(this.call(verb, Accepted, { instanceId: id, ...more }))),
      running,
      succeed: (name, outputs = {}) =>
        Effect.map(running(name), ({ spec }) => executor.end(spec, { _tag: "SUCCEEDED", outputs })),
      fail: (name, reason = "exit 1") =>
        Effect.map(running(name), ({ spec }) => executor.end(spec, { _tag: "FAILED", reason })),
      reaches: (name, state) =>
        Effect.asVoid(until(`${name} of ${id} is ${state}`, Effect.map(taskView(name), (one) => one.state === state))),
      workflowReaches: (state) =>
        Effect.asVoid(until(`${id} is ${state}`, Effect.map(view, (one) => one.state === state))),
      ran: () => executor.ranOf(id),
      log: () => executor.logOf(id),
      history: Effect.map(again(this.call("history", History, { instanceId: id, limit: 1_000 })), ({ items }) => items)
    }
  }

  #isEmpty(stream: string): Effect.Effect<boolean, JetStreamFailed> {
    return Effect.map(
      Streams.info(this.nats, stream),
      (found) => Option.isNone(found) || found.value.state.messages === 0
    )
  }

  /** Nothing is on its way to an owner: what is delivered to one that dies comes again only after the consumer's ack wait of 30 s. */
  get inboxIsEmpty(): Effect.Effect<void, JetStreamFailed> {
    const left = Read.nextMessage(this.nats, Streams.name.commands, "heddle.wf.>", StreamSequence.make(1))
    return Effect.asVoid(until("no message is left in the inbox", this.#isEmpty(Streams.name.commands))).pipe(
      Effect.catchDefect((defect) =>
        Effect.flatMap(left, (found) =>
          Effect.die(
            new Error(
              `${String(defect)}: ${Option.isSome(found) ? `${found.value.subject} ${found.value.text}` : "gone now"}`
            )
          ))
      )
    )
  }

  /** Nothing is left on the lanes or in the inbox, nothing held by the executor. */
  get streamsAreEmpty(): Effect.Effect<void, JetStreamFailed> {
    return Effect.gen({ self: this }, function*() {
      yield* until("no lane message is left", this.#isEmpty(Streams.name.ready))
      yield* this.inboxIsEmpty
      yield* until(
        `the executor holds nothing (${[...this.executor.held.keys()].join()}) and nothing is left on a lane (${
          [...this.executor.lane.keys()].join()
        })`,
        Effect.sync(() => this.executor.held.size === 0 && this.executor.lane.size === 0)
      )
    })
  }
}

/** A kill, pause or ask that was sent is looked at once more after its back-off; the history is behind by at most its lag. */
const isPassing = (timer: string): boolean => timer.startsWith("control/") || timer === "history"

/** The leak assertion: nothing of any run is left in the coordinator but runs that rest to be resumed. */
export const leaksNothing = (running: Running): Effect.Effect<void> =>
  Effect.gen(function*() {
    const describe = () => JSON.stringify(running.stats())
    yield* until(
      "no live instance, event, waiter, slot or place in a queue is left",
      Effect.sync(() => {
        const { events, live, passive, tickets, waiters } = running.stats()
        return live === 0 && passive === 0 && events === 0 && waiters === 0 && tickets === 0
      })
    ).pipe(Effect.catchDefect((defect) => Effect.die(new Error(`${String(defect)}: ${describe()}`))))
    assert.deepStrictEqual(running.stats().timers.filter((timer) => !isPassing(timer)), [], "timers left armed")
    running.clock.skip(31_000)
    yield* until(
      "what was armed is gone",
      Effect.sync(() => running.stats().timers.length === 0 && running.stats().unprojected === 0)
    ).pipe(Effect.catchDefect((defect) => Effect.die(new Error(`${String(defect)}: ${describe()}`))))
  })

/** One coordinator and one executor for all cases of a file, in turn. */
export class World extends Context.Service<World, {
  readonly mesh: Mesh
  readonly coordinator: Running
  readonly clock: SkippingClock
  readonly executor: Script
  readonly start: Mesh["start"]
}>()("heddle/conformance/World") {
  static readonly layerWith = (config: NonNullable<CoordinatorOptions["config"]>): Layer.Layer<World> =>
    Layer.effect(
      World,
      Effect.gen(function*() {
        const mesh = yield* Mesh.make("ex-1")
        const running = yield* coordinator("co-1", { config })
        mesh.executor.now = () => running.clock.currentTimeMillisUnsafe()
        return {
          mesh,
          coordinator: running,
          clock: running.clock,
          executor: mesh.executor,
          start: mesh.start.bind(mesh)
        }
      })
    ).pipe(Layer.provide(Broker.layer()), Layer.orDie)
  static readonly layer: Layer.Layer<World> = World.layerWith({})
}

/** A case in the world of its file: its body, then the leak assertion. */
export const conform = <E>(
  body: (world: typeof World.Service) => Effect.fn.Return<void, E, Scope.Scope>
): Effect.Effect<void, E | JetStreamFailed, World | Scope.Scope> =>
  Effect.gen(function*() {
    const world = yield* World
    yield* Effect.gen(() => body(world))
    yield* leaksNothing(world.coordinator)
    yield* world.mesh.streamsAreEmpty
  })
