/**
 * One reader's stream of live events: from its cursor through what the streams still hold, then live. docs/design/gateway.md "Live events".
 *
 * Kept true: the reader gets every event that it asked for after its cursor, once, in the order of each stream: what is read from a stream ends exactly where listening began. The
 * past is read at the reader's own pace; what comes live waits in its `Outbox`, which is bounded. Ids only grow, and say how far it is in every stream, also through what it did
 * not ask for.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import * as Cursor from "./Cursor.ts"
import type { LiveEvent } from "./LiveEvent.ts"
import { type Block, block, Outbox } from "./Outbox.ts"
import * as Tail from "./Tail.ts"

/** A stream as a source of events. */
export class Source {
  readonly name: Cursor.SourceName
  readonly tail: Tail.Tail
  readonly #eventsOf: (message: Tail.Message) => ReadonlyArray<LiveEvent>
  #sequence = -1
  #events: ReadonlyArray<LiveEvent> = []

  constructor(
    name: Cursor.SourceName,
    tail: Tail.Tail,
    eventsOf: (message: Tail.Message) => ReadonlyArray<LiveEvent>
  ) {
    this.name = name
    this.tail = tail
    this.#eventsOf = eventsOf
  }

  /** Of the message that all listeners are told now: made once. */
  live(message: Tail.Message): ReadonlyArray<LiveEvent> {
    if (message.sequence !== this.#sequence) {
      this.#sequence = message.sequence
      this.#events = this.#eventsOf(message)
    }
    return this.#events
  }

  past(message: Tail.Message): ReadonlyArray<LiveEvent> {
    return this.#eventsOf(message)
  }
}

export interface Options {
  readonly nats: Connection
  /** Those that the reader asked for something of. */
  readonly sources: ReadonlyArray<Source>
  readonly cursor: Cursor.Cursor
  readonly wants: (event: LiveEvent) => boolean
  /** Sent in `hello`. */
  readonly version: string
  readonly heartbeatMs: number
  /** Messages held at once while the past is read. */
  readonly pageSize?: number
}

export interface Opened {
  readonly text: Stream.Stream<string, ContractError>
  readonly outbox: Outbox
}

/** A reader no further behind than this begins to listen, and reads the rest meanwhile. */
const gapMax = 256

type Positions = { [_ in Cursor.SourceName]?: Cursor.Position }

