/**
 * Virtual slots in memory: sandboxes that are nothing but a place in a count, for tasks that run in the executor itself.
 *
 * Every write answers before it returns and tells its delta on the way, so a claim costs microseconds. A slot needs no reset: a release makes it idle at
 * once, and one task may hand it to the next. Slots end with the scheduler's process; a new owner starts with new ones, under new UIDs.
 */
import * as Effect from "effect/Effect"
import {
  type ClaimOutcome,
  type ClaimWrite,
  type CreateOutcome,
  type CreateWrite,
  type DeleteOutcome,
  type DeleteWrite,
  type OpenContext,
  outcome,
  type ProviderPool,
  type ReadBackOutcome,
  type ReleaseOutcome,
  type ReleaseWrite,
  type SandboxDelta,
  type SandboxState
} from "../../shared/plugin/PoolProvider.ts"
import { type ClaimId, type SandboxUid, SandboxUid as Uid } from "../../shared/protocol/Token.ts"

const done: { readonly _tag: "Done" } = { _tag: "Done" }
const gone: { readonly _tag: "Gone" } = { _tag: "Gone" }
const notOurs: { readonly _tag: "NotOurs" } = { _tag: "NotOurs" }

export class InlinePool implements ProviderPool {
  private readonly context: OpenContext
  private readonly slots = new Map<SandboxUid, SandboxState>()
  private readonly byName = new Map<string, SandboxUid>()
  private onDelta: (delta: SandboxDelta) => void = () => {}
  private made = 0

  constructor(context: OpenContext) {
    this.context = context
  }

  get list(): Effect.Effect<ReadonlyArray<SandboxState>> {
    return Effect.sync(() => Array.from(this.slots.values()))
  }

  watch(onDelta: (delta: SandboxDelta) => void): Effect.Effect<void> {
    return Effect.sync(() => this.attach(onDelta))
  }

  /** `watch` without an Effect. */
  attach(onDelta: (delta: SandboxDelta) => void): void {
    this.onDelta = onDelta
  }

  claim(write: ClaimWrite, answer: (outcome: ClaimOutcome) => void): void {
    const state = this.slots.get(write.uid)
    if (state === undefined) return answer(outcome.gone)
    if (write.mark.sessionId < this.context.sessionId) return answer(outcome.fenced(this.context.sessionId))
    if (state.version !== write.version) return answer(outcome.conflict)
    if (state.phase !== "Idle") return answer(outcome.wrongPhase)
    const version = state.version + 1
    this.show({ sandbox: state.sandbox, phase: "Running", version, claim: write.mark })
    answer(outcome.success(version))
  }

  readBack(uid: SandboxUid, claimId: ClaimId, answer: (outcome: ReadBackOutcome) => void): void {
    const state = this.slots.get(uid)
    if (state === undefined) return answer(gone)
    answer(state.claim?.claimId === claimId ? { _tag: "Ours", version: state.version } : { _tag: "NotOurs", state })
  }

  release(write: ReleaseWrite, answer: (outcome: ReleaseOutcome) => void): void {
    const state = this.slots.get(write.uid)
    if (state === undefined) return answer(gone)
    if (state.claim?.claimId !== write.claimId) return answer(notOurs)
    if (write.mode === "delete") this.remove(state)
    else this.show({ sandbox: state.sandbox, phase: "Idle", version: state.version + 1 })
    answer(done)
  }

  create(write: CreateWrite, answer: (outcome: CreateOutcome) => void): void {
    if (!this.byName.has(write.name)) {
      const { labels, pool, sessionId } = this.context
      const uid = Uid.make(`inline-${sessionId.toString(36)}-${(this.made++).toString(36)}`)
      this.byName.set(write.name, uid)
      this.show({
        sandbox: { uid, name: write.name, namespace: pool.namespace, provider: "inline", labels },
        phase: "Idle",
        version: 1
      })
    }
    answer(done)
  }

  delete(write: DeleteWrite, answer: (outcome: DeleteOutcome) => void): void {
    const state = this.slots.get(write.uid)
    if (state !== undefined && write.version !== undefined && state.version !== write.version) {
      return answer(outcome.conflict)
    }
    if (state !== undefined) this.remove(state)
    answer(done)
  }

  private show(state: SandboxState): void {
    this.slots.set(state.sandbox.uid, state)
    this.onDelta({ _tag: "Upsert", state })
  }

  private remove(state: SandboxState): void {
    this.slots.delete(state.sandbox.uid)
    this.byName.delete(state.sandbox.name)
    this.onDelta({ _tag: "Removed", uid: state.sandbox.uid })
  }
}
