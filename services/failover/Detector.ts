/**
 * Who is gone: from what the registry and the ownership keys show, and the time, to failover events. Pure; design/05 rules 1 and 2.
 *
 * Keeps true: an incarnation (role, name, startup id) is reported gone once per reason, whoever decides it and however often, because the event's id is made of the
 * incarnation alone. An entry that expired is suspected for `graceMs` first; the same incarnation back within that time was never gone. A quick restart under another startup
 * id ends the wait: the old incarnation is gone at once. Who said good-bye is not waited for. While the connection is down nothing is decided, and what was suspected
 * gets a full grace after it is back, since its own sign of life may have been missed. An owner in `heddle_shards` or `heddle_pools` that nobody has
 * registered is suspected too, so that what happened while no failover service ran is found.
 */
import * as HashMap from "effect/HashMap"
import * as HashSet from "effect/HashSet"
import * as Option from "effect/Option"
import type { Member, MemberRole } from "../../shared/protocol/Member.ts"
import type { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import type { Ledger, MemberId, StartupId } from "../../shared/protocol/Token.ts"
import type { MemberEvent } from "../../shared/registry/Registry.ts"

export const graceMsDefault = 10_000
/** How many event ids are remembered as published; an id is about 100 bytes. */
export const publishedMax = 4_096

/** One life of a member in one role. */
export interface Incarnation {
  readonly role: MemberRole
  readonly member: MemberId
  readonly startup: StartupId
}

/** Who holds a shard or a pool, and since which revision of its key. */
export interface Owner extends Incarnation {
  /** Coordinators: the ledger that the key names. */
  readonly ledger?: Ledger
  readonly revision: number
}

export type Source = "registry" | "owners" | "bus"

export type Input =
  | MemberEvent
  /** `key`: of the shard or the pool; `undefined`: nobody owns it any more. */
  | { readonly _tag: "Owned"; readonly key: string; readonly owner: Owner | undefined }
  /** Seen on the system event bus, from whichever replica. */
  | { readonly _tag: "Published"; readonly event: SystemEvent }
  /** Members that the last active failover service knew (design/05 rule 1: executors own no key that would name them). */
  | { readonly _tag: "Roster"; readonly members: ReadonlyArray<Incarnation & { readonly ledger?: Ledger }> }
  /** Everything that stood there at the start was shown. Nothing is decided before all three. */
  | { readonly _tag: "CaughtUp"; readonly source: Source }
  | { readonly _tag: "Disconnected" }
  | { readonly _tag: "Reconnected" }
  /** Time has passed. */
  | { readonly _tag: "Tick" }

export interface Suspicion extends Incarnation {
  readonly ledger: Ledger | undefined
  /** Milliseconds since the epoch: from then on it is gone. */
  readonly dueAt: number
  readonly cause: string
  /** Of the event to come. */
  readonly id: string
}

export interface Detector {
  readonly graceMs: number
  /** By `<role>.<member>`. */
  readonly live: HashMap.HashMap<string, Member>
  /** By `<role>.<member>.<startup>`. */
  readonly suspects: HashMap.HashMap<string, Suspicion>
  readonly owners: HashMap.HashMap<string, Owner>
  readonly roster: ReadonlyArray<Incarnation & { readonly ledger?: Ledger }>
  readonly published: HashSet.HashSet<string>
  /** Oldest first, as long as `published`. */
  readonly publishedOrder: ReadonlyArray<string>
  readonly waitingFor: ReadonlyArray<Source>
  readonly isConnected: boolean
}

export const make = (graceMs: number = graceMsDefault): Detector => ({
  graceMs,
  live: HashMap.empty(),
  suspects: HashMap.empty(),
  owners: HashMap.empty(),
  roster: [],
  published: HashSet.empty(),
  publishedOrder: [],
  waitingFor: ["registry", "owners", "bus"],
  isConnected: true
})

const nameOf = (one: Pick<Incarnation, "role" | "member">): string => `${one.role}.${one.member}`
export const keyOf = (one: Incarnation): string => `${nameOf(one)}.${one.startup}`

const kindOf = {
  coordinator: "MASTER_FAILOVER",
  "task-executor": "WORKER_FAILOVER",
  "pool-scheduler": "SCHEDULER_FAILOVER"
} as const
type FailingRole = keyof typeof kindOf
const isFailing = (role: MemberRole): role is FailingRole => role in kindOf

/** The id of the event that says this incarnation is gone; the same in every replica. */
export const idOf = (one: Incarnation): string =>
  `${isFailing(one.role) ? kindOf[one.role] : one.role}.${one.member}.${one.startup}`
const globalIdOf = (startup: StartupId): string => `GLOBAL_MASTER_FAILOVER.${startup}`

/** The members that live, by role and name. */
export const members = (self: Detector): ReadonlyArray<Member> =>
  Array.from(HashMap.values(self.live)).sort((a, b) => nameOf(a) < nameOf(b) ? -1 : 1)

/** What the next active service should know of if this one ends now: who lives, and who is suspected. */
export const roster = (self: Detector): ReadonlyArray<Incarnation & { readonly ledger?: Ledger }> =>
  [...members(self), ...HashMap.values(self.suspects)].filter((one) => isFailing(one.role)).map((
    { ledger, member, role, startup }
  ) => ledger === undefined ? { role, member, startup } : { role, member, startup, ledger })

export const isReady = (self: Detector): boolean => self.waitingFor.length === 0

/** When `Tick` has something to say next, in milliseconds since the epoch. */
export const nextDue = (self: Detector): number | undefined => {
  if (!isReady(self) || !self.isConnected) return undefined
  let due: number | undefined
  for (const { dueAt } of HashMap.values(self.suspects)) due = due === undefined ? dueAt : Math.min(due, dueAt)
  return due
}

type Outcome = readonly [Detector, ReadonlyArray<SystemEvent>]
const quiet = (self: Detector): Outcome => [self, []]

const isLive = (self: Detector, one: Incarnation): boolean =>
  Option.exists(HashMap.get(self.live, nameOf(one)), (member) => member.startup === one.startup)

const ownedBy = (self: Detector, one: Incarnation): ReadonlyArray<string> =>
  Array.from(HashMap.entries(self.owners)).flatMap(([key, owner]) => keyOf(owner) === keyOf(one) ? [key] : [])

const remembered = (self: Detector, id: string): Detector => {
  if (HashSet.has(self.published, id)) return self
  const order = [...self.publishedOrder, id]
  const forgotten = order.length > publishedMax ? order.shift() : undefined
  const published = HashSet.add(self.published, id)
  return {
    ...self,
    publishedOrder: order,
    published: forgotten === undefined ? published : HashSet.remove(published, forgotten)
  }
}

const withoutSuspect = (self: Detector, one: Incarnation): Detector => ({
  ...self,
  suspects: HashMap.remove(self.suspects, keyOf(one))
})

const eventOf = (suspicion: Suspicion, now: number): SystemEvent | undefined => {
  const { cause, id, ledger, member, role, startup } = suspicion
  const common = { id, at: now, member, startup, cause }
  if (role === "task-executor") return { _tag: "WORKER_FAILOVER", ...common }
  if (role === "pool-scheduler") return { _tag: "SCHEDULER_FAILOVER", ...common }
  // Without a ledger it has never written, so it has no shard that could be missed.
  return role === "coordinator" && ledger !== undefined ? { _tag: "MASTER_FAILOVER", ...common, ledger } : undefined
}

/** Gone: the event, unless it is published already. */
const declare = (self: Detector, suspicion: Suspicion, now: number): Outcome => {
  const rest = withoutSuspect(self, suspicion)
  if (HashSet.has(rest.published, suspicion.id)) return quiet(rest)
  const event = eventOf(suspicion, now)
  return event === undefined ? quiet(rest) : [remembered(rest, event.id), [event]]
}

/** What is due at `now`. */
const settle = (self: Detector, now: number): Outcome => {
  if (!isReady(self) || !self.isConnected) return quiet(self)
  let detector = self
  const events: Array<SystemEvent> = []
  const due = Array.from(HashMap.values(self.suspects)).filter((one) => one.dueAt <= now)
  for (const suspicion of due.sort((a, b) => a.dueAt - b.dueAt || (a.id < b.id ? -1 : 1))) {
    const [next, declared] = declare(detector, suspicion, now)
    detector = next
    events.push(...declared)
  }
  return [detector, events]
}

const suspect = (
  self: Detector,
  one: Incarnation & { readonly ledger?: Ledger | undefined },
  cause: string,
  dueAt: number,
  id: string = idOf(one)
): Detector => {
  if (!isFailing(one.role) || HashSet.has(self.published, id)) return self
  const { member, role, startup } = one
  const known = HashMap.get(self.suspects, keyOf(one))
  if (Option.isSome(known) && known.value.dueAt <= dueAt) return self
  const suspicion: Suspicion = { role, member, startup, ledger: one.ledger, dueAt, cause, id }
  return { ...self, suspects: HashMap.set(self.suspects, keyOf(one), suspicion) }
}

/**
 * An owner that is not registered. If it was reported gone before, either the key was taken late (a delayed write) or nobody has acted: that is a failover of
 * its own, once per revision of the key.
 */
const suspectOwner = (self: Detector, key: string, owner: Owner, now: number): Detector => {
  if (isLive(self, owner)) return self
  const first = idOf(owner)
  const id = HashSet.has(self.published, first) ? `${first}.${owner.revision}` : first
  return suspect(self, owner, `owns ${key} and is not registered`, now + self.graceMs, id)
}

const joined = (self: Detector, member: Member, now: number): Outcome => {
  const others = Array.from(HashMap.values(self.live)).filter((one) =>
    one.role === "coordinator" && one.member !== member.member
  )
  const isAlone = others.length === 0
    && !HashMap.some(self.suspects, (one) => one.role === "coordinator" && one.member !== member.member)
  const wasLive = isLive(self, member)
  let detector = withoutSuspect({ ...self, live: HashMap.set(self.live, nameOf(member), member) }, member)
  const cause = `started again as ${member.startup}`
  for (const one of [...HashMap.values(detector.suspects), ...HashMap.values(detector.owners)]) {
    if (nameOf(one) === nameOf(member) && one.startup !== member.startup) detector = suspect(detector, one, cause, now)
  }
  if (!isReady(detector) || wasLive || member.role !== "coordinator" || !isAlone) return settle(detector, now)
  const [settled, events] = settle(detector, now)
  const [started, global] = globalFailover(settled, member, now)
  return [started, [...events, ...global]]
}

const globalFailover = (self: Detector, first: Member, now: number): Outcome => {
  const id = globalIdOf(first.startup)
  return HashSet.has(self.published, id)
    ? quiet(self)
    : [remembered(self, id), [{ _tag: "GLOBAL_MASTER_FAILOVER", id, at: now, startup: first.startup }]]
}

const left = (
  self: Detector,
  member: Member,
  reason: "Closed" | "Expired" | "Replaced" | "Gone",
  now: number
): Detector => {
  const detector: Detector = isLive(self, member) ? { ...self, live: HashMap.remove(self.live, nameOf(member)) } : self
  switch (reason) {
    case "Expired":
      return suspect(detector, member, "its registration expired", now + self.graceMs)
    case "Gone":
      return suspect(detector, member, "its registration was gone after an interruption", now + self.graceMs)
    case "Replaced":
      return suspect(detector, member, "another incarnation registered under its name", now)
    case "Closed": {
      const owned = ownedBy(detector, member)
      if (member.role === "task-executor") return suspect(detector, member, "it closed", now)
      return owned.length === 0
        ? detector
        : suspect(detector, member, `it closed and still owns ${owned.length}: ${owned.slice(0, 5).join(", ")}`, now)
    }
  }
}

/** Everything is known: what happened before this service looked. */
const reconcile = (self: Detector, now: number): Outcome => {
  let detector = self
  for (const [key, owner] of HashMap.entries(detector.owners)) detector = suspectOwner(detector, key, owner, now)
  for (const one of detector.roster) {
    if (isLive(detector, one)) continue
    const isReplaced = HashMap.has(detector.live, nameOf(one))
    const cause = isReplaced
      ? "another incarnation registered under its name"
      : "it was registered before and is not now"
    detector = suspect(detector, one, cause, isReplaced ? now : now + detector.graceMs)
  }
  const coordinators = members(detector).filter((one) => one.role === "coordinator").sort((a, b) =>
    a.startedAt === b.startedAt ? (a.startup < b.startup ? -1 : 1) : a.startedAt < b.startedAt ? -1 : 1
  )
  const [first] = coordinators
  // A coordinator that the last service knew, or one whose start was announced, shows that this mesh has been running since.
  const isRunning = coordinators.some((one) =>
    HashSet.has(detector.published, globalIdOf(one.startup)) ||
    detector.roster.some((before) => keyOf(before) === keyOf(one))
  )
  const [started, global] = first === undefined || isRunning ? quiet(detector) : globalFailover(detector, first, now)
  const [settled, events] = settle(started, now)
  return [settled, [...global, ...events]]
}

/** One input at `now` (milliseconds since the epoch): the new state, and the events to publish, each of them once. */
export const step = (self: Detector, input: Input, now: number): Outcome => {
  switch (input._tag) {
    case "Joined":
      return joined(self, input.member, now)
    case "Changed":
      return quiet({ ...self, live: HashMap.set(self.live, nameOf(input.member), input.member) })
    case "Left":
      return settle(left(self, input.member, input.reason, now), now)
    case "Owned": {
      const owners = input.owner === undefined
        ? HashMap.remove(self.owners, input.key)
        : HashMap.set(self.owners, input.key, input.owner)
      const detector = { ...self, owners }
      return input.owner === undefined || !isReady(detector)
        ? quiet(detector)
        : quiet(suspectOwner(detector, input.key, input.owner, now))
    }
    case "Published": {
      const detector = remembered(self, input.event.id)
      const known = Array.from(HashMap.values(detector.suspects)).find((one) => one.id === input.event.id)
      return quiet(known === undefined ? detector : withoutSuspect(detector, known))
    }
    case "Roster":
      return quiet({ ...self, roster: input.members })
    case "UpToDate":
    case "CaughtUp": {
      if (isReady(self)) return quiet(self)
      const source = input._tag === "UpToDate" ? "registry" : input.source
      const detector = { ...self, waitingFor: self.waitingFor.filter((one) => one !== source) }
      return isReady(detector) ? reconcile(detector, now) : quiet(detector)
    }
    case "Disconnected":
      return quiet({ ...self, isConnected: false })
    case "Reconnected":
      return quiet({
        ...self,
        isConnected: true,
        suspects: HashMap.map(self.suspects, (one) => ({ ...one, dueAt: Math.max(one.dueAt, now + self.graceMs) }))
      })
    case "Tick":
      return settle(self, now)
  }
}
