/**
 * The state of shards from the log: their checkpoints, then the fold of every entry after those, in stream order.
 *
 * Reads page by page. A shard is only as good as what could be read of it: see `blocked`. An instance whose entries do not fold (a gap, a broken hash, a definition that is gone) is reported and left out; it never stops the
 * rest (design/05 rule 3). Follows design/01 section 3 ("State of a shard").
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { DefinitionRef } from "../../shared/protocol/Definition.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { Entry, JournalMessage } from "../../shared/protocol/Journal.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, type Ledger, type Shard, StartupId, StreamSequence } from "../../shared/protocol/Token.ts"
import { WorkflowSummary } from "../../shared/protocol/Workflow.ts"
import * as LedgerMessage from "../../shared/session/LedgerMessage.ts"
import type { Definitions } from "./Definitions.ts"
import * as Initial from "./engine/Initial.ts"
import * as Outstanding from "./engine/Outstanding.ts"
import * as Semaphore from "./engine/Semaphore.ts"
import * as Snapshot from "./engine/Snapshot.ts"
import type { Finished } from "./FinishedInstances.ts"
import type { Projected } from "./HistoryProjector.ts"
import * as InstanceLoader from "./InstanceLoader.ts"
import type { Passive } from "./PassiveInstances.ts"
import { type RecordedEntry, WorkflowEventBus } from "./WorkflowEventBus.ts"

/**
 * Head of a shard's checkpoint, key `shard.<n>`: everything up to journal sequence `sequence` is in pages `page.<n>.<writer>.<generation>.<0..pages-1>`. `writer`: the life
 * that wrote them, so that a page that an owner of before writes late is never taken for one of these (docs/design/session-protocol.md).
 */
export const CheckpointHead = Schema.Struct({
  sequence: Schema.Int,
  writer: StartupId,
  generation: Schema.Int,
  pages: Schema.Int
})
export type CheckpointHead = typeof CheckpointHead.Type
export const CheckpointPage = Schema.Struct({
  instances: Schema.Array(
    Schema.Struct({
      instance: InstanceId,
      definition: DefinitionRef,
      n: Schema.Int,
      hash: Schema.String,
      sequence: Schema.Int,
      state: Schema.Unknown
    })
  ),
  /** The newest instances that have left memory, oldest first: what is listed of them. */
  finished: Schema.optionalKey(Schema.Array(
    Schema.Struct({
      summary: WorkflowSummary,
      content: Schema.optionalKey(Schema.String),
      sequence: StreamSequence
    })
  )),
  /** Instances whose runs go on outside of memory: their history has all `n` entries. */
  passive: Schema.optionalKey(Schema.Array(
    Schema.Struct({
      summary: WorkflowSummary,
      n: Schema.Int,
      dueAt: Schema.optionalKey(Schema.Finite),
      content: Schema.optionalKey(Schema.String)
    })
  )),
  /** Instances that could not be restored: every owner tries again, from the derived history. */
  unrestored: Schema.optionalKey(Schema.Array(Schema.Struct({ instance: InstanceId, reason: Schema.String })))
})
export const headKey = (shard: Shard): string => `shard.${shard}`
export const pageKey = (shard: Shard, head: Pick<CheckpointHead, "writer" | "generation">, page: number): string =>
  `page.${shard}.${head.writer}.${head.generation}.${page}`

/** How often a checkpoint is read from its head before a missing page counts as lost. */
const checkpointReadsMax = 5

export const decodeHead = Decode.decoder(CheckpointHead)
const decodePage = Decode.decoder(CheckpointPage)

/** An instance that could not be restored. What the journal has of it goes to the derived history as it is; whoever takes the shard next tries again. */
export interface Unrestored extends Projected {
  readonly reason: string
}

