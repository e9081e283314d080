/**
 * A pool of sandboxes that exist only here, with everything that real ones do to a scheduler: latency, conflicts, lost answers, a watch that lags or breaks, deaths.
 *
 * One of these is one owner's connection to `SimulatedSandboxes`; two owners may be open at once, as at a take-over. Reproducible: all chance comes from one seed, all
 * time from the timeline. What is true changes at the moment a write arrives; answers and deltas travel after that and may be late or lost. Used by
 * tests, by `heddle dev` to show a pool under stress, and by the claim bench.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import {
  type ClaimOutcome,
  type ClaimWrite,
  type CreateOutcome,
  type CreateWrite,
  type DeleteOutcome,
  type DeleteWrite,
  type OpenContext,
  outcome,
  type PauseOutcome,
  type PauseWrite,
  type ProviderPool,
  type ReadBackOutcome,
  type ReleaseOutcome,
  type ReleaseWrite,
  type SandboxDelta,
  type SandboxState
} from "../../shared/plugin/PoolProvider.ts"
import { type ClaimId, type SandboxUid, SandboxUid as Uid, SessionId } from "../../shared/protocol/Token.ts"
import { SimulatedSandboxes } from "./SimulatedSandboxes.ts"
import type { Timeline } from "./Timeline.ts"

const Rate = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
const Ms = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 3_600_000 }))
/** A time drawn evenly between the two, in milliseconds. */
const Range = Schema.Tuple([Ms, Ms])

export const Config = Schema.Struct({
  seed: Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(1))),
  /** From the scheduler to the truth, and back. */
  latencyMs: Range.pipe(Schema.withDecodingDefaultKey(Effect.succeed([1, 3] as const))),
  watchLagMs: Range.pipe(Schema.withDecodingDefaultKey(Effect.succeed([1, 5] as const))),
  startMs: Range.pipe(Schema.withDecodingDefaultKey(Effect.succeed([5, 20] as const))),
  resetMs: Range.pipe(Schema.withDecodingDefaultKey(Effect.succeed([2, 10] as const))),
  /** Somebody else writes to the sandbox just before the claim. */
  conflictRate: Rate.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** A write whose answer never comes; half of them took effect. */
  lostAnswerRate: Rate.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** A claim's write that takes 4 to 9 seconds to arrive: after its deadline, perhaps after its read-back. */
  slowWriteRate: Rate.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** A claim refused for this sandbox only. */
  hardErrorRate: Rate.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** A delta that is never told, until the next gap. */
  lostDeltaRate: Rate.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** Mean time between two deaths of a sandbox; 0: none dies. */
  killEveryMs: Ms.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** Each sandbox has a label `zone` of `z0`, `z1`, ...; 0: none has. */
  zones: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 64 })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(0))
  )
})
export type Config = typeof Config.Type

const slowMs = [4_000, 9_000] as const

export class SimulatedPool implements ProviderPool {
  readonly failure: Effect.Effect<never>
  readonly sandboxes: SimulatedSandboxes
  private readonly context: OpenContext
  private readonly config: Config
  private readonly timeline: Timeline
  private readonly watchTail = new Map<SandboxUid, number>()
  /** Claims' writes that have not arrived yet, by uid and claim id. */
  private readonly underWay = new Map<string, number>()
  private interruptions = 0
  private onDelta: ((delta: SandboxDelta) => void) | undefined = undefined

  constructor(
    context: OpenContext,
    config: Config,
    timeline: Timeline,
    sandboxes: SimulatedSandboxes = new SimulatedSandboxes(timeline, config.seed, false)
  ) {
    this.context = context
    this.config = config
    this.timeline = timeline
    this.failure = timeline.failure
    this.sandboxes = sandboxes
    if (config.killEveryMs > 0) this.killLater()
  }

