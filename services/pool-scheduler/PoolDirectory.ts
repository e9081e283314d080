/**
 * All pools of the mesh as this process sees them: what they are, who owns them, which of them it runs itself, and when it should try to take one over.
 *
 * Fed by watches of `heddle_pools` and the registry and by system events; one timer for what is due. Liveness only: who tries, and when. That two never schedule one
 * pool under the same session is `PoolOwnership`'s. Candidates try one after the other, in the order of rendezvous hashing, so a take-over is rarely a race.
 */
import type { PoolOwnership } from "../../shared/protocol/Member.ts"
import type { PoolSpec } from "../../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import { fnv1a } from "../../shared/protocol/Shard.ts"
import type { EpochMs, MemberId, StartupId } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"
import type { OwnedPool } from "./OwnedPool.ts"
import type { Identity } from "./PoolOwnership.ts"

export type Route =
  | { readonly _tag: "Local"; readonly live: OwnedPool }
  | { readonly _tag: "Remote"; readonly owner: MemberId }
  /** The pool exists; nobody serves it at the moment. */
  | { readonly _tag: "NoOwner" }
  | { readonly _tag: "NoSuchPool" }
  | { readonly _tag: "Closing" }

export interface DirectoryPorts {
  readonly now: () => EpochMs
  readonly arm: (at: EpochMs) => void
  /** Acquire and run this pool; `ended` is called when it is over, and before that `serving`. */
  readonly start: (pool: PoolRef, spec: PoolSpec) => void
  /** End this pool: it is another's, deleted, or to be opened anew. */
  readonly stop: (pool: PoolRef) => void
}

export interface DirectoryOptions {
  readonly identity: Identity
  /** From the expiry of an owner's registration to the take-over, if no SCHEDULER_FAILOVER comes before. */
  readonly ownerGraceMs: number
  /** The same for an executor and WORKER_FAILOVER. */
  readonly executorGraceMs: number
}

export const directoryDefaults = { ownerGraceMs: 500, executorGraceMs: 30_000 } as const

/** Between the attempts of candidates. */
const rankDelayMs = 500
const parkedMax = 1_000
const restartAgainMs = 100
/** Pools that a reason names. */
const namesMax = 5
const restartMinMs = 500
const restartMaxMs = 30_000

interface Entry {
  readonly pool: PoolRef
  spec: PoolSpec | undefined
  specText: string
  owner: PoolOwnership | undefined
  ownerRevision: number
  /** Ours to run: being acquired, running, or ending. */
  isRunning: boolean
  isStopping: boolean
  runningText: string
  live: OwnedPool | undefined
  notBefore: EpochMs
  failures: number
  unownedSince: EpochMs
  parked: Array<Parked>
}

/** A request that waits for its pool to have an owner. */
class Parked {
  readonly resume: () => void
  readonly entry: Entry
  readonly alarm: Alarms.Alarm<Parked>
  constructor(resume: () => void, entry: Entry) {
    this.resume = resume
    this.entry = entry
    this.alarm = Alarms.make<Parked>(this)
  }
}

/** Fields of a spec that change without opening the pool anew. */
const adjustable: Readonly<Record<string, true>> = {
  size: true,
  min: true,
  max: true,
  minIdle: true,
  autoscale: true,
  createPerSecond: true,
  creatingMax: true,
  recycle: true,
  quotas: true,
  drain: true,
  teams: true,
  ttl: true
} satisfies Partial<Record<keyof PoolSpec, true>>

const fixedPart = (text: string): string =>
  JSON.stringify(JSON.parse(text), (key, value) => key in adjustable ? undefined : value)

const scoreOf = (member: MemberId, pool: string): number =>
  Math.imul(fnv1a(`${member}/${pool}`) ^ (fnv1a(pool) >>> 7), 0x85ebca6b) >>> 0

export class PoolDirectory {
  private readonly ports: DirectoryPorts
  private readonly options: DirectoryOptions
  private readonly entries = new Map<string, Entry>()
  private readonly schedulers = new Map<MemberId, StartupId>()
  private readonly executors = new Map<MemberId, StartupId>()
  /** Incarnations that have gone: when they may be treated as dead. */
  private readonly dead = new Map<StartupId, EpochMs>()
  private readonly lostExecutors = new Map<StartupId, EpochMs>()
  private readonly alarms = new Alarms.Alarms<Parked>()
  private parkedCount = 0
  private revision = 0
  private isComplete = false
  private isRegistryComplete = false
  private isClosing = false

