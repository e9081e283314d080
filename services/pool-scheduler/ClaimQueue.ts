/**
 * All claims of a pool that wait for a sandbox, in ONE bounded structure: priority first, then weighted fair share among teams, then order of arrival.
 *
 * `length` counts every claim without a terminal result, also those whose write is in flight, and the bound counts the same (design/04 section 1, points 3, 4
 * and 9): a claim is admitted once, taken for a write, put back to the place it had, and settled. Within (team, priority) order of arrival is never broken
 * among claims that ask for the same kind of sandbox; a claim whose selector no idle sandbox matches does not hold up the others.
 *
 * A team at its quota is `blocked`: its claims keep their places and are passed over until it is unblocked. A batch waits at one place, and holds up what comes after it
 * in its priority until enough is idle for all of it; one with a selector holds up only claims with the same selector.
 *
 * Fair share: each team of a priority has a virtual time that grows by 1/weight when it is served; the lowest goes first, and a team that comes back after
 * a pause starts at the present, so it can neither save up turns nor be starved. Plain and synchronous; O(log teams) per operation.
 */
import type { Labels } from "../../shared/protocol/Sandbox.ts"
import type { Batch } from "./Batch.ts"
import type { Claim } from "./Claim.ts"
import type { ReadyQueue } from "./ReadyQueue.ts"
import * as Selector from "./Selector.ts"
import type { SelectorClass } from "./SelectorClass.ts"

