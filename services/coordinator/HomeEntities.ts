/**
 * Durable entities with a home shard (schedules, backfills): one key of the bucket `heddle_schedules` each, written only by the owner of the shard of its name.
 *
 * Kept true: a write is a compare-and-set and carries its writer's session of the home shard; a coordinator with an older session than the one that stands there
 * writes nothing more, and one whose session is newest wins at the first write. An owner that was replaced and does not know it yet may win one write before that;
 * what it decided is then in the state, for the next owner to carry out. A watch keeps every entity in memory, for lists and alarms. Follows design/03 section 6.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Forwarding from "../../shared/jetstream/Forwarding.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection, Message } from "../../shared/jetstream/Nats.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { WrittenBy } from "../../shared/protocol/Schedule.ts"
import { shardOf } from "../../shared/protocol/Shard.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, type MemberId, type SessionId, type Shard } from "../../shared/protocol/Token.ts"

/** Entities of one kind in the mesh; one more is refused. */
export const entitiesMax = 10_000
/** A write that loses this often in a row gives up. */
const casTriesMax = 20

type By = typeof WrittenBy.Type

/** What is told of the shell's surroundings. */
export interface Home {
  readonly nats: Connection
  readonly member: MemberId
  readonly shardCount: number
  /** Of the shard, while it is served here. */
  readonly sessionOf: (shard: Shard) => SessionId | undefined
  /** The other coordinator that serves the shard. */
  readonly ownerOf: (shard: Shard) => MemberId | undefined
  readonly now: () => number
  readonly warn: (message: string) => void
}

/** The shard that an entity's name belongs to: as for instance ids. */
export const homeOf = (home: Home, name: string): Shard => shardOf(InstanceId.make(name), home.shardCount)

const replaced = (name: string) =>
  new ContractError({ code: "NotOwner", message: `the home shard of ${name} is changing hands: try again` })
const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: `the store of schedules does not answer: ${error.message}` })

/** The handler runs where the name's home shard is served; elsewhere the request is passed on with its reply subject. */
export const atHome = <A, Answer>(
  home: Home,
  nameOf: (request: A) => string,
  handler: (request: A) => Effect.Effect<Answer, ContractError>
) =>
(
  request: A,
  context: { readonly message: Message; readonly subject: string }
): Effect.Effect<Answer | RpcService.Forwarded, ContractError> =>
  Effect.suspend((): Effect.Effect<Answer | RpcService.Forwarded, ContractError> => {
    const shard = homeOf(home, nameOf(request))
    if (home.sessionOf(shard) !== undefined) return handler(request)
    const owner = home.ownerOf(shard)
    if (owner === undefined) {
      return Effect.fail(
        new ContractError({ code: "Unavailable", message: `no coordinator serves shard ${shard} now: try again` })
      )
    }
    const { message, subject } = context
    Forwarding.passOn(home.nats, Subject.forwarded(owner, subject), message)
    return Effect.succeed(RpcService.forwarded)
  })

export class HomeEntities<S extends { readonly by: By; readonly name: string }> {
  readonly home: Home
  readonly #bucket: Kv.Bucket
  readonly #prefix: string
  readonly #decode: (text: string) => Result.Result<S, ContractError>
  readonly #known = new Map<string, { readonly value: S; readonly revision: number }>()
  readonly #noSuch: (name: string) => ContractError
  readonly #ttlMs: (value: S) => number | undefined

  constructor(options: {
    readonly home: Home
    readonly kind: "schedule" | "backfill"
    readonly schema: Decode.Decodable<S>
    readonly noSuch: (name: string) => ContractError
    /** How long a state is kept; for ever when not given. */
    readonly ttlMs?: (value: S) => number | undefined
  }) {
    this.home = options.home
    this.#bucket = Kv.bucket(options.home.nats, Streams.bucketName.schedules)
    this.#prefix = `${options.kind}.`
    this.#decode = Decode.decoder(options.schema)
    this.#noSuch = options.noSuch
    this.#ttlMs = options.ttlMs ?? (() => undefined)
  }

  /** Session of the name's home shard, while it is served here. */
  sessionOf(name: string): SessionId | undefined {
    return this.home.sessionOf(homeOf(this.home, name))
  }

  get(name: string): S | undefined {
    return this.#known.get(name)?.value
  }

  get names(): Iterable<string> {
    return this.#known.keys()
  }

