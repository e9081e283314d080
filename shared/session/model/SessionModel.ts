/**
 * The session protocol of design/01 section 3 as a model that `Explorer` can visit whole: coordinators, a broker that stores and refuses,
 * and a network that delays, doubles and loses.
 *
 * Nothing here knows who is alive: any coordinator may try to take any shard at any time, so every "dead" owner is also one that is only slow
 * and goes on appending. A step touches shared state (journal, key, wire) at most once; what a process does by itself belongs to the step
 * before. A request is answered at once when it takes effect, or its answer is lost, or the sender gives up while the request is still on
 * its way; it may then arrive arbitrarily late, after a crash of its sender too. Left out are requests that can no longer change anything and
 * that nobody waits for.
 *
 * `Defect` names one step left out or done wrong; the protocol is the empty set. docs/design/session-protocol.md tells what was found.
 */
import type { Model, Step } from "./Explorer.ts"

export type Defect =
  | "no seal before the CAS"
  | "seal without expected sequence"
  | "read before the seal"
  | "read before the CAS, revision read again at the CAS"
  | "read before the CAS"
  | "read from a lagging replica"
  | "read up to the seal"
  | "key written without CAS"
  | "serve before ADOPTED is acknowledged"
  | "no ADOPTED"
  | "blind retry with refreshed sequence"
  | "unknown taken for success"
  | "fenced answer after a retry taken for the end"
  | "not stopping on fenced"
  | "append without expected sequence"
  | "client answered before the log"
  | "hand-over without RELEASED"
  | "hand-over before RELEASED is acknowledged"
  | "CAS not naming the release"
  | "take back without a CAS"
  | "CAS settled by the owner's name alone"
  | "restart trusts its name in the key"
  | "restart on the old ledger"
  | "adoption finished under a new ledger"
  | "checkpoint written without CAS"
  | "checkpoint pages named by generation only"
  | "reconnect is not checked"
  | "reconnect checks the ledger only"
  | "take-over goes on after a reconnect"

/** How often each thing may happen, from the first state on. Bounds the state space; a bound is per run, not per process, unless it says so. */
export interface Budget {
  readonly entries: number
  /** Lost answers and time-outs. */
  readonly losses: number
  /** Tries to take a shard, per coordinator. */
  readonly takes: ReadonlyArray<number>
  readonly releases: number
  readonly checkpoints: number
  /** Crashes with restart, any coordinator. */
  readonly restarts: number
  /** Power losses of the broker in which the journal's newest messages are gone. */
  readonly tailLosses: number
}

/** `handOver`: the owner marks the key with the RELEASED's sequence (as built), or the RELEASED names the key's revision and the key is not marked. */
export interface Scenario {
  readonly coordinators: number
  /** By shard, the coordinator that serves it at first, with one acknowledged entry; `null`: the shard has no key yet. */
  readonly servedBy: ReadonlyArray<number | null>
  readonly handOver: "mark" | "direct"
  /**
   * `key`: the shard's key names the checkpoint, one CAS. `pages`: pages are put first, then a head of its own is compared-and-set, then the key forgets the
   * earlier ledgers (as built).
   */
  readonly checkpoint: "key" | "pages"
  readonly budget: Budget
}

export type Property =
  | "one owner"
  | "nothing lost"
  | "state is the log"
  | "intervals"
  | "order"
  | "once"
  | "client answer after log"
  | "seal is last"
  | "never stuck"

/** Who did what in the journal; `loaded` is what the adopter read, kept only to be checked. */
type Item =
  | { readonly _tag: "OPENED" }
  | { readonly _tag: "ADOPTED"; readonly shard: number; readonly loaded: ReadonlyArray<string> }
  | { readonly _tag: "ENTRY"; readonly shard: number; readonly id: string; readonly session: number }
  | { readonly _tag: "RELEASED"; readonly shard: number; readonly to: number; readonly revision: number }
  | { readonly _tag: "SEALED" }

/** Its stream sequence is its position + 1. `identity` tells one append from another. */
interface Message {
  readonly ledger: string
  readonly identity: string
  readonly items: ReadonlyArray<Item>
}

/** A shard's key; revision 0: there is none. `checkpoint.entries` stands for the snapshot that it names. */
interface Key {
  readonly revision: number
  readonly owner: number
  readonly ledger: string
  readonly ledgers: ReadonlyArray<string>
  readonly checkpoint: { readonly sequence: number; readonly entries: ReadonlyArray<string> }
  readonly released: { readonly to: number; readonly sequence: number } | null
}

/** Which checkpoint of a shard holds, in the variant `pages`. */
interface Head {
  readonly revision: number
  readonly generation: number
  readonly sequence: number
  readonly page: string
}
/** A checkpoint on its way, in the variant `pages`. */
interface Writing {
  readonly expected: number
  readonly head: Head
  readonly entries: ReadonlyArray<string>
}

interface Append {
  readonly identity: string
  readonly expected: number
  readonly items: ReadonlyArray<Item>
  readonly status: "Sent" | "Unknown"
  readonly retried: boolean
}

interface Cas {
  readonly expected: number
  readonly value: Key
  readonly status: "Sent" | "Unknown"
  readonly retried: boolean
}

/** What a coordinator is about to do with a shard. `early`: state that a defect read too soon. */
type Role =
  | { readonly _tag: "None" }
  | { readonly _tag: "Seal"; readonly key: Key; readonly early: ReadonlyArray<string> | null }
  | {
    readonly _tag: "Sealing"
    readonly key: Key
    readonly expected: number
    readonly early: ReadonlyArray<string> | null
  }
  | { readonly _tag: "Taking"; readonly cas: Cas; readonly until: number; readonly early: ReadonlyArray<string> | null }
  | { readonly _tag: "Reading"; readonly key: Key; readonly until: number }
  | { readonly _tag: "Adopting"; readonly key: Key; readonly head: Head; readonly loaded: ReadonlyArray<string> }
  | {
    readonly _tag: "Serving"
    readonly key: Key
    readonly session: number
    readonly state: ReadonlyArray<string>
    readonly cas: Cas | null
    /** The head that it knows, and the one that it writes. */
    readonly head: Head
    readonly writing: Writing | null
  }
  | { readonly _tag: "Releasing"; readonly key: Key; readonly to: number }
  | { readonly _tag: "Marking"; readonly cas: Cas }

