/**
 * What became of each failover: a fold of the system event bus, read by CLI and console. design/05 rule 7.
 *
 * Pure. Bounded: the newest `recordsMax` failovers, the oldest go first. The same event twice changes nothing, and progress counts per reporter (its numbers
 * only grow), so two replicas that read the same bus show the same records.
 */
import type { FailoverRecord, SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"

export const recordsMax = 1_000
/** Reporters kept per failover; a mesh has fewer coordinators and schedulers than that. */
export const reportersMax = 1_024

type Failover = Exclude<SystemEvent, { readonly _tag: "FAILOVER_PROGRESS" }>
type Progress = Extract<SystemEvent, { readonly _tag: "FAILOVER_PROGRESS" }>

interface Entry {
  readonly event: Failover
  readonly reporters: ReadonlyMap<MemberId, Progress>
}

/** By event id, oldest first. */
export interface FailoverRecords {
  readonly entries: ReadonlyMap<string, Entry>
}

export const empty: FailoverRecords = { entries: new Map() }

/** Takes in one event of the bus. Progress of a failover that is not known (any more) is left out. */
export const apply = (self: FailoverRecords, event: SystemEvent): FailoverRecords => {
  if (event._tag !== "FAILOVER_PROGRESS") {
    if (self.entries.has(event.id)) return self
    const entries = new Map(self.entries).set(event.id, { event, reporters: new Map() })
    const [oldest] = entries.keys()
    if (entries.size > recordsMax && oldest !== undefined) entries.delete(oldest)
    return { entries }
  }
  const entry = self.entries.get(event.of)
  if (entry === undefined) return self
  const before = entry.reporters.get(event.by)
  if (before === undefined && entry.reporters.size >= reportersMax) return self
  const reporters = new Map(entry.reporters).set(event.by, before === undefined ? event : later(before, event))
  return { entries: new Map(self.entries).set(event.of, { ...entry, reporters }) }
}

/** Of two reports of one reporter, whichever came first. */
const later = (a: Progress, b: Progress): Progress => ({
  ...(b.at >= a.at ? b : a),
  shards: Math.max(a.shards, b.shards),
  instances: Math.max(a.instances, b.instances),
  tasks: Math.max(a.tasks, b.tasks),
  done: b.at === a.at ? a.done || b.done : b.at > a.at ? b.done : a.done
})

const subjectOf = (event: Failover): string => {
  switch (event._tag) {
    case "GLOBAL_MASTER_FAILOVER":
      return "mesh"
    case "SANDBOX_LOST":
      return `${event.pool.namespace}/${event.pool.name}/${event.sandbox}`
    default:
      return `${event.member}/${event.startup}`
  }
}

const recordOf = ({ event, reporters }: Entry): FailoverRecord => {
  const reports = [...reporters.values()]
  const sum = (what: "shards" | "instances" | "tasks") => reports.reduce((total, report) => total + report[what], 0)
  const isDone = reports.length > 0 && reports.every((report) => report.done)
  return {
    id: event.id,
    kind: event._tag,
    at: timestamp(event.at),
    subject: subjectOf(event),
    cause: event._tag === "GLOBAL_MASTER_FAILOVER" ? "the first coordinator started" : event.cause,
    shards: sum("shards"),
    instances: sum("instances"),
    tasks: sum("tasks"),
    state: isDone ? "Done" : reports.length > 0 ? "Running" : "Published",
    ...(reports.length === 0 ? {} : { recoveredMs: Math.max(0, ...reports.map((report) => report.at - event.at)) })
  }
}

/** Newest first. */
export const list = (self: FailoverRecords, limit: number = recordsMax): ReadonlyArray<FailoverRecord> =>
  [...self.entries.values()].toReversed().slice(0, limit).map(recordOf)
