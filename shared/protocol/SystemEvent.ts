/**
 * The system event bus: `heddle.system.<kind>` in HEDDLE_SYSTEM, ordered, durable, replayable. design/05.
 */
import * as Schema from "effect/Schema"
import { PoolRef } from "./Sandbox.ts"
import { EpochMs, Ledger, MemberId, SandboxUid, StartupId } from "./Token.ts"

const incarnation = { member: MemberId, startup: StartupId }

/** `id`: deterministic (kind + incarnation), so that two failover services publish one event (`Nats-Msg-Id`). */
export const SystemEvent = Schema.Union([
  Schema.TaggedStruct("GLOBAL_MASTER_FAILOVER", { id: Schema.String, at: EpochMs, startup: StartupId }),
  Schema.TaggedStruct("MASTER_FAILOVER", {
    id: Schema.String,
    at: EpochMs,
    ...incarnation,
    ledger: Ledger,
    cause: Schema.String
  }),
  Schema.TaggedStruct("WORKER_FAILOVER", { id: Schema.String, at: EpochMs, ...incarnation, cause: Schema.String }),
  Schema.TaggedStruct("SCHEDULER_FAILOVER", { id: Schema.String, at: EpochMs, ...incarnation, cause: Schema.String }),
  Schema.TaggedStruct("SANDBOX_LOST", {
    id: Schema.String,
    at: EpochMs,
    pool: PoolRef,
    sandbox: SandboxUid,
    cause: Schema.String
  }),
  /** What a coordinator or scheduler did about one of the above: pages, shards or pools won, instances and tasks handled. */
  Schema.TaggedStruct("FAILOVER_PROGRESS", {
    id: Schema.String,
    at: EpochMs,
    by: MemberId,
    of: Schema.String,
    shards: Schema.Int,
    instances: Schema.Int,
    tasks: Schema.Int,
    done: Schema.Boolean
  })
])
export type SystemEvent = typeof SystemEvent.Type

/** One failover as `heddle.rpc.failover.list` shows it: the event and what came of it. `recoveredMs`: event to last progress. */
export const FailoverRecord = Schema.Struct({
  id: Schema.String,
  kind: Schema.String,
  at: Schema.String,
  subject: Schema.String,
  cause: Schema.String,
  shards: Schema.Int,
  instances: Schema.Int,
  tasks: Schema.Int,
  state: Schema.Literals(["Published", "Running", "Done"]),
  recoveredMs: Schema.optionalKey(Schema.Finite)
})
export type FailoverRecord = typeof FailoverRecord.Type
export const FailoverList = Schema.Struct({ items: Schema.Array(FailoverRecord) })