/** `last`, `tail`: sequence and identity of the newest message of its ledger that it knows to be its own. */
interface Coordinator {
  readonly life: number
  readonly last: number
  readonly tail: string
  readonly appends: number
  readonly append: Append | null
  readonly queue: ReadonlyArray<Item>
  readonly roles: ReadonlyArray<Role>
  /** The connection was lost since it last looked: it sends nothing before it has looked. */
  readonly unverified: boolean
}

interface CheckpointRequest<Tag> {
  readonly _tag: Tag
  readonly from: number
  readonly life: number
  readonly shard: number
  readonly writing: Writing
}
type Request =
  | {
    readonly _tag: "Append"
    readonly from: number
    readonly life: number
    readonly ledger: string
    /** -1: unguarded. */
    readonly expected: number
    readonly identity: string
    readonly items: ReadonlyArray<Item>
  }
  | {
    readonly _tag: "Cas"
    readonly from: number
    readonly life: number
    readonly shard: number
    readonly expected: number
    readonly value: Key
  }
  | CheckpointRequest<"Page">
  | CheckpointRequest<"Head">

export interface State {
  readonly log: ReadonlyArray<Message>
  readonly keys: ReadonlyArray<Key>
  /** By shard, and the pages by name. */
  readonly heads: ReadonlyArray<Head>
  readonly pages: Readonly<Record<string, ReadonlyArray<string>>>
  readonly coordinators: ReadonlyArray<Coordinator>
  readonly wire: ReadonlyArray<Request>
  /** Entries whose client has its answer. */
  readonly answered: ReadonlyArray<string>
  readonly left: Budget
}

const none: Role = { _tag: "None" }
const noKey: Key = {
  revision: 0,
  owner: -1,
  ledger: "",
  ledgers: [],
  checkpoint: { sequence: 0, entries: [] },
  released: null
}
const noHead: Head = { revision: 0, generation: 0, sequence: 0, page: "" }
const nameOf = (index: number) => "ABC"[index] ?? `C${index}`
const ledgerOf = (index: number, life: number) => `${nameOf(index)}${life}`
/** The identity of every SEALED. */
const seal = "seal"

const replaced = <A>(items: ReadonlyArray<A>, index: number, item: A): ReadonlyArray<A> => {
  const copy = items.slice()
  copy[index] = item
  return copy
}
const at = <A>(items: ReadonlyArray<A>, index: number): A => {
  const item = items[index]
  if (item === undefined) throw new Error(`model: nothing at ${index} of ${items.length}`)
  return item
}

/** Sequence of the ledger's newest message, 0 when it has none. */
const lastOf = (log: ReadonlyArray<Message>, ledger: string): number => {
  for (let i = log.length - 1; i >= 0; i--) if (log[i]?.ledger === ledger) return i + 1
  return 0
}
const identityAt = (log: ReadonlyArray<Message>, sequence: number): string => log[sequence - 1]?.identity ?? ""
const isSealed = (log: ReadonlyArray<Message>, ledger: string): boolean => identityAt(log, lastOf(log, ledger)) === seal

/** The shard's newest checkpoint and its entries after it in `ledgers`, as far as a replica that has the first `length` messages shows. */
const fold = (log: ReadonlyArray<Message>, shard: number, key: Key, length: number): ReadonlyArray<string> => {
  const entries = key.checkpoint.entries.slice()
  for (let i = key.checkpoint.sequence; i < length; i++) {
    const message = log[i]
    if (message === undefined || !key.ledgers.includes(message.ledger)) continue
    for (const item of message.items) if (item._tag === "ENTRY" && item.shard === shard) entries.push(item.id)
  }
  return entries
}

/** The same, from whichever checkpoint the scenario has. */
const stateOf = (state: State, shard: number, key: Key, length: number): ReadonlyArray<string> => {
  const { page, revision, sequence } = at(state.heads, shard)
  const checkpoint = revision === 0 ? key.checkpoint : { sequence, entries: state.pages[page] ?? [] }
  return fold(state.log, shard, { ...key, checkpoint }, length)
}

const ids = new WeakMap<object, number>()
const idsByText = new Map<string, number>()
/** Equal values have the same number, whatever they are made of; parts that a step did not touch are not looked at again. */
const idOf = (value: object): number => {
  const known = ids.get(value)
  if (known !== undefined) return known
  let text = ""
  for (const [key, field] of Object.entries(value)) {
    text += `${key}:${typeof field === "object" && field !== null ? `#${idOf(field)}` : field},`
  }
  let id = idsByText.get(text)
  if (id === undefined) idsByText.set(text, id = idsByText.size)
  ids.set(value, id)
  return id
}
const isSame = (a: object, b: object): boolean => idOf(a) === idOf(b)
const keyOf = ({ answered, coordinators, heads, keys, left, log, pages, wire }: State): string => {
  let key = `${idOf(log)},${idOf(keys)},${idOf(heads)},${idOf(pages)},${idOf(answered)},${idOf(left)}`
  for (const coordinator of coordinators) key += `,${idOf(coordinator)}`
  for (const request of wire) key += `,${idOf(request)}`
  return key
}