  constructor(ports: DirectoryPorts, options: DirectoryOptions) {
    this.ports = ports
    this.options = options
  }

  // ---------------------------------------------------------------- questions

  route(pool: PoolRef): Route {
    const entry = this.entries.get(poolKey(pool))
    if (entry?.live !== undefined && !entry.isStopping) return { _tag: "Local", live: entry.live }
    if (this.isClosing) return { _tag: "Closing" }
    if (entry?.spec === undefined) return { _tag: "NoSuchPool" }
    const { owner } = entry
    if (owner === undefined || this.isOurs(owner) || this.schedulers.get(owner.owner) !== owner.startup) {
      return { _tag: "NoOwner" }
    }
    return { _tag: "Remote", owner: owner.owner }
  }

  /** Calls back when the pool's route may have changed, or at `until`. False: too many wait already. */
  park(pool: PoolRef, until: EpochMs, resume: () => void): boolean {
    if (this.parkedCount >= parkedMax) return false
    const entry = this.entryOf(pool)
    const parked = new Parked(resume, entry)
    this.parkedCount++
    entry.parked.push(parked)
    this.alarms.set(parked.alarm, until)
    this.ports.arm(until)
    return true
  }

  get pools(): ReadonlyArray<
    {
      readonly pool: PoolRef
      readonly spec: PoolSpec
      readonly owner: MemberId | null
      readonly live: OwnedPool | undefined
    }
  > {
    const found = []
    for (const entry of this.entries.values()) {
      if (entry.spec === undefined) continue
      found.push({ pool: entry.pool, spec: entry.spec, owner: entry.owner?.owner ?? null, live: entry.live })
    }
    return found
  }

  /** Pools that are served here. */
  get served(): number {
    let count = 0
    for (const { live } of this.entries.values()) if (live !== undefined) count++
    return count
  }

  /** Why not all that is ours is served; `undefined`: it is. */
  unready(): string | undefined {
    if (!this.isComplete) return "the pools are not read yet"
    if (!this.isRegistryComplete) return "the registry is not read yet"
    const missing: Array<string> = []
    for (const { live, owner, pool, spec } of this.entries.values()) {
      if (spec !== undefined && live === undefined && owner !== undefined && this.isOurs(owner)) {
        missing.push(poolKey(pool))
      }
    }
    if (missing.length === 0) return undefined
    const names = missing.slice(0, namesMax).join(", ")
    return `${missing.length} pools of this scheduler are not served yet: ${names}${
      missing.length > namesMax ? ", ..." : ""
    }`
  }

  get liveExecutors(): ReadonlyArray<MemberId> {
    return Array.from(this.executors.keys())
  }

  /** Grows with every pool that comes, goes or changes. */
  get specsRevision(): number {
    return this.revision
  }

  /** The live replica that handles what belongs to `key`; undefined: none is known. The same for all replicas that see the same members. */
  homeOf(key: string): MemberId | undefined {
    let home: MemberId | undefined
    let best = -1
    for (const member of this.schedulers.keys()) {
      const score = scoreOf(member, key)
      if (score > best || score === best && home !== undefined && member < home) {
        home = member
        best = score
      }
    }
    return home
  }

  exists(pool: PoolRef): boolean {
    return this.specOf(pool) !== undefined
  }

  specOf(pool: PoolRef): PoolSpec | undefined {
    return this.entries.get(poolKey(pool))?.spec
  }

  ownerOf(pool: PoolRef): PoolOwnership | undefined {
    return this.entries.get(poolKey(pool))?.owner
  }

  /** Whether an owner may be replaced by us now. */
  mayTake(owner: PoolOwnership | undefined): boolean {
    return owner === undefined || this.isOurs(owner) || this.deadAt(owner) <= this.ports.now()
  }

  // ---------------------------------------------------------------- what is told

