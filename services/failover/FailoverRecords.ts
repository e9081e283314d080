/**
 * What became of each failover: a fold of the system event bus, read by CLI and console. design/05 rule 7.
 *
 * Pure. Bounded: the newest `recordsMax` failovers, the oldest go first. A report of progress counts once, by its id, and reports add up; the same events twice or in
 * another order give the same records, so two replicas that read the same bus show the same.
 */
import type { FailoverRecord, SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"

export const recordsMax = 1_000
/** Reports kept per failover: one per coordinator, or per pool of a scheduler. */
export const reportsMax = 4_096

type Failover = Exclude<SystemEvent, { readonly _tag: "FAILOVER_PROGRESS" }>
type Progress = Extract<SystemEvent, { readonly _tag: "FAILOVER_PROGRESS" }>

interface Entry {
  readonly event: Failover
  /** By their ids. */
  readonly reports: ReadonlyMap<string, Progress>
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
    const entries = new Map(self.entries).set(event.id, { event, reports: new Map() })
    const [oldest] = entries.keys()
    if (entries.size > recordsMax && oldest !== undefined) entries.delete(oldest)
    return { entries }
  }
  const entry = self.entries.get(event.of)
  if (entry === undefined) return self
  if (entry.reports.has(event.id) || entry.reports.size >= reportsMax) return self
  const reports = new Map(entry.reports).set(event.id, event)
  return { entries: new Map(self.entries).set(event.of, { ...entry, reports }) }
}

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

/** Whether the newest report of everyone who reported says so. */
const isDone = (reports: ReadonlyArray<Progress>): boolean => {
  const newest = new Map<MemberId, Progress>()
  for (const report of reports) {
    const before = newest.get(report.by)
    const isNewer = before === undefined || report.at > before.at || (report.at === before.at && report.done)
    if (isNewer) newest.set(report.by, report)
  }
  return newest.size > 0 && [...newest.values()].every((report) => report.done)
}

const recordOf = (entry: Entry): FailoverRecord => {
  const { event } = entry
  const reports = [...entry.reports.values()]
  const sum = (what: "shards" | "instances" | "tasks") => reports.reduce((total, report) => total + report[what], 0)
  return {
    id: event.id,
    kind: event._tag,
    at: timestamp(event.at),
    subject: subjectOf(event),
    cause: event._tag === "GLOBAL_MASTER_FAILOVER" ? "the first coordinator started" : event.cause,
    shards: sum("shards"),
    instances: sum("instances"),
    tasks: sum("tasks"),
    state: isDone(reports) ? "Done" : reports.length > 0 ? "Running" : "Published",
    ...(reports.length === 0 ? {} : { recoveredMs: Math.max(0, ...reports.map((report) => report.at - event.at)) })
  }
}

/** Newest first. */
export const list = (self: FailoverRecords, limit: number = recordsMax): ReadonlyArray<FailoverRecord> =>
  [...self.entries.values()].toReversed().slice(0, limit).map(recordOf)