interface Team {
  readonly name: string
  step: number
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
  has(claim: Claim): boolean {
    return this.items[this.place(claim.sequence)] === claim
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

/** What the queue has to know about the idle sandboxes to give out batches. */
export type HasRoom = (batch: Batch<Claim>) => boolean

export class ClaimQueue {
  private readonly levels: Array<Level> = Array.from({ length: priorities }, () => new Level())
  private readonly classes = new Map<string, SelectorClass>()
  private readonly plain: SelectorClass = { key: "", selector: undefined, waiting: 0, open: 0, exhausted: false }
  /** Those of batches, by the key of their selector. */
  private readonly batchClasses = new Map<string, Set<SelectorClass>>()
  private readonly blocked = new Set<string>()
  /** Members of batches that have begun, in the order of their batches: before everything else. */
  private readonly opened = new ClaimList()
  private readonly hasRoom: HasRoom
  private weights: ReadonlyMap<string, number>
  private waitingCount = 0
  private servableCount = 0
  private blockedCount = 0
  private openCount = 0
  readonly lengthMax: number

  constructor(options: {
    readonly lengthMax: number
    readonly weights?: ReadonlyMap<string, number>
    readonly hasRoom?: HasRoom
  }) {
    this.lengthMax = options.lengthMax
    this.weights = options.weights ?? new Map()
    this.hasRoom = options.hasRoom ?? (() => true)
    this.classes.set("", this.plain)
  }

  /** Claims without a terminal result: waiting and in flight; each member of a batch counts. */
  get length(): number {
    return this.openCount
  }
  /** Those that wait for a sandbox now; a batch that has not begun counts once. */
  get waiting(): number {
    return this.waitingCount
  }
  /** Those that wait, whose team is within its quota, and that some idle sandbox may match. */
  get servable(): number {
    return this.servableCount
  }
  /** Those that wait for their team's quota. */
  get quotaBlocked(): number {
    return this.blockedCount
  }

  /** A new claim, to the tail of its team. False: full. */
  admit(claim: Claim): boolean {
    if (this.openCount >= this.lengthMax) return false
    this.openCount++
    this.insert(claim, false)
    return true
  }

  /** All members of a new batch; its first one stands in the queue for all. False: not enough room for every one. */
  admitBatch(batch: Batch<Claim>): boolean {
    const [first] = batch.members
    if (first === undefined || this.openCount + batch.count > this.lengthMax) return false
    this.openCount += batch.count
    this.insert(first, false)
    return true
  }

  /** A claim that was taken waits again, at the place it had; its team is not charged for the turn. */
  putBack(claim: Claim): void {
    if (claim.batch?.isOpen === true) this.insertOpened(claim)
    else this.insert(claim, true)
  }

  /** A batch that was taken has room: its members are taken one by one from here on. The team is charged for each. */
  open(batch: Batch<Claim>): void {
    batch.isOpen = true
    const team = this.levels[batch.spec.priority]?.teams.get(batch.spec.team)
    if (team !== undefined) {
      team.virtualTime += team.step * (batch.count - 1)
      if (team.index >= 0) (this.levels[batch.spec.priority] as Level).move(team) // found there
    }
    for (const member of batch.members) this.insertOpened(member)
  }

  /** A claim has its terminal result. Whether it still waited or was taken does not matter. */
  settle(claim: Claim, isWaiting: boolean): void {
    if (isWaiting) this.withdraw(claim)
    this.openCount--
  }

  /** Takes the next claim that a sandbox of its class can serve; undefined: none, or a batch waits for more to be idle. O(log teams) unless whole classes are exhausted. */
  take(): Claim | undefined {
    if (this.servableCount === 0) return undefined
    const member = this.opened.first
    if (member !== undefined && !this.classOf(member).exhausted) {
      this.opened.shift()
      this.uncount(member, false)
      return member
    }
    for (let priority = priorities - 1; priority >= 0; priority--) {
      const level = this.levels[priority] as Level // one per priority
      if (level.heap.length === 0) continue
      const claim = this.takeFrom(level)
      if (claim === "hold") return undefined
      if (claim !== undefined) return claim
    }
    return undefined
  }

  /** No idle sandbox matches this claim's selector: its class waits until `revive` says otherwise. */
  exhaust(claim: Claim): void {
    const group = this.classOf(claim)
    if (group.exhausted) return
    group.exhausted = true
    this.servableCount -= group.open
  }

  /** A sandbox became idle that matches the selector of this key. */
  revive(key: string): void {
    const group = this.classes.get(key)
    if (group !== undefined) this.reviveClass(group)
    if (this.batchClasses.size === 0) return
    const batches = this.batchClasses.get(key)
    if (batches !== undefined) { for (const one of batches) this.reviveClass(one) }
  }

  /** A sandbox with these labels is idle: those that had found none with theirs may look again. O(its labels), or O(classes) for shapes that the index has given up. */
  becameIdle(labels: Labels, index: Pick<ReadyQueue, "eachKey" | "hasShape">): void {
    if (this.classes.size <= 1) return
    index.eachKey(labels, this.reviveKey)
    for (const group of this.classes.values()) {
      const { selector } = group
      if (!group.exhausted || selector === undefined || index.hasShape(selector.shape)) continue
      if (Selector.matches(selector.labels, labels)) this.reviveClass(group)
    }
  }

  private readonly reviveKey = (key: string): void => this.revive(key)

  private reviveClass(group: SelectorClass): void {
    if (!group.exhausted) return
    group.exhausted = false
    this.servableCount += group.open
  }

  /** A team has reached its quota, or is below it again. O(its classes), nothing when it is so already. */
  setBlocked(name: string, isBlocked: boolean): void {
    if (this.blocked.has(name) === isBlocked) return
    if (isBlocked) this.blocked.add(name)
    else this.blocked.delete(name)
    for (const level of this.levels) {
      const team = level.teams.get(name)
      if (team === undefined || team.waiting === 0) continue
      for (const [group, list] of team.lists) {
        const count = isBlocked ? -list.size : list.size
        group.open += count
        this.blockedCount -= count
        if (!group.exhausted) this.servableCount += count
      }
      if (isBlocked) level.remove(team)
      else {
        if (team.virtualTime < level.present) team.virtualTime = level.present
        level.push(team)
      }
    }
  }

  unblockAll(): void {
    for (const team of Array.from(this.blocked)) this.setBlocked(team, false)
  }

  isBlocked(team: string): boolean {
    return this.blocked.has(team)
  }

  setWeights(weights: ReadonlyMap<string, number>): void {
    this.weights = weights
    for (const level of this.levels) {
      for (const team of level.teams.values()) {
        if (team.waiting === 0) level.teams.delete(team.name)
        else team.step = 1 / (weights.get(team.name) ?? 1)
      }
    }
  }

  /** "hold": a batch is next and has no room yet; nothing behind it goes first. */
  private takeFrom(level: Level): Claim | "hold" | undefined {
    let passed: Array<Team> | undefined
    let taken: Claim | "hold" | undefined
    for (let team = level.heap[0]; team !== undefined && taken === undefined; team = level.heap[0]) {
      const list = this.servableList(team)
      const claim = list?.first
      if (list === undefined || claim === undefined) {
        level.remove(team)
        passed ??= []
        passed.push(team)
        continue
      }
      const { batch } = claim
      if (batch !== undefined && !this.hasRoom(batch)) {
        if (claim.selector === undefined) taken = "hold"
        else this.exhaust(claim)
        continue
      }
      list.shift()
      taken = claim
      level.present = team.virtualTime
      team.virtualTime += team.step
      this.left(level, team, claim)
    }
    if (passed !== undefined) { for (const team of passed) level.push(team) }
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
        for (const other of level.teams.values()) if (other.waiting === 0) level.teams.delete(other.name)
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
    team.waiting++
    const isBlocked = this.blocked.has(team.name)
    this.count(group, isBlocked)
    if (isBlocked) return
    if (team.index < 0) level.push(team)
    else if (isReturn) level.move(team)
  }

  private insertOpened(claim: Claim): void {
    this.opened.insert(claim)
    this.count(this.classOf(claim), false)
  }

  private withdraw(claim: Claim): void {
    if (claim.batch?.isOpen === true) {
      if (this.opened.delete(claim)) this.uncount(claim, false)
      return
    }
    const level = this.levels[claim.spec.priority] as Level // a priority is 0 .. 9
    const team = level.teams.get(claim.spec.team)
    // A member of a batch that has not begun, other than its first, has no class: it stands nowhere.
    const group = claim.selector === undefined ? this.plain : claim.group
    if (team === undefined || group === undefined || team.lists.get(group)?.delete(claim) !== true) return
    this.left(level, team, claim)
  }

  private left(level: Level, team: Team, claim: Claim): void {
    const group = this.classOf(claim)
    const isBlocked = this.blocked.has(team.name)
    if (group !== this.plain && team.lists.get(group)?.size === 0) team.lists.delete(group)
    team.waiting--
    this.uncount(claim, isBlocked)
    if (isBlocked) return
    if (team.waiting === 0) level.remove(team)
    else level.move(team)
  }

  private count(group: SelectorClass, isBlocked: boolean): void {
    group.waiting++
    this.waitingCount++
    if (isBlocked) {
      this.blockedCount++
      return
    }
    group.open++
    if (!group.exhausted) this.servableCount++
  }

  private uncount(claim: Claim, isBlocked: boolean): void {
    const group = this.classOf(claim)
    group.waiting--
    this.waitingCount--
    if (isBlocked) this.blockedCount--
    else {
      group.open--
      if (!group.exhausted) this.servableCount--
    }
    if (group === this.plain || group.waiting > 0) return
    this.classes.delete(group.key)
    const { selector } = group
    const batches = selector === undefined ? undefined : this.batchClasses.get(selector.key)
    if (selector !== undefined && batches?.delete(group) === true && batches.size === 0) {
      this.batchClasses.delete(selector.key)
    }
  }

  private classOf(claim: Claim): SelectorClass {
    const { selector } = claim
    if (selector === undefined) return this.plain
    // A batch asks for more than a single claim of the same selector: it is exhausted by itself.
    const key = claim.batch === undefined || claim.batch.isOpen ? selector.key : `${selector.key}*${claim.batch.count}`
    const { group: own } = claim
    if (own !== undefined && own.key === key && this.classes.get(key) === own) return own
    let group = this.classes.get(key)
    if (group === undefined) {
      group = { key, selector, waiting: 0, open: 0, exhausted: false }
      this.classes.set(key, group)
      if (key !== selector.key) {
        let batches = this.batchClasses.get(selector.key)
        if (batches === undefined) this.batchClasses.set(selector.key, batches = new Set())
        batches.add(group)
      }
    }
    claim.group = group
    return group
  }
}
