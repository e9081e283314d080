/**
 * The archive: the history of instances that ended long ago moves from HEDDLE_HISTORY to HEDDLE_ARCHIVE, entry for entry with its hash chain, by `ArchivePolicy`.
 *
 * Kept true here: nothing leaves the history before the archive has acknowledged all of it, and then only what was read, so a crash anywhere, or an owner of before that does
 * not know yet that it is replaced, loses nothing and repeats harmlessly (an entry that stands twice is known by its `n`; the archive is only ever appended to). Instances that run, wait or
 * are PAUSED stay. The journal is not touched: its retention is its age alone, and the newest message of a ledger that is alive is never taken by the archive.
 * Off the hot path: a sweep reads the history from where the last one ended up to the age of the policy. Follows design/03 section 4.1 (FINALIZE).
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Purge from "../../shared/jetstream/Purge.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import * as ArchivePolicy from "./ArchivePolicy.ts"
import type { Definitions } from "./Definitions.ts"
import type { WorkflowState } from "./engine/WorkflowState.ts"
import * as InstanceLoader from "./InstanceLoader.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

/** Entries of one message of the archive take no more than this; one entry is never split. */
const messageBytesMax = 512 * 1024
const sweepMsMin = 1_000
const sweepMsMax = 3_600_000
/** Instances that could not be archived, of which the log is told; more are passed over in silence. */
const toldMax = 1_000

export interface ArchiveOptions {
  readonly nats: Connection
  readonly definitions: Definitions
  readonly buses: Pick<WorkflowEventBusCoordinator, "bus" | "workers" | "worker">
  readonly policy: ArchivePolicy.ArchivePolicy
  readonly now: () => number
  readonly warn: (message: string) => void
}

/** A tenth of the least age, between a second and an hour. `undefined`: never. */
export const sweepEveryMs = (policy: ArchivePolicy.ArchivePolicy): number | undefined => {
  const [least] = ArchivePolicy.ages(policy)
  return least === undefined ? undefined : Math.min(sweepMsMax, Math.max(sweepMsMin, Math.ceil(least / 10)))
}

const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: `the archive waits: ${error.message}` })

/** Of an entry message: the newest `n`, 0 for none or what cannot be read. */
const archivedUpTo = (nats: Connection, shard: Shard, instance: InstanceId): Effect.Effect<number, ContractError> =>
  Read.lastMessage(nats, Streams.name.archive, Subject.archive(shard, instance)).pipe(
    Effect.mapError(unavailable),
    Effect.flatMap((last) =>
      Option.isNone(last)
        ? Effect.succeed(0)
        : Effect.map(
          Effect.fromResult(InstanceLoader.entriesOf(last.value.text)),
          (entries) => entries.at(-1)?.entry.n ?? 0
        )
    )
  )

/** Appends what the archive does not have yet of `entries` (oldest first, from the first on). When it succeeds, the archive has them all. */
export const copy = Effect.fnUntraced(function*(
  nats: Connection,
  shard: Shard,
  instance: InstanceId,
  entries: ReadonlyArray<InstanceLoader.HistoryEntry>
) {
  const has = yield* archivedUpTo(nats, shard, instance)
  const missing = entries.filter(({ entry }) => entry.n > has)
  while (missing.length > 0) {
    const parts: Array<string> = []
    let bytes = 0
    for (const { entry, sequence } of missing) {
      const text = `{"seq":${sequence},"entry":${JSON.stringify(entry)}}`
      if (parts.length > 0 && bytes + text.length > messageBytesMax) break
      parts.push(text)
      bytes += text.length
    }
    missing.splice(0, parts.length)
    const body = `{"v":1,"instance":"${instance}","shard":${shard},"entries":[${parts.join(",")}]}`
    yield* Append.publish(nats, Subject.archive(shard, instance), body).pipe(Effect.mapError(unavailable))
  }
})

export class Archive {
  readonly #options: ArchiveOptions
  /** By age: the history sequence up to which a sweep has seen everything. */
  readonly #swept = new Map<number, number>()
  readonly #told = new Set<InstanceId>()

  constructor(options: ArchiveOptions) {
    this.#options = options
  }

  /** Shards came: what was passed over as another's may be ours now. */
  moved(): void {
    this.#swept.clear()
  }

