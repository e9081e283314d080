/**
 * The order of the `fifo` policy: priority first, then weighted fair share among teams, then turns among jobs, then order of arrival within a job.
 *
 * A job (workflow instance) with ten thousand ready tasks and one with a single one take turns; so do teams, by their weights. What was picked and comes back goes
 * before all else of its priority, in the order that it was picked in, and costs its team no second turn. Every operation is O(log n) or better.
 */
import { Heap } from "../../shared/plugin/Heap.ts"
import type { Offered, Placement } from "../../shared/plugin/PlacementPolicy.ts"

interface Job<Entry> {
  readonly key: string
  /** In order of arrival; undefined: picked or withdrawn. One that waits stands at its `place` less `base`. */
  entries: Array<Entry | undefined>
  /** How many were cut off before the first. */
  base: number
  head: number
  waiting: number
  previous: Job<Entry> | undefined
  next: Job<Entry> | undefined
}

interface Team<Entry> {
  readonly name: string
  /** Orders teams that are even. */
  readonly number: number
  readonly step: number
  virtualTime: number
  readonly jobs: Map<string, Job<Entry>>
  first: Job<Entry> | undefined
  last: Job<Entry> | undefined
}

interface Level<Entry> {
  readonly teams: Map<string, Team<Entry>>
  /** Teams with something waiting, the next one first. */
  readonly ready: Heap<Team<Entry>>
  /** Came back; their teams have paid for them. */
  readonly returned: Heap<Entry>
  size: number
  present: number
  made: number
}

const levelCount = 100

const levelMake = <Entry extends Offered>(): Level<Entry> => ({
  teams: new Map(),
  ready: new Heap((a, b) => a.virtualTime < b.virtualTime || a.virtualTime === b.virtualTime && a.number < b.number),
  returned: new Heap((a, b) => a.place < b.place),
  size: 0,
  present: 0,
  made: 0
})

export class FairQueue<Entry extends Offered> implements Placement<Entry> {
  private readonly levels = Array.from({ length: levelCount }, (): Level<Entry> | undefined => undefined)
  private readonly weights: ReadonlyMap<string, number>
  private top = -1
  private count = 0
  private picks = 0

  constructor(weights: ReadonlyMap<string, number>) {
    this.weights = weights
  }

  get size(): number {
    return this.count
  }

  offer(entry: Entry): void {
    const level = this.arrive(entry)
    const team = this.teamOf(level, entry.team)
    const job = team.jobs.get(entry.instance) ?? addJob(team, entry.instance)
    entry.place = job.base + job.entries.length
    job.entries.push(entry)
    job.waiting++
    level.ready.push(team)
  }

  putBack(entry: Entry): void {
    this.arrive(entry).returned.push(entry)
  }

  next(): Entry | undefined {
    let level: Level<Entry> | undefined
    for (; this.top >= 0; this.top--) {
      level = this.levels[this.top]
      if (level !== undefined && level.size > 0) break
    }
    if (this.top < 0 || level === undefined) return undefined
    const returned = level.returned.shift()
    if (returned !== undefined) {
      this.left(level)
      return returned
    }
    const team = level.ready.first
    const job = team?.first
    if (team === undefined || job === undefined) return undefined
    const entry = take(job)
    if (entry === undefined) return undefined
    entry.place = ++this.picks
    level.present = team.virtualTime
    team.virtualTime += team.step
    this.left(level)
    unlink(team, job)
    if (job.waiting > 0) linkLast(team, job)
    else team.jobs.delete(job.key)
    this.settle(level, team)
    return entry
  }

  remove(entry: Entry): void {
    const level = this.levels[levelOf(entry)]
    if (level === undefined) return
    const team = level.teams.get(entry.team)
    if (level.returned.delete(entry)) {
      this.left(level)
      if (team === undefined) return
      team.virtualTime -= team.step
      return level.ready.moved(team)
    }
    const job = team?.jobs.get(entry.instance)
    if (team === undefined || job === undefined) return
    const at = entry.place - job.base
    if (job.entries[at] !== entry) return
    job.entries[at] = undefined
    job.waiting--
    this.left(level)
    if (job.waiting > 0) return
    unlink(team, job)
    team.jobs.delete(job.key)
    this.settle(level, team)
  }

  private arrive(entry: Entry): Level<Entry> {
    const index = levelOf(entry)
    const level = this.levels[index] ??= levelMake()
    if (index > this.top) this.top = index
    level.size++
    this.count++
    return level
  }

  private left(level: Level<Entry>): void {
    level.size--
    this.count--
  }

  private teamOf(level: Level<Entry>, name: string): Team<Entry> {
    let team = level.teams.get(name)
    if (team === undefined) {
      team = {
        name,
        number: level.made++,
        step: 1 / (this.weights.get(name) ?? 1),
        virtualTime: level.present,
        jobs: new Map(),
        first: undefined,
        last: undefined
      }
      level.teams.set(name, team)
    } else if (team.first === undefined && team.virtualTime < level.present) team.virtualTime = level.present
    return team
  }

  /** The team's place among those with something waiting, after a pick or when nothing of it waits any more. */
  private settle(level: Level<Entry>, team: Team<Entry>): void {
    if (team.first !== undefined) return level.ready.moved(team)
    level.ready.delete(team)
    // A team that is far behind the present has no claim on the past, so nothing is lost with it.
    if (level.teams.size > teamsKept) level.teams.delete(team.name)
  }
}

/** Teams with nothing waiting that are remembered per level. */
const teamsKept = 64

const levelOf = (entry: Offered): number => entry.priority * 10 + entry.taskPriority

const addJob = <Entry>(team: Team<Entry>, key: string): Job<Entry> => {
  const job: Job<Entry> = { key, entries: [], base: 0, head: 0, waiting: 0, previous: undefined, next: undefined }
  team.jobs.set(key, job)
  linkLast(team, job)
  return job
}

/** The oldest of a job. */
const take = <Entry>(job: Job<Entry>): Entry | undefined => {
  const { entries } = job
  while (job.head < entries.length && entries[job.head] === undefined) job.head++
  const entry = entries[job.head]
  if (entry === undefined) return undefined
  entries[job.head++] = undefined
  job.waiting--
  if (job.head > 256 && job.head * 2 > entries.length) {
    job.entries = entries.slice(job.head)
    job.base += job.head
    job.head = 0
  }
  return entry
}

const unlink = <Entry>(team: Team<Entry>, job: Job<Entry>): void => {
  if (job.previous === undefined) team.first = job.next
  else job.previous.next = job.next
  if (job.next === undefined) team.last = job.previous
  else job.next.previous = job.previous
  job.previous = undefined
  job.next = undefined
}
const linkLast = <Entry>(team: Team<Entry>, job: Job<Entry>): void => {
  job.previous = team.last
  if (team.last === undefined) team.first = job
  else team.last.next = job
  team.last = job
}