/** What the journal alone shows to be wrong. Looked at once per journal. */
const verdicts = new WeakMap<ReadonlyArray<Message>, ReadonlyArray<readonly [Property, string]>>()
const judge = (log: ReadonlyArray<Message>): ReadonlyArray<readonly [Property, string]> => {
  const known = verdicts.get(log)
  if (known !== undefined) return known
  const found: Array<readonly [Property, string]> = []
  const sealed = new Set<string>()
  const ids = new Set<string>()
  const owners = new Map<number, { ledger: string; session: number; isReleased: boolean; entries: Array<string> }>()
  for (const [position, message] of log.entries()) {
    if (sealed.has(message.ledger)) {
      found.push(["seal is last", `${position + 1} stands after the SEALED of ${message.ledger}`])
    }
    for (const item of message.items) {
      if (item._tag === "SEALED") sealed.add(message.ledger)
      if (item._tag === "OPENED" || item._tag === "SEALED") continue
      const owner = owners.get(item.shard)
      if (item._tag === "ADOPTED") {
        if (owner !== undefined && !owner.isReleased && !sealed.has(owner.ledger)) {
          found.push([
            "intervals",
            `${message.ledger} adopts shard ${item.shard} while the interval of ${owner.ledger} is open`
          ])
        }
        const entries = owner?.entries ?? []
        if (item.loaded.join() !== entries.join()) {
          found.push([
            "state is the log",
            `${message.ledger} adopts [${item.loaded.join()}], the log holds [${entries.join()}]`
          ])
        }
        owners.set(item.shard, { ledger: message.ledger, session: position + 1, isReleased: false, entries })
      } else if (owner === undefined || owner.ledger !== message.ledger || owner.isReleased) {
        found.push(["order", `${item._tag} of shard ${item.shard} in ${message.ledger} outside its ownership`])
      } else if (item._tag === "RELEASED") {
        owner.isReleased = true
      } else {
        if (item.session !== owner.session) {
          found.push(["order", `entry ${item.id} under session ${item.session}, the shard's is ${owner.session}`])
        }
        owner.entries.push(item.id)
      }
      if (item._tag === "ENTRY") {
        if (ids.has(item.id)) found.push(["once", `entry ${item.id} stands twice in the log`])
        ids.add(item.id)
      }
    }
  }
  verdicts.set(log, found)
  return found
}

const violation = (state: State, properties: ReadonlySet<Property>): string | undefined => {
  const { log, coordinators, answered, keys } = state
  for (let shard = 0; shard < keys.length; shard++) {
    const able = coordinators.flatMap((coordinator, index) => {
      const role = at(coordinator.roles, shard)
      const isAble = role._tag === "Serving" && !coordinator.unverified &&
        !isSealed(log, ledgerOf(index, coordinator.life))
      return isAble ? [{ name: ledgerOf(index, coordinator.life), state: role.state }] : []
    })
    if (able.length > 1 && properties.has("one owner")) {
      return `one owner: ${
        able.map((one) => one.name).join(" and ")
      } can both get an entry of shard ${shard} acknowledged`
    }
    if (properties.has("nothing lost")) {
      for (const { name, state } of able) {
        const missing = answered.find((id) => id.startsWith(`${shard}:`) && !state.includes(id))
        if (missing !== undefined) {
          return `nothing lost: ${name} serves shard ${shard} without the acknowledged entry ${missing}`
        }
      }
    }
  }
  for (const [property, text] of judge(log)) if (properties.has(property)) return `${property}: ${text}`
  if (properties.has("client answer after log")) {
    const early = answered.find((id) =>
      !log.some((message) => message.items.some((item) => item._tag === "ENTRY" && item.id === id))
    )
    if (early !== undefined) return `client answer after log: entry ${early} is acknowledged and not in the log`
  }
  return undefined
}

export const properties: ReadonlySet<Property> = new Set([
  "one owner",
  "nothing lost",
  "state is the log",
  "intervals",
  "order",
  "once",
  "client answer after log",
  "seal is last"
])
/** What must hold even when the broker's disk lost what it had acknowledged: the loss is a loss, and nothing on top of it. */
export const propertiesAfterTailLoss: ReadonlySet<Property> = new Set(["one owner", "order", "once"])

const initial = (scenario: Scenario): State => {
  const { servedBy } = scenario
  const log: Array<Message> = []
  const served = servedBy.flatMap((owner, shard) => owner === null ? [] : [shard])
  const ownedBy = (index: number) => served.filter((shard) => servedBy[shard] === index)
  const keyOwnedBy = (owner: number, ledger: string): Key => ({
    ...noKey,
    revision: 1,
    owner,
    ledger,
    ledgers: [ledger]
  })
  const keys = servedBy.map((owner): Key => owner === null ? noKey : keyOwnedBy(owner, ledgerOf(owner, 0)))
  const coordinators = Array.from({ length: scenario.coordinators }, (_, index): Coordinator => {
    const shards = ownedBy(index)
    const ledger = ledgerOf(index, 0)
    const roles: Array<Role> = keys.map(() => none)
    const fresh = { life: 0, append: null, unverified: false }
    if (shards.length === 0) return { ...fresh, last: 0, tail: "", appends: 0, queue: [{ _tag: "OPENED" }], roles }
    const session = log.length + 1
    const adopted = shards.map((shard): Item => ({ _tag: "ADOPTED", shard, loaded: [] }))
    const entries = shards.map((shard): Item => ({ _tag: "ENTRY", shard, id: `${shard}:0`, session }))
    log.push({ ledger, identity: `${ledger}.1`, items: [{ _tag: "OPENED" }, ...adopted] }, {
      ledger,
      identity: `${ledger}.2`,
      items: entries
    })
    for (const shard of shards) {
      roles[shard] = {
        _tag: "Serving",
        key: at(keys, shard),
        session,
        state: [`${shard}:0`],
        cas: null,
        head: noHead,
        writing: null
      }
    }
    return { ...fresh, last: log.length, tail: `${ledger}.2`, appends: 2, queue: [], roles }
  })
  const heads = keys.map(() => noHead)
  return {
    log,
    keys,
    heads,
    pages: {},
    coordinators,
    wire: [],
    answered: served.map((shard) => `${shard}:0`),
    left: scenario.budget
  }
}

