/**
 * The sandboxes of a simulated pool as they really are, whoever owns the pool: what every owner's writes change, and what happens to sandboxes without any owner.
 *
 * Keeps true: a sandbox's version grows with every change; watchers hear of every change at the moment it happens (that they hear late is `SimulatedPool`'s part); what no
 * scheduler may ever do (claim or delete a protected sandbox, scale a claimed one down) is told by `onViolation`. All chance comes from the seed.
 */
import type { SandboxDelta, SandboxState } from "../../shared/plugin/PoolProvider.ts"
import type { SandboxUid } from "../../shared/protocol/Token.ts"
import type { Timeline } from "./Timeline.ts"

/** mulberry32: a generator of 32 bits, good enough for chance and the same everywhere. */
export const generator = (seed: number): () => number => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

const historyMax = 100_000

export class SimulatedSandboxes {
  /** What really is, by UID; for tests to compare with. */
  readonly truth = new Map<SandboxUid, SandboxState>()
  /** A line for everything that happens, oldest first; bounded, for tests that print the history of a seed. */
  readonly history: Array<string> = []
  readonly timeline: Timeline
  readonly random: () => number
  readonly watchers = new Set<(uid: SandboxUid, delta: SandboxDelta) => void>()
  readonly names = new Map<string, SandboxUid>()
  /** The greatest session that has written. */
  latestSession = 0
  made = 0
  /** No more chance from here on: everything is answered and told. For the end of a run. */
  isCalm = false
  /** Every claim is refused, whichever sandbox it names (a right that was taken away). */
  isForbidden = false
  onViolation: (message: string) => void = () => {}
  onShown: (state: SandboxState) => void = () => {}
  private readonly isRecorded: boolean

  constructor(timeline: Timeline, seed: number, isRecorded = true) {
    this.timeline = timeline
    this.random = generator(seed)
    this.isRecorded = isRecorded
  }

  show(state: SandboxState): void {
    this.truth.set(state.sandbox.uid, state)
    this.note(() =>
      `${state.sandbox.uid} is ${state.phase}@${state.version}${
        state.claim === undefined ? "" : ` for ${state.claim.claimId}`
      }${state.isProtected === true ? ", protected" : ""}`
    )
    this.onShown(state)
    this.tell(state.sandbox.uid, { _tag: "Upsert", state })
  }

  remove(state: SandboxState, why: string): void {
    this.truth.delete(state.sandbox.uid)
    this.names.delete(state.sandbox.name)
    this.note(() => `${state.sandbox.uid} is gone: ${why}`)
    this.tell(state.sandbox.uid, { _tag: "Removed", uid: state.sandbox.uid })
  }

  /** A sandbox dies by itself, or somebody deletes it. */
  kill(uid: SandboxUid): void {
    const state = this.truth.get(uid)
    if (state !== undefined) this.remove(state, "killed")
  }

  /** An operator protects it, or takes that back. */
  protect(uid: SandboxUid, isProtected: boolean): void {
    const state = this.truth.get(uid)
    if (state !== undefined) this.show({ ...state, isProtected, version: state.version + 1 })
  }

  /** Somebody takes the holder off a claimed sandbox. */
  seize(uid: SandboxUid): void {
    const state = this.truth.get(uid)
    if (state?.phase !== "Running") return
    const { claim: _, ...rest } = state
    this.show({ ...rest, phase: "Idle", version: state.version + 1 })
  }

  note(line: () => string): void {
    if (!this.isRecorded || this.history.length >= historyMax) return
    this.history.push(`${this.timeline.now()} ${line()}`)
  }

  chance(rate: number): boolean {
    return rate > 0 && this.random() < rate && !this.isCalm
  }

  between([low, high]: readonly [number, number]): number {
    return low === high ? low : low + Math.floor(this.random() * (high - low + 1))
  }

  private tell(uid: SandboxUid, delta: SandboxDelta): void {
    for (const watcher of this.watchers) watcher(uid, delta)
  }
}