  specPut(pool: PoolRef, spec: PoolSpec, text: string): void {
    const entry = this.entryOf(pool)
    if (entry.spec === undefined || entry.specText !== text) this.revision++
    entry.spec = spec
    entry.specText = text
    this.look(entry)
  }

  specRemoved(pool: PoolRef): void {
    const entry = this.entries.get(poolKey(pool))
    if (entry === undefined) return
    if (entry.spec !== undefined) this.revision++
    entry.spec = undefined
    this.look(entry)
  }

  ownerPut(pool: PoolRef, owner: PoolOwnership, revision: number): void {
    const entry = this.entryOf(pool)
    if (revision <= entry.ownerRevision) return
    entry.owner = owner
    entry.ownerRevision = revision
    this.look(entry)
  }

  ownerRemoved(pool: PoolRef, revision: number): void {
    const entry = this.entries.get(poolKey(pool))
    if (entry === undefined || revision < entry.ownerRevision) return
    entry.owner = undefined
    entry.ownerRevision = revision
    entry.unownedSince = this.ports.now()
    this.look(entry)
  }

  poolsComplete(): void {
    this.isComplete = true
    this.lookAtAll()
  }

  schedulerJoined(member: MemberId, startup: StartupId): void {
    this.schedulers.set(member, startup)
    this.dead.delete(startup)
    this.lookAtAll()
  }

  /** `isCertain`: it said good-bye or was replaced; otherwise it may only be cut off for a moment. */
  schedulerLeft(member: MemberId, startup: StartupId, isCertain: boolean): void {
    if (this.schedulers.get(member) === startup) this.schedulers.delete(member)
    this.dead.set(startup, this.ports.now() + (isCertain ? 0 : this.options.ownerGraceMs))
    this.lookAtAll()
  }

  /** SCHEDULER_FAILOVER. */
  schedulerDead(startup: StartupId): void {
    for (const [member, other] of this.schedulers) if (other === startup) this.schedulers.delete(member)
    this.dead.set(startup, this.ports.now())
    this.lookAtAll()
  }

  executorJoined(member: MemberId, startup: StartupId): void {
    this.executors.set(member, startup)
    this.lostExecutors.delete(startup)
  }

  executorLeft(member: MemberId, startup: StartupId, isCertain: boolean): void {
    if (this.executors.get(member) === startup) this.executors.delete(member)
    if (isCertain) return this.executorDead(startup)
    const at = this.ports.now() + this.options.executorGraceMs
    this.lostExecutors.set(startup, at)
    this.ports.arm(at)
  }

  /** WORKER_FAILOVER, a good-bye, or the end of the grace. */
  executorDead(startup: StartupId): void {
    this.lostExecutors.delete(startup)
    for (const entry of this.entries.values()) entry.live?.executorLost(startup)
  }

  registryComplete(): void {
    this.isRegistryComplete = true
    this.lookAtAll()
  }

  /** A pool that was started may be used. */
  serving(live: OwnedPool): void {
    const entry = this.entryOf(live.pool)
    entry.live = live
    entry.failures = 0
    this.look(entry)
  }

  /** A pool is ending: nothing new goes to it. */
  withdrawn(live: OwnedPool): void {
    const entry = this.entryOf(live.pool)
    if (entry.live === live) entry.live = undefined
  }

  /** A pool that was started is over. `isFailure`: it is tried again, later each time. */
  ended(pool: PoolRef, isFailure: boolean): void {
    const entry = this.entryOf(pool)
    entry.live = undefined
    entry.isRunning = false
    entry.isStopping = false
    // Also without a failure: somebody else may have been faster, and the watch has yet to tell.
    const waitMs = isFailure ? Math.min(restartMinMs * 2 ** entry.failures++, restartMaxMs) : restartAgainMs
    entry.notBefore = this.ports.now() + waitMs
    this.look(entry)
  }

  close(): void {
    this.isClosing = true
    for (const entry of this.entries.values()) this.wake(entry)
  }

  // ---------------------------------------------------------------- decisions

