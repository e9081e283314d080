/**
 * Named slots that instances of the whole mesh share: a concurrency group, or the one slot of a serial definition. design/03 section 6, conformance A13, A54, A55, A60 to A63.
 *
 * A semaphore is an instance of its own: it has an id, so it has a home shard, an owner, a journal, checkpoints and a take-over like every other instance, and
 * needs no store and no lock service besides. Instances ask it by messages that are sent at least once. Kept true here: no more tickets are held than there are slots;
 * a ticket is in one list at most; every message may come again. Nothing leaks: an owner that takes a semaphore over grants everything that is held once more,
 * and an instance that has no use for a grant (its attempt has ended, it has rested, it is gone) gives it back; an instance that is taken over asks again for what it waits for
 * and has repeated to it what it was granted.
 */
import type { GroupRef, SemaphoreLifecycleEvent, Transition } from "../../../shared/protocol/Journal.ts"
import { namespaceDefault } from "../../../shared/protocol/Pool.ts"
import { fnv1a } from "../../../shared/protocol/Shard.ts"
import {
  DefinitionName,
  InstanceId,
  type Namespace,
  PoolName,
  type Priority,
  priorityDefault
} from "../../../shared/protocol/Token.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import type { WorkflowGraph } from "./WorkflowGraph.ts"

/** `replace`: it has told all others to make way. */
export interface Ticket {
  readonly from: InstanceId
  readonly ticket: string
  readonly priority: Priority
  readonly replace?: true
}

/** `waiting`: highest priority first, then as they came. `refused`: told so, and not heard from since. */
export interface Semaphore {
  /** As the definition said that asked last. */
  readonly slots: number
  /** What somebody set instead. */
  readonly limit?: number
  /** Of a concurrency group that has been asked since its name is told. */
  readonly group?: GroupRef
  readonly held: ReadonlyArray<Ticket>
  readonly waiting: ReadonlyArray<Ticket>
  readonly refused: ReadonlyArray<Ticket>
}

export const empty: Semaphore = { slots: 1, held: [], waiting: [], refused: [] }

/** As one that is made anew: nothing is lost when it is forgotten. */
export const isUnused = (self: Semaphore | undefined): boolean =>
  self !== undefined && self.limit === undefined && self.slots === empty.slots &&
  self.held.length + self.waiting.length + self.refused.length === 0

/** How many may hold a ticket at once. */
export const slotsOf = (self: Semaphore): number => self.limit ?? self.slots

/** Ids that begin with this belong to semaphores: no client may start an instance of such a name. */
export const idPrefix = "__slots_"

const idOf = (kind: "group" | "serial", namespace: Namespace, name: string): InstanceId => {
  const key = `${namespace}/${name}`
  const hash = [`${kind}.${key}`, `${key}.${kind}`].map((text) => fnv1a(text).toString(16).padStart(8, "0")).join("")
  return InstanceId.make(`${idPrefix}${kind}_${name.slice(0, 20)}_${hash}`)
}
/** The semaphore of a concurrency group; groups of one name in two namespaces are two. */
export const idOfGroup = (namespace: Namespace, name: string): InstanceId => idOf("group", namespace, name)
/** The semaphore of a serial definition, all its versions together. */
export const idOfDefinition = (namespace: Namespace, name: string): InstanceId => idOf("serial", namespace, name)

/** Tickets of runs begin with this, those of attempts with the task's name. */
const runMark = "#"
export const ticketOfRun = (run: number, at: number): string => `${runMark}${run}@${at}`
export const isOfRun = ({ ticket }: Ticket): boolean => ticket.startsWith(runMark)

/** What every semaphore's journal names as its definition. No content has this hash. */
export const definition = {
  namespace: namespaceDefault,
  name: DefinitionName.make("heddle-slots"),
  version: 0,
  hash: "builtin"
}

