import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { assert, describe, it } from "vitest"
import { type SandboxUid, SandboxUid as Uid, SessionId } from "../../protocol/Token.ts"
import {
  make,
  type OpenContext,
  outcome,
  type PoolProvider,
  type ProviderPool,
  type SandboxDelta,
  type SandboxState
} from "../PoolProvider.ts"
import * as PoolProviderSuite from "./PoolProviderSuite.ts"
import * as Suite from "./Suite.ts"

/** A pool in memory that keeps every promise, open to be broken. */
class MemoryPool implements ProviderPool {
  readonly states = new Map<SandboxUid, SandboxState>()
  readonly context: OpenContext
  tell: (delta: SandboxDelta) => void = () => {}
  made = 0

  constructor(context: OpenContext) {
    this.context = context
  }
  list = Effect.sync((): ReadonlyArray<SandboxState> => [...this.states.values()])
  watch(onDelta: (delta: SandboxDelta) => void) {
    return Effect.sync(() => void (this.tell = onDelta))
  }
  show(state: SandboxState) {
    this.states.set(state.sandbox.uid, state)
    this.tell({ _tag: "Upsert", state })
  }
  remove(state: SandboxState) {
    this.states.delete(state.sandbox.uid)
    this.tell({ _tag: "Removed", uid: state.sandbox.uid })
  }
  readonly create: ProviderPool["create"] = ({ name }, done) => {
    if (![...this.states.values()].some(({ sandbox }) => sandbox.name === name)) {
      const { labels, pool: { namespace } } = this.context
      const uid = Uid.make(`m-${this.made++}`)
      this.show({ sandbox: { uid, name, namespace, provider: "double", labels }, phase: "Idle", version: 1 })
    }
    done({ _tag: "Done" })
  }
  readonly claim: ProviderPool["claim"] = ({ mark, uid, version }, done) => {
    const state = this.states.get(uid)
    if (state === undefined) return done(outcome.gone)
    if (mark.sessionId < this.context.sessionId) return done(outcome.fenced(this.context.sessionId))
    if (state.version !== version) return done(outcome.conflict)
    if (state.phase !== "Idle") return done(outcome.wrongPhase)
    this.show({ ...state, phase: "Running", version: version + 1, claim: mark })
    done(outcome.success(version + 1))
  }
  readonly readBack: ProviderPool["readBack"] = (uid, claimId, done) => {
    const state = this.states.get(uid)
    if (state === undefined) return done({ _tag: "Gone" })
    done(state.claim?.claimId === claimId ? { _tag: "Ours", version: state.version } : { _tag: "NotOurs", state })
  }
  readonly release: ProviderPool["release"] = ({ claimId, mode, uid }, done) => {
    const state = this.states.get(uid)
    if (state === undefined) return done({ _tag: "Gone" })
    if (state.claim?.claimId !== claimId) return done({ _tag: "NotOurs" })
    if (mode === "delete") this.remove(state)
    else this.show({ sandbox: state.sandbox, phase: "Idle", version: state.version + 1 })
    done({ _tag: "Done" })
  }
  readonly delete: ProviderPool["delete"] = ({ uid, version }, done) => {
    const state = this.states.get(uid)
    if (state !== undefined && version !== undefined && state.version !== version) return done(outcome.conflict)
    if (state !== undefined) this.remove(state)
    done({ _tag: "Done" })
  }
  #hold(isPaused: boolean): NonNullable<ProviderPool["pause"]> {
    return ({ claimId, uid }, done) => {
      const state = this.states.get(uid)
      if (state?.claim?.claimId !== claimId) return done({ _tag: "NotOurs" })
      this.show({ ...state, version: state.version + 1, isPaused })
      done({ _tag: "Done" })
    }
  }
  readonly pause = this.#hold(true)
  readonly resume = this.#hold(false)
}

/** `change`: what one does otherwise. */
const providerOf = (change: (pool: MemoryPool) => Partial<ProviderPool> = () => ({})): PoolProvider =>
  make({
    name: "double",
    capabilities: { handOff: false, synchronous: true, persistent: false, pause: true },
    config: Schema.Struct({ room: Schema.optionalKey(Schema.Int) }),
    open: (context) =>
      Effect.sync(() => {
        const pool = new MemoryPool(context)
        const sound: ProviderPool = {
          list: pool.list,
          watch: (onDelta) => pool.watch(onDelta),
          claim: pool.claim,
          readBack: pool.readBack,
          release: pool.release,
          create: pool.create,
          delete: pool.delete,
          pause: pool.pause,
          resume: pool.resume
        }
        return { ...sound, ...change(pool) }
      }),
    connect: () => Effect.never
  })
