/**
 * `heddle.rpc.workflow.*`: requests of clients, answered by the owner of the instance's shard; another replica passes them on with their reply subject. design/02 "Workflows".
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Forwarding from "../../shared/jetstream/Forwarding.ts"
import type { Connection, Message } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import type { DefinitionRef } from "../../shared/protocol/Definition.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { LifecycleEvent } from "../../shared/protocol/Journal.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { parseDurationMs, timestamp } from "../../shared/protocol/Time.ts"
import {
  DefinitionName,
  type InstanceId,
  type MemberId,
  RequestId,
  type Shard,
  Token
} from "../../shared/protocol/Token.ts"
import {
  CommandRequest,
  HistoryQuery,
  InstanceRef,
  ResultRequest,
  StartRequest,
  TaskCommandRequest,
  WorkflowList,
  WorkflowListQuery,
  type WorkflowSummary
} from "../../shared/protocol/Workflow.ts"
import * as Spans from "../../shared/telemetry/Spans.ts"
import type { Definitions } from "./Definitions.ts"
import * as View from "./engine/View.ts"
import type { FinishedInstances } from "./FinishedInstances.ts"
import * as InstanceLoader from "./InstanceLoader.ts"
import { type Instances, noSuchInstance } from "./Instances.ts"
import type { PassiveInstances } from "./PassiveInstances.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

/** How long `result` waits when the request names no time, and the longest it may name. */
export const resultWaitDefaultMs = 30_000
export const resultWaitMaxMs = 24 * 3_600_000
const pageDefault = 100

export interface WorkflowRpcOptions {
  readonly nats: Connection
  readonly instances: Instances
  readonly buses: WorkflowEventBusCoordinator
  readonly definitions: Definitions
  readonly finished: FinishedInstances
  readonly passives: PassiveInstances
  /** The live coordinator that serves the shard; `undefined`: nobody that is known. */
  readonly ownerOf: (shard: Shard) => MemberId | undefined
  /** The other live coordinators. */
  readonly others: () => ReadonlyArray<MemberId>
}

const isName: (text: string) => boolean = Schema.is(Token)
/** What every command may have: why, and the id by which a repetition is known. */
interface Asked {
  readonly reason?: string
  readonly request?: RequestId
}
const commands = {
  pause: (asked): LifecycleEvent => ({ _tag: "WORKFLOW_PAUSE", ...asked }),
  stop: (asked): LifecycleEvent => ({ _tag: "WORKFLOW_STOP", ...asked }),
  resume: (asked): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode: "resume", ...asked }),
  recover: (asked): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode: "recover", ...asked }),
  rerun: (asked): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode: "rerun", ...asked })
} satisfies Record<string, (asked: Asked) => LifecycleEvent>

/** The lifecycle event of a command verb. */
export const commandEvent = (verb: keyof typeof commands, reason: string | undefined): LifecycleEvent =>
  commands[verb](reason === undefined ? {} : { reason })

/** What a command's request says apart from what it is about; fails when its id is no name. */
const askedOf = (reason: string | undefined, message: Message): Effect.Effect<Asked, ContractError> => {
  const id = message.header(Subject.header.msgId)
  if (id !== undefined && !isName(id)) return Effect.fail(noName(Subject.header.msgId, id))
  return Effect.succeed({
    ...(reason === undefined ? {} : { reason }),
    ...(id === undefined ? {} : { request: RequestId.make(id) })
  })
}
const noName = (header: string, text: string) =>
  new ContractError({
    code: "InvalidName",
    message: `header ${header}: "${text.slice(0, 80)}" is no name of 1 to 63 letters, digits, '_' or '-'`
  })

const noPage = (next: string) =>
  new ContractError({
    code: "InvalidMessage",
    message: `next: "${next.slice(0, 80)}" is of no page: send the \`next\` of the page before, or none`,
    path: "next"
  })

/** What a start must name: one of three. */
export const problemOfStart = ({ definition, fork, inline }: StartRequest): ContractError | undefined =>
  [definition, fork, inline].filter((source) => source !== undefined).length === 1
    ? undefined
    : new ContractError({
      code: "InvalidMessage",
      message: "name `definition` (name or name@version), `inline` or `fork`, one of them",
      path: "definition"
    })

/** `name` or `name@version`. */
export const parseReference = (
  request: StartRequest
): {
  readonly namespace: DefinitionRef["namespace"]
  readonly name: DefinitionName
  readonly version: number | undefined
} | undefined => {
  if (request.definition === undefined) return undefined
  const [name, version] = request.definition.split("@")
  return {
    namespace: request.namespace ?? namespaceDefault,
    name: DefinitionName.make(name ?? ""),
    version: version === undefined ? undefined : Number(version)
  }
}