/** Listens while the scope is open. Errors: `InvalidMessage` for a cursor that the streams do not hold any more (or not yet). */
export const open = (options: Options): Effect.Effect<Opened, ContractError, Scope.Scope> =>
  Effect.gen(function*() {
    const { heartbeatMs, nats, sources, version, wants } = options
    const outbox = new Outbox()
    const at: Positions = {}
    for (const { name, tail } of sources) at[name] = options.cursor[name] ?? { seq: tail.position() }
    const asked = sources.filter(({ name }) => options.cursor[name] !== undefined)
    yield* Effect.forEach(asked, ({ name, tail }) =>
      Effect.flatMap(Tail.bounds(nats, tail.stream), (bounds) => {
        const position = at[name] ?? { seq: 0 }
        return Cursor.nextSequence(position) < bounds.first && bounds.first > 1
          ? Effect.fail(outdated(`the stream ${tail.stream} no longer holds what came after ${position.seq}`))
          : position.seq > bounds.last
          ? Effect.fail(outdated(`the stream ${tail.stream} has no message ${position.seq} yet`))
          : Effect.void
      }))

    let given = Cursor.format(at)
    /** The blocks of one message for this reader, who is then past it. */
    const blocksOf = (
      positions: Positions,
      name: Cursor.SourceName,
      events: ReadonlyArray<LiveEvent>,
      sequence: number
    ): ReadonlyArray<Block> => {
      const position = positions[name] ?? { seq: 0 }
      if (Cursor.isPast(position, sequence, Number.MAX_SAFE_INTEGER)) return []
      const blocks: Array<Block> = []
      events.forEach((event, index) => {
        if (Cursor.isPast(position, sequence, index) || !wants(event)) return
        positions[name] = index === events.length - 1 ? { seq: sequence } : { seq: sequence, index }
        const id = Cursor.format(positions)
        blocks.push({ id, text: block(event.kind, event.json, id) })
      })
      positions[name] = { seq: sequence }
      return blocks
    }
    const give = (blocks: ReadonlyArray<Block>): string => {
      given = blocks.at(-1)?.id ?? given
      return blocks.map(({ text }) => text).join("")
    }

    /** What the stream holds up to `upTo`. */
    const range = (source: Source, upTo: number): Stream.Stream<string, ContractError> => {
      const { name, tail } = source
      return Stream.concat(
        Read.readRange(nats, tail.stream, {
          filter: tail.filter,
          from: Cursor.nextSequence(at[name] ?? { seq: 0 }),
          upTo,
          batch: options.pageSize ?? 64
        }).pipe(
          Stream.map((message) => give(blocksOf(at, name, source.past(message), message.sequence))),
          Stream.filter((text) => text !== ""),
          Stream.mapError((error) => new ContractError({ code: "Unavailable", message: error.message }))
        ),
        Stream.suspend(() => {
          if ((at[name]?.seq ?? 0) <= upTo) at[name] = { seq: upTo }
          return Stream.empty
        })
      )
    }
    const behind = ({ name, tail }: Source): number => tail.position() - (at[name]?.seq ?? 0)

    const scope = yield* Effect.scope
    const listen = Effect.suspend(() => {
      const live: Positions = {}
      const removals = sources.map((source) => {
        const { name, tail } = source
        // what is before it is read while this listens; a reader may also be ahead of this gateway
        live[name] = { seq: Math.max(tail.position(), at[name]?.seq ?? 0) }
        return tail.listen((message) => {
          for (const one of blocksOf(live, name, source.live(message), message.sequence)) outbox.push(one)
        })
      })
      return Effect.as(
        Effect.addFinalizer(() => Effect.sync(() => removals.forEach((remove) => remove()))),
        live
      )
    }).pipe(Scope.provide(scope))

    const liveText = (live: Positions): Stream.Stream<string> =>
      Stream.paginate(
        undefined,
        () =>
          Effect.map(outbox.take(heartbeatMs), (blocks) => {
            if (blocks.length > 0) return [[give(blocks)], Option.some(undefined)]
            const { ended } = outbox
            if (ended !== undefined) {
              return [[block("dropped", JSON.stringify({ reason: ended, cursor: given }))], Option.none()]
            }
            given = Cursor.format(live)
            return [[`: \nid: ${given}\n\n`], Option.some(undefined)]
          })
      )

    const catchUp = (): Stream.Stream<string, ContractError> =>
      Stream.suspend(() => {
        if (outbox.ended !== undefined) return liveText({ ...at })
        const far = sources.find((source) => behind(source) > gapMax)
        if (far !== undefined) return Stream.concat(range(far, far.tail.position()), Stream.suspend(catchUp))
        return Stream.unwrap(Effect.map(listen, (live) => {
          const rest = sources.flatMap((source) => {
            const upTo = live[source.name]?.seq ?? 0
            return Cursor.nextSequence(at[source.name] ?? { seq: 0 }) <= upTo ? [range(source, upTo)] : []
          })
          return rest.reduceRight<Stream.Stream<string, ContractError>>(
            (after, one) => Stream.concat(one, after),
            liveText(live)
          )
        }))
      })

    const hello = block("hello", JSON.stringify({ cursor: given, version }), given)
    return { text: Stream.concat(Stream.make(`retry: 1000\n${hello}`), Stream.suspend(catchUp)), outbox }
  })

const outdated = (what: string) =>
  new ContractError({
    code: "InvalidMessage",
    message: `${what}: read the lists again, and connect without a cursor`,
    path: "after"
  })
