/**
 * A pool of sandboxes that exist only here, with everything that real ones do to a scheduler: latency, conflicts, lost answers, a watch that lags, kills.
 *
 * Reproducible: all chance comes from one seed, all time from Effect's Clock. What is true is `truth`, changed at the moment a write arrives; answers and
 * deltas travel after that and may be late or lost. Used by tests, by `heddle dev` to show a pool under stress, and by the claim bench.
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
import { type ClaimId, type SandboxUid, SandboxUid as Uid } from "../../shared/protocol/Token.ts"
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
  /** A claim refused for this sandbox only. */
  hardErrorRate: Rate.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** A delta that is never told, until the next gap. */
  lostDeltaRate: Rate.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** Mean time between two deaths of a sandbox; 0: none dies. */
  killEveryMs: Ms.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0)))
})
export type Config = typeof Config.Type

/** mulberry32: a generator of 32 bits, good enough for chance and the same everywhere. */
const generator = (seed: number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

export class SimulatedPool implements ProviderPool {
  /** What really is, by UID; for tests to compare with. */
  readonly truth = new Map<SandboxUid, SandboxState>()
  /** A line for everything that happens, oldest first; bounded, for tests that print the history of a seed. */
  readonly history: Array<string> = []
  private readonly context: OpenContext
  private readonly config: Config
  private readonly timeline: Timeline
  private readonly random: () => number
  private readonly names = new Map<string, SandboxUid>()
  private readonly watchTail = new Map<SandboxUid, number>()
  private onDelta: ((delta: SandboxDelta) => void) | undefined = undefined
  private made = 0
  private latestSession: number
  /** No more chance from here on: everything is answered and told. For the end of a run. */
  isCalm = false

  constructor(context: OpenContext, config: Config, timeline: Timeline) {
    this.context = context
    this.config = config
    this.timeline = timeline
    this.random = generator(config.seed)
    this.latestSession = context.sessionId
    if (config.killEveryMs > 0) this.killLater()
  }

  get list(): Effect.Effect<ReadonlyArray<SandboxState>> {
    return Effect.callback<ReadonlyArray<SandboxState>>((resume) => {
      const lag = this.between(this.config.latencyMs)
      this.timeline.after(lag, () => {
        const states = Array.from(this.truth.values())
        this.timeline.after(this.between(this.config.latencyMs), () => resume(Effect.succeed(states)))
      })
    })
  }

  watch(onDelta: (delta: SandboxDelta) => void): Effect.Effect<void> {
    return Effect.sync(() => {
      this.onDelta = onDelta
    })
  }

  claim(write: ClaimWrite, answer: (outcome: ClaimOutcome) => void): void {
    const { claimId, sessionId } = write.mark
    this.exchange<ClaimOutcome>(`claim ${write.uid}@${write.version} for ${claimId}`, answer, () => {
      const state = this.truth.get(write.uid)
      if (sessionId < this.latestSession) return outcome.fenced(this.context.sessionId)
      if (state === undefined) return outcome.gone
      if (this.chance(this.config.hardErrorRate)) return outcome.hardError("simulated refusal", false)
      if (this.chance(this.config.conflictRate)) {
        this.show({ ...state, version: state.version + 1 })
        return outcome.conflict
      }
      if (state.version !== write.version) return outcome.conflict
      if (state.phase !== "Idle") return outcome.wrongPhase
      const { sandbox, version } = state
      this.show({
        sandbox: { ...sandbox, labels: { ...sandbox.labels, ...write.labels } },
        phase: "Running",
        version: version + 1,
        claim: write.mark
      })
      return outcome.success(version + 1)
    })
  }

  readBack(uid: SandboxUid, claimId: ClaimId, answer: (outcome: ReadBackOutcome) => void): void {
    this.exchange<ReadBackOutcome>(`read back ${uid} for ${claimId}`, answer, () => {
      const state = this.truth.get(uid)
      if (state === undefined) return { _tag: "Gone" }
      return state.phase === "Running" && state.claim?.claimId === claimId
        ? { _tag: "Ours", version: state.version }
        : { _tag: "NotOurs", state }
    })
  }

  release(write: ReleaseWrite, answer: (outcome: ReleaseOutcome) => void): void {
    this.exchange<ReleaseOutcome>(`release ${write.uid} of ${write.claimId} (${write.mode})`, answer, () => {
      const state = this.truth.get(write.uid)
      if (write.sessionId < this.latestSession) return outcome.fenced(this.context.sessionId)
      if (state === undefined) return { _tag: "Gone" }
      if (state.claim?.claimId !== write.claimId) return { _tag: "NotOurs" }
      if (state.phase === "Stopping") return { _tag: "Done" }
      this.show({ ...state, phase: "Stopping", version: state.version + 1 })
      this.timeline.after(this.between(this.config.resetMs), () => {
        const stopping = this.truth.get(write.uid)
        if (stopping === undefined || stopping.phase !== "Stopping") return
        if (write.mode === "delete") this.remove(stopping, "deleted")
        else {this.show({
            sandbox: { ...stopping.sandbox, labels: this.context.labels },
            phase: "Idle",
            version: stopping.version + 1
          })}
      })
      return { _tag: "Done" }
    })
  }

  create(write: CreateWrite, answer: (outcome: CreateOutcome) => void): void {
    this.exchange<CreateOutcome>(`create ${write.name}`, answer, () => {
      if (write.sessionId < this.latestSession) return outcome.fenced(this.context.sessionId)
      if (this.names.has(write.name)) return { _tag: "Done" }
      const { labels, pool, sessionId } = this.context
      const uid = Uid.make(`sim-${sessionId.toString(36)}-${(this.made++).toString(36)}`)
      this.names.set(write.name, uid)
      this.show({
        sandbox: { uid, name: write.name, namespace: pool.namespace, provider: "simulated", labels },
        phase: "Starting",
        version: 1
      })
      this.timeline.after(this.between(this.config.startMs), () => {
        const state = this.truth.get(uid)
        if (state?.phase === "Starting") this.show({ ...state, phase: "Idle", version: state.version + 1 })
      })
      return { _tag: "Done" }
    })
  }

  pause(write: PauseWrite, answer: (outcome: PauseOutcome) => void): void {
    this.setPaused(write, true, answer)
  }

  resume(write: PauseWrite, answer: (outcome: PauseOutcome) => void): void {
    this.setPaused(write, false, answer)
  }

  private setPaused(write: PauseWrite, isPaused: boolean, answer: (outcome: PauseOutcome) => void): void {
    this.exchange<PauseOutcome>(`${isPaused ? "pause" : "resume"} ${write.uid} of ${write.claimId}`, answer, () => {
      const state = this.truth.get(write.uid)
      if (write.sessionId < this.latestSession) return outcome.fenced(this.context.sessionId)
      if (state === undefined) return { _tag: "Gone" }
      if (state.claim?.claimId !== write.claimId || state.phase !== "Running") return { _tag: "NotOurs" }
      this.show({ ...state, isPaused, version: state.version + 1 })
      return { _tag: "Done" }
    })
  }

  delete(write: DeleteWrite, answer: (outcome: DeleteOutcome) => void): void {
    this.exchange<DeleteOutcome>(`delete ${write.uid}`, answer, () => {
      const state = this.truth.get(write.uid)
      if (state === undefined) return { _tag: "Done" }
      if (write.version !== undefined && state.version !== write.version) return outcome.conflict
      this.remove(state, "scaled down")
      return { _tag: "Done" }
    })
  }

  /** A sandbox dies by itself. */
  kill(uid: SandboxUid): void {
    const state = this.truth.get(uid)
    if (state !== undefined) this.remove(state, "killed")
  }

  private killLater(): void {
    const { killEveryMs } = this.config
    this.timeline.after(1 + this.random() * 2 * killEveryMs, () => {
      if (this.isCalm) return
      const uids = Array.from(this.truth.keys())
      const uid = uids[Math.floor(this.random() * uids.length)]
      if (uid !== undefined) this.kill(uid)
      this.killLater()
    })
  }

  /** There, the act, and back: where an answer can be lost on either way. */
  private exchange<A>(
    what: string,
    answer: (outcome: A | { readonly _tag: "Unknown"; readonly reason: string }) => void,
    act: () => A
  ): void {
    const there = this.between(this.config.latencyMs)
    const back = this.between(this.config.latencyMs)
    const isLost = this.chance(this.config.lostAnswerRate)
    const isDone = !isLost || this.chance(0.5)
    const isTold = this.chance(0.5)
    this.timeline.after(there, () => {
      const result = isDone ? act() : undefined
      this.note(`${what}: ${isDone ? JSON.stringify(result) : "lost on the way"}${isLost ? ", no answer" : ""}`)
      if (!isLost) this.timeline.after(back, () => answer(result as A)) // done, since not lost
      // A lost answer is noticed by the connection, or by nobody until the deadline.
      else if (isTold) {
        this.timeline.after(back, () => answer({ _tag: "Unknown", reason: "simulated: connection reset" }))
      }
    })
  }

  private show(state: SandboxState): void {
    this.truth.set(state.sandbox.uid, state)
    this.note(
      `${state.sandbox.uid} is ${state.phase}@${state.version}${
        state.claim === undefined ? "" : ` for ${state.claim.claimId}`
      }`
    )
    this.tell(state.sandbox.uid, { _tag: "Upsert", state })
  }

  private remove(state: SandboxState, why: string): void {
    this.truth.delete(state.sandbox.uid)
    this.names.delete(state.sandbox.name)
    this.note(`${state.sandbox.uid} is gone: ${why}`)
    this.tell(state.sandbox.uid, { _tag: "Removed", uid: state.sandbox.uid })
  }

  /** Deltas of one sandbox stay in order, however much each lags. */
  private tell(uid: SandboxUid, delta: SandboxDelta): void {
    const now = this.timeline.now()
    const at = Math.max(now + this.between(this.config.watchLagMs), this.watchTail.get(uid) ?? 0)
    if (delta._tag === "Removed") this.watchTail.delete(uid)
    else this.watchTail.set(uid, at)
    if (this.chance(this.config.lostDeltaRate)) {
      this.timeline.after(
        at - now + 50,
        () => this.onDelta?.({ _tag: "Gap", reason: "simulated: the watch was interrupted" })
      )
      return
    }
    this.timeline.after(at - now, () => this.onDelta?.(delta))
  }

  private note(line: string): void {
    if (this.history.length >= 100_000) return
    this.history.push(`${this.timeline.now()} ${line}`)
  }

  private chance(rate: number): boolean {
    return rate > 0 && this.random() < rate && !this.isCalm
  }

  private between([low, high]: readonly [number, number]): number {
    return low === high ? low : low + Math.floor(this.random() * (high - low + 1))
  }
}
