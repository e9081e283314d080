/**
 * All claims of a pool that wait for a sandbox, in ONE bounded structure: priority first, then weighted fair share among teams, then order of arrival.
 *
 * `length` counts every claim without a terminal result, also those whose write is in flight, and the bound counts the same (design/04 section 1, points 3, 4
 * and 9): a claim is admitted once, taken for a write, put back to the place it had, and settled. Within (team, priority) order of arrival is never broken
 * among claims that ask for the same kind of sandbox; a claim whose selector no idle sandbox matches does not hold up the others.
 *
 * Fair share: each team of a priority has a virtual time that grows by 1/weight when it is served; the lowest goes first, and a team that comes back after
 * a pause starts at the present, so it can neither save up turns nor be starved. Plain and synchronous; O(log teams) per operation.
 */
import type { Labels } from "../../shared/protocol/Sandbox.ts"
import type { Claim } from "./Claim.ts"

/** Claims that ask for the same kind of sandbox. `exhausted`: no idle sandbox matches, as of the last look. */
export interface SelectorClass {
  readonly key: string
  readonly selector: Labels | undefined
  waiting: number
  exhausted: boolean
}

interface Team {
  readonly name: string
  readonly step: number
  virtualTime: number
  /** Waiting claims by selector class, oldest first. */
  readonly lists: Map<SelectorClass, ClaimList>
  waiting: number
  /** Position in its priority's heap; -1 when nothing of it waits. */
  index: number
}

/** A list by sequence. Claims arrive in order and come back close to the head, so an insertion is short. */
class ClaimList {
  private items: Array<Claim | undefined> = []
  private head = 0

  get first(): Claim | undefined {
    return this.items[this.head]
  }
  get size(): number {
    return this.items.length - this.head
  }
  insert(claim: Claim): void {
    const last = this.items.length > this.head ? this.items[this.items.length - 1] : undefined
    if (last === undefined || last.sequence < claim.sequence) {
      this.items.push(claim)
      return
    }
    const first = this.first
    if (first !== undefined && claim.sequence < first.sequence && this.head > 0) {
      this.items[--this.head] = claim
      return
    }
    this.items.splice(this.place(claim.sequence), 0, claim)
  }
  shift(): Claim | undefined {
    const claim = this.items[this.head]
    if (claim === undefined) return undefined
    this.items[this.head++] = undefined
    if (this.head > 64 && this.head * 2 > this.items.length) {
      this.items = this.items.slice(this.head)
      this.head = 0
    }
    return claim
  }
  delete(claim: Claim): boolean {
    const place = this.place(claim.sequence)
    if (this.items[place] !== claim) return false
    if (place === this.head) this.shift()
    else this.items.splice(place, 1)
    return true
  }
  /** Index of the first claim that is not older. */
  private place(sequence: number): number {
    let low = this.head
    let high = this.items.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.items[middle]?.sequence ?? 0) < sequence) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** The teams of one priority that have claims waiting: a heap by virtual time. */
class Level {
  readonly teams = new Map<string, Team>()
  readonly heap: Array<Team> = []
  /** Virtual time of the team that was served last. */
  present = 0

  before(a: Team, b: Team): boolean {
    return a.virtualTime < b.virtualTime || (a.virtualTime === b.virtualTime && a.name < b.name)
  }
  push(team: Team): void {
    team.index = this.heap.length
    this.heap.push(team)
    this.move(team)
  }
  remove(team: Team): void {
    const index = team.index
    team.index = -1
    const last = this.heap.pop()
    if (last === undefined || last === team) return
    this.heap[index] = last
    last.index = index
    this.move(last)
  }
  /** Restores the heap around a team whose virtual time has changed. */
  move(team: Team): void {
    const heap = this.heap
    let index = team.index
    while (index > 0) {
      const parentIndex = (index - 1) >> 1
      const parent = heap[parentIndex] as Team // within the heap
      if (!this.before(team, parent)) break
      heap[index] = parent
      parent.index = index
      index = parentIndex
    }
    for (;;) {
      const left = index * 2 + 1
      if (left >= heap.length) break
      const leftTeam = heap[left] as Team // within the heap
      const rightTeam = heap[left + 1]
      const child = rightTeam !== undefined && this.before(rightTeam, leftTeam) ? rightTeam : leftTeam
      if (!this.before(child, team)) break
      const childIndex = child.index
      heap[index] = child
      child.index = index
      index = childIndex
    }
    heap[index] = team
    team.index = index
  }
}

const priorities = 10
/** Teams without a claim are forgotten beyond this number per priority; their virtual time is in the past by then. */
const idleTeamsMax = 1_024

const keyOf = (selector: Labels | undefined): string => {
  if (selector === undefined) return ""
  const keys = Object.keys(selector)
  return keys.length === 0 ? "" : JSON.stringify(keys.sort().map((key) => [key, selector[key]]))
}

export class ClaimQueue {
  private readonly levels: Array<Level> = Array.from({ length: priorities }, () => new Level())
  private readonly classes = new Map<string, SelectorClass>()
  private readonly plain: SelectorClass = { key: "", selector: undefined, waiting: 0, exhausted: false }
  private weights: ReadonlyMap<string, number>
  private waitingCount = 0
  private exhaustedCount = 0
  private openCount = 0
  readonly lengthMax: number

  constructor(options: { readonly lengthMax: number; readonly weights?: ReadonlyMap<string, number> }) {
    this.lengthMax = options.lengthMax
    this.weights = options.weights ?? new Map()
    this.classes.set("", this.plain)
  }

