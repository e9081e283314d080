/**
 * The live events that a stored message is made into: of the journal, of pool events and of the system event bus. docs/design/gateway.md "Live events".
 *
 * Kept true: the events of a message, and their order, follow from the message alone, so every gateway gives the same under the same cursor; the text of an event is made once, for
 * all who read it, and only if somebody does.
 */
import * as Schema from "effect/Schema"
import { type Entry, JournalMessage } from "../../shared/protocol/Journal.ts"
import { PoolEvent } from "../../shared/protocol/PoolEvent.ts"
import { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import * as RunChange from "./RunChange.ts"

export const kinds = ["run", "task", "entry", "claim", "pool", "failover"] as const
export type Kind = typeof kinds[number]

/** `instance`: of `run`, `task` and `entry`. `pool` (`<ns>/<name>`): of `claim` and `pool`. */
export class LiveEvent {
  readonly kind: Kind
  readonly instance: string | undefined
  readonly pool: string | undefined
  readonly #data: object
  #json: string | undefined

  constructor(kind: Kind, data: object, about: { readonly instance?: string; readonly pool?: string } = {}) {
    this.kind = kind
    this.instance = about.instance
    this.pool = about.pool
    this.#data = data
  }

  /** One line. */
  get json(): string {
    this.#json ??= JSON.stringify(this.#data)
    return this.#json
  }
}

type EntryRead = typeof Entry.Encoded

const isJournal = Schema.is(Schema.toEncoded(JournalMessage))
const isPoolEvent = Schema.is(Schema.toEncoded(PoolEvent))
const isSystemEvent = Schema.is(Schema.toEncoded(SystemEvent))

/** The entries of a journal message as they were written, fields that this version does not know included; `undefined`: not a message of the journal that this version can read. */
export const entriesOf = (text: string): ReadonlyArray<EntryRead> | undefined => {
  const parsed = parse(text)
  return isJournal(parsed) ? parsed.records.filter((record) => record._tag === "Entry") : undefined
}

/** When a journal message was written, by its writer's clock: of its first record. */
export const writtenAt = (text: string): number | undefined => {
  const parsed = parse(text)
  return isJournal(parsed) ? parsed.records[0]?.at : undefined
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const timeOf = (at: number | undefined) => at === undefined ? undefined : timestamp(at)

/** Of one journal message. */
export const ofEntries = (entries: ReadonlyArray<EntryRead>, seq: number): ReadonlyArray<LiveEvent> => {
  const events: Array<LiveEvent> = []
  for (const entry of entries) {
    if (!RunChange.isRun(entry.instance)) continue
    const about = { instance: entry.instance }
    const change = RunChange.of(entry)
    if (change !== undefined) events.push(new LiveEvent("run", { ...headOf(entry, seq), ...runOf(change) }, about))
    for (const transition of entry.transitions) {
      const task = taskOf(entry, transition)
      if (task !== undefined) events.push(new LiveEvent("task", { ...headOf(entry, seq), ...task }, about))
    }
    events.push(new LiveEvent("entry", { seq, at: timestamp(entry.at), entry }, about))
  }
  return events
}

/** Of one message of HEDDLE_JOURNAL; nothing of one that this version cannot read. */
export const ofJournal = (text: string, seq: number): ReadonlyArray<LiveEvent> => ofEntries(entriesOf(text) ?? [], seq)

const headOf = ({ at, instance, n }: EntryRead, seq: number) => ({ seq, n, instanceId: instance, at: timestamp(at) })

const runOf = (change: RunChange.RunChange) => ({
  state: change.state,
  reason: change.reason ?? undefined,
  definition: change.begun?.definition,
  parent: change.begun?.parent,
  isRerun: change.isRerun,
  startedAt: timeOf(change.startedAt),
  endedAt: timeOf(change.endedAt ?? undefined)
})

/** `<task>:<run>:<attempt>` and `<task>:<run>:<attempt>:<item>`. */
const partsOf = (id: string) => {
  const [task = "", run, attempt, item] = id.split(":")
  return {
    task,
    taskId: id,
    run: Number(run),
    attempt: Number(attempt),
    ...(item === undefined ? {} : { item: Number(item) })
  }
}

/** What people follow of a task: its state, where it runs, how it ended. `undefined`: a transition that shows nowhere. */
const taskOf = (entry: EntryRead, transition: EntryRead["transitions"][number]): object | undefined => {
  switch (transition._tag) {
    case "SUBMITTED":
      return { ...partsOf(transition.id), state: "SUBMITTED" }
    case "DELAYED":
      return { ...partsOf(transition.id), state: "DELAY_EXECUTION", due: timestamp(transition.due) }
    case "DISPATCHED": {
      const cause = entry.cause[transition.of]
      const placement = cause?._tag === "TASK_DISPATCHED" ? cause.placement : undefined
      return {
        ...partsOf(transition.id),
        state: "DISPATCHED",
        executor: placement?.executor,
        sandbox: placement?.sandbox
      }
    }
    case "CHILD":
      return { ...partsOf(transition.id), state: "DISPATCHED", child: transition.child }
    case "BEGUN":
    case "RUNNING":
      return { ...partsOf(transition.id), state: "RUNNING" }
    case "SUCCEEDED":
    case "KILLED":
    case "PAUSED":
      return { ...partsOf(transition.id), state: transition._tag, ...endOf(entry, transition.of) }
    case "FAILED": {
      const { reason, ...end } = endOf(entry, transition.of)
      return {
        ...partsOf(transition.id),
        state: "FAILED",
        ...end,
        reason: transition.reason ?? reason,
        due: timeOf(transition.due)
      }
    }
    case "FAILOVER":
      return { ...partsOf(transition.id), state: "FAILOVER", reason: transition.reason }
    case "FORCED_SUCCESS":
      return { task: transition.task, state: "FORCED_SUCCESS" }
    case "SKIPPED":
    case "BLOCKED":
    case "PASSED":
      return { task: transition.task, state: transition._tag, reason: transition.why }
    case "FANNED_IN":
      return { task: transition.task, state: transition.status, reason: transition.reason }
    default:
      return undefined
  }
}

const endOf = (entry: EntryRead, of: number | undefined) => {
  const cause = of === undefined ? undefined : entry.cause[of]
  if (cause === undefined) return {}
  return {
    exitCode: "exitCode" in cause ? cause.exitCode : undefined,
    reason: "reason" in cause ? cause.reason : undefined
  }
}

/** Of one message of HEDDLE_POOL_EVENTS on `subject`. */
export const ofPoolEvent = (text: string, seq: number, subject: string): ReadonlyArray<LiveEvent> => {
  const parsed = parse(text)
  if (!isPoolEvent(parsed)) return []
  const [, , namespace = "", pool = ""] = subject.split(".")
  const about = { pool: `${namespace}/${pool}` }
  return parsed._tag === "ADOPTED"
    ? [new LiveEvent("pool", { seq, at: timestamp(parsed.at), namespace, pool, owner: parsed.owner }, about)]
    : parsed.events.map(({ at, leaseExpiresAt, ...event }) =>
      new LiveEvent(
        "claim",
        { seq, at: timestamp(at), namespace, pool, ...event, leaseExpiresAt: timeOf(leaseExpiresAt) },
        about
      )
    )
}

/** Of one message of HEDDLE_SYSTEM. */
export const ofSystemEvent = (text: string, seq: number): ReadonlyArray<LiveEvent> => {
  const parsed = parse(text)
  return isSystemEvent(parsed) ? [new LiveEvent("failover", { ...parsed, seq, at: timestamp(parsed.at) })] : []
}
