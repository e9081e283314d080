/**
 * Every subject of the mesh, built here and nowhere else. Public ones are the contract (design/02); `member.*` are between services.
 */
import type { LaneName } from "./Lane.ts"
import type { PoolRef } from "./Sandbox.ts"
import type { ClaimId, InstanceId, Ledger, MemberId, Shard, StartupId, TaskInstanceId } from "./Token.ts"

/** Requests of the contract; every service that answers one is a NATS micro service (ADR-32). */
export const rpc = {
  definition: (verb: "put" | "get" | "list" | "validate" | "delete") => `heddle.rpc.definition.${verb}`,
  workflow: (verb: WorkflowVerb) => `heddle.rpc.workflow.${verb}`,
  pool: (pool: PoolRef, verb: PoolVerb) => `heddle.rpc.pool.${pool.namespace}.${pool.name}.${verb}`,
  pools: (verb: "list" | "apply" | "scale" | "delete") => `heddle.rpc.pool.${verb}`,
  env: (namespace: string, env: string) => `heddle.rpc.env.${namespace}.${env}.claim`,
  envs: (verb: "list" | "apply" | "delete") => `heddle.rpc.env.${verb}`,
  schedule: (verb: ScheduleVerb) => `heddle.rpc.schedule.${verb}`,
  backfill: (verb: BackfillVerb) => `heddle.rpc.backfill.${verb}`,
  group: (verb: GroupVerb) => `heddle.rpc.group.${verb}`,
  memberList: "heddle.rpc.member.list",
  failoverList: "heddle.rpc.failover.list"
} as const

export const workflowVerbs = [
  "start",
  "get",
  "list",
  "result",
  "history",
  "pause",
  "resume",
  "stop",
  "rerun",
  "recover",
  "run-task",
  "force-success",
  "force-start"
] as const
export type WorkflowVerb = typeof workflowVerbs[number]
export type ScheduleVerb = "put" | "get" | "list" | "delete" | "pause" | "resume" | "trigger" | "preview"
export type BackfillVerb = "start" | "get" | "list" | "stop"
export type GroupVerb = "list" | "get" | "set" | "prioritize"
/** `dequeue`, `settle` and `withdraw` are for executors and coordinators; the rest is the contract. */
export const poolVerbs = [
  "claim",
  "release",
  "renew",
  "cancel",
  "get",
  "snapshot",
  "pause",
  "resume",
  "dequeue",
  "settle",
  "withdraw"
] as const
export type PoolVerb = typeof poolVerbs[number]

/** Work queue: commands and facts of one instance. */
export const command = (shard: Shard, instance: InstanceId) => `heddle.wf.${shard}.${instance}.cmd`
export const commandsOfShard = (shard: Shard) => `heddle.wf.${shard}.*.cmd`
/** Derived journal of one instance, for people and tools. */
export const history = (shard: Shard, instance: InstanceId) => `heddle.wf.${shard}.${instance}.history`
/** Where the history of a finished instance goes, same messages. */
export const archive = (shard: Shard, instance: InstanceId) => `heddle.archive.${shard}.${instance}`
export const journal = (ledger: Ledger) => `heddle.journal.${ledger}`
export const lane = (pool: PoolRef, name: LaneName) => `heddle.pool.${pool.namespace}.${pool.name}.lane.${name}`
export const claim = (pool: PoolRef) => `heddle.pool.${pool.namespace}.${pool.name}.claim`
export const claimResult = (pool: PoolRef, claimId: ClaimId) =>
  `heddle.pool.${pool.namespace}.${pool.name}.result.${claimId}`
export const poolEvent = (pool: PoolRef) => `heddle.pool.${pool.namespace}.${pool.name}.event`
/** Counters of a pool, told by its owner while they change: core NATS, the newest counts (`PoolTidings`). */
export const poolTidings = (pool: PoolRef) => `heddle.pool.${pool.namespace}.${pool.name}.tidings`
export const logs = (instance: InstanceId, task: TaskInstanceId) => `heddle.logs.${instance}.${task}`
/** Alerts on their way to one sink. */
export const alert = (sink: string) => `heddle.alert.${sink}`
export const system = (kind: string) => `heddle.system.${kind}`

/** Direct to one process: `register`, `facts`, `job-state` at a coordinator, `control` at an executor, `rpc.<…>` for requests that another replica forwards. */
export const member = (id: MemberId, verb: "register" | "facts" | "job-state" | "control") =>
  `heddle.member.${id}.${verb}`
export const forwarded = (id: MemberId, subject: string) => `heddle.member.${id}.forwarded.${subject}`

/**
 * Where the broker acknowledges a coordinator's append whose answers went ahead of it: read by the coordinator and by `reader`, the executor that holds them
 * (docs/design/session-protocol.md). `append` counts within the coordinator's life.
 */
export const acknowledgement = (reader: MemberId, startup: StartupId, append: number) =>
  `heddle.ack.${reader}.${startup}.${append}`
export const acknowledgementsFor = (reader: MemberId) => `heddle.ack.${reader}.>`
export const acknowledgementsOf = (startup: StartupId) => `heddle.ack.*.${startup}.*`

export const header = {
  msgId: "Nats-Msg-Id",
  traceparent: "traceparent",
  session: "Heddle-Session",
  replyTo: "Heddle-Reply-To",
  team: "Heddle-Team"
} as const
