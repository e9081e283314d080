/**
 * The order of the `fifo` policy: priority first, then weighted fair share among teams, then turns among jobs, then order of arrival within a job.
 *
 * A job (workflow instance) with ten thousand ready tasks and one with a single one take turns; so do teams, by their weights. Every operation is O(log teams) or
 * better, but for `remove`, which looks through the one job's waiting tasks.
 */
import type { Offered, Placement } from "../../shared/plugin/PlacementPolicy.ts"

interface Job<Entry> {
  readonly key: string
  entries: Array<Entry | undefined>
  head: number
  previous: Job<Entry> | undefined
  next: Job<Entry> | undefined
}

interface Team<Entry> {
  readonly name: string
  readonly step: number
  virtualTime: number
  readonly jobs: Map<string, Job<Entry>>
  first: Job<Entry> | undefined
  last: Job<Entry> | undefined
}

interface Level<Entry> {
  readonly teams: Map<string, Team<Entry>>
  size: number
  present: number
}

const levelCount = 100

export class FairQueue<Entry extends Offered> implements Placement<Entry> {
  private readonly levels: Array<Level<Entry>> = []
  private readonly weights: ReadonlyMap<string, number>
  private top = -1
  private count = 0

  constructor(weights: ReadonlyMap<string, number>) {
    this.weights = weights
    for (let i = 0; i < levelCount; i++) this.levels.push({ teams: new Map(), size: 0, present: 0 })
  }

  get size(): number {
    return this.count
  }

  offer(entry: Entry): void {
    const team = this.teamOf(entry)
    const job = team.jobs.get(entry.instance) ?? this.addJob(team, entry.instance, false)
    job.entries.push(entry)
  }

  putBack(entry: Entry): void {
    const team = this.teamOf(entry)
    team.virtualTime -= team.step
    let job = team.jobs.get(entry.instance)
    if (job === undefined) job = this.addJob(team, entry.instance, true)
    else if (team.first !== job) {
      unlink(team, job)
      linkFirst(team, job)
    }
    if (job.head > 0) job.entries[--job.head] = entry
    else job.entries.unshift(entry)
  }

  next(): Entry | undefined {
    while (this.top >= 0 && this.levelAt(this.top).size === 0) this.top--
    if (this.top < 0) return undefined
    const level = this.levelAt(this.top)
    let team: Team<Entry> | undefined
    // Few teams wait at once: a look at each is shorter than a heap's upkeep.
    for (const one of level.teams.values()) {
      if (one.first !== undefined && (team === undefined || one.virtualTime < team.virtualTime)) team = one
    }
    const job = team?.first
    const entry = job?.entries[job.head]
    if (team === undefined || job === undefined || entry === undefined) return undefined
    job.entries[job.head++] = undefined
    level.present = team.virtualTime
    team.virtualTime += team.step
    level.size--
    this.count--
    unlink(team, job)
    if (job.head < job.entries.length) {
      if (job.head > 256 && job.head * 2 > job.entries.length) {
        job.entries = job.entries.slice(job.head)
        job.head = 0
      }
      linkLast(team, job)
    } else this.dropJob(level, team, job)
    return entry
  }

  remove(entry: Entry): void {
    const level = this.levelAt(levelOf(entry))
    const team = level.teams.get(entry.team)
    const job = team?.jobs.get(entry.instance)
    if (team === undefined || job === undefined) return
    const at = job.entries.indexOf(entry, job.head)
    if (at < 0) return
    job.entries.splice(at, 1)
    level.size--
    this.count--
    if (job.head >= job.entries.length) {
      unlink(team, job)
      this.dropJob(level, team, job)
    }
  }

  private teamOf(entry: Entry): Team<Entry> {
    const index = levelOf(entry)
    const level = this.levelAt(index)
    if (index > this.top) this.top = index
    level.size++
    this.count++
    let team = level.teams.get(entry.team)
    if (team === undefined) {
      team = {
        name: entry.team,
        step: 1 / (this.weights.get(entry.team) ?? 1),
        virtualTime: level.present,
        jobs: new Map(),
        first: undefined,
        last: undefined
      }
      level.teams.set(entry.team, team)
    } else if (team.first === undefined && team.virtualTime < level.present) team.virtualTime = level.present
    return team
  }

  private addJob(team: Team<Entry>, key: string, isFirst: boolean): Job<Entry> {
    const job: Job<Entry> = { key, entries: [], head: 0, previous: undefined, next: undefined }
    team.jobs.set(key, job)
    if (isFirst) linkFirst(team, job)
    else linkLast(team, job)
    return job
  }

  private dropJob(level: Level<Entry>, team: Team<Entry>, job: Job<Entry>): void {
    team.jobs.delete(job.key)
    // A team that is far behind the present has no claim on the past, so nothing is lost with it.
    if (team.jobs.size === 0 && level.teams.size > teamsKept) level.teams.delete(team.name)
  }

  private levelAt(index: number): Level<Entry> {
    return this.levels[index] as Level<Entry> // 0 .. 99
  }
}

/** Teams with nothing waiting that are remembered per level. */
const teamsKept = 64

const levelOf = (entry: Offered): number => entry.priority * 10 + entry.taskPriority

const unlink = <Entry>(team: Team<Entry>, job: Job<Entry>): void => {
  if (job.previous === undefined) team.first = job.next
  else job.previous.next = job.next
  if (job.next === undefined) team.last = job.previous
  else job.next.previous = job.previous
  job.previous = undefined
  job.next = undefined
}
const linkFirst = <Entry>(team: Team<Entry>, job: Job<Entry>): void => {
  job.next = team.first
  if (team.first === undefined) team.last = job
  else team.first.previous = job
  team.first = job
}
const linkLast = <Entry>(team: Team<Entry>, job: Job<Entry>): void => {
  job.previous = team.last
  if (team.last === undefined) team.first = job
  else team.last.next = job
  team.last = job
}
