/**
 * The read model: every run since a moment, as lists show it, and how many there are of each state and definition. docs/design/gateway.md "Read model".
 *
 * Kept true: it holds *every* run that started at `since` or later (none: every run there is), and at most `runsMax`: the runs that started first leave first, and move `since`;
 * the order is that of `workflow.list`, so a page of one is continued by the other; counts are those of what is held. Synchronous and pure but for its own memory.
 */
import type { Entry } from "../../shared/protocol/Journal.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { WorkflowStatus } from "../../shared/protocol/Workflow.ts"
import * as RunChange from "./RunChange.ts"

export const runsMaxDefault = 50_000

/** One run, as it is now. Times in milliseconds since the epoch. */
export interface Run {
  readonly instanceId: string
  readonly parent: string | undefined
  readonly definition: RunChange.RunDefinition
  state: WorkflowStatus
  startedAt: number
  endedAt: number | undefined
  reason: string | undefined
  runNumber: number
  /** Journal sequence of the newest entry that this holds, and the number of that entry. */
  seq: number
  n: number
}

/** A field that is not there: any. */
export interface Query {
  readonly states?: ReadonlySet<string>
  readonly definition?: string
  readonly namespace?: string
  readonly prefix?: string
  /** Of the page before. */
  readonly next?: string
  readonly limit: number
}

export interface Page {
  readonly items: ReadonlyArray<Run>
  /** Of the next page; `undefined`: nothing more is held. */
  readonly next: string | undefined
}

export interface DefinitionCounts {
  readonly namespace: string
  readonly name: string
  total: number
  readonly byState: Map<WorkflowStatus, number>
}

/** Sorts as `workflow.list` does: by start, then by id. */
export const keyOf = ({ instanceId, startedAt }: Pick<Run, "instanceId" | "startedAt">): string =>
  `${timestamp(startedAt)}/${instanceId}`

/** A start of another run of an instance whose first entry is not held: what the run is one of has to be looked up. */
export interface Unknown {
  readonly instance: string
  readonly shard: number
}

/** Runs whose definition is being looked up, at once. */
const unknownMax = 1_000

export class Runs {
  readonly #runsMax: number
  readonly #byId = new Map<string, Run>()
  /** Oldest first. */
  readonly #sorted: Array<{ readonly key: string; readonly run: Run }> = []
  readonly #counts = new Map<string, DefinitionCounts>()
  readonly #unknown = new Map<string, Run>()
  #since: number | undefined

  constructor(runsMax: number = runsMaxDefault) {
    this.#runsMax = runsMax
  }

  get size(): number {
    return this.#byId.size
  }

  get runsMax(): number {
    return this.#runsMax
  }

  /** Runs that started before are not (all) held. */
  get since(): number | undefined {
    return this.#since
  }

  /** Entries before `at` were not read. */
  startAt(at: number): void {
    this.#since = this.#since === undefined ? at : Math.max(this.#since, at)
  }

  get(instance: string): Run | undefined {
    return this.#byId.get(instance)
  }