export const endpoints = (options: WorkflowRpcOptions): ReadonlyArray<RpcService.Endpoint> => {
  const { buses, definitions, finished, instances, nats, ownerOf, passives } = options

  /** Passes the request on to the shard's owner; the answer goes straight to the client. `body`: instead of the message's own. */
  const passOn = (message: Message, shard: Shard, subject: string, body?: string): ContractError | undefined => {
    const owner = ownerOf(shard)
    if (owner === undefined) {
      return new ContractError({ code: "Unavailable", message: `no coordinator serves shard ${shard} now: try again` })
    }
    Forwarding.passOn(nats, Subject.forwarded(owner, subject), message, body === undefined ? {} : { body })
    return undefined
  }
  const isOurs = (instance: InstanceId): boolean => buses.worker(instances.shardOf(instance)) !== undefined

  /** The handler runs at the owner; elsewhere the request is passed on. */
  const atOwner = <A extends { readonly instanceId: InstanceId }, Answer>(
    handler: (request: A, message: Message) => Effect.Effect<Answer, ContractError>
  ) =>
  (request: A, context: RpcService.RequestContext): Effect.Effect<Answer | RpcService.Forwarded, ContractError> => {
    if (isOurs(request.instanceId)) return handler(request, context.message)
    const problem = passOn(context.message, instances.shardOf(request.instanceId), context.subject)
    return problem === undefined ? Effect.succeed(RpcService.forwarded) : Effect.fail(problem)
  }
  const command = (verb: keyof typeof commands) =>
    RpcService.endpoint({
      name: verb,
      subject: Subject.rpc.workflow(verb),
      request: CommandRequest,
      handler: atOwner(({ instanceId, reason }, message) =>
        askedOf(reason, message).pipe(
          Effect.flatMap((asked) => instances.command(instanceId, commands[verb](asked))),
          Effect.as({ accepted: true })
        )
      )
    })

  const taskCommand = (
    verb: "run-task" | "force-success" | "force-start",
    eventOf: (request: TaskCommandRequest, asked: Asked) => LifecycleEvent
  ) =>
    RpcService.endpoint({
      name: verb,
      subject: Subject.rpc.workflow(verb),
      request: TaskCommandRequest,
      handler: atOwner((request, message) =>
        askedOf(request.reason, message).pipe(
          Effect.flatMap((asked) => instances.command(request.instanceId, eventOf(request, asked))),
          Effect.as({ accepted: true })
        )
      )
    })

  const start = RpcService.endpointUnsafe<StartRequest, { readonly instanceId: InstanceId }>({
    name: "start",
    subject: Subject.rpc.workflow("start"),
    request: StartRequest,
    inFlightMax: 16_384,
    handler: (request, respond, { message, subject }) => {
      const reference = parseReference(request)
      const problem = problemOfStart(request)
      if (problem !== undefined) return respond.refuse(problem)
      const name = reference?.name ?? request.inline?.metadata.name ?? request.fork?.instanceId ?? "workflow"
      const msgId = message.header(Subject.header.msgId)
      // a start that is asked again with its message id is the same instance, as one with its instance id is
      const chosen = request.instanceId ?? (msgId === undefined ? undefined : instances.idOfMessage(name, msgId))
      const instance = chosen ?? instances.newId(name)
      if (!isOurs(instance)) {
        const problem = passOn(
          message,
          instances.shardOf(instance),
          subject,
          request.instanceId === undefined ? withId(message.text, instance) : undefined
        )
        return problem === undefined ? respond.passedOn() : respond.refuse(problem)
      }
      const replyTo = message.header(Subject.header.replyTo)
      const teamHeader = message.header(Subject.header.team)
      if (teamHeader !== undefined && !isName(teamHeader)) {
        return respond.refuse(noName(Subject.header.team, teamHeader))
      }
      const extra = {
        replyTo,
        team: teamHeader,
        traceparent: Spans.contextOf(message.header(Subject.header.traceparent))
      }
      const answered = (error: ContractError | undefined): void =>
        error === undefined ? respond.answer(`{"instanceId":"${instance}"}`) : respond.refuse(error)
      const { fork } = request
      if (fork !== undefined) {
        return respond.run(Effect.as(instances.fork(instance, request, fork, extra), { instanceId: instance }))
      }
      const graph = instances.cached(request, reference)
      if (graph !== undefined && chosen === undefined) {
        return instances.startNow(instance, graph, request, extra, answered)
      }
      respond.run(
        Effect.gen(function*() {
          const found = graph ??
            (reference === undefined
              ? yield* definitions.keepInline(inlineOf(message.text))
              : yield* definitions.resolve(reference.namespace, reference.name, reference.version))
          yield* instances.start(instance, found, request, extra)
          return { instanceId: instance }
        })
      )
    }
  })

  return [
    start,
    RpcService.endpoint({
      name: "get",
      subject: Subject.rpc.workflow("get"),
      request: InstanceRef,
      handler: atOwner(({ instanceId }) => instances.view(instanceId))
    }),
    RpcService.endpoint({
      name: "result",
      subject: Subject.rpc.workflow("result"),
      request: ResultRequest,
      inFlightMax: 65_536,
      handler: atOwner(({ instanceId, wait }) => {
        const waitMs = wait === undefined
          ? resultWaitDefaultMs
          : typeof wait === "number"
          ? wait
          : parseDurationMs(wait)
        return waitMs === undefined || waitMs < 0 || waitMs > resultWaitMaxMs
          ? Effect.fail(
            new ContractError({
              code: "InvalidMessage",
              message: "`wait` is a duration such as \"30s\", 24h at most",
              path: "wait"
            })
          )
          : instances.result(instanceId, waitMs)
      })
    }),
    RpcService.endpoint({
      name: "history",
      subject: Subject.rpc.workflow("history"),
      request: HistoryQuery,
      handler: atOwner(({ instanceId, limit, next }) =>
        Effect.gen(function*() {
          if (next !== undefined && !/^\d{1,15}$/.test(next)) return yield* noPage(next)
          yield* instances.projected(instanceId)
          const found = yield* InstanceLoader.entries(nats, instances.shardOf(instanceId), instanceId)
          if (found.length === 0) return yield* noSuchInstance(instanceId)
          const from = next === undefined ? 0 : found.findIndex(({ entry }) => entry.n > Number(next))
          const page = from < 0 ? [] : found.slice(from, from + (limit ?? pageDefault))
          const last = page.at(-1)
          return {
            items: page.map(({ entry, sequence }) => ({ seq: sequence, at: timestamp(entry.at), entry })),
            ...(last !== undefined && last !== found.at(-1) ? { next: String(last.entry.n) } : {})
          }
        })
      )
    }),
    RpcService.endpoint({
      name: "list",
      subject: Subject.rpc.workflow("list"),
      request: WorkflowListQuery,
      handler: (query, { message, subject }) =>
        message.subject === subject ? listAll(query) : Effect.sync(() => list(query))
    }),
    command("pause"),
    command("resume"),
    command("stop"),
    command("rerun"),
    command("recover"),
    taskCommand("run-task", ({ dependType, task }, asked) => ({
      _tag: "WORKFLOW_RUN_TASK",
      task,
      ...(dependType === undefined ? {} : { dependType }),
      ...asked
    })),
    taskCommand("force-success", ({ task }, asked) => ({ _tag: "WORKFLOW_FORCE_SUCCESS", task, ...asked })),
    taskCommand("force-start", ({ task }, asked) => ({ _tag: "WORKFLOW_FORCE_START", task, ...asked }))
  ]

  /** Of all coordinators: each is asked for its page, the pages are merged. One that does not answer makes the list fail rather than lie. */
  function listAll(query: typeof WorkflowListQuery.Type): Effect.Effect<typeof WorkflowList.Type, ContractError> {
    const subject = Subject.rpc.workflow("list")
    return Effect.forEach(
      options.others(),
      (other) => Rpc.call(nats, Subject.forwarded(other, subject), WorkflowList, query),
      { concurrency: 8 }
    ).pipe(
      Effect.map((pages) => {
        const limit = query.limit ?? pageDefault
        const own = list(query)
        // a shard that changes hands in this moment may be shown by both
        const found = new Map([own, ...pages].flatMap((page) => page.items).map((item) => [keyOf(item), item]))
        const all = [...found.values()].sort((a, b) => keyOf(a) < keyOf(b) ? 1 : -1)
        const items = all.slice(0, limit)
        const last = items.at(-1)
        const hasMore = all.length > limit || own.next !== undefined || pages.some((page) => page.next !== undefined)
        return { items, ...(hasMore && last !== undefined ? { next: keyOf(last) } : {}) }
      })
    )
  }

  /** Of this coordinator: what is live, then what it remembers as finished; newest first. */
  function list(
    query: typeof WorkflowListQuery.Type
  ): { readonly items: ReadonlyArray<typeof WorkflowSummary.Type>; readonly next?: string } {
    const limit = query.limit ?? pageDefault
    const found: Array<typeof WorkflowSummary.Type> = []
    const take = (summary: typeof WorkflowSummary.Type): void => {
      if (query.state !== undefined && summary.state !== query.state) return
      if (query.definition !== undefined && summary.definition.name !== query.definition) return
      if (query.namespace !== undefined && (summary.definition.namespace ?? namespaceDefault) !== query.namespace) {
        return
      }
      if (query.next !== undefined && keyOf(summary) >= query.next) return
      found.push(summary)
    }
    for (const worker of buses.workers) {
      for (const bus of worker.buses.values()) {
        if (bus.sequence > 0 && bus.committed.semaphore === undefined) take(View.summary(bus.committed))
      }
    }
    for (const one of passives.values()) take(one.summary)
    for (const one of finished.values()) take(one.summary)
    found.sort((a, b) => keyOf(a) < keyOf(b) ? 1 : -1)
    const items = found.slice(0, limit)
    const last = items.at(-1)
    return { items, ...(found.length > limit && last !== undefined ? { next: keyOf(last) } : {}) }
  }
}

const keyOf = (summary: typeof WorkflowSummary.Type): string => `${summary.startedAt}/${summary.instanceId}`

/** The body with the id that this replica chose, so that the owner starts that one. */
const withId = (body: string, instance: InstanceId): string =>
  JSON.stringify({ ...(JSON.parse(body) as object), instanceId: instance }) // was decoded before

/** The inline definition as it was sent: what is stored and hashed. */
const inlineOf = (body: string): unknown => (JSON.parse(body) as { readonly inline?: unknown }).inline // was decoded before