export interface RecoveredShard {
  readonly shard: Shard
  /** Why this shard must not be served: a message that may hold entries of it cannot be read here. What was built of it has a gap. */
  readonly blocked: string | undefined
  /** Live and resting instances, with what of them is not known to be in the history. */
  readonly buses: ReadonlyMap<InstanceId, WorkflowEventBus>
  readonly checkpoint: { readonly head: CheckpointHead; readonly revision: number } | undefined
  readonly unrestored: ReadonlyArray<Unrestored>
  /** What the checkpoint remembers of instances that have left memory, oldest first; those that run again are not in it. */
  readonly finished: ReadonlyArray<Finished>
  /** Those of the checkpoint's passive instances that nothing was recorded of since: they are not loaded. */
  readonly passive: ReadonlyArray<Passive>
  /** Entries folded after the checkpoint. */
  readonly entries: number
}

/** Written by a version whose checkpoints were others, or damaged: nothing of the shard is touched. */
const unreadable = (shard: Shard, what: string) => (error: ContractError): ContractError =>
  new ContractError({
    code: error.code,
    message:
      `the checkpoint of shard ${shard} cannot be read (${what}: ${error.message}). Another version of heddle wrote it: run that version on this data, or this one on other data`
  })

const unavailable = (what: string) => (error: JetStreamFailed) =>
  new ContractError({ code: "Unavailable", message: `${what} could not be read: ${error.message}` })

interface Building {
  readonly buses: Map<InstanceId, WorkflowEventBus>
  readonly unrestored: Map<InstanceId, Unrestored>
  readonly finished: Map<InstanceId, Finished>
  readonly passive: Map<InstanceId, Passive>
  /** Of `buses`: those that came from the derived history, which may be ahead of the checkpoint. */
  readonly late: ReadonlySet<InstanceId>
  readonly from: number
  entries: number
}

/**
 * `ledgers`: all that held one of the shards since its checkpoint. Every one of them is sealed, released in our favour, or our own. `tell`: what is wrong with the journal,
 * a sentence each.
 */