  /** Takes an entry in. Answers with a run whose definition it lacks: whoever knows it says so with `define`. */
  apply(entry: typeof Entry.Encoded, seq: number): Unknown | undefined {
    const known = this.#byId.get(entry.instance)
    const change = RunChange.of(entry)
    if (known !== undefined) {
      if (entry.n <= known.n) return undefined
      known.seq = seq
      known.n = entry.n
      if (change !== undefined) this.#change(known, change)
      return undefined
    }
    if (change === undefined) return undefined
    if (change.begun !== undefined) {
      const run: Run = {
        instanceId: entry.instance,
        parent: change.begun.parent,
        definition: change.begun.definition,
        state: change.state ?? "RUNNING",
        startedAt: change.startedAt ?? entry.at,
        endedAt: change.endedAt ?? undefined,
        reason: change.reason ?? undefined,
        runNumber: 1,
        seq,
        n: entry.n
      }
      if (this.#since === undefined || run.startedAt >= this.#since) this.#add(run)
      return undefined
    }
    return this.#changeUnknown(entry, seq, change)
  }

  /** What an unknown run is one of, as its first entry says; `undefined`: nobody knows. */
  define(instance: string, first: RunChange.RunChange["begun"], runNumber: number): void {
    const run = this.#unknown.get(instance)
    this.#unknown.delete(instance)
    if (run === undefined || first === undefined || this.#byId.has(instance)) return
    this.#add({ ...run, definition: first.definition, parent: first.parent, runNumber: Math.max(runNumber, 2) })
  }

  /** Newest start first. */
  page(query: Query): Page {
    const items: Array<Run> = []
    let index = query.next === undefined ? this.#sorted.length : this.#position(query.next)
    while (--index >= 0) {
      const one = this.#sorted[index]
      if (one === undefined) continue
      if (this.#since !== undefined && one.run.startedAt < this.#since) break
      if (!matches(one.run, query)) continue
      if (items.length === query.limit) {
        const last = items.at(-1)
        return { items, next: last === undefined ? undefined : keyOf(last) }
      }
      items.push(one.run)
    }
    return { items, next: undefined }
  }

  /** By definition, in no order. */
  counts(): Iterable<Readonly<DefinitionCounts>> {
    return this.#counts.values()
  }

  /** Every run that is held, oldest first. */
  all(): ReadonlyArray<Run> {
    return this.#sorted.map(({ run }) => run)
  }

  #changeUnknown(entry: typeof Entry.Encoded, seq: number, change: RunChange.RunChange): Unknown | undefined {
    let run = this.#unknown.get(entry.instance)
    const isNew = run === undefined
    if (run === undefined) {
      // one that only goes on started before `since`: the coordinators list it
      if (change.isRerun !== true || this.#unknown.size >= unknownMax) return undefined
      run = {
        instanceId: entry.instance,
        parent: undefined,
        definition: { namespace: "", name: "", version: 0 },
        state: "RUNNING",
        startedAt: entry.at,
        endedAt: undefined,
        reason: undefined,
        runNumber: 2,
        seq,
        n: 0
      }
      this.#unknown.set(entry.instance, run)
    }
    if (entry.n > run.n) {
      run.seq = seq
      run.n = entry.n
      merge(run, change)
    }
    return isNew ? { instance: entry.instance, shard: entry.shard } : undefined
  }

  #change(run: Run, change: RunChange.RunChange): void {
    this.#count(run, -1)
    if (change.startedAt === undefined || change.startedAt === run.startedAt) {
      merge(run, change)
      this.#count(run, 1)
      return
    }
    this.#sorted.splice(this.#position(keyOf(run)), 1)
    merge(run, change)
    this.#count(run, 1)
    this.#insert(run)
  }

  #add(run: Run): void {
    this.#byId.set(run.instanceId, run)
    this.#count(run, 1)
    this.#insert(run)
    if (this.#byId.size <= this.#runsMax) return
    // several at a time: taking one from the front of a long array moves all others
    const leaving = this.#byId.size - this.#runsMax + Math.min(500, Math.floor(this.#runsMax / 100))
    for (const { run: oldest } of this.#sorted.splice(0, leaving)) {
      this.#byId.delete(oldest.instanceId)
      this.#count(oldest, -1)
      this.startAt(oldest.startedAt + 1)
    }
  }

  #insert(run: Run): void {
    const key = keyOf(run)
    // nearly always the newest
    const last = this.#sorted.at(-1)
    if (last === undefined || last.key < key) this.#sorted.push({ key, run })
    else this.#sorted.splice(this.#position(key), 0, { key, run })
  }

  /** The number of runs before `key`. */
  #position(key: string): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const one = this.#sorted[middle]
      if (one !== undefined && one.key < key) low = middle + 1
      else high = middle
    }
    return low
  }

  #count({ definition: { name, namespace }, state }: Run, by: 1 | -1): void {
    const key = `${namespace}/${name}`
    let counts = this.#counts.get(key)
    if (counts === undefined) {
      counts = { namespace, name, total: 0, byState: new Map() }
      this.#counts.set(key, counts)
    }
    counts.total += by
    const left = (counts.byState.get(state) ?? 0) + by
    if (left === 0) counts.byState.delete(state)
    else counts.byState.set(state, left)
    if (counts.total === 0) this.#counts.delete(key)
  }
}

const merge = (run: Run, change: RunChange.RunChange): void => {
  if (change.isRerun === true) run.runNumber += 1
  if (change.startedAt !== undefined) run.startedAt = change.startedAt
  if (change.state !== undefined) run.state = change.state
  if (change.endedAt !== undefined) run.endedAt = change.endedAt ?? undefined
  if (change.reason !== undefined) run.reason = change.reason ?? undefined
}

const matches = (run: Run, query: Query): boolean =>
  (query.states === undefined || query.states.has(run.state)) &&
  (query.definition === undefined || run.definition.name === query.definition) &&
  (query.namespace === undefined || run.definition.namespace === query.namespace) &&
  (query.prefix === undefined || run.instanceId.startsWith(query.prefix))