  tick(now: EpochMs): EpochMs {
    for (let alarm = this.alarms.due(now); alarm !== undefined; alarm = this.alarms.due(now)) this.resume(alarm.owner)
    let next = Infinity
    for (const [startup, at] of this.lostExecutors) {
      if (at <= now) this.executorDead(startup)
      else next = Math.min(next, at)
    }
    for (const entry of this.entries.values()) next = Math.min(next, this.look(entry))
    return Math.min(next, this.alarms.earliest)
  }

  private lookAtAll(): void {
    for (const entry of this.entries.values()) this.look(entry)
  }

  /** Starts or stops what should be; answers when it should be looked at again. */
  private look(entry: Entry): EpochMs {
    this.wake(entry)
    if (this.isClosing || !this.isComplete || !this.isRegistryComplete) return Infinity
    const now = this.ports.now()
    if (entry.isRunning) {
      if (entry.isStopping) return Infinity
      const { live } = entry
      const isTaken = live !== undefined && entry.owner !== undefined && entry.ownerRevision > live.owned.revision &&
        !this.isOurs(entry.owner)
      const isChanged = live !== undefined && entry.specText !== entry.runningText && !this.adjust(entry, live)
      if (entry.spec === undefined || isTaken || isChanged) {
        entry.isStopping = true
        this.ports.stop(entry.pool)
      }
      return Infinity
    }
    if (entry.spec === undefined) return Infinity
    const at = Math.max(this.takeAt(entry), entry.notBefore)
    if (at === Infinity) return Infinity
    if (at > now) {
      this.ports.arm(at)
      return at
    }
    entry.isRunning = true
    entry.runningText = entry.specText
    this.ports.start(entry.pool, entry.spec)
    return Infinity
  }

  /** What `OwnedPool.reconfigure` knows changes while the pool runs; anything else opens it anew. */
  private adjust(entry: Entry, live: OwnedPool): boolean {
    const { spec } = entry
    if (spec === undefined) return true
    if (fixedPart(entry.runningText) !== fixedPart(entry.specText)) return false
    entry.runningText = entry.specText
    live.reconfigure(spec)
    return true
  }

  /** When this process should try to own the pool; Infinity: not as things stand. */
  private takeAt(entry: Entry): EpochMs {
    const { owner } = entry
    if (owner !== undefined && this.isOurs(owner)) return 0
    const delay = this.rank(entry.pool) * rankDelayMs
    if (owner === undefined) return entry.unownedSince + delay
    const at = this.deadAt(owner)
    return at === Infinity ? Infinity : at + delay
  }

  private deadAt(owner: PoolOwnership): EpochMs {
    if (this.schedulers.get(owner.owner) === owner.startup) return Infinity
    // One that was never seen here had gone before this process came.
    return this.dead.get(owner.startup) ?? 0
  }

  /** How many live candidates come before this one. */
  private rank(pool: PoolRef): number {
    const key = poolKey(pool)
    const own = scoreOf(this.options.identity.member, key)
    let before = 0
    for (const member of this.schedulers.keys()) {
      if (member === this.options.identity.member) continue
      const score = scoreOf(member, key)
      if (score > own || (score === own && member < this.options.identity.member)) before++
    }
    return before
  }

  private isOurs(owner: PoolOwnership): boolean {
    return owner.owner === this.options.identity.member && owner.startup === this.options.identity.startup
  }

  private wake(entry: Entry): void {
    if (entry.parked.length === 0 || this.route(entry.pool)._tag === "NoOwner") return
    for (const parked of Array.from(entry.parked)) this.resume(parked)
  }

  private resume(parked: Parked): void {
    const { entry } = parked
    const at = entry.parked.indexOf(parked)
    if (at < 0) return
    entry.parked.splice(at, 1)
    this.alarms.clear(parked.alarm)
    this.parkedCount--
    parked.resume()
  }

  private entryOf(pool: PoolRef): Entry {
    const key = poolKey(pool)
    let entry = this.entries.get(key)
    if (entry === undefined) {
      entry = {
        pool,
        spec: undefined,
        specText: "",
        owner: undefined,
        ownerRevision: 0,
        isRunning: false,
        isStopping: false,
        runningText: "",
        live: undefined,
        notBefore: 0,
        failures: 0,
        unownedSince: this.ports.now(),
        parked: []
      }
      this.entries.set(key, entry)
    }
    return entry
  }
}
