/**
 * The words of the contract: tokens that come from users, and the branded ids built on them.
 *
 * A token travels as one part of a NATS subject, so it is `[A-Za-z0-9_-]{1,63}` and nothing else: no dot, wildcard, space or slash can reach a
 * subject. Follows design/02 ("Tokens that come from users").
 */
import * as Schema from "effect/Schema"

/** What a user may call a thing: 1 to 63 of `A-Z a-z 0-9 _ -`. */
export const Token = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,63}$/u, {
  message: "a name of 1 to 63 letters, digits, '_' or '-'"
}))

/** A tenant's part of the mesh; pools and definitions live in one. */
export const Namespace = Token.pipe(Schema.brand("Namespace"))
export type Namespace = typeof Namespace.Type

export const PoolName = Token.pipe(Schema.brand("PoolName"))
export type PoolName = typeof PoolName.Type

/** Chosen by the client, or made by the scheduler: the idempotency key of a claim. */
export const ClaimId = Token.pipe(Schema.brand("ClaimId"))
export type ClaimId = typeof ClaimId.Type

/** Chosen by the client, or made by the coordinator: the idempotency key of a workflow's start. */
export const InstanceId = Token.pipe(Schema.brand("InstanceId"))
export type InstanceId = typeof InstanceId.Type

/** Chosen by the client, header `Nats-Msg-Id`: the idempotency key of a command to an instance. */
export const RequestId = Token.pipe(Schema.brand("RequestId"))
export type RequestId = typeof RequestId.Type

export const DefinitionName = Token.pipe(Schema.brand("DefinitionName"))
export type DefinitionName = typeof DefinitionName.Type

/** Unique within one definition. */
export const TaskName = Token.pipe(Schema.brand("TaskName"))
export type TaskName = typeof TaskName.Type

/** A process of the mesh as the registry knows it: one name may come back with another `StartupId`. */
export const MemberId = Token.pipe(Schema.brand("MemberId"))
export type MemberId = typeof MemberId.Type

/** One life of a member: made at process start, never used again (design/05 rule 1). */
export const StartupId = Token.pipe(Schema.brand("StartupId"))
export type StartupId = typeof StartupId.Type

/** The literal last token of one coordinator process's journal subject: `<member>-<startup>` (design/01 section 3). */
export const Ledger = Token.pipe(Schema.brand("Ledger"))
export type Ledger = typeof Ledger.Type

/** Identity of one incarnation of a sandbox (on Kubernetes the pod's `metadata.uid`); a recreated pod of the same name has another. */
export const SandboxUid = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_.:-]{1,128}$/u)).pipe(
  Schema.brand("SandboxUid")
)
export type SandboxUid = typeof SandboxUid.Type

/** One attempt of one task in one run of an instance: `<task>:<run>:<attempt>` or `<task>:<run>:<attempt>:<item>` for a fan-out item. Unique within its instance. */
export const TaskInstanceId = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,63}(:\d+){2,3}$/u)).pipe(
  Schema.brand("TaskInstanceId")
)
export type TaskInstanceId = typeof TaskInstanceId.Type

/** 0 .. N-1; an instance's shard is `fnv1a(instance id) % N`, N fixed at the mesh's first start (design/01 section 3). */
export const Shard = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4095 })).pipe(Schema.brand("Shard"))
export type Shard = typeof Shard.Type

/** A stream sequence that carries an `ADOPTED`: names one ownership of a shard or a pool, and only grows. 0 = none yet. */
export const SessionId = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Schema.brand("SessionId"))
export type SessionId = typeof SessionId.Type

/** Stream sequence of a JetStream message. */
export const StreamSequence = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Schema.brand("StreamSequence"))
export type StreamSequence = typeof StreamSequence.Type

/** Milliseconds since the epoch, as services keep and exchange them; public answers show RFC 3339 (`Timestamp`). */
export const EpochMs = Schema.Finite
export type EpochMs = typeof EpochMs.Type

/** 0 lowest .. 9 highest; 5 when a request names none. */
export const Priority = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 }))
export type Priority = typeof Priority.Type
export const priorityDefault: Priority = 5