  get list(): Effect.Effect<ReadonlyArray<SandboxState>> {
    return Effect.callback<ReadonlyArray<SandboxState>>((resume) =>
      this.listUnsafe((states) => resume(Effect.succeed(states)))
    )
  }

  /** `list` without a fiber. */
  listUnsafe(done: (states: ReadonlyArray<SandboxState>) => void): void {
    const { sandboxes, timeline } = this
    timeline.after(sandboxes.between(this.config.latencyMs), () => {
      const states = Array.from(sandboxes.truth.values())
      timeline.after(sandboxes.between(this.config.latencyMs), () => done(states))
    })
  }

  watch(onDelta: (delta: SandboxDelta) => void): Effect.Effect<void> {
    return Effect.sync(() => this.watchUnsafe(onDelta))
  }

  /** `watch` without a fiber. */
  watchUnsafe(onDelta: (delta: SandboxDelta) => void): void {
    this.onDelta = onDelta
    this.sandboxes.watchers.add(this.tell)
  }

  /** The owner is gone: nothing is told any more. Writes under way still arrive. */
  close(): void {
    this.onDelta = undefined
    this.sandboxes.watchers.delete(this.tell)
  }

  claim(write: ClaimWrite, answer: (outcome: ClaimOutcome) => void): void {
    const { claimId, sessionId } = write.mark
    const { sandboxes } = this
    const key = `${write.uid} ${claimId}`
    this.underWay.set(key, (this.underWay.get(key) ?? 0) + 1)
    const arrived = (): void => {
      const left = (this.underWay.get(key) ?? 1) - 1
      if (left > 0) this.underWay.set(key, left)
      else this.underWay.delete(key)
    }
    this.exchange<ClaimOutcome>(
      () => `claim ${write.uid}@${write.version} for ${claimId}`,
      answer,
      () => {
        const fenced = this.fencedBy(sessionId)
        if (fenced !== undefined) return fenced
        const state = sandboxes.truth.get(write.uid)
        if (state === undefined) return outcome.gone
        if (sandboxes.isForbidden) return outcome.hardError("simulated: forbidden", true)
        if (sandboxes.chance(this.config.hardErrorRate)) return outcome.hardError("simulated refusal", false)
        if (sandboxes.chance(this.config.conflictRate)) {
          sandboxes.show({ ...state, version: state.version + 1 })
          return outcome.conflict
        }
        if (state.version !== write.version) return outcome.conflict
        if (state.phase !== "Idle") return outcome.wrongPhase
        if (state.isProtected === true) sandboxes.onViolation(`${write.uid} is protected and ${claimId} claims it`)
        const { sandbox, version } = state
        sandboxes.show({
          ...state,
          sandbox: { ...sandbox, labels: { ...sandbox.labels, ...write.labels } },
          phase: "Running",
          version: version + 1,
          claim: write.mark
        })
        return outcome.success(version + 1)
      },
      { isSlow: sandboxes.chance(this.config.slowWriteRate), arrived }
    )
  }

  readBack(uid: SandboxUid, claimId: ClaimId, answer: (outcome: ReadBackOutcome) => void): void {
    const { sandboxes } = this
    this.exchange<ReadBackOutcome>(() => `read back ${uid} for ${claimId}`, answer, () => {
      let state = sandboxes.truth.get(uid)
      if (state === undefined) return { _tag: "Gone" }
      if (state.phase === "Running" && state.claim?.claimId === claimId) return { _tag: "Ours", version: state.version }
      // What has not arrived by now never will: the version moves on.
      if (this.underWay.has(`${uid} ${claimId}`)) {
        sandboxes.show({ ...state, version: state.version + 1 })
        state = sandboxes.truth.get(uid) ?? state
      }
      return { _tag: "NotOurs", state }
    })
  }

