/**
 * A pool provider: where sandboxes come from. One side for the pool's scheduler (`open`), one for whoever works in a claimed sandbox (`connect`).
 *
 * What a provider keeps true, so that the scheduler's rules hold (design/04 section 1):
 * - A sandbox's `version` grows with every change of it. A write that names an older version changes nothing.
 * - A write's answer is told exactly once, by `done`. `Unknown` is an honest answer: it may have happened; `readBack` will tell.
 * - A write of an older pool session than one it has seen is refused with `Fenced`, where the provider can know; where it cannot, the version does.
 * - Deltas of one sandbox arrive in the order of its versions; a hole anywhere is told as `Gap`.
 *
 * Writes take a callback and no fiber: a provider in memory calls `done` before it returns, and a claim costs microseconds; any other calls it later,
 * from wherever its answer arrives. The scheduler gives each write its own deadline and counts a late answer as `Unknown`. Nothing here throws.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Problem } from "../protocol/ErrorCode.ts"
import type { PoolRef, Sandbox, SandboxPhase } from "../protocol/Sandbox.ts"
import type { ClaimId, EpochMs, MemberId, SandboxUid, SessionId } from "../protocol/Token.ts"
import type { SandboxClient, SandboxLost } from "./SandboxClient.ts"

/** Grows with each change of one sandbox; only comparable within that sandbox. On Kubernetes the `resourceVersion`. */
export type Version = number

/** Who holds a sandbox, as it stands on the sandbox itself: what a scheduler that takes the pool over finds there. */
export interface ClaimMark {
  readonly claimId: ClaimId
  readonly holder: string
  /** The pool session under which it was claimed. */
  readonly sessionId: SessionId
  /** Whose quota it counts against, and for whom it was asked: kept so that a later owner knows. */
  readonly team?: string | undefined
  readonly user?: string | undefined
  /** Of a member of a batch: the batch's claim id. */
  readonly batch?: ClaimId | undefined
  /** The lease. A scheduler that takes over starts it anew: a live holder renews within its ttl. 0 = a task's claim, which ends with its executor. */
  readonly ttlMs: number
}

/** One sandbox as the provider's cache shows it. `claim` is there in Running (and in Stopping until it is reset). */
export interface SandboxState {
  readonly sandbox: Sandbox
  readonly phase: SandboxPhase
  readonly version: Version
  readonly claim?: ClaimMark
  /** A claimed one that stands still (`ProviderPool.pause`). */
  readonly isPaused?: boolean
  /** When it was made, and how many claims it has served, where the provider knows; else the scheduler counts from when it saw it first. */
  readonly createdAt?: EpochMs
  readonly uses?: number
  /** Kept by an operator: neither claimed nor scaled down. */
  readonly isProtected?: boolean
  /** Not scaled down, but claimed like any other. */
  readonly isKept?: boolean
}

export type SandboxDelta =
  | { readonly _tag: "Upsert"; readonly state: SandboxState }
  | { readonly _tag: "Removed"; readonly uid: SandboxUid }
  /** Deltas may be missing: the scheduler lists. Also sent after the provider has resumed a broken watch by itself. */
  | { readonly _tag: "Gap"; readonly reason: string }

/** Sets, in one write: phase Running, the claim mark, and what the claim asks for. `version`: as the scheduler's cache shows the sandbox. */
export interface ClaimWrite {
  readonly uid: SandboxUid
  readonly version: Version
  readonly mark: ClaimMark
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly annotations?: Readonly<Record<string, string>> | undefined
  readonly images?: Readonly<Record<string, string>> | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly targetPhase?: "Running" | undefined
}

export type HardError = {
  readonly _tag: "HardError"
  readonly message: string /** Forbidden, no quota, ...: every sandbox of the pool would answer so. */
  readonly everySandbox: boolean
  /** The claim itself is at fault (an image that cannot be, a forbidden label): it ends with this, and nothing is wrong with any sandbox. */
  readonly isFinal?: boolean
}
export type Unknown = { readonly _tag: "Unknown"; readonly reason: string }
export type Fenced = { readonly _tag: "Fenced"; readonly current: SessionId }
const success = (version: Version): ClaimOutcome => ({ _tag: "Success", version })
const conflict: { readonly _tag: "Conflict" } = { _tag: "Conflict" }
const wrongPhase: { readonly _tag: "WrongPhase" } = { _tag: "WrongPhase" }
const gone: { readonly _tag: "Gone" } = { _tag: "Gone" }
const hardError = (message: string, everySandbox: boolean): HardError => ({ _tag: "HardError", message, everySandbox })
const refused = (message: string): HardError => ({ _tag: "HardError", message, everySandbox: false, isFinal: true })
const unknown = (reason: string): Unknown => ({ _tag: "Unknown", reason })
const fenced = (current: SessionId): Fenced => ({ _tag: "Fenced", current })
/** Constructors of outcomes. */
export const outcome = { success, conflict, wrongPhase, gone, hardError, refused, unknown, fenced } as const