  /** Sweeps for ever, at once and then every `sweepEveryMs`: run it as a supervised fiber. A sweep that fails is tried again. */
  readonly run: Effect.Effect<never> = Effect.suspend(() => {
    const everyMs = sweepEveryMs(this.#options.policy)
    if (everyMs === undefined) return Effect.never
    return this.sweep.pipe(
      Effect.catch((error) => Effect.sync(() => this.#options.warn(error.message))),
      Effect.andThen(Effect.sleep(Duration.millis(everyMs))),
      Effect.forever
    )
  })

  /** Archives what is due now, and tells how many instances. */
  readonly sweep: Effect.Effect<number, ContractError> = Effect.suspend(() =>
    Effect.map(
      Effect.forEach(ArchivePolicy.ages(this.#options.policy), (age) => this.#sweepAge(age)),
      (counts) => counts.reduce((sum, count) => sum + count, 0)
    )
  )

  /** Instances of the namespaces with this age. The history's order is its time: what is younger than the age stands behind everything that can be due. */
  #sweepAge(age: number): Effect.Effect<number, ContractError> {
    const { buses, nats, now } = this.#options
    const due = now() - age
    const filter = [...buses.workers].map((worker) => `heddle.wf.${worker.shard}.*.history`)
    const seen = new Set<string>()
    let count = 0
    const swept = this.#swept.get(age) ?? 0
    const messages = Read.readRange(nats, Streams.name.history, { filter, from: swept + 1 }).pipe(
      Stream.mapError(unavailable),
      Stream.takeWhile((message) => Date.parse(message.time) <= due)
    )
    let reached = swept
    let isHeld = false
    return messages.pipe(
      Stream.runForEach((message) =>
        Effect.gen({ self: this }, function*() {
          if (!seen.has(message.subject)) {
            seen.add(message.subject)
            const outcome = yield* this.#archive(message.subject, age, due)
            if (outcome === "archived") count += 1
            if (outcome === "again") isHeld = true
          }
          if (!isHeld) reached = message.sequence
        })
      ),
      Effect.map(() => {
        this.#swept.set(age, reached)
        return count
      })
    )
  }

  /** `passed`: not this one; if anything happens to it, a later message brings it here again. `again`: it is about to leave memory. */
  readonly #archive = Effect.fnUntraced(
    function*(this: Archive, subject: string, age: number, due: number) {
      const { buses, definitions, nats, policy, warn } = this.#options
      const [, , shardText, instanceText] = subject.split(".")
      const address = decodeAddress({ shard: Number(shardText), instance: instanceText })
      if (Option.isNone(address)) return "passed" // a stranger's message: no instance can have that id
      const { instance, shard } = address.value
      const live = buses.bus(shard, instance)
      if (live !== undefined) return hasEnded(live.committed) ? "again" : "passed"
      if (buses.worker(shard) === undefined) return "passed"
      const last = yield* Read.lastMessage(nats, Streams.name.history, subject).pipe(Effect.mapError(unavailable))
      if (Option.isNone(last) || Date.parse(last.value.time) > due) return "passed"
      // an entry that cannot be read, a chain that is broken, a definition that is gone: it stays where it is, for whoever repairs it
      const looked = yield* InstanceLoader.entries(nats, shard, instance).pipe(
        Effect.flatMap((entries) =>
          Effect.map(InstanceLoader.restored(definitions, shard, instance, entries), (bus) => {
            if (Option.isNone(bus)) return "it has no start"
            const { state } = bus.value
            const isIts = ArchivePolicy.afterMsOf(policy, state.graph.namespace) === age
            return isIts && hasEnded(state) ? entries : "not due"
          })
        ),
        Effect.catchIf((error) => error.code !== "Unavailable", (error) => Effect.succeed(error.message))
      )
      if (typeof looked === "string") {
        if (looked !== "not due" && this.#told.size < toldMax && !this.#told.has(instance)) {
          this.#told.add(instance)
          warn(`instance ${instance} stays in the history: ${looked}`)
        }
        return "passed"
      }
      yield* copy(nats, shard, instance, looked)
      yield* Purge.purge(nats, Streams.name.history, subject, last.value.sequence).pipe(Effect.mapError(unavailable))
      return "archived"
    }
  ).bind(this)
}

const decodeAddress = Schema.decodeUnknownOption(Schema.Struct({ shard: Shard, instance: InstanceId }))

const hasEnded = (state: WorkflowState): boolean => state.endedAt !== undefined && state.status !== "PAUSED"