export const recover = Effect.fn("Recovery.recover")(function*(
  nats: Connection,
  definitions: Definitions,
  shards: ReadonlyArray<{ readonly shard: Shard; readonly ledgers: ReadonlyArray<Ledger> }>,
  tell: (problem: string) => void
) {
  const snapshots = Kv.bucket(nats, Streams.bucketName.snapshots)
  const building = new Map<Shard, Building>()
  const blocked = new Map<Shard, string>()
  const heads = new Map<Shard, { readonly head: CheckpointHead; readonly revision: number }>()

  /** Again from the head when a page is gone: an owner of before, not yet aware that it is replaced, may have written a newer head and removed it. */
  const readCheckpoint = (shard: Shard): Effect.Effect<void, ContractError> =>
    Effect.gen(function*() {
      for (let tries = 1;; tries++) {
        const buses = new Map<InstanceId, WorkflowEventBus>()
        const unrestored = new Map<InstanceId, Unrestored>()
        const finished = new Map<InstanceId, Finished>()
        const passive = new Map<InstanceId, Passive>()
        const late = new Set<InstanceId>()
        const stored = yield* snapshots.get(headKey(shard)).pipe(Effect.mapError(unavailable("a checkpoint")))
        heads.delete(shard)
        let isWhole = true
        if (Option.isSome(stored)) {
          const head = yield* Effect.fromResult(decodeHead(stored.value.value)).pipe(
            Effect.mapError(unreadable(shard, "its head"))
          )
          heads.set(shard, { head, revision: stored.value.revision })
          for (let page = 0; page < head.pages && isWhole; page++) {
            const text = yield* snapshots.get(pageKey(shard, head, page)).pipe(
              Effect.mapError(unavailable("a checkpoint's page"))
            )
            isWhole = Option.isSome(text)
            if (Option.isNone(text)) continue
            const decoded = yield* Effect.fromResult(decodePage(text.value.value)).pipe(
              Effect.mapError(unreadable(shard, `page ${page}`))
            )
            for (const one of decoded.instances) yield* restore(definitions, shard, one, buses, unrestored)
            for (const { instance } of decoded.unrestored ?? []) {
              yield* again(nats, definitions, shard, instance, buses, unrestored)
              if (buses.has(instance)) late.add(instance)
            }
            for (const { content, sequence, summary } of decoded.finished ?? []) {
              finished.set(summary.instanceId, { summary, shard, content, sequence })
            }
            for (const { content, dueAt, n, summary } of decoded.passive ?? []) {
              passive.set(summary.instanceId, { instance: summary.instanceId, shard, n, dueAt, summary, content })
            }
          }
        }
        if (isWhole) {
          building.set(shard, {
            buses,
            unrestored,
            finished,
            passive,
            late,
            from: heads.get(shard)?.head.sequence ?? 0,
            entries: 0
          })
          return
        }
        if (tries === checkpointReadsMax) {
          return yield* new ContractError({
            code: "Internal",
            message:
              `a page of the checkpoint of shard ${shard} is missing: restore bucket ${Streams.bucketName.snapshots}`
          })
        }
      }
    })
  yield* Effect.forEach(shards, ({ shard }) => readCheckpoint(shard), { concurrency: 8, discard: true })

  const ledgers = [...new Set(shards.flatMap((one) => one.ledgers))]
  if (ledgers.length > 0) {
    const from = Math.min(...[...building.values()].map((one) => one.from)) + 1
    yield* Read.readRange(nats, Streams.name.journal, { filter: ledgers.map(Subject.journal), from }).pipe(
      Stream.mapError(unavailable("the journal")),
      Stream.runForEach((stored) =>
        Effect.suspend(() => {
          const message = LedgerMessage.judge(stored)
          if (message._tag === "Append") return fold(stored.sequence, message.records)
          block(stored, message)
          return Effect.void
        })
      )
    )
  }

  /** What no coordinator wrote is put aside. What one may have written keeps every shard that it may concern from being served: a gap is never accepted. */
  function block(
    { sequence, subject }: Read.StoredMessage,
    message: Exclude<LedgerMessage.LedgerMessage, { readonly _tag: "Append" }>
  ): void {
    const what = `message ${sequence} of ${Streams.name.journal} on ${subject}`
    if (message._tag === "Foreign") {
      return tell(`JournalForeign: ${what} was written by no coordinator and is put aside (${message.reason})`)
    }
    const concerned = shards.filter(({ ledgers, shard }) =>
      sequence > (building.get(shard)?.from ?? 0) &&
      (message.shards?.has(shard) ?? ledgers.some((ledger) => Subject.journal(ledger) === subject))
    ).map(({ shard }) => shard)
    if (concerned.length === 0) return
    const problem = `JournalUnreadable: ${what} cannot be read, shards ${
      concerned.join(", ")
    } are not served (${message.reason})`
    for (const shard of concerned) blocked.set(shard, problem)
    tell(problem)
  }

  function* foldEntries(sequence: number, records: JournalMessage["records"]) {
    for (const record of records) {
      if (record._tag !== "Entry") continue
      const shard = building.get(record.shard)
      if (shard === undefined || sequence <= shard.from) continue
      shard.entries += 1
      shard.finished.delete(record.instance)
      shard.passive.delete(record.instance)
      const given = shard.unrestored.get(record.instance)
      if (given !== undefined) {
        given.unprojected.push(recorded(record, sequence))
        continue
      }
      if (shard.late.has(record.instance) && record.n <= (shard.buses.get(record.instance)?.n ?? 0)) continue
      const failure = yield* foldEntry(nats, definitions, shard.buses, record, sequence)
      if (failure !== undefined) {
        const { instance } = record
        const unprojected = [...shard.buses.get(instance)?.unprojected ?? [], recorded(record, sequence)]
        shard.buses.delete(instance)
        shard.unrestored.set(instance, { instance, shard: record.shard, reason: failure, unprojected })
      }
    }
  }
  function fold(sequence: number, records: JournalMessage["records"]): Effect.Effect<void, ContractError> {
    return Effect.gen(() => foldEntries(sequence, records))
  }

  return shards.map(({ shard }): RecoveredShard => {
    const built = building.get(shard)
    return {
      shard,
      blocked: blocked.get(shard),
      buses: built?.buses ?? new Map(),
      checkpoint: heads.get(shard),
      unrestored: [...built?.unrestored.values() ?? []],
      finished: [...built?.finished.values() ?? []],
      passive: [...built?.passive.values() ?? []],
      entries: built?.entries ?? 0
    }
  })
})

