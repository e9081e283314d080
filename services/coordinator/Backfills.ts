/**
 * Backfills of this coordinator's shards: starts the dates that `BackfillState` names, waits for their runs, says how they ended.
 *
 * Kept true: one writer per backfill and coordinator (`Wakes`), so ends that come together are one write; what runs is told from the state, so a take-over starts
 * it again under its instance ids (which changes nothing) and waits anew. A paused run is waited for. Follows design/03 section 6.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import type { AlertMessage } from "../../shared/protocol/Alert.ts"
import {
  type BackfillName,
  BackfillStored,
  type BackfillView,
  type StartBackfill
} from "../../shared/protocol/Backfill.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import { Accepted, WorkflowResult, type WorkflowStatus } from "../../shared/protocol/Workflow.ts"
import * as BackfillState from "./BackfillState.ts"
import { type Home, HomeEntities } from "./HomeEntities.ts"
import * as ScheduleState from "./ScheduleState.ts"
import * as Starter from "./Starter.ts"
import type { Timers } from "./Timers.ts"
import { Wakes } from "./Wakes.ts"

/** How long one question after a result waits; so long a lost owner goes unnoticed. */
const resultWaitMs = 15_000
const retryMs = 2_000
const pausedLookMs = 5_000
/** How long an ended backfill can be looked at. */
const keptMs = 90 * 86_400_000

export interface BackfillsOptions {
  readonly home: Home
  readonly timers: Timers
  readonly start: Starter.Starter
  /** Supervised. */
  readonly fork: (effect: Effect.Effect<void>) => void
  readonly alert: (alert: AlertMessage) => void
}

interface Outcome {
  readonly state?: WorkflowStatus
  readonly reason?: string
}

const noSuchBackfill = (name: string) =>
  new ContractError({ code: "NoSuchBackfill", message: `no backfill ${name}: \`heddle backfill ls\` lists them` })
const timerKey = (name: string): string => `backfill/${name}`

export class Backfills {
  readonly #options: BackfillsOptions
  readonly #entities: HomeEntities<BackfillStored>
  readonly #wakes: Wakes
  /** Dates that somebody here waits for; with an outcome: not written yet. At most `parallelism` per backfill. */
  readonly #waiting = new Map<string, Map<number, Outcome | undefined>>()
  readonly home: Home