export type ClaimOutcome =
  | { readonly _tag: "Success"; readonly version: Version }
  | { readonly _tag: "Conflict" }
  | { readonly _tag: "WrongPhase" }
  | { readonly _tag: "Gone" }
  | HardError
  | Unknown
  | Fenced

/** Is the claim `claimId` on the sandbox `uid`? `NotOurs` is final: a write that has not happened until then never will (the provider's part). */
export type ReadBackOutcome =
  | { readonly _tag: "Ours"; readonly version: Version }
  | { readonly _tag: "NotOurs"; readonly state: SandboxState }
  | { readonly _tag: "Gone" }
  | Unknown

/** `recycle`: reset hook, Stopping, then Idle by a delta. `delete`: gone for good. Both only while `claimId` holds the sandbox. */
export interface ReleaseWrite {
  readonly uid: SandboxUid
  readonly claimId: ClaimId
  readonly sessionId: SessionId
  readonly mode: "recycle" | "delete"
}
/** `Done`: on its way or finished (also the answer to a repetition). `NotOurs`: another claim holds it, or none. */
export type ReleaseOutcome =
  | { readonly _tag: "Done" }
  | { readonly _tag: "NotOurs" }
  | { readonly _tag: "Gone" }
  | HardError
  | Unknown
  | Fenced

/** `name` is the idempotency key: a name that exists is answered `Done`. The sandbox itself arrives by a delta. */
export interface CreateWrite {
  readonly name: string
  readonly sessionId: SessionId
}
export type CreateOutcome = { readonly _tag: "Done" } | HardError | Unknown | Fenced

/** Scale-down, or a broken sandbox. With a version: only if it is still at that version (`Conflict` otherwise). */
export interface DeleteWrite {
  readonly uid: SandboxUid
  readonly version?: Version
  readonly sessionId: SessionId
}
export type DeleteOutcome = { readonly _tag: "Done" } | { readonly _tag: "Conflict" } | HardError | Unknown | Fenced

/** Holds a claimed sandbox still, or lets it go on. Only while `claimId` holds it; its lease runs on meanwhile. */
export interface PauseWrite {
  readonly uid: SandboxUid
  readonly claimId: ClaimId
  readonly sessionId: SessionId
}
export type PauseOutcome = ReleaseOutcome

/** What an owner tells of its pool, for a provider that shows it to people (a status subresource). `pendingRequests` is `Snapshot.queueLen`. */
export interface PoolStatus {
  readonly pendingRequests: number
  readonly idle: number
  readonly claimed: number
  readonly creating: number
  readonly total: number
  readonly target: number
  readonly sessionId: SessionId
  readonly isDraining: boolean
}

/** One pool, opened by its owner. Lives in the scope of `open`: closing it ends the watch, not the sandboxes. */
export interface ProviderPool {
  /** All sandboxes: at start, after a `Gap`, and as a slow repair; never on the hot path. */
  readonly list: Effect.Effect<ReadonlyArray<SandboxState>, ProviderError>
  /** Deltas from now on; `onDelta` is synchronous and does not throw. Called once, before the first `list`. A watch that breaks is resumed by the provider, which then tells `Gap`. */
  watch(onDelta: (delta: SandboxDelta) => void): Effect.Effect<void, ProviderError, Scope.Scope>
  claim(write: ClaimWrite, done: (outcome: ClaimOutcome) => void): void
  readBack(uid: SandboxUid, claimId: ClaimId, done: (outcome: ReadBackOutcome) => void): void
  release(write: ReleaseWrite, done: (outcome: ReleaseOutcome) => void): void
  create(write: CreateWrite, done: (outcome: CreateOutcome) => void): void
  delete(write: DeleteWrite, done: (outcome: DeleteOutcome) => void): void
  /** Both, of a provider with the capability `pause`. */
  pause?(write: PauseWrite, done: (outcome: PauseOutcome) => void): void
  resume?(write: PauseWrite, done: (outcome: PauseOutcome) => void): void
  /**
   * Of a provider that does something in the background. Never succeeds, and fails only by a defect: of what runs for this pool, or for all pools together. The scheduler's process ends
   * with it, so that nobody goes on with a pool that is told nothing any more. What goes wrong outside (network, refusals) is none; that is tried again.
   */
  readonly failure?: Effect.Effect<never>
  /** Told at most every 3 s, when `pendingRequests` crosses zero or changes by a fifth, or the rest changes. Best effort: a later one replaces an earlier one. */
  status?(status: PoolStatus): void
}