const recorded = (entry: Entry, sequence: number): RecordedEntry => ({
  sequence,
  n: entry.n,
  text: JSON.stringify(entry)
})

/** What is wrong with one instance as a value; a broker that does not answer says nothing about the instance and fails the whole. */
const judged = <A>(effect: Effect.Effect<A, ContractError>): Effect.Effect<Result.Result<A, string>, ContractError> =>
  effect.pipe(
    Effect.map((value): Result.Result<A, string> => Result.succeed(value)),
    Effect.catchIf(
      (error) => error.code !== "Unavailable",
      (error) => Effect.succeed<Result.Result<A, string>>(Result.fail(error.message))
    )
  )

const restore = (
  definitions: Definitions,
  shard: Shard,
  stored: (typeof CheckpointPage.Type)["instances"][number],
  buses: Map<InstanceId, WorkflowEventBus>,
  unrestored: Map<InstanceId, Unrestored>
): Effect.Effect<void, ContractError> =>
  Effect.gen(function*() {
    const graph = yield* judged(definitions.byRef(stored.definition))
    const state = Result.flatMap(graph, (found) => Snapshot.fromSnapshot(stored.state, found))
    if (Result.isFailure(state)) {
      const { instance } = stored
      unrestored.set(instance, { instance, shard, reason: state.failure, unprojected: [] })
      return
    }
    const bus = new WorkflowEventBus(state.success)
    bus.n = stored.n
    bus.hash = stored.hash
    bus.sequence = stored.sequence
    buses.set(bus.instance, bus)
  })

/** An instance that an owner before could not restore: what was wrong may have been put right. */
const again = (
  nats: Connection,
  definitions: Definitions,
  shard: Shard,
  instance: InstanceId,
  buses: Map<InstanceId, WorkflowEventBus>,
  unrestored: Map<InstanceId, Unrestored>
): Effect.Effect<void, ContractError> =>
  Effect.map(judged(InstanceLoader.load(nats, definitions, shard, instance)), (loaded) => {
    if (Result.isSuccess(loaded) && Option.isSome(loaded.success)) buses.set(instance, loaded.success.value)
    else {
      const reason = Result.isFailure(loaded) ? loaded.failure : "the derived history has nothing of it"
      unrestored.set(instance, { instance, shard, reason, unprojected: [] })
    }
  })

/** Why the entry does not fold, or `undefined`. */
const foldEntry = (
  nats: Connection,
  definitions: Definitions,
  buses: Map<InstanceId, WorkflowEventBus>,
  entry: Entry,
  sequence: number
): Effect.Effect<string | undefined, ContractError> =>
  Effect.gen(function*() {
    let bus = buses.get(entry.instance)
    // a semaphore that nobody used was forgotten, and begun anew by the next request
    if (entry.n === 1 && Semaphore.isUnused(bus?.state.semaphore)) bus = undefined
    if (bus === undefined) {
      const start = entry.cause.find((event) => event._tag === "WORKFLOW_START")
      if (start === undefined) {
        // it had ended before the checkpoint and was run again, or was passive then: the rest of it is in the history
        const loaded = yield* judged(InstanceLoader.load(nats, definitions, entry.shard, entry.instance, entry.n))
        if (Result.isFailure(loaded)) return loaded.failure
        if (Option.isNone(loaded.success)) return `entries before ${entry.n} are missing`
        bus = loaded.success.value
      } else {
        const graph = yield* judged(definitions.byRef(start.start.definition))
        if (Result.isFailure(graph)) return graph.failure
        bus = new WorkflowEventBus(Initial.initial(graph.success, entry.instance, entry.shard))
      }
      buses.set(entry.instance, bus)
    }
    const alerts = Outstanding.alerts(bus.state, entry)
    const problem = InstanceLoader.replayOne(bus, entry, sequence)
    if (problem === undefined) {
      bus.unprojected.push(recorded(entry, sequence))
      bus.untold.push(...alerts)
    }
    return problem
  })
