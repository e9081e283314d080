/**
 * Instances that have left memory, from their derived history: for queries, and to run them again.
 *
 * The history of a finished instance is complete (it leaves memory only then), entries may stand in it twice and are told apart by `n`; the hash chain is checked.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { hash as cryptoHash } from "node:crypto"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { HistoryMessage } from "../../shared/protocol/History.ts"
import type { Entry } from "../../shared/protocol/Journal.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import type { Definitions } from "./Definitions.ts"
import * as Chain from "./engine/Chain.ts"
import * as Evolve from "./engine/Evolve.ts"
import * as Initial from "./engine/Initial.ts"
import { WorkflowEventBus } from "./WorkflowEventBus.ts"

export interface HistoryEntry {
  readonly sequence: number
  /** As parsed: what the hash covers. */
  readonly entry: Entry
}

const check = Decode.valueDecoder(HistoryMessage)
const sha256: Chain.Sha256 = (text) => cryptoHash("sha256", text, "hex")

const broken = (message: string) => new ContractError({ code: "Internal", message })

/** Entries of one history message, checked, but as they were parsed. */
export const entriesOf = (text: string): Result.Result<ReadonlyArray<HistoryEntry>, ContractError> => {
  const parsed = Result.try({
    try: () => JSON.parse(text) as unknown,
    catch: () => broken("a message of the history is not JSON")
  })
  if (Result.isFailure(parsed)) return Result.fail(parsed.failure)
  const checked = check(parsed.success)
  if (Result.isFailure(checked)) return Result.fail(checked.failure)
  const raw = parsed.success as typeof HistoryMessage.Encoded // just checked; the raw objects keep what this version does not know
  return Result.succeed(raw.entries.map(({ entry, seq }) => ({ sequence: seq, entry: entry as Entry })))
}

/** The newest `n` that the history has of an instance, 0 for none. */
export const projectedUpTo = (
  nats: Connection,
  shard: Shard,
  instance: InstanceId
): Effect.Effect<number, ContractError> =>
  Read.lastMessage(nats, Streams.name.history, Subject.history(shard, instance)).pipe(
    Effect.mapError((error) =>
      new ContractError({ code: "Unavailable", message: `the history does not answer: ${error.message}` })
    ),
    Effect.flatMap((last) =>
      Option.isNone(last)
        ? Effect.succeed(0)
        : Effect.map(Effect.fromResult(entriesOf(last.value.text)), (entries) => entries.at(-1)?.entry.n ?? 0)
    )
  )

const unavailable = (where: string) => (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: `the ${where} does not answer: ${error.message}` })

/** Whether `found` begins at the first entry and has no hole. */
const isFromStart = (found: ReadonlyMap<number, HistoryEntry>): boolean => found.size > 0 && found.has(1)

/** All entries, oldest first, each once; from the archive what has left the history. Empty: no such instance. */
export const entries = (
  nats: Connection,
  shard: Shard,
  instance: InstanceId
): Effect.Effect<ReadonlyArray<HistoryEntry>, ContractError> =>
  Effect.gen(function*() {
    const byN = new Map<number, HistoryEntry>()
    yield* collect(nats, Streams.name.history, Subject.history(shard, instance), "history", byN)
    // in this order: what was moved while the history was read is in the archive by now
    if (!isFromStart(byN)) yield* collect(nats, Streams.name.archive, Subject.archive(shard, instance), "archive", byN)
    return [...byN.values()].sort((a, b) => a.entry.n - b.entry.n)
  })

const collect = (
  nats: Connection,
  stream: string,
  filter: string,
  where: string,
  byN: Map<number, HistoryEntry>
): Effect.Effect<void, ContractError> =>
  Read.readRange(nats, stream, { filter, from: 1 }).pipe(
    Stream.mapError(unavailable(where)),
    Stream.runForEach((stored) =>
      Effect.map(Effect.fromResult(entriesOf(stored.text)), (found) => {
        for (const one of found) if (!byN.has(one.entry.n)) byN.set(one.entry.n, one)
      })
    )
  )

/** A bus at the instance's last entry (or the last one below `before`), not registered with any worker. */
export const load = Effect.fn("InstanceLoader.load")(
  function*(nats: Connection, definitions: Definitions, shard: Shard, instance: InstanceId, before = Infinity) {
    const found = (yield* entries(nats, shard, instance)).filter(({ entry }) => entry.n < before)
    return yield* restored(definitions, shard, instance, found)
  }
)

/** A bus at the last of `found` (oldest first), its chain checked. None: they do not begin with a start. */
export const restored = Effect.fnUntraced(
  function*(definitions: Definitions, shard: Shard, instance: InstanceId, found: ReadonlyArray<HistoryEntry>) {
    const start = found[0]?.entry.cause.find((event) => event._tag === "WORKFLOW_START")
    if (start === undefined) return Option.none<WorkflowEventBus>()
    const graph = yield* definitions.byRef(start.start.definition)
    const bus = new WorkflowEventBus(Initial.initial(graph, instance, shard))
    for (const { entry, sequence } of found) {
      const problem = replayOne(bus, entry, sequence)
      if (problem !== undefined) {
        return yield* broken(
          `the history of ${instance} is damaged: ${problem}. \`heddle replay ${instance} --verify\` shows where.`
        )
      }
    }
    return Option.some(bus)
  }
)

/** Folds one entry into the bus after checking its place in the chain; tells what is wrong. */
export const replayOne = (bus: WorkflowEventBus, entry: Entry, sequence: number): string | undefined => {
  const problem = Chain.verifyChain([entry], sha256, { n: bus.n, hash: bus.hash })
  if (problem !== undefined) return problem.message
  try {
    bus.state = Evolve.foldEntry(bus.state, entry)
  } catch (cause) {
    return `entry ${entry.n} does not fold: ${cause instanceof Error ? cause.message : String(cause)}`
  }
  bus.committed = bus.state
  bus.n = entry.n
  bus.hash = entry.hash
  bus.sequence = sequence
  return undefined
}