  release(write: ReleaseWrite, answer: (outcome: ReleaseOutcome) => void): void {
    const { sandboxes } = this
    this.exchange<ReleaseOutcome>(() => `release ${write.uid} of ${write.claimId} (${write.mode})`, answer, () => {
      const fenced = this.fencedBy(write.sessionId)
      if (fenced !== undefined) return fenced
      const state = sandboxes.truth.get(write.uid)
      if (state === undefined) return { _tag: "Gone" }
      if (state.claim?.claimId !== write.claimId) return { _tag: "NotOurs" }
      if (state.phase === "Stopping") return { _tag: "Done" }
      const { isPaused: _, ...released } = state
      sandboxes.show({ ...released, phase: "Stopping", version: state.version + 1 })
      this.timeline.after(sandboxes.between(this.config.resetMs), () => {
        const stopping = sandboxes.truth.get(write.uid)
        if (stopping === undefined || stopping.phase !== "Stopping") return
        if (write.mode === "delete") return sandboxes.remove(stopping, "deleted")
        const { claim: _, ...rest } = stopping
        sandboxes.show({
          ...rest,
          sandbox: { ...stopping.sandbox, labels: this.labelsOf(stopping.sandbox.labels["zone"]) },
          phase: "Idle",
          version: stopping.version + 1
        })
      })
      return { _tag: "Done" }
    })
  }

  pause(write: PauseWrite, answer: (outcome: PauseOutcome) => void): void {
    this.hold(write, true, answer)
  }

  resume(write: PauseWrite, answer: (outcome: PauseOutcome) => void): void {
    this.hold(write, false, answer)
  }

  private hold(write: PauseWrite, isPaused: boolean, answer: (outcome: PauseOutcome) => void): void {
    const { sandboxes } = this
    this.exchange<PauseOutcome>(
      () => `${isPaused ? "pause" : "resume"} ${write.uid} of ${write.claimId}`,
      answer,
      () => {
        const fenced = this.fencedBy(write.sessionId)
        if (fenced !== undefined) return fenced
        const state = sandboxes.truth.get(write.uid)
        if (state === undefined) return { _tag: "Gone" }
        if (state.phase !== "Running" || state.claim?.claimId !== write.claimId) return { _tag: "NotOurs" }
        const { isPaused: wasPaused = false, ...rest } = state
        if (wasPaused !== isPaused) {
          sandboxes.show({ ...rest, version: state.version + 1, ...(isPaused ? { isPaused } : {}) })
        }
        return { _tag: "Done" }
      }
    )
  }

  create(write: CreateWrite, answer: (outcome: CreateOutcome) => void): void {
    const { sandboxes } = this
    this.exchange<CreateOutcome>(() => `create ${write.name}`, answer, () => {
      const fenced = this.fencedBy(write.sessionId)
      if (fenced !== undefined) return fenced
      if (sandboxes.names.has(write.name)) return { _tag: "Done" }
      const { pool, sessionId } = this.context
      const number = sandboxes.made++
      const uid = Uid.make(`sim-${sessionId.toString(36)}-${number.toString(36)}`)
      sandboxes.names.set(write.name, uid)
      const { zones } = this.config
      sandboxes.show({
        sandbox: {
          uid,
          name: write.name,
          namespace: pool.namespace,
          provider: "simulated",
          labels: this.labelsOf(zones === 0 ? undefined : `z${number % zones}`)
        },
        phase: "Starting",
        version: 1
      })
      this.timeline.after(sandboxes.between(this.config.startMs), () => {
        const state = sandboxes.truth.get(uid)
        if (state?.phase === "Starting") sandboxes.show({ ...state, phase: "Idle", version: state.version + 1 })
      })
      return { _tag: "Done" }
    })
  }