export interface Capabilities {
  /** A sandbox needs no reset between tasks of one instance, so one may follow another without going through the pool (design/04 section 2, hand-off). */
  readonly handOff: boolean
  /** Writes answer before they return and cost microseconds. */
  readonly synchronous: boolean
  /** Sandboxes outlive the scheduler's process: a new owner finds them by `list`. */
  readonly persistent: boolean
  /** A claimed sandbox can be held still and go on (`ProviderPool.pause`, `resume`). */
  readonly pause?: boolean
}

/** The provider could not be opened, listed or watched. `isConfig`: the pool's `config` is wrong, `problems` say where. */
export class ProviderError extends Schema.TaggedError<ProviderError>()("ProviderError", {
  provider: Schema.String,
  message: Schema.String,
  problems: Schema.optionalKey(Schema.Array(Problem)),
  cause: Schema.optionalKey(Schema.Defect())
}) {}

/** What `open` is told about its pool. `startedAt`: clock of the owner. */
export interface OpenContext {
  readonly pool: PoolRef
  /** The owner's session; every write carries it too. */
  readonly sessionId: SessionId
  /** The process that owns the pool, for a provider that shows it. */
  readonly owner?: MemberId
  readonly size: number
  readonly labels: Readonly<Record<string, string>>
  readonly startedAt: EpochMs
}

/** What a plugin contributes under `poolProviders`. */
export interface PoolProvider {
  /** `PoolSpec.provider` and `Sandbox.provider`. */
  readonly name: string
  readonly capabilities: Capabilities
  /** What a pool of it takes under `config`, for `heddle plugins`. */
  readonly config?: Schema.Top
  /** Problems of a pool's `config`, empty when it is good; asked when a pool is applied. */
  validate(config: unknown): ReadonlyArray<Problem>
  open(context: OpenContext, config: unknown): Effect.Effect<ProviderPool, ProviderError, Scope.Scope>
  /** Loads what the first `open` would load: run once by a scheduler that knows of a pool of this provider, so that a take-over does not wait for it. */
  readonly prepare?: Effect.Effect<void>
  /** The executor's and the CLI's side. Needs nothing but what stands in `sandbox`: it may be another process, on another machine. */
  connect(sandbox: Sandbox): Effect.Effect<SandboxClient, SandboxLost, Scope.Scope>
}

/** A provider whose `config` is decoded by a Schema. */
export const make = <Config>(options: {
  readonly name: string
  readonly capabilities: Capabilities
  readonly config: Schema.Codec<Config, unknown>
  readonly open: (context: OpenContext, config: Config) => Effect.Effect<ProviderPool, ProviderError, Scope.Scope>
  readonly connect: PoolProvider["connect"]
  readonly prepare?: Effect.Effect<void>
}): PoolProvider => {
  const decode = Schema.decodeUnknownResult(options.config, { errors: "all" })
  const problemsOf = (config: unknown): { readonly config: Config } | { readonly problems: ReadonlyArray<Problem> } => {
    const result = decode(config ?? {})
    return result._tag === "Success"
      ? { config: result.success }
      : { problems: [{ path: "config", message: String(result.failure.message), value: config }] }
  }
  return {
    name: options.name,
    capabilities: options.capabilities,
    config: options.config,
    connect: options.connect,
    ...(options.prepare === undefined ? {} : { prepare: options.prepare }),
    validate: (config) => {
      const decoded = problemsOf(config)
      return "problems" in decoded ? decoded.problems : []
    },
    open: (context, config) => {
      const decoded = problemsOf(config)
      return "problems" in decoded
        ? Effect.fail(
          new ProviderError({
            provider: options.name,
            message: `config of pool ${context.pool.namespace}/${context.pool.name}: ${
              decoded.problems.map((_) => _.message).join("; ")
            }`,
            problems: decoded.problems
          })
        )
        : options.open(context, decoded.config)
    }
  }
}
