/**
 * `heddle.rpc.group.*`: what concurrency groups hold and who waits for them; how many slots they have, and who is next. design/02 "Workflows", design/03 section 6.
 *
 * A group is a semaphore, an instance of its own (engine/Semaphore.ts): its shard's owner answers, and what is changed is an event on its bus, so it is in the journal before
 * it is answered. `list` asks every coordinator, each of which holds the semaphores of its shards in memory.
 */
import * as Effect from "effect/Effect"
import * as Forwarding from "../../shared/jetstream/Forwarding.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import {
  GroupList,
  GroupListQuery,
  GroupPrioritize,
  GroupQuery,
  GroupSet,
  type GroupSummary,
  type GroupTicket,
  type GroupView
} from "../../shared/protocol/Group.ts"
import type { GroupRef, SemaphoreLifecycleEvent } from "../../shared/protocol/Journal.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { type InstanceId, type MemberId, type Shard, TaskInstanceId, TaskName } from "../../shared/protocol/Token.ts"
import * as Semaphore from "./engine/Semaphore.ts"
import type { Signals } from "./Signals.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

const pageDefault = 100

export interface GroupRpcOptions {
  readonly nats: Connection
  readonly buses: WorkflowEventBusCoordinator
  readonly signals: Signals
  readonly shardOf: (instance: InstanceId) => Shard
  readonly ownerOf: (shard: Shard) => MemberId | undefined
  /** The other live coordinators. */
  readonly others: () => ReadonlyArray<MemberId>
}

const refOf = (request: GroupQuery): GroupRef => ({
  namespace: request.namespace ?? namespaceDefault,
  name: request.name
})
const keyOf = (group: GroupRef): string => `${group.namespace}/${group.name}`

const summary = (group: GroupRef, self: Semaphore.Semaphore): GroupSummary => ({
  ...group,
  slots: Semaphore.slotsOf(self),
  ...(self.limit === undefined ? {} : { set: true }),
  held: self.held.length,
  waiting: self.waiting.length
})

const ticketOf = ({ from, priority, ticket }: Semaphore.Ticket): GroupTicket => ({
  instanceId: from,
  task: TaskName.make(ticket.split(":")[0] ?? ""),
  taskInstanceId: TaskInstanceId.make(ticket), // tickets of a group are ids of attempts
  priority
})

const view = (group: GroupRef, self: Semaphore.Semaphore): GroupView => ({
  ...summary(group, self),
  held: self.held.map(ticketOf),
  waiting: self.waiting.map(ticketOf)
})

const noSuch = (group: GroupRef) =>
  new ContractError({
    code: "NoSuchGroup",
    message:
      `no task has asked for a slot of the group ${group.name} in namespace ${group.namespace}: \`heddle groups ls\` lists them`
  })

