/**
 * Which shards this coordinator serves, and how they change hands.
 *
 * Taking: the dead owner's ledger is sealed, then the shard's key is won by compare-and-set, then the state is read, then ADOPTED is appended to our own ledger; its
 * sequence is the session, and only from its acknowledgement on is the shard served. Handing over alive: RELEASED is appended, then the key names the successor and
 * that sequence, and only the successor goes on. What should be owned by whom (rendezvous over the registry) only decides who tries. Follows design/01 section 3.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { JournalRecord } from "../../shared/protocol/Journal.ts"
import type { ShardOwnership as Ownership } from "../../shared/protocol/Member.ts"
import {
  type Ledger as LedgerName,
  type MemberId,
  SessionId,
  Shard,
  type StartupId,
  StreamSequence
} from "../../shared/protocol/Token.ts"
import type { LiveMembers } from "../../shared/registry/LiveMembers.ts"
import * as ShardMap from "../../shared/registry/ShardMap.ts"
import * as LedgerSeal from "../../shared/session/LedgerSeal.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { type Meters, stopwatch } from "../../shared/telemetry/Meters.ts"
import type { Definitions } from "./Definitions.ts"
import type { Ledger } from "./Ledger.ts"
import * as Recovery from "./Recovery.ts"
import * as Rendezvous from "./Rendezvous.ts"

/** What a take-over brought, for logs and failover records. */
export interface Adoption {
  readonly shards: ReadonlyArray<Recovery.RecoveredShard>
  readonly session: SessionId
}

export interface ShardOwnershipOptions {
  readonly nats: Connection
  readonly member: MemberId
  readonly startup: StartupId
  readonly ledgerName: LedgerName
  readonly ledger: Ledger
  readonly shardCount: number
  readonly shardMap: ShardMap.ShardMap
  readonly live: LiveMembers
  readonly definitions: Definitions
  readonly meters: Meters
  /** Serve these from now on. Called in the moment of ADOPTED's acknowledgement. */
  readonly adopted: (adoption: Adoption) => void
  /** All owned shards have this session from now on. Called in the moment of the acknowledgement. */
  readonly renewed: (session: SessionId) => void
  /** What is wrong with the journal, a sentence each, for whoever looks after the mesh. */
  readonly damaged: (problem: string) => void
  /** Stop serving this shard. Called in the moment of RELEASED's acknowledgement. */
  readonly released: (shard: Shard) => void
}

/** Why this coordinator may try to take a shard. */
type Claimable =
  | { readonly _tag: "Unowned" }
  | { readonly _tag: "Released" }
  | { readonly _tag: "OwnerDead" }

const takenFrom = { Unowned: "nobody", Released: "handover", OwnerDead: "dead" } as const

export class ShardOwnership {
  readonly #options: ShardOwnershipOptions
  readonly #bucket: Kv.Bucket
  readonly #one = Semaphore.makeUnsafe(1)
  readonly #owned = new Set<Shard>()
  /** Lives of coordinators that a failover event declared gone. */
  readonly #dead = new Set<StartupId>()
  /** Lives that gave away what would be theirs: they are going, and get nothing back while the registry still shows them. */
  readonly #leaving = new Set<StartupId>()
  #isLeaving = false

  constructor(options: ShardOwnershipOptions) {
    this.#options = options
    this.#bucket = Kv.bucket(options.nats, Streams.bucketName.shards)
  }

  get owned(): ReadonlySet<Shard> {
    return this.#owned
  }