const noticed = async (provider: PoolProvider) =>
  (await Suite.brokenOf(PoolProviderSuite.promises({ provider, wrongConfigs: [{ room: "x" }], fences: true })))
    .map(({ promise, seen }) => `${promise}: ${String(seen)}`)

describe("a pool provider that does not keep its promises is noticed", () => {
  it("one that keeps them is not", async () => {
    assert.deepStrictEqual(await noticed(providerOf()), [])
  })

  const doubles: Readonly<Record<string, readonly [provider: PoolProvider, seen: RegExp]>> = {
    "it accepts a wrong config": [{ ...providerOf(), validate: () => [] }, /is accepted/],
    "it makes two of a name": [
      providerOf((pool) => ({
        create: (write, done) => {
          for (const state of pool.states.values()) {
            pool.states.set(state.sandbox.uid, { ...state, sandbox: { ...state.sandbox, name: `x${pool.made}` } })
          }
          pool.create(write, done)
        }
      })),
      /two names, and 3 sandboxes/
    ],
    "its sandboxes have no labels": [
      providerOf((pool) => ({
        create: (write, done) =>
          pool.create(write, (answer) => {
            for (const state of pool.states.values()) {
              pool.show({ ...state, version: state.version + 1, sandbox: { ...state.sandbox, labels: {} } })
            }
            done(answer)
          })
      })),
      /its labels are \{\}/
    ],
    "it answers twice": [
      providerOf((pool) => ({
        claim: (write, done) =>
          pool.claim(write, (answer) => {
            done(answer)
            done(answer)
          })
      })),
      /is answered 2 times/
    ],
    "it claims what is claimed": [
      providerOf((pool) => ({
        claim: (write, done) => {
          const state = pool.states.get(write.uid)
          if (state?.phase !== "Running") return pool.claim(write, done)
          pool.show({ ...state, version: state.version + 1, claim: write.mark })
          done(outcome.success(state.version + 1))
        }
      })),
      /of two claims .* 2 of two have it.*what is claimed is not claimed again/s
    ],
    "its version stands still": [
      providerOf((pool) => ({
        claim: (write, done) =>
          pool.claim(write, (answer) => done(answer._tag === "Success" ? outcome.success(write.version) : answer))
      })),
      /version 1 after 1/
    ],
    "it forgets who holds it": [
      providerOf((pool) => ({
        claim: (write, done) => pool.claim({ ...write, mark: { ...write.mark, team: undefined } }, done)
      })),
      /stands there as/
    ],
    "it says NotOurs, and then it is": [
      providerOf((pool) => ({
        claim: (write, done) => queueMicrotask(() => pool.claim(write, done)),
        readBack: pool.readBack
      })),
      /a lost answer is settled.*was read back as/
    ],
    "it lets anybody release": [
      providerOf((pool) => ({
        release: (write, done) =>
          pool.release({ ...write, claimId: pool.states.get(write.uid)?.claim?.claimId ?? write.claimId }, done)
      })),
      /a release is the holder's alone.*another's release/
    ],
    "it scales down whatever it is": [
      providerOf((pool) => ({
        delete: ({ sessionId, uid }, done) => pool.delete({ sessionId, uid }, done)
      })),
      /a scale-down of an older version/
    ],
    "it knows nothing that is gone": [
      providerOf((pool) => ({
        readBack: (uid, claimId, done) =>
          pool.states.has(uid)
            ? pool.readBack(uid, claimId, done)
            : done({ _tag: "Unknown", reason: "not found" })
      })),
      /what is gone.*Unknown/
    ],
    "it lets an older owner write": [
      providerOf((pool) => ({
        claim: (write, done) =>
          pool.claim({ ...write, mark: { ...write.mark, sessionId: SessionId.make(1_000) } }, done)
      })),
      /a write of an older session is fenced.*Success/
    ],
    "it tells an older version after a newer one": [
      providerOf((pool) => ({
        claim: (write, done) => {
          const before = pool.states.get(write.uid)
          pool.claim(write, done)
          const after = pool.states.get(write.uid)
          if (before === undefined || after === undefined || before === after) return
          pool.tell({ _tag: "Upsert", state: before })
          pool.tell({ _tag: "Upsert", state: after })
        }
      })),
      /after version 2/
    ],
    "it can pause, and does not": [
      providerOf(() => ({ pause: undefined, resume: undefined }) as unknown as Partial<ProviderPool>), // as if it had none
      /has no pause/
    ]
  }
  for (const [what, [provider, seen]] of Object.entries(doubles)) {
    it(what, async () => {
      const found = (await noticed(provider)).join("\n")
      assert.match(found, seen, found)
    })
  }
})