export const graph: WorkflowGraph = {
  definition,
  namespace: namespaceDefault,
  nodes: [],
  taskCount: 0,
  indexOf: new Map(),
  order: [],
  startNodes: [],
  commit: undefined,
  cleanup: undefined,
  params: {},
  paramTemplates: [],
  pool: { namespace: namespaceDefault, name: PoolName.make("default") },
  priority: priorityDefault,
  endOnFailure: false,
  groups: [],
  serial: undefined,
  isSemaphore: true,
  timeout: undefined,
  fresh: ChunkedVector.fromArray([])
}

// ---- evolve

/** Whether a ticket is this one. */
export const isOne = (from: InstanceId, ticket: string) => (one: Ticket): boolean =>
  one.ticket === ticket && one.from === from

type SlotTransition = Extract<
  Transition,
  { readonly _tag: "SLOT_QUEUED" | "SLOT_GIVEN" | "SLOT_FREED" | "SLOT_REFUSED" | "SLOT_LIMITED" | "SLOT_MOVED" }
>

/** Behind those of the same priority. */
const inLine = (waiting: ReadonlyArray<Ticket>, ticket: Ticket): ReadonlyArray<Ticket> => {
  const behind = waiting.findIndex((other) => other.priority < ticket.priority)
  return waiting.toSpliced(behind < 0 ? waiting.length : behind, 0, ticket)
}

export const evolve = (
  self: Semaphore,
  transition: SlotTransition,
  cause: ReadonlyArray<{ readonly _tag: string }>
): Semaphore => {
  if (transition._tag === "SLOT_QUEUED") {
    const event = cause[transition.of] as Extract<SemaphoreLifecycleEvent, { _tag: "SLOT_ACQUIRE" }> | undefined // `of` names it
    if (event?._tag !== "SLOT_ACQUIRE") throw new Error(`SLOT_QUEUED: cause ${transition.of} is no SLOT_ACQUIRE`)
    const ticket: Ticket = {
      from: event.from,
      ticket: event.ticket,
      priority: event.priority,
      ...(event.mode === "replace" ? { replace: true as const } : {})
    }
    return {
      ...self,
      slots: event.slots ?? self.slots,
      waiting: inLine(self.waiting, ticket),
      ...(event.group === undefined ? {} : { group: event.group })
    }
  }
  if (transition._tag === "SLOT_LIMITED") {
    const event = cause[transition.of] as Extract<SemaphoreLifecycleEvent, { _tag: "SLOT_LIMIT" }> | undefined // `of` names it
    if (event?._tag !== "SLOT_LIMIT") throw new Error(`SLOT_LIMITED: cause ${transition.of} is no SLOT_LIMIT`)
    const { limit: _, ...rest } = self
    return { ...rest, group: event.group, ...(event.slots === undefined ? {} : { limit: event.slots }) }
  }
  if (transition._tag === "SLOT_MOVED") {
    const event = cause[transition.of] as Extract<SemaphoreLifecycleEvent, { _tag: "SLOT_PRIORITY" }> | undefined // `of` names it
    if (event?._tag !== "SLOT_PRIORITY") throw new Error(`SLOT_MOVED: cause ${transition.of} is no SLOT_PRIORITY`)
    const its = isOne(event.from, event.ticket)
    const found = self.waiting.find(its)
    if (found === undefined) return self
    const others = self.waiting.filter((one) => !its(one))
    return { ...self, waiting: inLine(others, { ...found, priority: event.priority }) }
  }
  const is = isOne(transition.from, transition.ticket)
  const others = (list: ReadonlyArray<Ticket>) => list.some(is) ? list.filter((one) => !is(one)) : list
  const moved = self.waiting.find(is)
  switch (transition._tag) {
    case "SLOT_GIVEN":
      return { ...self, waiting: others(self.waiting), held: moved === undefined ? self.held : [...self.held, moved] }
    case "SLOT_REFUSED":
      return {
        ...self,
        waiting: others(self.waiting),
        refused: moved === undefined ? self.refused : [...self.refused, moved]
      }
    case "SLOT_FREED":
      return { ...self, held: others(self.held), waiting: others(self.waiting), refused: others(self.refused) }
  }
}