  /** Why not all shards whose key names this life are served; `undefined`: they are. */
  unready(): string | undefined {
    let missing = 0
    for (const [shard, { ownership }] of this.#options.shardMap.all()) {
      if (ownership.startup !== this.#options.startup || ownership.released !== undefined) continue
      if (!this.#owned.has(shard)) missing++
    }
    return missing === 0
      ? undefined
      : `${missing} shards of this coordinator are not served: their state is being read, or cannot be (see its log)`
  }

  /** A failover event said so: from now on this life's shards may be taken. */
  declareDead(startup: StartupId): void {
    this.#dead.add(startup)
  }

  /** At the start of the mesh or of this process: owners that the registry does not show count as dead. */
  declareUnregisteredDead(): void {
    for (const { ownership } of this.#options.shardMap.all().values()) {
      if (
        ownership.startup !== this.#options.startup && !this.#options.live.isAlive(ownership.owner, ownership.startup)
      ) this.#dead.add(ownership.startup)
    }
  }

  /** Takes what this coordinator should own and may take; gives what it got. Repeat it whenever the registry or a shard's key has changed. */
  readonly claim: Effect.Effect<Option.Option<Adoption>, ContractError> = Effect.suspend(() =>
    this.#one.withPermits(1)(this.#claim)
  )

  /** Releases what another live coordinator should own now. */
  readonly rebalance: Effect.Effect<ReadonlyArray<Shard>, ContractError> = Effect.suspend(() =>
    this.#one.withPermits(1)(this.#release((shard) => {
      const to = this.#desired(shard)
      return to === undefined || to === this.#options.member ? undefined : to
    }))
  )

  /** Before leaving: everything to those who stay. With nobody there the shards wait for the next coordinator, who seals this ledger. */
  readonly releaseAll: Effect.Effect<ReadonlyArray<Shard>, ContractError> = Effect.suspend(() => {
    this.#isLeaving = true
    return this.#one.withPermits(1)(this.#release((shard) => Rendezvous.winner(shard, this.#others())))
  })

  /** A new session for everything that is owned: makes what was handed out under the old one (lanes, assignments) stale. */
  readonly renew: Effect.Effect<void, ContractError> = Effect.suspend(() => this.#one.withPermits(1)(this.#renew))

  readonly #renew: Effect.Effect<void, ContractError> = Effect.gen({ self: this }, function*() {
    if (this.#owned.size === 0) return
    const at = yield* Clock.currentTimeMillis
    const records = [...this.#owned].map((shard): JournalRecord => ({
      _tag: "Adopted",
      shard,
      snapshot: StreamSequence.make(0),
      at
    }))
    yield* this.#append(records, (sequence) => this.#options.renewed(SessionId.make(sequence)))
  })

  #members(): ReadonlyArray<MemberId> {
    return this.#options.live.of("coordinator").filter(({ startup }) =>
      !this.#dead.has(startup) && !this.#leaving.has(startup)
    ).map(({ member }) => member)
  }

  #others(): ReadonlyArray<MemberId> {
    return this.#members().filter((member) => member !== this.#options.member)
  }

  #desired(shard: Shard): MemberId | undefined {
    return Rendezvous.winner(shard, [...new Set([...this.#members(), this.#options.member])])
  }

  #claimable(shard: Shard): Claimable | undefined {
    if (this.#owned.has(shard)) return undefined
    const owned = this.#options.shardMap.entryOf(shard)
    if (owned === undefined) return this.#desired(shard) === this.#options.member ? { _tag: "Unowned" } : undefined
    const { owner, released, startup } = owned.ownership
    if (released !== undefined) {
      if (released.to === this.#options.member) return { _tag: "Released" }
      // the successor is gone as well: the release stands, so nothing has to be sealed, and the compare-and-set decides
      if (this.#members().includes(released.to)) return undefined
      return this.#desired(shard) === this.#options.member ? { _tag: "Released" } : undefined
    }
    if (startup === this.#options.startup) return { _tag: "OwnerDead" } // won by us, then interrupted before ADOPTED: read and adopt again
    const isDead = this.#dead.has(startup) || (owner === this.#options.member)
    return isDead && this.#desired(shard) === this.#options.member ? { _tag: "OwnerDead" } : undefined
  }

  readonly #claim: Effect.Effect<Option.Option<Adoption>, ContractError> = Effect.gen({ self: this }, function*() {
    const { ledgerName, member, nats, shardCount, shardMap, startup } = this.#options
    if (this.#isLeaving) return Option.none()
    const wanted: Array<
      { readonly shard: Shard; readonly before: ShardMap.Owned | undefined; readonly why: Claimable }
    > = []
    for (let i = 0; i < shardCount; i++) {
      const shard = Shard.make(i)
      const why = this.#claimable(shard)
      if (why === undefined) continue
      const before = shardMap.entryOf(shard)
      wanted.push({ shard, before, why })
      if (why._tag !== "Released" || before === undefined || before.ownership.owner === member) continue
      // of the two of us it should be the other's, and that one gave it to us
      const { owner, released, startup: giver } = before.ownership
      if (released?.to === member && Rendezvous.winner(shard, [owner, member]) === owner) this.#leaving.add(giver)
    }
    if (wanted.length === 0) return Option.none()
    const seconds = stopwatch(yield* Clock.Clock)
    const since = seconds()

    const toSeal = new Set(
      wanted.flatMap(({ before, why }) =>
        why._tag === "OwnerDead" && before !== undefined && before.ownership.ledger !== ledgerName
          ? [before.ownership.ledger]
          : []
      )
    )
    yield* Effect.forEach(toSeal, (ledger) => LedgerSeal.sealLedger(nats, ledger, member), {
      concurrency: 4,
      discard: true
    }).pipe(Effect.mapError(unavailable))

    const won = (yield* Effect.forEach(wanted, ({ before, shard }) => {
      const ledgers = [...new Set([...before?.ownership.ledgers ?? [], ledgerName])]
      const value: Ownership = { owner: member, startup, ledger: ledgerName, ledgers }
      const text = JSON.stringify(value)
      const write = before === undefined
        ? this.#bucket.create(ShardMap.keyOf(shard), text)
        : this.#bucket.update(ShardMap.keyOf(shard), text, before.revision)
      return write.pipe(
        Effect.flatMap((outcome) =>
          outcome._tag === "Won"
            ? Effect.succeed(true)
            : outcome._tag === "Lost"
            ? Effect.succeed(false)
            : this.#wasWritten(shard, text, before?.revision ?? 0)
        ),
        Effect.map((isOurs) => isOurs ? [{ shard, ledgers }] : [])
      )
    }, { concurrency: 32 })).flat()
    if (won.length === 0) return Option.none()

    const read = yield* Recovery.recover(nats, this.#options.definitions, won, this.#options.damaged)
    const recovered = read.filter(({ blocked }) => blocked === undefined)
    if (recovered.length === 0) return Option.none()
    const at = yield* Clock.currentTimeMillis
    const records = recovered.map(({ checkpoint, shard }): JournalRecord => ({
      _tag: "Adopted",
      shard,
      snapshot: StreamSequence.make(checkpoint?.head.sequence ?? 0),
      at
    }))
    const whyOf = new Map(wanted.map(({ shard, why }) => [shard, why._tag]))
    const session = yield* this.#append(records, (sequence) => {
      for (const { shard } of recovered) {
        this.#owned.add(shard)
        const from = takenFrom[whyOf.get(shard) ?? "Unowned"]
        this.#options.meters.counter(Catalog.shardTakeovers, { from }).total++
      }
      this.#options.meters.histogram(Catalog.adoptionSeconds, {}).observe(seconds() - since)
      this.#options.adopted({ shards: recovered, session: SessionId.make(sequence) })
    })
    return Option.some({ shards: recovered, session: SessionId.make(session) })
  })

  #release(successor: (shard: Shard) => MemberId | undefined): Effect.Effect<ReadonlyArray<Shard>, ContractError> {
    return Effect.gen({ self: this }, function*() {
      if (this.#options.ledger.ended) return []
      const going = [...this.#owned].flatMap((shard) => {
        const to = successor(shard)
        return to === undefined ? [] : [{ shard, to }]
      })
      if (going.length === 0) return []
      const at = yield* Clock.currentTimeMillis
      const sequence = yield* this.#append(
        going.map(({ shard, to }): JournalRecord => ({ _tag: "Released", shard, to, at })),
        () => {
          for (const { shard } of going) {
            this.#owned.delete(shard)
            this.#options.released(shard)
          }
        }
      )
      yield* Effect.forEach(going, ({ shard, to }) => this.#nameSuccessor(shard, to, sequence), {
        concurrency: 32,
        discard: true
      })
      return going.map(({ shard }) => shard)
    })
  }

  /** Until the key says so, or is no longer ours: whoever took it has sealed this ledger first. */
  #nameSuccessor(shard: Shard, to: MemberId, sequence: number): Effect.Effect<void, ContractError> {
    return Effect.gen({ self: this }, function*() {
      for (let tries = 0; tries < 50; tries++) {
        const entry = yield* this.#read(shard)
        if (
          entry === undefined || entry.ownership.startup !== this.#options.startup ||
          entry.ownership.released !== undefined
        ) return
        const value: Ownership = { ...entry.ownership, released: { to, sequence: StreamSequence.make(sequence) } }
        const outcome = yield* this.#bucket.update(ShardMap.keyOf(shard), JSON.stringify(value), entry.revision)
        if (outcome._tag === "Won") return
        yield* Effect.sleep("100 millis")
      }
      return yield* new ContractError({
        code: "Unavailable",
        message: `shard ${shard} was released, but its key could not be written for 5 s`
      })
    })
  }

  /** Drops the ledgers of earlier owners from a shard's key once a checkpoint holds what they had. */
  forgetLedgers(shard: Shard): Effect.Effect<void, ContractError> {
    return Effect.gen({ self: this }, function*() {
      const entry = yield* this.#read(shard)
      if (
        entry === undefined || entry.ownership.startup !== this.#options.startup ||
        entry.ownership.released !== undefined || entry.ownership.ledgers.length <= 1
      ) return
      const value: Ownership = { ...entry.ownership, ledgers: [this.#options.ledgerName] }
      // lost or unknown: the list stays too long, which costs a longer read and nothing else
      yield* this.#bucket.update(ShardMap.keyOf(shard), JSON.stringify(value), entry.revision)
    })
  }

  /** An unknown compare-and-set was won when exactly what it wrote stands there, above the revision that it named: our name alone may be an older write of ours. */
  #wasWritten(shard: Shard, text: string, above: number): Effect.Effect<boolean, ContractError> {
    return this.#bucket.get(ShardMap.keyOf(shard)).pipe(
      Effect.mapError(unavailable),
      Effect.map((entry) => Option.isSome(entry) && entry.value.value === text && entry.value.revision > above)
    )
  }

  /** Whether every shard that is served still has our key: after a power loss the broker may have forgotten that it gave it to us. */
  readonly holdsItsKeys: Effect.Effect<boolean, ContractError> = Effect.suspend(() =>
    Effect.map(
      Effect.forEach([...this.#owned], (shard) => this.#read(shard), { concurrency: 32 }),
      (entries) => entries.every((entry) => entry?.ownership.startup === this.#options.startup)
    )
  )

  #read(shard: Shard): Effect.Effect<ShardMap.Owned | undefined, ContractError> {
    return this.#bucket.get(ShardMap.keyOf(shard)).pipe(
      Effect.mapError(unavailable),
      Effect.map((entry) =>
        Option.isNone(entry)
          ? undefined
          : { ownership: JSON.parse(entry.value.value) as Ownership, revision: entry.value.revision }
      ) // written by coordinators only
    )
  }

  /** Appends ownership records; `acked` runs in the moment of the acknowledgement, before any further turn is collected. */
  #append(
    records: ReadonlyArray<JournalRecord>,
    acked: (sequence: number) => void
  ): Effect.Effect<number, ContractError> {
    return Effect.callback<number, ContractError>((resume) => {
      const isTaken = this.#options.ledger.append({
        records: records.map((record) => JSON.stringify(record)),
        acked: (sequence) => {
          acked(sequence)
          resume(Effect.succeed(sequence))
        },
        lost: () => resume(Effect.fail(sealed))
      })
      if (!isTaken) resume(Effect.fail(sealed))
    })
  }
}

const sealed = new ContractError({
  code: "NotOwner",
  message: "this coordinator's ledger was sealed by another: it has lost all its shards"
})
const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: error.message })
