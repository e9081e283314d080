/**
 * Members: the processes of the mesh as the registry (KV `heddle_registry`, entries with a TTL) shows them. design/05 rule 1.
 */
import * as Schema from "effect/Schema"
import { PoolRef } from "./Sandbox.ts"
import { Timestamp } from "./Time.ts"
import { Ledger, MemberId, StartupId, StreamSequence } from "./Token.ts"

export const MemberRole = Schema.Literals(["coordinator", "pool-scheduler", "task-executor", "failover", "gateway"])
export type MemberRole = typeof MemberRole.Type

/** One registry entry. Its key is `<role>.<member>`; `startup` tells one life from the next. */
export const Member = Schema.Struct({
  member: MemberId,
  startup: StartupId,
  role: MemberRole,
  host: Schema.String,
  pid: Schema.Int,
  version: Schema.String,
  startedAt: Timestamp,
  /** Coordinators: the ledger that this life writes. */
  ledger: Schema.optionalKey(Ledger),
  /** Executors: slots, and the pools they draw tasks from. */
  slots: Schema.optionalKey(Schema.Int),
  pools: Schema.optionalKey(Schema.Array(PoolRef)),
  /** How acknowledged writes survive (design/00 "Promises"), e.g. `R1, fsync every 2m0s`. */
  durability: Schema.optionalKey(Schema.String),
  /** What this life found wrong with what it stands on, newest last: `heddle doctor` tells it. */
  problems: Schema.optionalKey(Schema.Array(Schema.String))
})
export type Member = typeof Member.Type
export const MemberList = Schema.Struct({ items: Schema.Array(Member) })

/** Value of a key of `heddle_shards` (`shard.<n>`): the CAS on it decides who may adopt; `ledgers` are those to read since the checkpoint. */
export const ShardOwnership = Schema.Struct({
  owner: MemberId,
  startup: StartupId,
  ledger: Ledger,
  /** Ledgers that held this shard since its newest checkpoint, oldest first; the last is the owner's. */
  ledgers: Schema.Array(Ledger),
  /** The owner has appended RELEASED in favour of `to` at journal sequence `sequence`: `to` may adopt without sealing. */
  released: Schema.optionalKey(Schema.Struct({ to: MemberId, sequence: StreamSequence }))
})
export type ShardOwnership = typeof ShardOwnership.Type

/** Value of a key of `heddle_pools` (`owner.<ns>.<pool>`). */
export const PoolOwnership = Schema.Struct({ owner: MemberId, startup: StartupId })
export type PoolOwnership = typeof PoolOwnership.Type