  constructor(options: BackfillsOptions) {
    this.#options = options
    this.home = options.home
    this.#entities = new HomeEntities({
      home: options.home,
      kind: "backfill",
      schema: BackfillStored,
      noSuch: noSuchBackfill,
      ttlMs: (stored) => BackfillState.isOver(stored) ? keptMs : undefined
    })
    this.#wakes = new Wakes({ work: (name) => this.#work(name), fork: options.fork })
  }

  /** Follows the store for ever: run it as a supervised fiber. */
  get run(): Effect.Effect<void, JetStreamFailed> {
    return this.#entities.watch((name) => this.#look(name))
  }

  /** These shards are ours from now on, or no longer. */
  moved(shards: ReadonlySet<Shard>): void {
    for (const name of this.#entities.namesIn(shards)) this.#look(name)
  }

  #isOurs(name: string): boolean {
    const stored = this.#entities.get(name)
    return stored !== undefined && !BackfillState.isOver(stored) && this.#entities.sessionOf(name) !== undefined
  }

  #look(name: string): void {
    if (this.#isOurs(name)) this.#wakes.wake(name)
    else this.#options.timers.cancel(timerKey(name))
  }

  /** Writes what has ended, and starts what may run now. */
  readonly #work = (name: string): Effect.Effect<void> =>
    Effect.gen({ self: this }, function*() {
      const waiting = this.#waiting.get(name) ?? new Map<number, Outcome | undefined>()
      const ended = [...waiting].flatMap(([index, outcome]) => outcome === undefined ? [] : [[index, outcome] as const])
      let hasJustEnded = false
      const stored = yield* this.#entities.modify(name, (current) => {
        if (current === undefined) return Result.fail(noSuchBackfill(name))
        const settled = ended.reduce<BackfillState.BackfillContent>(
          (state, [index, outcome]) => BackfillState.settle(state, index, outcome),
          current
        )
        const next = BackfillState.advance(settled, this.home.now())
        hasJustEnded ||= !BackfillState.isOver(current) && BackfillState.isOver(next)
        return Result.succeed(next)
      })
      for (const [index] of ended) waiting.delete(index)
      for (const index of stored.running) {
        if (waiting.has(index)) continue
        waiting.set(index, undefined)
        this.#options.fork(this.#await(stored, index, waiting))
      }
      if (waiting.size === 0) this.#waiting.delete(name)
      else this.#waiting.set(name, waiting)
      if (hasJustEnded && stored.state === "Failed") this.#alert(stored)
    }).pipe(Effect.catch((error) =>
      Effect.sync(() => {
        // the next owner, or nobody, goes on with it
        if (error.code === "NotOwner" || error.code === "NoSuchBackfill") return
        this.home.warn(`backfill ${name}: ${error.message}`)
        this.#options.timers.armIn({ key: timerKey(name), delayMs: retryMs, fire: () => this.#look(name) })
      })
    ))

  #alert(stored: BackfillStored): void {
    const { failed } = BackfillState.view(stored)
    const [first] = failed
    this.#options.alert({
      id: `BackfillFailed:${stored.name}@${stored.startedAt}`,
      kind: "BackfillFailed",
      at: timestamp(this.home.now()),
      namespace: stored.namespace,
      backfill: stored.name,
      message: `backfill ${stored.name}: ${failed.length} of ${stored.total} dates did not succeed, the first is ${
        first?.instanceId ?? "?"
      }${first?.reason === undefined ? "" : `: ${first.reason}`}`
    })
  }

  /** Starts one date and waits for its run; then wakes the backfill. Gives up, without an outcome, when the backfill is no longer ours. */
  readonly #await = (
    stored: BackfillStored,
    index: number,
    waiting: Map<number, Outcome | undefined>
  ): Effect.Effect<void> => {
    const { name } = stored
    const plan = Result.getOrUndefined(BackfillState.plan(stored))
    const at = plan?.times[index]
    const outcome = plan === undefined || at === undefined
      ? Effect.succeed<Outcome>({ reason: `date ${index} is none of its dates` })
      : this.#outcome(stored, BackfillState.instanceOf(stored, plan, at), ScheduleState.timeParams(plan.cadence, at))
    return Effect.map(outcome, (found) => {
      if (found === undefined) {
        waiting.delete(index)
        return
      }
      waiting.set(index, found)
      this.#wakes.wake(name)
    })
  }

  readonly #outcome = (
    stored: BackfillStored,
    instanceId: InstanceId,
    params: Readonly<Record<string, string>>
  ): Effect.Effect<Outcome | undefined> =>
    Effect.gen({ self: this }, function*() {
      const { name, namespace, spec } = stored
      const request = ScheduleState.startRequest(spec.workflow, namespace, instanceId, params)
      for (;;) {
        if (!this.#isOurs(name)) return undefined
        const started = yield* this.#options.start(request)
        if (started._tag === "Started") break
        if (started._tag !== "Later") return { reason: started.error.message }
        this.home.warn(`backfill ${name} could not start ${instanceId} yet: ${started.error.message}`)
        yield* Effect.sleep(retryMs)
      }
      for (;;) {
        if (!this.#isOurs(name)) return undefined
        const result = yield* Effect.result(
          Rpc.call(
            this.home.nats,
            Subject.rpc.workflow("result"),
            WorkflowResult,
            { instanceId, wait: resultWaitMs },
            { timeoutMs: resultWaitMs + 5_000 }
          )
        )
        if (Result.isSuccess(result)) {
          const { reason, state } = result.success
          if (state !== "PAUSED") return { state, ...(reason === undefined ? {} : { reason }) }
          yield* Effect.sleep(pausedLookMs)
        } else if (!Starter.isPassing(result.failure)) return { reason: result.failure.message }
        else if (result.failure.code !== "DeadlineExceeded") yield* Effect.sleep(retryMs)
      }
    })

  readonly start = (request: StartBackfill): Effect.Effect<BackfillView, ContractError> =>
    Effect.map(
      this.#entities.modify(
        request.metadata.name,
        (current) => BackfillState.start(current, request, this.home.now())
      ),
      (stored) => {
        this.#look(stored.name)
        return BackfillState.view(stored)
      }
    )

  readonly get = (name: BackfillName): Effect.Effect<BackfillView, ContractError> =>
    Effect.map(this.#entities.read(name), BackfillState.view)

  list(limit: number, next: string | undefined) {
    const page = this.#entities.page(limit, next)
    return { ...page, items: page.items.map(BackfillState.view) }
  }

  /** Starts no further date; with `stopRuns` the runs under way are stopped as well. */
  readonly stop = Effect.fnUntraced(function*(this: Backfills, name: BackfillName, stopRuns: boolean) {
    const stored = yield* this.#entities.modify(
      name,
      (current) =>
        current === undefined
          ? Result.fail(noSuchBackfill(name))
          : Result.succeed(BackfillState.stop(current, this.home.now()))
    )
    this.#look(name)
    const view = BackfillState.view(stored)
    if (stopRuns) {
      yield* Effect.forEach(
        view.running,
        ({ instanceId }) =>
          Rpc.call(this.home.nats, Subject.rpc.workflow("stop"), Accepted, {
            instanceId,
            reason: `backfill ${name} was stopped`
          }).pipe(
            // it has ended, or was never started
            Effect.catchIf((error) => error.code === "Conflict" || error.code === "NoSuchInstance", () => Effect.void)
          ),
        { concurrency: 8, discard: true }
      )
    }
    return view
  }).bind(this)
}
