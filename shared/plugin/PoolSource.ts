/**
 * A pool source: where pools and envs are declared besides the rpc (objects of a cluster, files). Contributed by a plugin, run by every pool-scheduler.
 *
 * What a source keeps true: it is level-triggered, so whatever it missed while nothing ran is made good at its start: what is declared is applied, and what it applied
 * once and is no longer declared is removed (it knows its own by `source`). Several replicas run the same source at once: what they apply is the same, and the last one to see a
 * change has seen all of it. A refusal of the mesh is told where the declaration stands. Follows design/04 section 1.
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { EnvRef, EnvSpec } from "../protocol/Env.ts"
import type { ContractError } from "../protocol/ErrorCode.ts"
import type { PoolSpec } from "../protocol/Pool.ts"
import type { PoolRef } from "../protocol/Sandbox.ts"
import type { MemberId, PoolName } from "../protocol/Token.ts"

/** The source cannot run as it is configured; its service goes down with this reason. */
export class PoolSourceFailed extends Schema.TaggedError<PoolSourceFailed>()("PoolSourceFailed", {
  source: Schema.String,
  message: Schema.String
}) {}

/** Whether somebody serves a pool, as this replica sees it. `Absent`: there is no such pool. */
export type PoolStanding =
  | { readonly _tag: "Absent" }
  | { readonly _tag: "NoOwner" }
  | { readonly _tag: "Served"; readonly owner: MemberId; readonly isDraining: boolean }

/** What a source does to the mesh: the same as the rpcs of the same names. And what it can show of it, which costs nothing to ask. */
export interface PoolSink {
  readonly pools: Effect.Effect<ReadonlyArray<PoolSpec>, ContractError>
  readonly applyPool: (spec: PoolSpec) => Effect.Effect<void, ContractError>
  /** Waiting claims are answered, the pool's owner stops, its sandboxes go. Idempotent. */
  readonly removePool: (pool: PoolRef) => Effect.Effect<void, ContractError>
  readonly envs: Effect.Effect<ReadonlyArray<EnvSpec>, ContractError>
  readonly applyEnv: (spec: EnvSpec) => Effect.Effect<void, ContractError>
  readonly removeEnv: (env: EnvRef) => Effect.Effect<void, ContractError>
  readonly standing: (pool: PoolRef) => PoolStanding
  /** The pools that belong to an env now. Undefined: this replica knows no such env (yet). */
  readonly members: (env: EnvRef) => ReadonlyArray<PoolName> | undefined
  /** Calls back when an answer of `standing` or `members` may be another one, until the scope ends. The listener is synchronous and does not throw. */
  readonly changes: (listener: () => void) => Effect.Effect<void, never, Scope.Scope>
}

/** What a plugin contributes under `poolSources`. */
export interface PoolSource {
  readonly name: string
  readonly description: string
  /** Runs until it is interrupted, or fails for good. A source that has nothing to do by its config never ends either. */
  readonly run: (sink: PoolSink) => Effect.Effect<never, PoolSourceFailed, Scope.Scope>
}