export const endpoints = (options: GroupRpcOptions): ReadonlyArray<RpcService.Endpoint> => {
  const { buses, nats, ownerOf, shardOf, signals } = options

  /** The handler runs where the group's shard is served; elsewhere the request is passed on. */
  const atOwner = <A extends GroupQuery, Answer>(
    handler: (group: GroupRef, request: A, id: InstanceId) => Effect.Effect<Answer, ContractError>
  ) =>
  (request: A, context: RpcService.RequestContext): Effect.Effect<Answer | RpcService.Forwarded, ContractError> =>
    Effect.suspend((): Effect.Effect<Answer | RpcService.Forwarded, ContractError> => {
      const group = refOf(request)
      const id = Semaphore.idOfGroup(group.namespace, group.name)
      const shard = shardOf(id)
      if (buses.worker(shard) !== undefined) return handler(group, request, id)
      const owner = ownerOf(shard)
      if (owner === undefined) {
        return new ContractError({
          code: "Unavailable",
          message: `no coordinator serves shard ${shard} now: try again`
        })
      }
      Forwarding.passOn(nats, Subject.forwarded(owner, context.subject), context.message)
      return Effect.succeed(RpcService.forwarded)
    })

  const semaphoreOf = (id: InstanceId): Semaphore.Semaphore | undefined =>
    buses.bus(shardOf(id), id)?.committed.semaphore

  /** The semaphore after the journal has it. */
  const tell = (id: InstanceId, event: SemaphoreLifecycleEvent): Effect.Effect<void, ContractError> =>
    Effect.callback((resume) =>
      signals.handle(id, { from: id, event }, (outcome) =>
        resume(
          outcome._tag === "done"
            ? Effect.void
            : outcome._tag === "refused"
            ? Effect.fail(new ContractError(outcome.error))
            : new ContractError({ code: "NotOwner", message: "the group's shard is changing hands: try again" })
        ))
    )

  const read = (group: GroupRef, id: InstanceId): Effect.Effect<GroupView, ContractError> =>
    Effect.suspend(() => {
      const self = semaphoreOf(id)
      return self === undefined ? noSuch(group) : Effect.succeed(view(group, self))
    })

  const own = (query: typeof GroupListQuery.Type): typeof GroupList.Type => {
    const all = [...buses.workers].flatMap((worker) =>
      [...worker.buses.values()].flatMap(({ committed: { semaphore } }) =>
        semaphore?.group === undefined ? [] : [summary(semaphore.group, semaphore)]
      )
    )
    return pageOf(all, query)
  }

  return [
    RpcService.endpoint({
      name: "group-list",
      subject: Subject.rpc.group("list"),
      request: GroupListQuery,
      handler: (query, { message, subject }) =>
        message.subject !== subject
          ? Effect.sync(() => own(query))
          : Effect.map(
            Effect.forEach(
              options.others(),
              (other) => Rpc.call(nats, Subject.forwarded(other, subject), GroupList, query),
              { concurrency: 8 }
            ),
            (pages) => {
              const parts = [own(query), ...pages]
              const all = new Map(parts.flatMap(({ items }) => items.map((item) => [keyOf(item), item])))
              const page = pageOf([...all.values()], query)
              const last = page.items.at(-1)
              return page.next === undefined && last !== undefined && parts.some(({ next }) => next !== undefined)
                ? { ...page, next: keyOf(last) }
                : page
            }
          )
    }),
    RpcService.endpoint({
      name: "group-get",
      subject: Subject.rpc.group("get"),
      request: GroupQuery,
      handler: atOwner((group, _: GroupQuery, id) => read(group, id))
    }),
    RpcService.endpoint({
      name: "group-set",
      subject: Subject.rpc.group("set"),
      request: GroupSet,
      handler: atOwner((group, { slots }: GroupSet, id) =>
        slots === null && semaphoreOf(id) === undefined
          ? Effect.fail(noSuch(group))
          : Effect.andThen(
            tell(id, { _tag: "SLOT_LIMIT", group, ...(slots === null ? {} : { slots }) }),
            read(group, id)
          )
      )
    }),
    RpcService.endpoint({
      name: "group-prioritize",
      subject: Subject.rpc.group("prioritize"),
      request: GroupPrioritize,
      handler: atOwner((group, { instanceId, priority, task }: GroupPrioritize, id) =>
        Effect.gen(function*() {
          const self = semaphoreOf(id)
          if (self === undefined) return yield* noSuch(group)
          const waiting = self.waiting.filter((one) => one.from === instanceId && ticketOf(one).task === task)
          if (waiting.length === 0) {
            return yield* new ContractError({
              code: "Conflict",
              message:
                `task ${task} of ${instanceId} does not wait for a slot of ${group.name}: \`heddle groups get ${group.name}\` shows who does`
            })
          }
          for (const { ticket } of waiting) {
            yield* tell(id, { _tag: "SLOT_PRIORITY", from: instanceId, ticket, priority })
          }
          return yield* read(group, id)
        })
      )
    })
  ]
}

const pageOf = (all: ReadonlyArray<GroupSummary>, query: typeof GroupListQuery.Type): typeof GroupList.Type => {
  const limit = query.limit ?? pageDefault
  const found = all.filter((one) => query.namespace === undefined || one.namespace === query.namespace)
    .filter((one) => query.next === undefined || keyOf(one) > query.next)
    .toSorted((a, b) => keyOf(a) < keyOf(b) ? -1 : 1)
  const items = found.slice(0, limit)
  const last = items.at(-1)
  return { items, ...(found.length > limit && last !== undefined ? { next: keyOf(last) } : {}) }
}
