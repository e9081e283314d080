/** `heddle claims`: who holds what, from the pool's event stream (HEDDLE_POOL_EVENTS), and one claim from its pool. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ClaimResult } from "../../shared/protocol/Claim.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as ClaimSearch from "../ClaimSearch.ts"
import * as Connection from "../Connection.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import * as Interruption from "../Interruption.ts"
import * as Output from "../Output.ts"
import * as PoolEvents from "../PoolEvents.ts"
import * as Claim from "./Claim.ts"

/** Of one pool, or of all. */
const eventsOf = Effect.fnUntraced(function*(pool: Option.Option<string>) {
  return Option.isSome(pool) ? Subject.poolEvent(yield* Globals.poolOf(pool.value)) : "heddle.pool.*.*.event"
})
/** `default/gpu` of `heddle.pool.default.gpu.event`. */
const poolOfEvent = (subject: string): string => subject.split(".").slice(2, 4).join("/")
interface PoolEvent extends PoolEvents.Seen {
  readonly pool: string
}

const readAll = Effect.fnUntraced(function*(filter: string, from: number, each: (event: PoolEvent) => void) {
  const nats = yield* Connection.nats
  yield* Stream.runForEach(
    Read.readRange(nats, Streams.name.poolEvents, { filter, from }),
    (message) =>
      Effect.sync(() => {
        for (const event of PoolEvents.parse(message.sequence, message.text)) {
          each({ ...event, pool: poolOfEvent(message.subject) })
        }
      })
  ).pipe(
    Effect.mapError((error) =>
      new CliFailure({ exit: 1, message: error.message, fix: "`heddle doctor` shows what is missing." })
    )
  )
})

export const ls = (input: { readonly pool: Option.Option<string>; readonly limit: Option.Option<number> }) =>
  Effect.gen(function*() {
    const output = yield* Output.Output
    const filter = yield* eventsOf(input.pool)
    // Ids are of a pool.
    const held = new Map<string, Map<string, PoolEvent>>()
    yield* readAll(filter, 1, (event) => {
      let ofPool = held.get(event.pool)
      if (ofPool === undefined) held.set(event.pool, ofPool = new Map())
      PoolEvents.fold(ofPool, event)
    })
    const items = [...held.values()].flatMap((ofPool) => [...ofPool.values()]).slice(
      0,
      Option.getOrElse(input.limit, () => 1_000)
    )
    yield* output.page(
      { items },
      [
        { title: "CLAIM", value: (event) => event.claimId },
        ...(Option.isSome(input.pool) ? [] : [{ title: "POOL", value: (event: PoolEvent) => event.pool }]),
        { title: "SANDBOX", value: (event) => event.sandbox },
        { title: "HOLDER", value: (event) => event.holder },
        { title: "SINCE", value: (event) => event.at },
        { title: "LEASE", value: (event) => event.leaseExpiresAt ?? "" }
      ],
      "No claims."
    )
  }).pipe(Connection.provide)

export const describe = (input: { readonly claim: ReadonlyArray<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output.Output
    const { ids: [claimId], pool } = yield* ClaimSearch.placed(input.claim)
    const result = yield* Connection.call(Subject.rpc.pool(pool, "get"), ClaimResult, { claimId })
    yield* output.value(result, () => Claim.describe(result, output.style))
  }).pipe(Connection.provide)

/** `isPaused`: hold the sandbox still, else let it go on. */
export const setPaused = (isPaused: boolean) => (input: { readonly pool: string; readonly claim: string }) =>
  Effect.gen(function*() {
    const output = yield* Output.Output
    const pool = yield* Globals.poolOf(input.pool)
    const claimId = yield* Globals.checkToken("The claim", input.claim)
    const verb = isPaused ? "pause" : "resume"
    const result = yield* Connection.call(Subject.rpc.pool(pool, verb), ClaimResult, { claimId })
    yield* output.value(result, () => Claim.describe(result, output.style))
  }).pipe(Connection.provide)

export const watch = (input: { readonly pool: Option.Option<string>; readonly since: Option.Option<string> }) =>
  Effect.scoped(Effect.gen(function*() {
    const nats = yield* Connection.nats
    const output = yield* Output.Output
    const filter = yield* eventsOf(input.pool)
    const since = Option.isSome(input.since) ? Number(input.since.value) : undefined
    if (since !== undefined && !(Number.isInteger(since) && since >= 1)) {
      return yield* Globals.usage("--since is a stream sequence from 1 on.")
    }
    yield* Interruption.isOrderlyEnd
    const wakes = yield* Queue.sliding<void>(1)
    yield* nats.subscribe(filter, () => void Queue.offerUnsafe(wakes, undefined))
    const last = yield* Read.lastMessage(nats, Streams.name.poolEvents, filter).pipe(
      Effect.mapError((error) =>
        new CliFailure({ exit: 1, message: error.message, fix: "`heddle doctor` shows what is missing." })
      )
    )
    let next = since ?? (Option.isSome(last) ? last.value.sequence + 1 : 1)
    while (true) {
      const events: Array<PoolEvent> = []
      yield* readAll(filter, next, (event) => void events.push(event))
      for (const event of events) {
        next = Math.max(next, event.sequence + 1)
        yield* output.event(
          event,
          () =>
            `${output.style.dim(event.at.slice(11, 23))}  ${output.style.state(event.kind)}  ${
              Option.isSome(input.pool) ? "" : `${event.pool}  `
            }${event.claimId}  ${event.sandbox}  ${event.holder}`
        )
      }
      yield* Queue.take(wakes).pipe(Effect.timeoutOption("5 seconds"))
    }
  })).pipe(Connection.provide)
