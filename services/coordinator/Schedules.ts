/**
 * Schedules of this coordinator's shards: alarms for their next firings, and the carrying out of what `ScheduleState` decides.
 *
 * Kept true: nothing is started that is not in the stored state as pending; a firing leaves the pending ones when its start is answered, so one that was cut off
 * by a crash is started again by the next owner under the same instance id. Alarms are rebuilt from the state (the watch, a take-over), so they need no
 * durability. Follows design/03 section 6.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import type { AlertMessage } from "../../shared/protocol/Alert.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import {
  type PutSchedule,
  type ScheduleName,
  type SchedulePreview,
  type SchedulePreviewQuery,
  ScheduleStored,
  type ScheduleTrigger,
  type ScheduleView
} from "../../shared/protocol/Schedule.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { EpochMs, InstanceId, Shard } from "../../shared/protocol/Token.ts"
import * as Cadence from "./Cadence.ts"
import { type Home, HomeEntities } from "./HomeEntities.ts"
import * as ScheduleState from "./ScheduleState.ts"
import type * as Starter from "./Starter.ts"
import type { Timers } from "./Timers.ts"
import { Wakes } from "./Wakes.ts"

const retryMs = 2_000
const previewDefault = 10

export interface SchedulesOptions {
  readonly home: Home
  readonly timers: Timers
  readonly start: Starter.Starter
  /** Supervised. */
  readonly fork: (effect: Effect.Effect<void>) => void
  readonly alert: (alert: AlertMessage) => void
}

const noSuchSchedule = (name: string) =>
  new ContractError({ code: "NoSuchSchedule", message: `no schedule ${name}: \`heddle schedules ls\` lists them` })
const timerKey = (name: string): string => `schedule/${name}`

export class Schedules {
  readonly #options: SchedulesOptions
  readonly #entities: HomeEntities<ScheduleStored>
  readonly #wakes: Wakes
  readonly home: Home

