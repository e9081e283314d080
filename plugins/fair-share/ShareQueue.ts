/**
 * The order of the `fair-share` policy: teams by their weighted share of what has been started, then within a team its priorities, then turns among jobs, then order of arrival.
 *
 * A priority orders the work of its own team and nobody else's: no team gets more by asking for more. A share counts tasks that were started (picked, and not withdrawn after they
 * came back), not how long they ran. A team that had nothing waiting takes its turn at once and is given nothing for the time before; the same holds for a job within its team.
 * What was picked and comes back goes first, in the order that it was picked in, and costs no second turn. Every operation is O(log n).
 */
import { Heap } from "../../shared/plugin/Heap.ts"
import type { Offered, Placement } from "../../shared/plugin/PlacementPolicy.ts"

interface Job<Entry> {
  readonly key: string
  readonly priority: number
  /** Orders jobs that are even. */
  readonly number: number
  /** Tasks of it that were started, or would have been, had it been there all the time. */
  started: number
  /** By task priority, then in order of arrival. */
  readonly entries: Heap<Entry>
}

interface Team<Entry> {
  readonly name: string
  readonly number: number
  /** What one start costs it. */
  readonly step: number
  virtualTime: number
  readonly jobs: Map<string, Job<Entry>>
  /** Its jobs with something waiting, the next one first. */
  readonly ready: Heap<Job<Entry>>
  /** By workflow priority: `started` of the job that was picked last. */
  readonly present: Array<number>
}

export class ShareQueue<Entry extends Offered> implements Placement<Entry> {
  private readonly weights: ReadonlyMap<string, number>
  private readonly teams = new Map<string, Team<Entry>>()
  private readonly ready = new Heap<Team<Entry>>((a, b) =>
    a.virtualTime < b.virtualTime || a.virtualTime === b.virtualTime && a.number < b.number
  )
  /** Teams with nothing waiting that have had more than their share: a pause of a moment does not rid them of that. */
  private readonly idle = new Heap<Team<Entry>>((a, b) => a.virtualTime < b.virtualTime)
  /** Came back; their teams and jobs have paid for them. */
  private readonly returned = new Heap<Entry>((a, b) => a.place < b.place)
  private present = 0
  private count = 0
  /** Grows with every arrival and every pick. */
  private place = 0
  private made = 0

  constructor(weights: ReadonlyMap<string, number>) {
    this.weights = weights
  }

  get size(): number {
    return this.count
  }

  offer(entry: Entry): void {
    this.count++
    entry.place = ++this.place
    const team = this.teamOf(entry.team)
    const job = this.jobOf(team, entry)
    job.entries.push(entry)
    team.ready.push(job)
    this.ready.push(team)
  }

  putBack(entry: Entry): void {
    this.count++
    this.returned.push(entry)
  }

  next(): Entry | undefined {
    const returned = this.returned.shift()
    if (returned !== undefined) {
      this.count--
      return returned
    }
    const team = this.ready.first
    const job = team?.ready.first
    const entry = job?.entries.shift()
    if (team === undefined || job === undefined || entry === undefined) return undefined
    this.count--
    entry.place = ++this.place
    this.present = team.virtualTime
    team.virtualTime += team.step
    team.present[job.priority] = job.started++
    this.settle(team, job)
    for (let one = this.idle.first; one !== undefined && one.virtualTime <= this.present; one = this.idle.first) {
      this.idle.delete(one)
      this.teams.delete(one.name)
    }
    return entry
  }

  remove(entry: Entry): void {
    const team = this.teams.get(entry.team)
    if (this.returned.delete(entry)) {
      this.count--
      if (team === undefined) return
      team.virtualTime -= team.step
      this.idle.moved(team)
      return this.ready.moved(team)
    }
    const job = team?.jobs.get(keyOf(entry))
    if (team === undefined || job?.entries.delete(entry) !== true) return
    this.count--
    this.settle(team, job)
  }

  /** Both to their places, after a pick or a withdrawal. */
  private settle(team: Team<Entry>, job: Job<Entry>): void {
    if (job.entries.size > 0) team.ready.moved(job)
    else {
      team.ready.delete(job)
      team.jobs.delete(job.key)
    }
    if (team.ready.size > 0) return this.ready.moved(team)
    this.ready.delete(team)
    this.idle.push(team)
  }

  private teamOf(name: string): Team<Entry> {
    let team = this.teams.get(name)
    if (team === undefined) {
      team = {
        name,
        number: this.made++,
        step: 1 / (this.weights.get(name) ?? 1),
        virtualTime: this.present,
        jobs: new Map(),
        ready: new Heap((a, b) =>
          a.priority > b.priority ||
          a.priority === b.priority && (a.started < b.started || a.started === b.started && a.number < b.number)
        ),
        present: []
      }
      this.teams.set(name, team)
    } else if (this.idle.delete(team) && team.virtualTime < this.present) team.virtualTime = this.present
    return team
  }

  private jobOf(team: Team<Entry>, entry: Entry): Job<Entry> {
    const key = keyOf(entry)
    let job = team.jobs.get(key)
    if (job === undefined) {
      job = {
        key,
        priority: entry.priority,
        number: this.made++,
        started: team.present[entry.priority] ?? 0,
        entries: new Heap((a, b) =>
          a.taskPriority > b.taskPriority || a.taskPriority === b.taskPriority && a.place < b.place
        )
      }
      team.jobs.set(key, job)
    }
    return job
  }
}

/** A job has one priority; two of the same name and another priority are two. */
const keyOf = ({ instance, priority }: Offered): string => `${priority}/${instance}`
