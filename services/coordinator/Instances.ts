/**
 * The instances of the shards that this process owns: starting them, finding them, giving them commands.
 *
 * An instance is in memory (a bus), or waits outside of it (passive), or is remembered as finished, or in the derived history; one id is one instance for ever, and a start that is repeated with
 * the same content answers the same instance (design/02 "instanceId given by the client = idempotency key").
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Random } from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { hash as cryptoHash } from "node:crypto"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import type { DefinitionRef } from "../../shared/protocol/Definition.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { LifecycleEvent, Parent, StartData } from "../../shared/protocol/Journal.ts"
import { shardOf } from "../../shared/protocol/Shard.ts"
import type { ChildStart } from "../../shared/protocol/Signal.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { DefinitionName, InstanceId, type MemberId, type Shard, StreamSequence } from "../../shared/protocol/Token.ts"
import {
  finalStatuses,
  type ForkRequest,
  type StartRequest,
  type WorkflowResult,
  type WorkflowView
} from "../../shared/protocol/Workflow.ts"
import * as Spans from "../../shared/telemetry/Spans.ts"
import type { Definitions } from "./Definitions.ts"
import * as ContentHash from "./engine/ContentHash.ts"
import * as Decide from "./engine/Decide.ts"
import * as Fork from "./engine/Fork.ts"
import * as Initial from "./engine/Initial.ts"
import * as Requests from "./engine/Requests.ts"
import * as Semaphore from "./engine/Semaphore.ts"
import * as View from "./engine/View.ts"
import * as WorkflowExecutionGraph from "./engine/WorkflowExecutionGraph.ts"
import type { WorkflowGraph } from "./engine/WorkflowGraph.ts"
import type { WorkflowState } from "./engine/WorkflowState.ts"
import type { FinishedInstances } from "./FinishedInstances.ts"
import type { HistoryProjector } from "./HistoryProjector.ts"
import * as InstanceLoader from "./InstanceLoader.ts"
import type { PassiveInstances } from "./PassiveInstances.ts"
import { WorkflowEventBus } from "./WorkflowEventBus.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

/** Params and results that a fork may take over: they stand in its first entry. */
export const forkBytesMax = 256 * 1024
/** Live instances of one coordinator; a start beyond it is refused with Overloaded. */
export const liveMax = 200_000
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

export interface InstancesOptions {
  readonly nats: Connection
  readonly buses: WorkflowEventBusCoordinator
  readonly definitions: Definitions
  readonly finished: FinishedInstances
  readonly passives: PassiveInstances
  readonly history: HistoryProjector
  /** The live coordinator that serves the shard; `undefined`: nobody that is known. */
  readonly ownerOf: (shard: Shard) => MemberId | undefined
  readonly shardCount: number
  /** Maximum run time of what starts from now on. */
  readonly runMaxMs: number | undefined
  /** Spans are sent: a run that comes without a trace context gets one of its own. */
  readonly hasSpans: boolean
  readonly random: typeof Random.Service
}

const sha256 = (text: string): string => cryptoHash("sha256", text, "hex")
/** The content of a start, apart from its id: what a repeated start must repeat, in whatever order its fields stand. */
export const fingerprint = (request: StartRequest): string => {
  const { instanceId: _, ...content } = request
  // The schema has put the other fields into its own order.
  return content.params === undefined && content.inline === undefined
    ? sha256(JSON.stringify(content)).slice(0, 32)
    : ContentHash.contentHash(content, sha256)
}

/** What a start has beside its request. `fork`: of an original, what `Fork.startOf` gave. */
interface StartExtra {
  readonly replyTo: string | undefined
  readonly team: StartData["team"]
  readonly traceparent?: StartData["traceparent"]
  readonly parent?: Parent
  readonly fork?: ReturnType<typeof Fork.startOf>
}

export const noSuchInstance = (instance: InstanceId) =>
  new ContractError({
    code: "NoSuchInstance",
    message: `no workflow instance ${instance}: \`heddle workflows ls\` lists them`
  })
const notOurs = (shard: Shard) =>
  new ContractError({ code: "NotOwner", message: `shard ${shard} is changing hands: try again` })
const conflict = (message: string) => new ContractError({ code: "Conflict", message })