  /** Names of the entities that are at home in one of `shards`. */
  namesIn(shards: ReadonlySet<Shard>): ReadonlyArray<string> {
    return [...this.#known.keys()].filter((name) => shards.has(homeOf(this.home, name)))
  }

  /** By name, from memory; `next` is the last name of the page. */
  page(limit: number, next: string | undefined): { readonly items: ReadonlyArray<S>; readonly next?: string } {
    const names = [...this.#known.keys()].filter((name) => next === undefined || name > next).toSorted()
    const page = names.slice(0, limit)
    const last = page.at(-1)
    return {
      items: page.flatMap((name) => this.get(name) ?? []),
      ...(names.length > limit && last !== undefined ? { next: last } : {})
    }
  }

  /** Follows the bucket for ever: run it as a supervised fiber. `changed` is called with every name that has another state, or none, now. */
  watch(changed: (name: string) => void): Effect.Effect<void, JetStreamFailed> {
    return Stream.runForEach(this.#bucket.watch(this.#prefix), (event) =>
      Effect.sync(() => {
        if (event._tag === "UpToDate") return
        const name = event.key.slice(this.#prefix.length)
        if (event._tag === "Removed") this.#known.delete(name)
        else this.#keep(name, event.value, event.revision)
        changed(name)
      }))
  }

  #keep(name: string, text: string, revision: number): void {
    if ((this.#known.get(name)?.revision ?? 0) >= revision) return
    const value = this.#decode(text)
    if (Result.isSuccess(value)) this.#known.set(name, { value: value.success, revision })
    else this.home.warn(`${this.#prefix}${name} can't be read: ${value.failure.message}`)
  }

  /** From the bucket, not from memory. */
  readonly read = Effect.fnUntraced(function*(this: HomeEntities<S>, name: string) {
    const entry = yield* this.#bucket.get(this.#prefix + name).pipe(Effect.mapError(unavailable))
    if (Option.isNone(entry)) return yield* this.#noSuch(name)
    return yield* Effect.fromResult(this.#decode(entry.value.value))
  }).bind(this)

  /**
   * The state after `change`, written when it is another object. `change` may run several times, also on a state that its own earlier try has written. Fails with
   * `NotOwner` when the home shard is not (or no longer) served here.
   */
  readonly modify = Effect.fnUntraced(function*(
    this: HomeEntities<S>,
    name: string,
    change: (current: S | undefined) => Result.Result<Omit<S, "by">, ContractError>
  ) {
    const key = this.#prefix + name
    for (let tries = 0; tries < casTriesMax; tries++) {
      const entry = yield* this.#bucket.get(key).pipe(Effect.mapError(unavailable))
      const current = Option.isNone(entry) ? undefined : yield* Effect.fromResult(this.#decode(entry.value.value))
      const session = this.sessionOf(name)
      if (session === undefined || current !== undefined && current.by.session > session) return yield* replaced(name)
      const changed = yield* Effect.fromResult(change(current))
      if (current !== undefined && changed === current) {
        if (Option.isSome(entry)) this.#keep(name, entry.value.value, entry.value.revision)
        return current
      }
      if (current === undefined && this.#known.size >= entitiesMax) {
        return yield* new ContractError({
          code: "Overloaded",
          message: `there are ${entitiesMax} of them already: delete some first`
        })
      }
      // `changed` has every field but the one that is added here
      const value = { ...changed, by: { member: this.home.member, session } } as unknown as S
      const text = JSON.stringify(value)
      const ttlMs = this.#ttlMs(value)
      const options = ttlMs === undefined ? {} : { ttlMs }
      const outcome = yield* Option.isSome(entry)
        ? this.#bucket.update(key, text, entry.value.revision, options)
        : this.#bucket.create(key, text, options)
      if (outcome._tag === "Won") {
        this.#keep(name, text, outcome.revision)
        return this.get(name) ?? value
      }
    }
    return yield* new ContractError({ code: "Unavailable", message: `${name} could not be written: try again` })
  }).bind(this)

  /** Removes it; fails when there is none. */
  readonly remove = Effect.fnUntraced(function*(this: HomeEntities<S>, name: string) {
    const key = this.#prefix + name
    for (let tries = 0; tries < casTriesMax; tries++) {
      const entry = yield* this.#bucket.get(key).pipe(Effect.mapError(unavailable))
      if (Option.isNone(entry)) return yield* this.#noSuch(name)
      const current = yield* Effect.fromResult(this.#decode(entry.value.value))
      const session = this.sessionOf(name)
      if (session === undefined || current.by.session > session) return yield* replaced(name)
      const outcome = yield* this.#bucket.delete(key, entry.value.revision, { markerTtlMs: Streams.markerMs })
      if (outcome._tag === "Won") return
    }
    return yield* new ContractError({ code: "Unavailable", message: `${name} could not be removed: try again` })
  }).bind(this)
}