  delete(write: DeleteWrite, answer: (outcome: DeleteOutcome) => void): void {
    const { sandboxes } = this
    this.exchange<DeleteOutcome>(() => `delete ${write.uid}@${write.version ?? "any"}`, answer, () => {
      const fenced = this.fencedBy(write.sessionId)
      if (fenced !== undefined) return fenced
      const state = sandboxes.truth.get(write.uid)
      if (state === undefined) return { _tag: "Done" }
      if (write.version !== undefined && state.version !== write.version) return outcome.conflict
      if (state.isProtected === true || state.phase !== "Idle") {
        sandboxes.onViolation(
          `${write.uid} is ${state.phase}${state.isProtected === true ? ", protected" : ""} and is scaled down`
        )
      }
      sandboxes.remove(state, "scaled down")
      return { _tag: "Done" }
    })
  }

  /** The watch breaks: what happens within this time is not told, and then a gap is. */
  interrupt(forMs: number): void {
    this.interruptions++
    this.timeline.after(forMs, () => {
      if (--this.interruptions === 0) this.onDelta?.({ _tag: "Gap", reason: "simulated: the watch broke" })
    })
  }

  private labelsOf(zone: string | undefined): Readonly<Record<string, string>> {
    return zone === undefined ? this.context.labels : { ...this.context.labels, zone }
  }

  /** A write of a session before the latest one that has written changes nothing. */
  private fencedBy(sessionId: number) {
    const { sandboxes } = this
    if (sessionId < sandboxes.latestSession) return outcome.fenced(SessionId.make(sandboxes.latestSession))
    sandboxes.latestSession = sessionId
    return undefined
  }

  private killLater(): void {
    const { sandboxes } = this
    this.timeline.after(1 + sandboxes.random() * 2 * this.config.killEveryMs, () => {
      if (sandboxes.isCalm) return
      const uids = Array.from(sandboxes.truth.keys())
      const uid = uids[Math.floor(sandboxes.random() * uids.length)]
      if (uid !== undefined) sandboxes.kill(uid)
      this.killLater()
    })
  }

  /** There, the act, and back: where an answer can be lost on either way. */
  private exchange<A>(
    what: () => string,
    answer: (outcome: A | { readonly _tag: "Unknown"; readonly reason: string }) => void,
    act: () => A,
    way: { readonly isSlow: boolean; readonly arrived: () => void } = { isSlow: false, arrived: () => {} }
  ): void {
    const { sandboxes } = this
    const there = sandboxes.between(way.isSlow ? slowMs : this.config.latencyMs)
    const back = sandboxes.between(this.config.latencyMs)
    const isLost = sandboxes.chance(this.config.lostAnswerRate)
    const isDone = !isLost || sandboxes.chance(0.5)
    const isTold = sandboxes.chance(0.5)
    this.timeline.after(there, () => {
      way.arrived()
      const result = isDone ? act() : undefined
      sandboxes.note(() =>
        `${what()}: ${isDone ? JSON.stringify(result) : "lost on the way"}${isLost ? ", no answer" : ""}`
      )
      if (!isLost) this.timeline.after(back, () => answer(result as A)) // done, since not lost
      // A lost answer is noticed by the connection, or by nobody until the deadline.
      else if (isTold) {
        this.timeline.after(back, () => answer({ _tag: "Unknown", reason: "simulated: connection reset" }))
      }
    })
  }

  /** Deltas of one sandbox stay in order, however much each lags. */
  private readonly tell = (uid: SandboxUid, delta: SandboxDelta): void => {
    const { sandboxes } = this
    const now = this.timeline.now()
    const at = Math.max(now + sandboxes.between(this.config.watchLagMs), this.watchTail.get(uid) ?? 0)
    if (delta._tag === "Removed") this.watchTail.delete(uid)
    else this.watchTail.set(uid, at)
    if (sandboxes.chance(this.config.lostDeltaRate)) {
      this.timeline.after(
        at - now + 50,
        () => this.onDelta?.({ _tag: "Gap", reason: "simulated: the watch was interrupted" })
      )
      return
    }
    this.timeline.after(at - now, () => {
      if (this.interruptions === 0) this.onDelta?.(delta)
    })
  }
}