  constructor(options: SchedulesOptions) {
    this.#options = options
    this.home = options.home
    this.#entities = new HomeEntities({
      home: options.home,
      kind: "schedule",
      schema: ScheduleStored,
      noSuch: noSuchSchedule
    })
    this.#wakes = new Wakes({ work: (name) => this.#work(name), fork: options.fork })
  }

  /** Follows the store for ever: run it as a supervised fiber. */
  get run(): Effect.Effect<void, JetStreamFailed> {
    return this.#entities.watch((name) => this.#arm(name))
  }

  /** These shards are ours from now on, or no longer. */
  moved(shards: ReadonlySet<Shard>): void {
    for (const name of this.#entities.namesIn(shards)) this.#arm(name)
  }

  /** Level-triggered: whatever changed, the alarm is what the state says. */
  #arm(name: string): void {
    const { timers } = this.#options
    const stored = this.#entities.get(name)
    if (stored === undefined || this.#entities.sessionOf(name) === undefined) return timers.cancel(timerKey(name))
    const cadence = ScheduleState.cadenceOf(stored)
    const dueAt = Result.isSuccess(cadence) ? ScheduleState.wakeAt(stored, cadence.success) : undefined
    if (dueAt === undefined) return timers.cancel(timerKey(name))
    timers.arm({ key: timerKey(name), dueAt, fire: () => this.#wakes.wake(name) })
  }

  #retry(name: string): void {
    this.#options.timers.armIn({ key: timerKey(name), delayMs: retryMs, fire: () => this.#wakes.wake(name) })
  }

  /** Until nothing is due. */
  readonly #work = (name: string): Effect.Effect<void> =>
    Effect.gen({ self: this }, function*() {
      for (;;) {
        const stored = yield* this.#entities.modify(name, (current) => {
          if (current === undefined) return Result.fail(noSuchSchedule(name))
          return Result.map(
            ScheduleState.cadenceOf(current),
            (cadence) => ScheduleState.fire(current, cadence, this.home.now())
          )
        })
        const [next] = stored.pending
        if (next === undefined) return this.#arm(name)
        if (!(yield* this.#fire(stored, next))) return this.#retry(name)
      }
    }).pipe(Effect.catch((error) =>
      Effect.sync(() => {
        // the next owner, or nobody, goes on with it
        if (error.code === "NotOwner" || error.code === "NoSuchSchedule") return this.#arm(name)
        this.home.warn(`schedule ${name}: ${error.message}`)
        this.#retry(name)
      })
    ))

  /** Starts one decided firing and says so in the state; `false`: not now. */
  readonly #fire = Effect.fnUntraced(function*(this: Schedules, stored: ScheduleStored, at: EpochMs) {
    const { name } = stored
    const cadence = yield* Effect.fromResult(ScheduleState.cadenceOf(stored))
    const instanceId = ScheduleState.instanceOf(name, at)
    const { workflow } = stored.spec
    const request = ScheduleState.startRequest(
      workflow,
      stored.namespace,
      instanceId,
      ScheduleState.timeParams(cadence, at)
    )
    const outcome = yield* this.#options.start(request)
    if (outcome._tag === "Later") {
      this.home.warn(`schedule ${name} could not start ${instanceId} yet: ${outcome.error.message}`)
      return false
    }
    // an instance of this id is this firing: one whose schedule was changed in between, or one that somebody started by hand
    if (outcome._tag === "Taken") this.home.warn(`schedule ${name}: ${outcome.error.message}`)
    const now = this.home.now()
    const settled = outcome._tag === "Refused"
      ? {
        problem: {
          scheduledAt: timestamp(at),
          at: timestamp(now),
          code: outcome.error.code,
          message: outcome.error.message
        }
      }
      : { instanceId }
    if ("problem" in settled) {
      this.#options.alert({
        id: `ScheduleFailed:${instanceId}`,
        kind: "ScheduleFailed",
        at: timestamp(now),
        schedule: name,
        namespace: stored.namespace,
        instanceId,
        message: `schedule ${name} could not start ${workflow.definition} for ${
          timestamp(at)
        }: ${settled.problem.message}`
      })
    }
    yield* this.#entities.modify(
      name,
      (current) =>
        current === undefined
          ? Result.fail(noSuchSchedule(name))
          : Result.succeed(ScheduleState.settle(current, at, settled))
    )
    return true
  }).bind(this)

  readonly put = (request: PutSchedule): Effect.Effect<ScheduleView, ContractError> =>
    Effect.map(
      this.#entities.modify(
        request.metadata.name,
        (current) => ScheduleState.put(current, request, this.home.now())
      ),
      (stored) => this.#changed(stored)
    )

  readonly get = (name: ScheduleName): Effect.Effect<ScheduleView, ContractError> =>
    Effect.map(this.#entities.read(name), ScheduleState.view)

  list(limit: number, next: string | undefined) {
    const page = this.#entities.page(limit, next)
    return { ...page, items: page.items.map(ScheduleState.view) }
  }

  readonly pause = (name: ScheduleName, reason: string | undefined): Effect.Effect<ScheduleView, ContractError> =>
    this.#change(name, (current) => ScheduleState.pause(current, reason, this.home.now()))

  readonly resume = (name: ScheduleName): Effect.Effect<ScheduleView, ContractError> =>
    this.#change(name, (current) => ScheduleState.resume(current, this.home.now()))

  readonly delete = (name: ScheduleName) => Effect.as(this.#entities.remove(name), { name, deleted: true })

  readonly #change = (
    name: ScheduleName,
    change: (current: ScheduleState.ScheduleContent) => ScheduleState.ScheduleContent
  ): Effect.Effect<ScheduleView, ContractError> =>
    Effect.map(
      this.#entities.modify(
        name,
        (current) => current === undefined ? Result.fail(noSuchSchedule(name)) : Result.succeed(change(current))
      ),
      (stored) => this.#changed(stored)
    )

  #changed(stored: ScheduleStored): ScheduleView {
    this.#arm(stored.name)
    return ScheduleState.view(stored)
  }

  /** An instance now, or the one of a given time; the cron and its catch-up know nothing of it. */
  readonly trigger = Effect.fnUntraced(function*(this: Schedules, request: typeof ScheduleTrigger.Type) {
    const stored = yield* this.#entities.read(request.name)
    const cadence = yield* Effect.fromResult(ScheduleState.cadenceOf(stored))
    const at = request.scheduledAt === undefined ? this.home.now() : Date.parse(request.scheduledAt)
    const instanceId: InstanceId = request.instanceId ??
      (request.scheduledAt === undefined
        ? ScheduleState.triggeredInstanceOf(request.name, at)
        : ScheduleState.instanceOf(request.name, at))
    const { workflow } = stored.spec
    const outcome = yield* this.#options.start(
      ScheduleState.startRequest(
        request.params === undefined ? workflow : { ...workflow, params: { ...workflow.params, ...request.params } },
        stored.namespace,
        instanceId,
        ScheduleState.timeParams(cadence, at)
      )
    )
    if (outcome._tag !== "Started") return yield* outcome.error
    return { instanceId }
  }).bind(this)

  /** The next times of a stored schedule, or of a cron expression that is only looked at. */
  readonly preview = Effect.fnUntraced(function*(this: Schedules, query: typeof SchedulePreviewQuery.Type) {
    const { cron, name, timezone } = query
    if ((name === undefined) === (cron === undefined)) {
      return yield* new ContractError({
        code: "InvalidMessage",
        message: "name either a stored schedule (`name`) or a cron expression (`cron`)",
        path: "cron"
      })
    }
    const cadence = cron === undefined
      ? yield* Effect.flatMap(
        this.#entities.read(name ?? ""),
        (stored) => Effect.fromResult(ScheduleState.cadenceOf(stored))
      )
      : yield* Effect.fromResult(Cadence.make(timezone === undefined ? { cron } : { cron, timezone }))
    const times: Array<(typeof SchedulePreview.Type)["times"][number]> = []
    let at = cadence.next(query.after === undefined ? this.home.now() : Date.parse(query.after))
    for (; at !== undefined && times.length < (query.count ?? previewDefault); at = cadence.next(at)) {
      times.push({
        at: timestamp(at),
        date: cadence.date(at),
        ...(name === undefined ? {} : { instanceId: ScheduleState.instanceOf(name, at) })
      })
    }
    return { timezone: cadence.timezone, times } satisfies typeof SchedulePreview.Type
  }).bind(this)
}