/** The model with these steps left out. The default properties are those of a broker that keeps what it acknowledged. */
export const make = (
  scenario: Scenario,
  defects: ReadonlyArray<Defect> = [],
  checked: ReadonlySet<Property> = scenario.budget.tailLosses > 0 ? propertiesAfterTailLoss : properties
): Model<State> => {
  const has = (defect: Defect) => defects.includes(defect)
  const first = initial(scenario)
  /** No tail loss goes behind the first state. */
  const kept = first.log.length

  const patch = (state: State, index: number, change: Partial<Coordinator>): State => ({
    ...state,
    coordinators: replaced(state.coordinators, index, { ...at(state.coordinators, index), ...change })
  })
  const setRole = (state: State, index: number, shard: number, role: Role): State =>
    patch(state, index, { roles: replaced(at(state.coordinators, index).roles, shard, role) })
  const spend = (state: State, what: Exclude<keyof Budget, "takes">): State => ({
    ...state,
    left: { ...state.left, [what]: state.left[what] - 1 }
  })
  const onWire = (state: State, request: Request): State => {
    const id = idOf(request)
    const wire = state.wire.slice()
    let position = 0
    while (position < wire.length && idOf(at(wire, position)) < id) position++
    wire.splice(position, 0, request)
    return { ...state, wire }
  }

  const sendAppend = (state: State, index: number, append: Append): State => {
    const { life } = at(state.coordinators, index)
    return onWire(patch(state, index, { append }), {
      _tag: "Append",
      from: index,
      life,
      ledger: ledgerOf(index, life),
      expected: append.expected,
      identity: append.identity,
      items: append.items
    })
  }
  /** Sends what is waiting when nothing is in flight: batch what is there, never wait to batch. */
  const flush = (state: State, index: number): State => {
    const { append, appends, last, life, queue, unverified } = at(state.coordinators, index)
    if (append !== null || unverified || queue.every((item) => item._tag === "OPENED")) return state
    return sendAppend(patch(state, index, { appends: appends + 1, queue: [] }), index, {
      identity: `${ledgerOf(index, life)}.${appends + 1}`,
      expected: has("append without expected sequence") ? -1 : last,
      items: queue,
      status: "Sent",
      retried: false
    })
  }
  const enqueue = (state: State, index: number, item: Item): State =>
    flush(patch(state, index, { queue: [...at(state.coordinators, index).queue, item] }), index)

  const sendCas = (state: State, index: number, shard: number, cas: Cas): State =>
    onWire(state, {
      _tag: "Cas",
      from: index,
      life: at(state.coordinators, index).life,
      shard,
      expected: has("key written without CAS") ||
          (has("checkpoint written without CAS") && cas.value.owner === index && cas.value.checkpoint.sequence > 0)
        ? -1
        : cas.expected,
      value: cas.value
    })
  const newCas = (expected: number, value: Key): Cas => ({ expected, value, status: "Sent", retried: false })

  const startTake = (
    state: State,
    index: number,
    shard: number,
    key: Key,
    until: number,
    early: ReadonlyArray<string> | null
  ): State => {
    const own = ledgerOf(index, at(state.coordinators, index).life)
    const ledgers = key.ledgers.includes(own) ? key.ledgers : [...key.ledgers, own]
    const cas = newCas(key.revision, { ...key, revision: 0, owner: index, ledger: own, ledgers, released: null })
    return sendCas(setRole(state, index, shard, { _tag: "Taking", cas, until, early }), index, shard, cas)
  }

  /** Fenced, or crashed: all sessions end. What it opens next is a fresh ledger and starts with nothing. */
  const reborn = (state: State, index: number, isRestart: boolean): State => {
    const { life, roles, last, tail, appends } = at(state.coordinators, index)
    const keepsLedger = isRestart && has("restart on the old ledger")
    const carried = !isRestart && has("adoption finished under a new ledger")
      ? roles.map((role): Role => role._tag === "Adopting" ? { _tag: "Reading", key: role.key, until: 0 } : none)
      : roles.map(() => none)
    const fresh: Partial<Coordinator> = keepsLedger
      ? { last: lastOf(state.log, ledgerOf(index, life)), tail, appends: appends + 10, queue: [] }
      : { life: life + 1, last, tail: "", appends: 0, queue: [{ _tag: "OPENED" }] }
    return patch(state, index, {
      ...fresh,
      ...(keepsLedger ? {} : { last: 0 }),
      append: null,
      roles: carried,
      unverified: false
    })
  }

  const adopted = (state: State, index: number, shard: number, session: number): State => {
    const role = at(at(state.coordinators, index).roles, shard)
    return role._tag !== "Adopting" ? state : setRole(state, index, shard, {
      _tag: "Serving",
      key: role.key,
      session,
      state: role.loaded,
      cas: null,
      head: role.head,
      writing: null
    })
  }
  const marked = (state: State, index: number, shard: number, sequence: number): State => {
    const role = at(at(state.coordinators, index).roles, shard)
    if (role._tag !== "Releasing") return state
    if (scenario.handOver === "direct") return setRole(state, index, shard, none)
    const cas = newCas(role.key.revision, { ...role.key, revision: 0, released: { to: role.to, sequence } })
    return sendCas(setRole(state, index, shard, { _tag: "Marking", cas }), index, shard, cas)
  }
  /** The append in flight is in the log at `sequence`: clients get their answers, sessions begin and end. */
  const appendAcknowledged = (state: State, index: number, sequence: number): State => {
    const { append } = at(state.coordinators, index)
    if (append === null) return state
    let now = patch(state, index, { append: null, last: sequence, tail: append.identity })
    for (const item of append.items) {
      if (item._tag === "ENTRY") {
        const role = at(at(now.coordinators, index).roles, item.shard)
        if (role._tag === "Serving") now = setRole(now, index, item.shard, { ...role, state: [...role.state, item.id] })
        if (!now.answered.includes(item.id)) now = { ...now, answered: [...now.answered, item.id] }
      }
      if (item._tag === "ADOPTED") now = adopted(now, index, item.shard, sequence)
      if (item._tag === "RELEASED") now = marked(now, index, item.shard, sequence)
    }
    return flush(now, index)
  }
  const appendRefused = (state: State, index: number): State => {
    const { append, life } = at(state.coordinators, index)
    if (append === null) return state
    if (has("not stopping on fenced")) {
      return sendAppend(state, index, { ...append, expected: lastOf(state.log, ledgerOf(index, life)), status: "Sent" })
    }
    // After a retry 10071 may mean that the first try is in the log: only the log can tell.
    if (append.retried && !has("fenced answer after a retry taken for the end")) {
      return patch(state, index, { append: { ...append, status: "Unknown" } })
    }
    return reborn(state, index, false)
  }
  const settleAppend = (state: State, index: number): State => {
    const { append, life, last: known, tail } = at(state.coordinators, index)
    if (append === null) return state
    if (has("unknown taken for success")) return appendAcknowledged(state, index, append.expected)
    const last = lastOf(state.log, ledgerOf(index, life))
    if (has("blind retry with refreshed sequence")) {
      return sendAppend(state, index, { ...append, expected: last, status: "Sent", retried: true })
    }
    const identity = identityAt(state.log, last)
    if (identity === append.identity) return appendAcknowledged(state, index, last)
    const isUntouched = last === known && identity === tail
    if (isUntouched) return sendAppend(state, index, { ...append, status: "Sent", retried: true })
    return reborn(state, index, false)
  }

  /** The key carries what this CAS wrote, at `revision`. */
  const casWon = (state: State, index: number, shard: number, cas: Cas, revision: number): State => {
    const role = at(at(state.coordinators, index).roles, shard)
    const key: Key = { ...cas.value, revision }
    if (role._tag === "Serving") return setRole(state, index, shard, { ...role, key, cas: null })
    if (role._tag === "Marking") return setRole(state, index, shard, none)
    if (role._tag !== "Taking") return state
    return role.early === null
      ? setRole(state, index, shard, { _tag: "Reading", key, until: role.until })
      : enqueueAdopted(state, index, shard, key, role.early)
  }
  const casLost = (state: State, index: number, shard: number): State => {
    const role = at(at(state.coordinators, index).roles, shard)
    return setRole(state, index, shard, role._tag === "Serving" ? { ...role, cas: null } : none)
  }
  const casOf = (role: Role): Cas | null =>
    role._tag === "Taking" || role._tag === "Marking" || role._tag === "Serving" ? role.cas : null
  const withCas = (state: State, index: number, shard: number, cas: Cas): State => {
    const role = at(at(state.coordinators, index).roles, shard)
    return role._tag === "Taking" || role._tag === "Marking" || role._tag === "Serving"
      ? setRole(state, index, shard, { ...role, cas })
      : state
  }
  const settleCas = (state: State, index: number, shard: number, cas: Cas): State => {
    const key = at(state.keys, shard)
    const isOwn = has("CAS settled by the owner's name alone")
      ? key.ledger === cas.value.ledger && key.released === null
      : key.revision > cas.expected && isSame({ ...key, revision: 0 }, cas.value)
    if (isOwn) {
      return casWon(state, index, shard, cas, key.revision)
    }
    if (key.revision !== cas.expected) return casLost(state, index, shard)
    const again: Cas = { ...cas, status: "Sent", retried: true }
    return sendCas(withCas(state, index, shard, again), index, shard, again)
  }

  const enqueueAdopted = (
    state: State,
    index: number,
    shard: number,
    key: Key,
    loaded: ReadonlyArray<string>
  ): State => {
    if (has("no ADOPTED")) {
      const serving = { key, session: 0, state: loaded, cas: null, head: at(state.heads, shard), writing: null }
      return setRole(state, index, shard, { _tag: "Serving", ...serving })
    }
    const adopting = setRole(state, index, shard, { _tag: "Adopting", key, head: at(state.heads, shard), loaded })
    const queued = enqueue(adopting, index, { _tag: "ADOPTED", shard, loaded })
    return has("serve before ADOPTED is acknowledged") ? adopted(queued, index, shard, 0) : queued
  }

  /** A coordinator takes up a shard it does not hold. Nobody asks whether the owner is dead. */
  const look = (state: State, index: number, shard: number): State => {
    const { life, last } = at(state.coordinators, index)
    const spent: State = {
      ...state,
      left: { ...state.left, takes: replaced(state.left.takes, index, at(state.left.takes, index) - 1) }
    }
    const key = at(state.keys, shard)
    const early = has("read before the seal") ? stateOf(state, shard, key, state.log.length) : null
    if (key.revision === 0) return startTake(spent, index, shard, key, 0, early)
    if (
      has("CAS not naming the release") &&
      state.log.some((m) => m.items.some((i) => i._tag === "RELEASED" && i.shard === shard && i.to === index))
    ) {
      return startTake(spent, index, shard, key, 0, early)
    }
    // The successor takes it, or, should that one be gone, anybody: what was released needs no seal.
    if (key.released !== null) return startTake(spent, index, shard, key, key.released.sequence, early)
    if (scenario.handOver === "direct") {
      const position = state.log.findIndex((message) =>
        message.ledger === key.ledger &&
        message.items.some((item) =>
          item._tag === "RELEASED" && item.shard === shard && item.to === index && item.revision === key.revision
        )
      )
      if (position >= 0) return startTake(spent, index, shard, key, position + 1, early)
    }
    if (key.ledger === ledgerOf(index, life)) {
      if (has("take back without a CAS")) return setRole(spent, index, shard, { _tag: "Reading", key, until: last })
      return startTake(spent, index, shard, key, last, early)
    }
    if (has("no seal before the CAS") || (has("restart trusts its name in the key") && key.owner === index)) {
      return startTake(spent, index, shard, key, 0, early)
    }
    return setRole(spent, index, shard, { _tag: "Seal", key, early })
  }
  const sealStep = (state: State, index: number, shard: number, role: Role & { _tag: "Seal" }): State => {
    const last = lastOf(state.log, role.key.ledger)
    if (identityAt(state.log, last) === seal) {
      const isEarly = has("read before the CAS") || has("read before the CAS, revision read again at the CAS")
      const early = isEarly ? stateOf(state, shard, role.key, state.log.length) : role.early
      if (!has("read before the CAS, revision read again at the CAS")) {
        return startTake(state, index, shard, role.key, last, early)
      }
      return setRole(state, index, shard, { ...role, early })
    }
    const request: Request = {
      _tag: "Append",
      from: index,
      life: at(state.coordinators, index).life,
      ledger: role.key.ledger,
      expected: has("seal without expected sequence") ? -1 : last,
      identity: seal,
      items: [{ _tag: "SEALED" }]
    }
    return onWire(
      setRole(state, index, shard, { _tag: "Sealing", key: role.key, expected: request.expected, early: role.early }),
      request
    )
  }

  /** The broker takes or refuses a request. */
  const stored = (
    state: State,
    request: Request
  ): { readonly state: State; readonly isTaken: boolean; readonly number: number } => {
    if (request._tag === "Append") {
      const isTaken = request.expected === -1 || lastOf(state.log, request.ledger) === request.expected
      const { identity, items, ledger } = request
      return {
        isTaken,
        number: state.log.length + 1,
        state: isTaken ? { ...state, log: [...state.log, { ledger, identity, items }] } : state
      }
    }
    if (request._tag === "Page") {
      const { entries, head } = request.writing
      const names = [...new Set([...Object.keys(state.pages), head.page])].sort()
      const pages = Object.fromEntries(
        names.map((name) => [name, name === head.page ? entries : state.pages[name] ?? []])
      )
      return { isTaken: true, number: 0, state: { ...state, pages } }
    }
    if (request._tag === "Head") {
      const { expected, head } = request.writing
      const { revision } = at(state.heads, request.shard)
      if (revision !== expected) return { isTaken: false, number: revision, state }
      const written: Head = { ...head, revision: revision + 1 }
      return {
        isTaken: true,
        number: revision + 1,
        state: { ...state, heads: replaced(state.heads, request.shard, written) }
      }
    }
    const key = at(state.keys, request.shard)
    const isTaken = request.expected === -1 || key.revision === request.expected
    const revision = key.revision + 1
    return {
      isTaken,
      number: revision,
      state: isTaken ? { ...state, keys: replaced(state.keys, request.shard, { ...request.value, revision }) } : state
    }
  }
  /** The head is written: the key may forget the ledgers before this one, if the shard is still its. */
  const forgetLedgers = (state: State, index: number, shard: number, head: Head): State => {
    const { life, roles } = at(state.coordinators, index)
    const role = at(roles, shard)
    if (role._tag !== "Serving") return state
    const own = ledgerOf(index, life)
    const key = at(state.keys, shard)
    const done = setRole(state, index, shard, { ...role, head, writing: null })
    if (key.ledger !== own || key.released !== null || key.ledgers.length <= 1 || role.cas !== null) return done
    const cas = newCas(key.revision, { ...key, revision: 0, ledgers: [own] })
    return sendCas(setRole(done, index, shard, { ...role, head, writing: null, cas }), index, shard, cas)
  }
  /** What its sender does with the answer, or `undefined` when nobody waits for it. */
  const receiver = (
    state: State,
    request: Request
  ): ((state: State, isTaken: boolean, number: number) => State) | undefined => {
    const { from: index } = request
    const coordinator = at(state.coordinators, index)
    if (coordinator.life !== request.life) return undefined
    if (request._tag === "Cas") {
      const { shard } = request
      const cas = casOf(at(coordinator.roles, shard))
      if (cas === null || cas.status !== "Sent" || !isSame(cas.value, request.value)) return undefined
      return (now, isTaken, revision) =>
        isTaken
          ? casWon(now, index, shard, cas, revision)
          : cas.retried
          ? withCas(now, index, shard, { ...cas, status: "Unknown" })
          : casLost(now, index, shard)
    }
    if (request._tag === "Page" || request._tag === "Head") {
      const { _tag, shard, writing } = request
      const role = at(coordinator.roles, shard)
      if (role._tag !== "Serving" || role.writing === null || !isSame(role.writing, writing)) return undefined
      if (_tag === "Page") return (now) => onWire(now, { ...request, _tag: "Head" })
      return (now, isTaken, revision) =>
        isTaken
          ? forgetLedgers(now, index, shard, { ...writing.head, revision })
          : setRole(now, index, shard, { ...role, writing: null })
    }
    if (request.identity === seal) {
      const shards = coordinator.roles.flatMap((role, shard) =>
        role._tag === "Sealing" && role.key.ledger === request.ledger && role.expected === request.expected
          ? [shard]
          : []
      )
      if (shards.length === 0) return undefined
      // Taken or not, it looks at the ledger again: that is also what a lost answer asks for.
      return (now) =>
        shards.reduce((now, shard) => {
          const role = at(at(now.coordinators, index).roles, shard)
          return role._tag === "Sealing"
            ? setRole(now, index, shard, { _tag: "Seal", key: role.key, early: role.early })
            : now
        }, now)
    }
    const { append } = coordinator
    if (
      append === null || append.status !== "Sent" || append.identity !== request.identity ||
      append.expected !== request.expected
    ) return undefined
    return (now, isTaken, sequence) => isTaken ? appendAcknowledged(now, index, sequence) : appendRefused(now, index)
  }
  /** Its sender stops waiting; what it will do is settle. */
  const givenUp = (state: State, request: Request): State => {
    const { from: index } = request
    const { append } = at(state.coordinators, index)
    if (request._tag === "Cas") {
      const cas = casOf(at(at(state.coordinators, index).roles, request.shard))
      return cas === null ? state : withCas(state, index, request.shard, { ...cas, status: "Unknown" })
    }
    if (request._tag !== "Append") return state
    if (request.identity === seal) return receiver(state, request)?.(state, false, 0) ?? state
    return append === null ? state : patch(state, index, { append: { ...append, status: "Unknown" } })
  }
  /** Sequences and revisions only grow, so a request that is refused now always will be; without a waiting sender it does nothing. */
  const swept = (state: State): State => {
    const wire = state.wire.filter((request) => {
      if (request._tag === "Page" || request._tag === "Head") {
        return request._tag === "Page" || receiver(state, request) !== undefined
      }
      if (receiver(state, request) !== undefined || request.expected === -1) return true
      return request._tag === "Cas"
        ? at(state.keys, request.shard).revision === request.expected
        : lastOf(state.log, request.ledger) === request.expected
    })
    return wire.length === state.wire.length ? state : { ...state, wire }
  }

  /** After a lost connection: it goes on only if ledger and keys are as it left them. */
  const verify = (state: State, index: number): State => {
    const { append, last, life, roles, tail } = at(state.coordinators, index)
    const found = lastOf(state.log, ledgerOf(index, life))
    const identity = identityAt(state.log, found)
    const isLedgerMine = (found === last && identity === tail) || (append !== null && identity === append.identity)
    const areKeysMine = has("reconnect checks the ledger only") ||
      roles.every((role, shard) =>
        !(role._tag === "Serving" || role._tag === "Adopting" || role._tag === "Releasing")
        || at(state.keys, shard).revision === role.key.revision ||
        (role._tag === "Serving" && role.cas !== null && at(state.keys, shard).owner === index)
      )
    if (!isLedgerMine || !areKeysMine) return reborn(state, index, false)
    // The SEALED that a take-over in progress stands on may be among what was lost: it begins again.
    const goingOn = has("take-over goes on after a reconnect") ?
      roles :
      roles.map((role) =>
        role._tag === "Seal" || role._tag === "Sealing" || role._tag === "Taking" || role._tag === "Reading"
          ? none
          : role
      )
    return flush(patch(state, index, { unverified: false, roles: goingOn }), index)
  }
  const tailLost = (state: State, length: number): State => {
    const isBlind = has("reconnect is not checked")
    const spent = spend(state, "tailLosses")
    return {
      ...spent,
      log: state.log.slice(0, length),
      wire: [],
      coordinators: state.coordinators.map((coordinator): Coordinator => ({
        ...coordinator,
        unverified: !isBlind,
        append: coordinator.append === null ? null : { ...coordinator.append, status: "Unknown" },
        roles: coordinator.roles.map((role): Role =>
          role._tag === "Sealing"
            ? { _tag: "Seal", key: role.key, early: role.early }
            : role._tag === "Taking" || role._tag === "Marking"
            ? { ...role, cas: { ...role.cas, status: "Unknown" } }
            : role._tag === "Serving" && role.cas !== null
            ? { ...role, cas: { ...role.cas, status: "Unknown" } }
            : role
        )
      }))
    }
  }

  const own = function*(state: State, index: number): Iterable<Step<State>> {
    const me = at(state.coordinators, index)
    const name = ledgerOf(index, me.life)
    if (me.unverified) {
      yield { label: `${name} looks at its ledger and keys after the reconnect`, state: verify(state, index) }
      return
    }
    if (me.append?.status === "Unknown") {
      yield { label: `${name} settles its append by reading the ledger`, state: settleAppend(state, index) }
    }
    for (let shard = 0; shard < me.roles.length; shard++) {
      const role = at(me.roles, shard)
      const cas = casOf(role)
      if (cas?.status === "Unknown") {
        yield { label: `${name} settles its CAS by reading the key`, state: settleCas(state, index, shard, cas) }
      }
      if (role._tag === "Marking" && role.cas.status === "Unknown") {
        yield {
          label: `${name} gives up marking shard ${shard} as released`,
          state: setRole(state, index, shard, none)
        }
      }
      switch (role._tag) {
        case "None":
          if (at(state.left.takes, index) > 0) {
            yield { label: `${name} reads the key of shard ${shard} to take it`, state: look(state, index, shard) }
          }
          break
        case "Seal":
          if (role.early !== null && has("read before the CAS, revision read again at the CAS")) {
            const key = at(state.keys, shard)
            yield {
              label: `${name} reads the revision again and sends its CAS`,
              state: startTake(state, index, shard, key, 0, role.early)
            }
          } else {
            yield {
              label: isSealed(state.log, role.key.ledger)
                ? `${name} finds ${role.key.ledger} sealed, sends its CAS`
                : `${name} reads the end of ${role.key.ledger} and sends SEALED`,
              state: sealStep(state, index, shard, role)
            }
          }
          break
        case "Reading": {
          const from = has("read from a lagging replica")
            ? 0
            : has("read up to the seal")
            ? role.until
            : state.log.length
          for (let length = from; length <= state.log.length; length++) {
            const loaded = stateOf(state, shard, role.key, length)
            yield {
              label: `${name} reads shard ${shard} as [${loaded.join()}], sends ADOPTED`,
              state: enqueueAdopted(state, index, shard, role.key, loaded)
            }
          }
          break
        }
        case "Serving": {
          if (state.left.entries > 0) {
            const id = `${shard}:${state.left.entries}`
            const asked = enqueue(spend(state, "entries"), index, { _tag: "ENTRY", shard, id, session: role.session })
            yield {
              label: `${name} handles a turn: entry ${id}`,
              state: has("client answered before the log") ? { ...asked, answered: [...asked.answered, id] } : asked
            }
          }
          if (state.left.releases > 0 && role.cas === null && role.writing === null) {
            for (let to = 0; to < state.coordinators.length; to++) {
              if (to === index) continue
              const spent = setRole(spend(state, "releases"), index, shard, { _tag: "Releasing", key: role.key, to })
              const label = `${name} releases shard ${shard} to ${nameOf(to)}`
              if (has("hand-over without RELEASED")) yield { label, state: marked(spent, index, shard, me.last) }
              else {
                const queued = enqueue(spent, index, { _tag: "RELEASED", shard, to, revision: role.key.revision })
                yield {
                  label,
                  state: has("hand-over before RELEASED is acknowledged")
                    ? marked(queued, index, shard, me.last + 1)
                    : queued
                }
              }
            }
          }
          const isQuiet = me.append === null && role.cas === null && role.writing === null
          if (
            scenario.checkpoint === "pages" && state.left.checkpoints > 0 && isQuiet && role.head.sequence < me.last
          ) {
            const generation = role.head.generation + 1
            const page = has("checkpoint pages named by generation only") ? `${generation}` : `${generation}.${name}`
            const head: Head = { revision: 0, generation, sequence: me.last, page: `${shard}.${page}` }
            const writing: Writing = { expected: role.head.revision, head, entries: role.state }
            const noted = setRole(spend(state, "checkpoints"), index, shard, { ...role, writing })
            const request: Request = { _tag: "Page", from: index, life: me.life, shard, writing }
            yield { label: `${name} writes a checkpoint of shard ${shard}`, state: onWire(noted, request) }
          }
          if (
            scenario.checkpoint === "key" && state.left.checkpoints > 0 && role.cas === null &&
            role.key.checkpoint.sequence < me.last
          ) {
            const value: Key = {
              ...role.key,
              revision: 0,
              ledgers: [name],
              checkpoint: { sequence: me.last, entries: role.state }
            }
            const cas = newCas(role.key.revision, value)
            const noted = setRole(spend(state, "checkpoints"), index, shard, { ...role, cas })
            yield { label: `${name} writes a checkpoint of shard ${shard}`, state: sendCas(noted, index, shard, cas) }
          }
          break
        }
        default:
          break
      }
    }
    if (state.left.restarts > 0) {
      yield { label: `${name} crashes and starts again`, state: reborn(spend(state, "restarts"), index, true) }
    }
  }

  const described = (request: Request): string =>
    request._tag === "Page" || request._tag === "Head" ?
      `${request._tag} ${request.writing.head.page} of ${ledgerOf(request.from, request.life)}` :
      request._tag === "Cas"
      ? `CAS of shard ${request.shard} by ${ledgerOf(request.from, request.life)}`
      : `${request.items.map((item) => item._tag === "ENTRY" ? item.id : item._tag).join("+")} of ${
        ledgerOf(request.from, request.life)
      } on ${request.ledger}`

  const all = function*(state: State): Iterable<Step<State>> {
    for (let index = 0; index < state.coordinators.length; index++) yield* own(state, index)
    for (let position = 0; position < state.wire.length; position++) {
      const request = at(state.wire, position)
      if (position > 0 && isSame(at(state.wire, position - 1), request)) continue
      const receive = receiver(state, request)
      const rest: State = { ...state, wire: [...state.wire.slice(0, position), ...state.wire.slice(position + 1)] }
      const result = stored(rest, request)
      const text = `${described(request)} ${result.isTaken ? "is taken" : "is refused"}`
      if (receive === undefined) {
        yield { label: `late ${text}`, state: result.state }
        continue
      }
      yield { label: text, state: receive(result.state, result.isTaken, result.number) }
      if (state.left.losses > 0 && request._tag !== "Page" && request._tag !== "Head") {
        yield { label: `${text}, the answer is lost`, state: givenUp(spend(result.state, "losses"), request) }
        yield {
          label: `${described(request)} is delayed, its sender gives up waiting`,
          state: givenUp(spend(state, "losses"), request)
        }
      }
    }
    if (state.left.tailLosses > 0) {
      for (let length = state.log.length - 1; length >= kept; length--) {
        yield { label: `the broker loses all after ${length}`, state: tailLost(state, length) }
      }
    }
  }

  /** Alone and without a loss, this coordinator comes to serve this shard: steps of its own and answers to it, nothing else. */
  const getsThrough = (from: State, index: number, shard: number): boolean => {
    let state = from
    for (let steps = 0; steps < 60; steps++) {
      const { append, life, roles, unverified } = at(state.coordinators, index)
      const role = at(roles, shard)
      const cas = casOf(role)
      const position = state.wire.findIndex((request) =>
        request.from === index && receiver(state, request) !== undefined
      )
      if (unverified) state = verify(state, index)
      else if (position >= 0) {
        const request = at(state.wire, position)
        const result = stored({ ...state, wire: state.wire.toSpliced(position, 1) }, request)
        state = receiver(state, request)?.(result.state, result.isTaken, result.number) ?? result.state
      } else if (append?.status === "Unknown") state = settleAppend(state, index)
      else if (cas?.status === "Unknown") state = settleCas(state, index, shard, cas)
      else if (role._tag === "None") state = look(state, index, shard)
      else if (role._tag === "Seal") state = sealStep(state, index, shard, role)
      else if (role._tag === "Reading") {
        state = enqueueAdopted(state, index, shard, role.key, stateOf(state, shard, role.key, state.log.length))
      } else if (role._tag !== "Serving") return false
      else if (!isSealed(state.log, ledgerOf(index, life))) return true
      // It was fenced and does not know yet: its next turn tells it.
      else state = enqueue(state, index, { _tag: "ENTRY", shard, id: `${shard}:probe${steps}`, session: role.session })
    }
    return false
  }
  const stuck = (state: State): string | undefined => {
    if (!checked.has("never stuck")) return undefined
    for (let index = 0; index < state.coordinators.length; index++) {
      for (let shard = 0; shard < state.keys.length; shard++) {
        if (!getsThrough(state, index, shard)) {
          return `never stuck: ${nameOf(index)} alone cannot get to serve shard ${shard}`
        }
      }
    }
    return undefined
  }

  return {
    initial: [first],
    key: keyOf,
    violated: (state) => violation(state, checked) ?? stuck(state),
    *next(state) {
      for (const step of all(state)) yield { label: step.label, state: swept(step.state) }
    }
  }
}