  /** Claims without a terminal result: waiting and in flight. */
  get length(): number {
    return this.openCount
  }
  /** Those that wait for a sandbox now. */
  get waiting(): number {
    return this.waitingCount
  }
  /** Those that wait and that some idle sandbox may match. */
  get servable(): number {
    return this.waitingCount - this.exhaustedCount
  }

  /** A new claim, to the tail of its team. False: full. */
  admit(claim: Claim): boolean {
    if (this.openCount >= this.lengthMax) return false
    this.openCount++
    this.insert(claim, false)
    return true
  }

  /** A claim that was taken waits again, at the place it had; its team is not charged for the turn. */
  putBack(claim: Claim): void {
    this.insert(claim, true)
  }

  /** A claim has its terminal result. Whether it still waited or was taken does not matter. */
  settle(claim: Claim, isWaiting: boolean): void {
    if (isWaiting) this.withdraw(claim)
    this.openCount--
  }

  /** Takes the next claim that a sandbox of its class can serve. O(log teams) unless whole classes are exhausted. */
  take(): Claim | undefined {
    if (this.servable === 0) return undefined
    for (let priority = priorities - 1; priority >= 0; priority--) {
      const level = this.levels[priority] as Level // one per priority
      if (level.heap.length === 0) continue
      const claim = this.takeFrom(level)
      if (claim !== undefined) return claim
    }
    return undefined
  }

  /** No idle sandbox matches this claim's selector: its class waits until `reviveAll` or `revive` says otherwise. */
  exhaust(claim: Claim): void {
    const group = this.classOf(claim)
    if (group.exhausted) return
    group.exhausted = true
    this.exhaustedCount += group.waiting
  }

  /** A sandbox became idle: the classes that it `matches` can be served again. O(classes that are exhausted). */
  revive(matches: (selector: Labels) => boolean): void {
    if (this.exhaustedCount === 0 && this.classes.size === 1) return
    for (const group of this.classes.values()) {
      if (!group.exhausted || (group.selector !== undefined && !matches(group.selector))) continue
      group.exhausted = false
      this.exhaustedCount -= group.waiting
    }
  }

  setWeights(weights: ReadonlyMap<string, number>): void {
    this.weights = weights
    for (const level of this.levels) {
      for (const team of level.teams.values()) if (team.index < 0) level.teams.delete(team.name)
    }
  }

  private takeFrom(level: Level): Claim | undefined {
    const passed: Array<Team> = []
    let taken: Claim | undefined
    for (let team = level.heap[0]; team !== undefined && taken === undefined; team = level.heap[0]) {
      const list = this.servableList(team)
      const claim = list?.shift()
      if (claim === undefined) {
        level.remove(team)
        passed.push(team)
        continue
      }
      taken = claim
      level.present = team.virtualTime
      team.virtualTime += team.step
      this.left(level, team, claim)
    }
    for (const team of passed) level.push(team)
    return taken
  }

  /** The list with the team's oldest claim among classes that can be served. */
  private servableList(team: Team): ClaimList | undefined {
    let oldest: ClaimList | undefined
    for (const [group, list] of team.lists) {
      const first = group.exhausted ? undefined : list.first
      if (first === undefined) continue
      if (oldest?.first === undefined || first.sequence < oldest.first.sequence) oldest = list
    }
    return oldest
  }

  private insert(claim: Claim, isReturn: boolean): void {
    const level = this.levels[claim.spec.priority] as Level // a priority is 0 .. 9
    let team = level.teams.get(claim.spec.team)
    if (team === undefined) {
      if (level.teams.size - level.heap.length > idleTeamsMax) {
        for (const other of level.teams.values()) if (other.index < 0) level.teams.delete(other.name)
      }
      const weight = this.weights.get(claim.spec.team) ?? 1
      team = {
        name: claim.spec.team,
        step: 1 / weight,
        virtualTime: level.present,
        lists: new Map(),
        waiting: 0,
        index: -1
      }
      level.teams.set(team.name, team)
    }
    if (isReturn) team.virtualTime -= team.step
    else if (team.index < 0 && team.virtualTime < level.present) team.virtualTime = level.present
    const group = this.classOf(claim)
    let list = team.lists.get(group)
    if (list === undefined) team.lists.set(group, list = new ClaimList())
    list.insert(claim)
    group.waiting++
    this.waitingCount++
    if (group.exhausted) this.exhaustedCount++
    team.waiting++
    if (team.index < 0) level.push(team)
    else if (isReturn) level.move(team)
  }

  private withdraw(claim: Claim): void {
    const level = this.levels[claim.spec.priority] as Level // a priority is 0 .. 9
    const team = level.teams.get(claim.spec.team)
    if (team === undefined || team.lists.get(this.classOf(claim))?.delete(claim) !== true) return
    this.left(level, team, claim)
  }

  private left(level: Level, team: Team, claim: Claim): void {
    const group = this.classOf(claim)
    group.waiting--
    this.waitingCount--
    if (group.exhausted) this.exhaustedCount--
    team.waiting--
    if (group !== this.plain && team.lists.get(group)?.size === 0) team.lists.delete(group)
    if (group !== this.plain && group.waiting === 0) this.classes.delete(group.key)
    if (team.waiting === 0) level.remove(team)
    else level.move(team)
  }

  private classOf(claim: Claim): SelectorClass {
    const { selector } = claim.spec
    if (selector === undefined) return this.plain
    const key = keyOf(selector)
    const known = this.classes.get(key)
    if (known !== undefined) return known
    const group: SelectorClass = { key, selector, waiting: 0, exhausted: false }
    this.classes.set(key, group)
    return group
  }
}