const noTask = (message: string) => new ContractError({ code: "InvalidMessage", message, path: "task" })
/** Of `run-task`, `force-success`, `force-start`. */
const namesNoTask = (state: WorkflowState, event: LifecycleEvent): boolean =>
  "task" in event && typeof event.task === "string" && state.start !== undefined &&
  WorkflowExecutionGraph.nodeByName(state, event.task) === undefined

export class Instances {
  readonly #options: InstancesOptions

  constructor(options: InstancesOptions) {
    this.#options = options
  }

  shardOf(instance: InstanceId): Shard {
    return shardOf(instance, this.#options.shardCount)
  }

  /** `<definition>-<12 characters>`, in a shard of ours when there is one. */
  newId(name: string): InstanceId {
    const { buses, random } = this.#options
    const triesMax = buses.shardsOwned === 0 ? 1 : 64 * Math.ceil(this.#options.shardCount / buses.shardsOwned)
    for (let tries = 1;; tries++) {
      let suffix = ""
      for (let i = 0; i < 12; i++) suffix += alphabet[Math.floor(random.nextDoubleUnsafe() * 32)]
      const id = InstanceId.make(`${name.slice(0, 50)}-${suffix}`)
      if (tries >= triesMax || buses.worker(this.shardOf(id)) !== undefined) return id
    }
  }

  /** `<definition>-<12 characters>` made of the id that a request came with, whoever takes it. */
  idOfMessage(name: string, msgId: string): InstanceId {
    return InstanceId.make(`${name.slice(0, 50)}-${cryptoHash("sha256", msgId, "hex").slice(0, 12)}`)
  }

  /** Puts START on a new bus. The id is not in use, or its use has been looked up. */
  startNow(
    instance: InstanceId,
    graph: WorkflowGraph,
    request: StartRequest,
    extra: StartExtra,
    answer: (result: ContractError | undefined) => void
  ): void {
    const { buses, finished, passives, runMaxMs } = this.#options
    const shard = this.shardOf(instance)
    const worker = buses.worker(shard)
    if (worker === undefined) return answer(notOurs(shard))
    if (instance.startsWith(Semaphore.idPrefix)) {
      return answer(
        new ContractError({
          code: "InvalidName",
          message: `instance ids that begin with ${Semaphore.idPrefix} are taken`
        })
      )
    }
    const content = fingerprint(request)
    const known = worker.buses.get(instance)
    const unrestored = worker.unrestored.get(instance)
    if (known === undefined && unrestored !== undefined) {
      return answer(conflict(`instance ${instance} exists, but could not be restored: ${unrestored}`))
    }
    const absent = known === undefined ? passives.get(instance) ?? finished.get(instance) : undefined
    const earlier = known === undefined ? absent?.content : known.state.start?.content ?? known.startContent
    if (known !== undefined || absent !== undefined) {
      if (earlier !== content) return answer(conflict(`instance ${instance} exists with other content: use another id`))
      // a START that is still on its way to the journal is answered with it
      return known === undefined || known.sequence > 0 ? answer(undefined) : this.#publish(known, undefined, answer)
    }
    if (worker.buses.size >= liveMax) {
      return answer(
        new ContractError({
          code: "Overloaded",
          message: `${liveMax} instances of shard ${shard} are live: try again later`
        })
      )
    }
    const problems = WorkflowExecutionGraph.problemsOfStart(graph, request)
    const [problem] = problems
    if (problem !== undefined) {
      const { message, path } = problem
      return answer(new ContractError({ code: "InvalidMessage", message, path, details: problems }))
    }
    const bus = new WorkflowEventBus(Initial.initial(graph, instance, shard))
    const traceparent = extra.traceparent ?? (this.#options.hasSpans ? Spans.rootOf(instance) : undefined)
    const params = extra.fork === undefined ? request.params : { ...extra.fork.params, ...request.params }
    const start: StartData = {
      ...extra.fork,
      definition: graph.definition,
      ...(params === undefined ? {} : { params }),
      ...(request.startNodes === undefined ? {} : { startNodes: request.startNodes }),
      ...(request.dependType === undefined ? {} : { dependType: request.dependType }),
      ...(request.dryRun === undefined ? {} : { dryRun: request.dryRun }),
      ...(request.priority === undefined ? {} : { priority: request.priority }),
      ...(request.pool === undefined ? {} : { pool: request.pool }),
      ...(extra.team === undefined ? {} : { team: extra.team }),
      ...(extra.replyTo === undefined ? {} : { replyTo: extra.replyTo }),
      ...(traceparent === undefined ? {} : { traceparent }),
      ...(extra.parent === undefined ? {} : { parent: extra.parent }),
      ...(runMaxMs === undefined ? {} : { runMaxMs }),
      content
    }
    const event: LifecycleEvent = { _tag: "WORKFLOW_START", start }
    const refusal = Decide.refusal(bus.state, event)
    if (refusal !== undefined) return answer(new ContractError({ code: "InvalidMessage", message: refusal }))
    bus.startContent = content
    buses.registerWorkflowEventBus(bus)
    this.#publish(bus, event, answer)
  }

  /** A start whose id was given: it may have been used long ago. */
  readonly start = Effect.fnUntraced(function*(
    this: Instances,
    instance: InstanceId,
    graph: WorkflowGraph,
    request: StartRequest,
    extra: StartExtra
  ) {
    const { buses, nats } = this.#options
    const shard = this.shardOf(instance)
    if (!this.#isHere(shard, instance)) {
      const old = yield* InstanceLoader.entries(nats, shard, instance)
      const start = old[0]?.entry.cause.find((event) => event._tag === "WORKFLOW_START")
      if (start !== undefined && buses.bus(shard, instance) === undefined) {
        if (start.start.content === fingerprint(request)) return
        return yield* conflict(`instance ${instance} exists with other content: use another id`)
      }
    }
    return yield* Effect.callback<void, ContractError>((resume) =>
      this.startNow(
        instance,
        graph,
        request,
        extra,
        (error) => resume(error === undefined ? Effect.void : Effect.fail(error))
      )
    )
  }).bind(this)

  /** Until the history has all that the journal has of the instance: its owner, here or elsewhere, writes it a moment later, and at once when somebody wants to read it. */
  projected(instance: InstanceId): Effect.Effect<void, ContractError> {
    const { buses, history, nats, ownerOf } = this.#options
    const shard = this.shardOf(instance)
    if (buses.worker(shard) !== undefined) {
      const bus = buses.bus(shard, instance)
      return bus === undefined
        ? Effect.void
        : Effect.callback<void>((resume) => history.project(bus, () => resume(Effect.void)))
    }
    const owner = ownerOf(shard)
    if (owner === undefined) {
      return Effect.fail(
        new ContractError({ code: "Unavailable", message: `no coordinator serves shard ${shard} now: try again` })
      )
    }
    const subject = Subject.forwarded(owner, Subject.rpc.workflow("history"))
    return Effect.asVoid(Rpc.call(nats, subject, Schema.Unknown, { instanceId: instance, limit: 1 }))
  }

  /** A start with the results of another instance, of whatever shard, as it was at a sequence of its journal. */
  readonly fork = Effect.fnUntraced(function*(
    this: Instances,
    instance: InstanceId,
    request: StartRequest,
    of: typeof ForkRequest.Type,
    extra: StartExtra
  ) {
    const { definitions, nats } = this.#options
    const { instanceId: original, seq } = of
    const invalid = (path: string, message: string) => new ContractError({ code: "InvalidMessage", message, path })
    for (const field of ["startNodes", "dependType", "namespace"] as const) {
      if (request[field] !== undefined) {
        return yield* invalid(field, `a fork has the ${field} of its original: leave it out`)
      }
    }
    if (original.startsWith(Semaphore.idPrefix)) return yield* noSuchInstance(original)
    yield* this.projected(original)
    const shard = this.shardOf(original)
    const all = yield* InstanceLoader.entries(nats, shard, original)
    const found = seq === undefined ? all : all.filter(({ sequence }) => sequence <= seq)
    const [first] = all
    if (first === undefined) return yield* noSuchInstance(original)
    if (found.length === 0) {
      return yield* invalid("fork.seq", `${original} had not begun: its first entry is ${first.sequence}`)
    }
    const restored = yield* InstanceLoader.restored(definitions, shard, original, found)
    if (Option.isNone(restored)) {
      return yield* conflict(`the record of ${original} does not reach back to its start: it can't be forked`)
    }
    const { sequence, state } = restored.value
    const fork = Fork.startOf(state, StreamSequence.make(sequence))
    const bytes = JSON.stringify(fork).length
    if (bytes > forkBytesMax) {
      return yield* new ContractError({
        code: "PayloadTooLarge",
        message:
          `the results of ${original} have ${bytes} bytes, ${forkBytesMax} at most: fork it at an earlier sequence`
      })
    }
    yield* this.start(instance, state.graph, request, { ...extra, fork })
  }).bind(this)

  /** The child that a parent asks for: started when there is none of this id, else told to go on (or to say where it stands). */
  readonly startChild = Effect.fnUntraced(function*(this: Instances, child: InstanceId, request: ChildStart) {
    const { definition, namespace, params, parent, pool, priority, team, traceparent } = request
    const shard = this.shardOf(child)
    const isKnown = this.#isHere(shard, child) ||
      (yield* InstanceLoader.projectedUpTo(this.#options.nats, shard, child)) > 0
    if (isKnown) {
      return yield* this.command(child, { _tag: "WORKFLOW_RECOVER", mode: "recover", parent: parent.task })
    }
    const [name, version] = definition.split("@")
    const graph = yield* this.#options.definitions.resolve(
      namespace,
      DefinitionName.make(name ?? ""),
      version === undefined ? undefined : Number(version)
    )
    const start: StartRequest = {
      definition,
      namespace,
      params,
      ...(pool === undefined ? {} : { pool }),
      ...(priority === undefined ? {} : { priority })
    }
    yield* this.start(child, graph, start, { replyTo: undefined, team, traceparent, parent })
  }).bind(this)

  /** In memory, or remembered. */
  #isHere(shard: Shard, instance: InstanceId): boolean {
    const { buses, finished, passives } = this.#options
    return buses.bus(shard, instance) !== undefined || passives.get(instance) !== undefined ||
      finished.get(instance) !== undefined
  }

  /** Puts a command on the instance's bus; it is loaded from the history when it has left memory. Fails with Conflict when its state does not allow it. */
  readonly command = Effect.fnUntraced(function*(this: Instances, instance: InstanceId, event: LifecycleEvent) {
    const { buses, definitions, finished, nats, passives } = this.#options
    const shard = this.shardOf(instance)
    let bus = buses.bus(shard, instance)
    if (bus === undefined && passives.get(instance) === undefined) {
      const worker = buses.worker(shard)
      const loaded = yield* InstanceLoader.load(nats, definitions, shard, instance)
      // the shard may have gone and come back meanwhile: what was loaded may be older than what another owner did
      if (buses.worker(shard) !== worker || worker === undefined) return yield* notOurs(shard)
      if (Option.isNone(loaded)) return yield* noSuchInstance(instance)
      bus = buses.bus(shard, instance) ?? loaded.value
    }
    const loaded = bus
    return yield* Effect.callback<void, ContractError>((resume) => {
      const answer = (error: ContractError | undefined): void =>
        resume(error === undefined ? Effect.void : Effect.fail(error))
      // started by another command, and gone from memory again, while the history was read
      const isPassive = passives.wake(
        instance,
        Result.match({ onFailure: answer, onSuccess: (known) => this.#offer(known, event, answer) })
      )
      if (isPassive) return
      const known = buses.bus(shard, instance) ?? loaded
      if (known === undefined) return answer(noSuchInstance(instance))
      this.#offer(known, event, answer, () => {
        if (buses.bus(shard, instance) !== undefined) return
        finished.remove(instance)
        buses.registerWorkflowEventBus(known)
      })
    })
  }).bind(this)

  /**
   * Puts the event on the bus when the state allows it; `before`: only then, and first. One whose id says that it was done already is answered as it was then, as soon as the
   * journal has it.
   */
  #offer(
    bus: WorkflowEventBus,
    event: LifecycleEvent,
    answer: (result: ContractError | undefined) => void,
    before?: () => void
  ): void {
    switch (Requests.standing(bus.state.requests, event)) {
      case "other":
        return answer(conflict(`request id ${Requests.idOf(event)} was used for another command: use another id`))
      case "done":
        return bus.state === bus.committed ? answer(undefined) : this.#publish(bus, undefined, answer)
      case "new": {
        const refusal = Decide.refusal(bus.state, event)
        if (refusal !== undefined) return answer(namesNoTask(bus.state, event) ? noTask(refusal) : conflict(refusal))
        before?.()
        this.#publish(bus, event, answer)
      }
    }
  }

  /** The bus, or the finished instance from the history. */
  readonly find = Effect.fnUntraced(function*(this: Instances, instance: InstanceId) {
    const { buses, definitions, nats } = this.#options
    const shard = this.shardOf(instance)
    const live = buses.bus(shard, instance)
    // one whose START is not recorded yet does not exist for anybody else
    if (live !== undefined && live.sequence > 0) return live
    const loaded = yield* InstanceLoader.load(nats, definitions, shard, instance)
    if (Option.isNone(loaded)) return yield* noSuchInstance(instance)
    // started, or run again, while the history was read
    const present = buses.bus(shard, instance)
    return present !== undefined && present.sequence > 0 ? present : loaded.value
  }).bind(this)

  readonly view = Effect.fnUntraced(function*(this: Instances, instance: InstanceId) {
    const bus = yield* this.find(instance)
    const session = this.#options.buses.worker(bus.shard)?.session
    if (session === undefined) return yield* notOurs(bus.shard)
    return View.view(bus.committed, session, StreamSequence.make(bus.sequence)) satisfies WorkflowView
  }).bind(this)

  /** The result, as soon as the run rests. */
  readonly result = Effect.fnUntraced(function*(this: Instances, instance: InstanceId, waitMs: number) {
    const { buses, passives } = this.#options
    const shard = this.shardOf(instance)
    const passive = passives.get(instance)
    const bus = passive === undefined ? yield* this.find(instance) : undefined
    if (bus !== undefined && finalStatuses.has(bus.committed.status)) return View.result(bus.committed)
    const status = () => bus?.committed.status ?? passive?.summary.state
    return yield* Effect.callback<WorkflowResult, ContractError>((resume) => {
      const waiter = (result: WorkflowResult | undefined): void =>
        resume(result === undefined ? Effect.fail(notOurs(shard)) : Effect.succeed(result))
      const forget = passives.awaitResult(instance, waiter)
      if (forget !== undefined) return Effect.sync(forget)
      // of the instance, whatever bus it has by now
      const waiters = buses.bus(shard, instance)?.resultWaiters
      if (waiters === undefined || (bus !== undefined && buses.bus(shard, instance) !== bus)) {
        return resume(Effect.fail(
          new ContractError({
            code: "Unavailable",
            message: `instance ${instance} is not served now (${status()}): try again`
          })
        ))
      }
      waiters.add(waiter)
      return Effect.sync(() => waiters.delete(waiter))
    }).pipe(
      Effect.timeoutOrElse({
        duration: waitMs,
        orElse: () =>
          Effect.fail(
            new ContractError({
              code: "DeadlineExceeded",
              message: `instance ${instance} is ${status()} after ${waitMs} ms: ask again, it goes on`
            })
          )
      })
    )
  }).bind(this)

  /** The definition that the start means. `undefined`: it has to be looked up (`resolve`). */
  cached(
    request: StartRequest,
    definition: {
      readonly namespace: DefinitionRef["namespace"]
      readonly name: DefinitionRef["name"]
      readonly version: number | undefined
    } | undefined
  ): WorkflowGraph | undefined {
    return definition === undefined || request.inline !== undefined
      ? undefined
      : this.#options.definitions.cached(definition.namespace, definition.name, definition.version)
  }

  #publish(
    bus: WorkflowEventBus,
    event: LifecycleEvent | undefined,
    answer: (result: ContractError | undefined) => void
  ): void {
    const settled = (settlement: "Recorded" | "Lost"): void =>
      answer(settlement === "Recorded" ? undefined : notOurs(bus.shard))
    const isTaken = this.#options.buses.publish(bus, { event, settled })
    if (!isTaken) {
      answer(new ContractError({ code: "Overloaded", message: `the event bus of ${bus.instance} is full: try again` }))
    }
  }
}
