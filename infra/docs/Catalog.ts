/**
 * What the reference describes: the public messages, and the subjects with the messages they carry. design/02.
 *
 * Schemas and subjects come from shared/protocol; only the sentences stand here.
 */
import type * as Schema from "effect/Schema"
import * as Alert from "../../shared/protocol/Alert.ts"
import * as Backfill from "../../shared/protocol/Backfill.ts"
import * as Claim from "../../shared/protocol/Claim.ts"
import * as Definition from "../../shared/protocol/Definition.ts"
import * as Env from "../../shared/protocol/Env.ts"
import * as ErrorCode from "../../shared/protocol/ErrorCode.ts"
import * as Group from "../../shared/protocol/Group.ts"
import * as History from "../../shared/protocol/History.ts"
import * as Journal from "../../shared/protocol/Journal.ts"
import * as Member from "../../shared/protocol/Member.ts"
import * as Pool from "../../shared/protocol/Pool.ts"
import * as PoolEvent from "../../shared/protocol/PoolEvent.ts"
import * as Report from "../../shared/protocol/Report.ts"
import { type PoolRef, Sandbox } from "../../shared/protocol/Sandbox.ts"
import * as SandboxAgent from "../../shared/protocol/SandboxAgent.ts"
import * as Schedule from "../../shared/protocol/Schedule.ts"
import * as Signal from "../../shared/protocol/Signal.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as SystemEvent from "../../shared/protocol/SystemEvent.ts"
import { formatDuration } from "../../shared/protocol/Time.ts"
import {
  type ClaimId,
  type InstanceId,
  type Ledger,
  priorityDefault,
  type Shard,
  type TaskInstanceId
} from "../../shared/protocol/Token.ts"
import * as Workflow from "../../shared/protocol/Workflow.ts"

export interface Message {
  readonly name: string
  readonly schema: Schema.Constraint
  /** Instead of the doc comment in the source. */
  readonly text?: string
}

/** In the order of the reference. */
export const messages = [
  { name: "ClaimRequest", schema: Claim.ClaimRequest },
  { name: "ClaimResult", schema: Claim.ClaimResult },
  { name: "ClaimRef", schema: Claim.ClaimRef, text: "Names a claim." },
  { name: "RenewRequest", schema: Claim.RenewRequest, text: "Lengthens a claim's lease." },
  { name: "Sandbox", schema: Sandbox },
  { name: "Snapshot", schema: Claim.Snapshot },
  { name: "PoolSpec", schema: Pool.PoolSpec },
  { name: "PoolView", schema: Pool.PoolView, text: "A pool with its owner and counters." },
  { name: "PoolList", schema: Pool.PoolList, text: "A page of pools." },
  { name: "PoolScale", schema: Pool.PoolScale },
  { name: "PoolDelete", schema: Pool.PoolDelete },
  { name: "EnvSpec", schema: Env.EnvSpec },
  { name: "EnvView", schema: Env.EnvView, text: "An env with its members as a claim would find them now, best first." },
  { name: "EnvList", schema: Env.EnvList, text: "A page of envs." },
  { name: "EnvRef", schema: Env.EnvRef },
  { name: "Definition", schema: Definition.Definition, text: "A workflow definition: YAML, JSON, or the same object." },
  { name: "DefinitionPut", schema: Definition.DefinitionPut, text: "What a stored definition is called." },
  {
    name: "DefinitionQuery",
    schema: Definition.DefinitionQuery,
    text: "Names a definition; without a version the newest."
  },
  { name: "DefinitionListQuery", schema: Definition.DefinitionListQuery, text: "Asks for a page of definitions." },
  { name: "DefinitionList", schema: Definition.DefinitionList },
  { name: "DefinitionValid", schema: Definition.DefinitionValid },
  { name: "DefinitionDeleted", schema: Definition.DefinitionDeleted },
  { name: "DefinitionStored", schema: Definition.DefinitionStored, text: "A definition as it was stored." },
  { name: "StartRequest", schema: Workflow.StartRequest },
  {
    name: "StartAnswer",
    schema: Workflow.StartAnswer,
    text: "The instance that was started, now or earlier with the same id."
  },
  { name: "InstanceRef", schema: Workflow.InstanceRef, text: "Names a workflow instance." },
  { name: "CommandRequest", schema: Workflow.CommandRequest },
  { name: "Accepted", schema: Workflow.Accepted, text: "The command is in the journal." },
  { name: "WorkflowView", schema: Workflow.WorkflowView, text: "An instance with every task of its execution graph." },
  { name: "WorkflowListQuery", schema: Workflow.WorkflowListQuery, text: "Asks for a page of instances." },
  { name: "WorkflowList", schema: Workflow.WorkflowList, text: "A page of instances." },
  { name: "ResultRequest", schema: Workflow.ResultRequest },
  { name: "WorkflowResult", schema: Workflow.WorkflowResult, text: "How a run ended." },
  { name: "TaskCommandRequest", schema: Workflow.TaskCommandRequest },
  { name: "GroupQuery", schema: Group.GroupQuery },
  { name: "GroupSet", schema: Group.GroupSet },
  { name: "GroupPrioritize", schema: Group.GroupPrioritize },
  { name: "GroupListQuery", schema: Group.GroupListQuery, text: "Asks for a page of groups." },
  { name: "GroupList", schema: Group.GroupList, text: "A page of groups, by namespace and name." },
  { name: "GroupView", schema: Group.GroupView, text: "A group with what holds its slots and what waits for one." },
  { name: "PutSchedule", schema: Schedule.PutSchedule, text: "A cron schedule: YAML, JSON, or the same object." },
  { name: "ScheduleRef", schema: Schedule.ScheduleRef, text: "Names a schedule." },
  { name: "ScheduleTrigger", schema: Schedule.ScheduleTrigger, text: "Starts what a schedule starts, by hand." },
  { name: "ScheduleListQuery", schema: Schedule.ScheduleListQuery, text: "Asks for a page of schedules." },
  { name: "SchedulePreviewQuery", schema: Schedule.SchedulePreviewQuery },
  { name: "SchedulePreview", schema: Schedule.SchedulePreview, text: "Times to come." },
  { name: "ScheduleView", schema: Schedule.ScheduleView, text: "A schedule with its next and last firing." },
  { name: "ScheduleList", schema: Schedule.ScheduleList, text: "A page of schedules, by name." },
  { name: "Deleted", schema: Schedule.Deleted, text: "It is gone." },
  { name: "StartBackfill", schema: Backfill.StartBackfill, text: "A backfill: YAML, JSON, or the same object." },
  { name: "BackfillRef", schema: Backfill.BackfillRef, text: "Names a backfill." },
  { name: "BackfillStop", schema: Backfill.BackfillStop, text: "Starts no further date." },
  { name: "BackfillListQuery", schema: Backfill.BackfillListQuery, text: "Asks for a page of backfills." },
  {
    name: "BackfillView",
    schema: Backfill.BackfillView,
    text: "A backfill with its dates under way and those that failed."
  },
  { name: "BackfillList", schema: Backfill.BackfillList, text: "A page of backfills, by name." },
  {
    name: "AlertMessage",
    schema: Alert.AlertMessage,
    text: "What an alert sink is told; the same `id` may come twice."
  },
  { name: "HistoryQuery", schema: Workflow.HistoryQuery },
  { name: "HistoryList", schema: History.HistoryList },
  {
    name: "HistoryMessage",
    schema: History.HistoryMessage,
    text: "Entries of one instance, oldest first; one may come in several messages."
  },
  { name: "Entry", schema: Journal.Entry },
  { name: "LifecycleEvent", schema: Journal.LifecycleEvent },
  { name: "Transition", schema: Journal.Transition },
  { name: "JournalMessage", schema: Journal.JournalMessage },
  { name: "CommandMessage", schema: Signal.CommandMessage, text: "What the owner of a shard is told of an instance." },
  { name: "PoolEvent", schema: PoolEvent.PoolEvent, text: "Who owned a pool, and who held which sandbox when." },
  { name: "LogLine", schema: Report.LogLine },
  { name: "Member", schema: Member.Member },
  { name: "MemberList", schema: Member.MemberList, text: "The processes of the mesh." },
  { name: "FailoverList", schema: SystemEvent.FailoverList, text: "What failed over, and what came of it." },
  { name: "SystemEvent", schema: SystemEvent.SystemEvent, text: "An event of the system event bus." },
  { name: "AgentHello", schema: SandboxAgent.AgentHello },
  { name: "AgentExec", schema: SandboxAgent.AgentExec },
  { name: "AgentAnswer", schema: SandboxAgent.AgentAnswer, text: "Whether the agent runs the program." },
  { name: "AgentControl", schema: SandboxAgent.AgentControl },
  { name: "AgentEnd", schema: SandboxAgent.AgentEnd },
  { name: "AgentTokenRequest", schema: SandboxAgent.AgentTokenRequest },
  { name: "AgentTokenAnswer", schema: SandboxAgent.AgentTokenAnswer },
  { name: "ErrorBody", schema: ErrorCode.ErrorBody },
  { name: "ErrorAnswer", schema: ErrorCode.ErrorAnswer }
] as const satisfies ReadonlyArray<Message>
export type MessageName = typeof messages[number]["name"]

/** What a field that is not given counts as. */
export const defaults: Readonly<Record<string, string>> = {
  "ClaimRequest.deadline": `\`"${formatDuration(Claim.claimDeadlineDefaultMs)}"\`, at most \`"${
    formatDuration(Claim.claimDeadlineMaxMs)
  }"\``,
  "ClaimRequest.ttl": `\`"${formatDuration(Claim.claimTtlDefaultMs)}"\`, at most \`"${
    formatDuration(Claim.claimTtlMaxMs)
  }"\``,
  "ClaimRequest.priority": `\`${priorityDefault}\``,
  "ClaimRequest.count": "`1`",
  "ClaimRequest.claimId": "made by the scheduler",
  "ClaimRequest.targetPhase": "`\"Running\"`",
  "RenewRequest.ttl": "the ttl of the claim",
  "PoolSpec.namespace": `\`"${Pool.namespaceDefault}"\``,
  "PoolSpec.policy": "`\"fifo\"`",
  "PoolSpec.queueLengthMax": `\`${Pool.queueLengthMaxDefault}\``,
  "PoolSpec.inflightCasMax": `\`${Pool.inflightCasMaxDefault}\``,
  "PoolSpec.release": "`\"recycle\"`",
  "PoolSpec.min": "`0`",
  "PoolSpec.max": `\`${Pool.sizeMax}\``,
  "PoolSpec.minIdle": `\`${Pool.minIdleDefault}\``,
  "PoolSpec.creatingMax": `\`${Pool.creatingMaxDefault}\``,
  "StartRequest.instanceId": "made by the coordinator",
  "StartRequest.namespace": `\`"${Pool.namespaceDefault}"\``,
  "StartRequest.priority": "the definition's",
  "ResultRequest.wait": "`\"30s\"`",
  "PutSchedule.spec.timezone": "`\"UTC\"`",
  "PutSchedule.spec.catchUp": "`\"last\"`",
  "PutSchedule.spec.misfireWindow": `\`"${formatDuration(Schedule.misfireWindowDefaultMs)}"\``,
  "StartBackfill.spec.parallelism": "`1`",
  "StartBackfill.spec.order": "`\"ascending\"`",
  "StartBackfill.spec.onFailure": "`\"stop\"`"
}

// A subject with placeholders, made by the same function as the real one: the placeholder is no valid name, which is the point.
const pool = { namespace: "<ns>", name: "<pool>" } as unknown as PoolRef
const agent = SandboxAgent.agentBase(pool, "<sandbox>")
const claimId = "<claimId>" as unknown as ClaimId
const instance = "<instance>" as unknown as InstanceId
const shard = "<shard>" as unknown as Shard

export interface Rpc {
  readonly subject: string
  readonly request: MessageName | "{}"
  readonly answer: MessageName
  readonly text: string
}

export const rpcs: ReadonlyArray<{ readonly title: string; readonly items: ReadonlyArray<Rpc> }> = [
  {
    title: "Claims and pools",
    items: [
      {
        subject: Subject.rpc.pool(pool, "claim"),
        request: "ClaimRequest",
        answer: "ClaimResult",
        text:
          "Waits in the queue up to the deadline. With `count` above 1 it is all of them or none, under one claim id."
      },
      {
        subject: Subject.rpc.pool(pool, "release"),
        request: "ClaimRef",
        answer: "ClaimResult",
        text: "Gives the sandbox back; again is no error."
      },
      {
        subject: Subject.rpc.pool(pool, "renew"),
        request: "RenewRequest",
        answer: "ClaimResult",
        text: "The lease begins anew; of a claim that waits, or that has ended, a `Conflict`."
      },
      {
        subject: Subject.rpc.pool(pool, "cancel"),
        request: "ClaimRef",
        answer: "ClaimResult",
        text: "Takes a waiting claim out of the queue; one that was granted before that is given back."
      },
      {
        subject: Subject.rpc.pool(pool, "get"),
        request: "ClaimRef",
        answer: "ClaimResult",
        text: "The claim's result and state."
      },
      {
        subject: Subject.rpc.pool(pool, "pause"),
        request: "ClaimRef",
        answer: "ClaimResult",
        text: "Holds the sandbox still where its provider can, else `Unsupported`; the lease runs on."
      },
      {
        subject: Subject.rpc.pool(pool, "resume"),
        request: "ClaimRef",
        answer: "ClaimResult",
        text: "Lets a paused sandbox go on."
      },
      {
        subject: Subject.rpc.pool(pool, "snapshot"),
        request: "{}",
        answer: "Snapshot",
        text: "The pool's counters now."
      },
      { subject: Subject.rpc.pools("list"), request: "{}", answer: "PoolList", text: "All pools." },
      {
        subject: Subject.rpc.pools("apply"),
        request: "PoolSpec",
        answer: "PoolView",
        text: "Creates or changes a pool."
      },
      {
        subject: Subject.rpc.pools("scale"),
        request: "PoolScale",
        answer: "PoolView",
        text: "Changes how many it keeps, or drains it; nothing else of the pool."
      },
      {
        subject: Subject.rpc.pools("delete"),
        request: "PoolDelete",
        answer: "Deleted",
        text: "Its waiting claims are answered, its sandboxes go."
      }
    ]
  },
  {
    title: "Envs",
    items: [
      {
        subject: Subject.rpc.env("<ns>", "<env>"),
        request: "ClaimRequest",
        answer: "ClaimResult",
        text:
          "From the best member pool, which `pool` of the answer names; release, renew and the rest go to that pool."
      },
      { subject: Subject.rpc.envs("list"), request: "{}", answer: "EnvList", text: "All envs." },
      { subject: Subject.rpc.envs("apply"), request: "EnvSpec", answer: "EnvView", text: "Creates or changes an env." },
      { subject: Subject.rpc.envs("delete"), request: "EnvRef", answer: "Deleted", text: "Its pools stay." }
    ]
  },
  {
    title: "Definitions",
    items: [
      {
        subject: Subject.rpc.definition("put"),
        request: "Definition",
        answer: "DefinitionPut",
        text: "Stores a version; the same content again is the same version."
      },
      {
        subject: Subject.rpc.definition("get"),
        request: "DefinitionQuery",
        answer: "DefinitionStored",
        text: "One version."
      },
      {
        subject: Subject.rpc.definition("list"),
        request: "DefinitionListQuery",
        answer: "DefinitionList",
        text: "A page of newest versions, by name."
      },
      {
        subject: Subject.rpc.definition("validate"),
        request: "Definition",
        answer: "DefinitionValid",
        text: "Stores nothing; every problem with its path, as `InvalidDefinition`."
      },
      {
        subject: Subject.rpc.definition("delete"),
        request: "DefinitionQuery",
        answer: "DefinitionDeleted",
        text:
          "Takes the name out of the list and of new starts; running instances keep their version. One version alone cannot be deleted."
      }
    ]
  },
  {
    title: "Workflows",
    items: [
      {
        subject: Subject.rpc.workflow("start"),
        request: "StartRequest",
        answer: "StartAnswer",
        text: "Idempotent by `instanceId`; other content under the same id is `Conflict`."
      },
      {
        subject: Subject.rpc.workflow("get"),
        request: "InstanceRef",
        answer: "WorkflowView",
        text: "State, tasks, attempts."
      },
      {
        subject: Subject.rpc.workflow("list"),
        request: "WorkflowListQuery",
        answer: "WorkflowList",
        text: "A page, newest first."
      },
      {
        subject: Subject.rpc.workflow("result"),
        request: "ResultRequest",
        answer: "WorkflowResult",
        text: "Waits for the run to rest."
      },
      {
        subject: Subject.rpc.workflow("history"),
        request: "HistoryQuery",
        answer: "HistoryList",
        text: "A page of the journal's entries of the instance, oldest first."
      },
      ...(["pause", "resume", "stop", "rerun", "recover"] as const).map((verb): Rpc => ({
        subject: Subject.rpc.workflow(verb),
        request: "CommandRequest",
        answer: "Accepted",
        text: ""
      })),
      {
        subject: Subject.rpc.workflow("run-task"),
        request: "TaskCommandRequest",
        answer: "Accepted",
        text: "One task of a run that has ended, again; `dependType`: or what is before or after it as well."
      },
      {
        subject: Subject.rpc.workflow("force-success"),
        request: "TaskCommandRequest",
        answer: "Accepted",
        text: "A failed task of a run that rests counts as succeeded."
      },
      {
        subject: Subject.rpc.workflow("force-start"),
        request: "TaskCommandRequest",
        answer: "Accepted",
        text: "A task that waits for a slot of its concurrency group goes on without."
      }
    ]
  },
  {
    title: "Concurrency groups",
    items: [
      { subject: Subject.rpc.group("list"), request: "GroupListQuery", answer: "GroupList", text: "" },
      {
        subject: Subject.rpc.group("get"),
        request: "GroupQuery",
        answer: "GroupView",
        text: "What holds and what waits."
      },
      {
        subject: Subject.rpc.group("set"),
        request: "GroupSet",
        answer: "GroupView",
        text: "How many slots, whatever definitions say; what holds one keeps it."
      },
      {
        subject: Subject.rpc.group("prioritize"),
        request: "GroupPrioritize",
        answer: "GroupView",
        text: "Another priority for a task that waits."
      }
    ]
  },
  {
    title: "Schedules and backfills",
    items: [
      {
        subject: Subject.rpc.schedule("put"),
        request: "PutSchedule",
        answer: "ScheduleView",
        text: "Makes or changes one; it fires from now on."
      },
      { subject: Subject.rpc.schedule("get"), request: "ScheduleRef", answer: "ScheduleView", text: "" },
      { subject: Subject.rpc.schedule("list"), request: "ScheduleListQuery", answer: "ScheduleList", text: "" },
      {
        subject: Subject.rpc.schedule("delete"),
        request: "ScheduleRef",
        answer: "Deleted",
        text: "What it started goes on."
      },
      {
        subject: Subject.rpc.schedule("pause"),
        request: "ScheduleRef",
        answer: "ScheduleView",
        text: "Times that pass meanwhile are not made up for."
      },
      { subject: Subject.rpc.schedule("resume"), request: "ScheduleRef", answer: "ScheduleView", text: "From now on." },
      {
        subject: Subject.rpc.schedule("trigger"),
        request: "ScheduleTrigger",
        answer: "StartAnswer",
        text: "Also when it is paused."
      },
      {
        subject: Subject.rpc.schedule("preview"),
        request: "SchedulePreviewQuery",
        answer: "SchedulePreview",
        text: "The next times."
      },
      {
        subject: Subject.rpc.backfill("start"),
        request: "StartBackfill",
        answer: "BackfillView",
        text: "Idempotent by name; other content under the same name is `Conflict`."
      },
      { subject: Subject.rpc.backfill("get"), request: "BackfillRef", answer: "BackfillView", text: "" },
      { subject: Subject.rpc.backfill("list"), request: "BackfillListQuery", answer: "BackfillList", text: "" },
      {
        subject: Subject.rpc.backfill("stop"),
        request: "BackfillStop",
        answer: "BackfillView",
        text: "Runs under way go to their end, or are stopped with `stopRuns`."
      }
    ]
  },
  {
    title: "Mesh",
    items: [
      { subject: Subject.rpc.memberList, request: "{}", answer: "MemberList", text: "Registry." },
      { subject: Subject.rpc.failoverList, request: "{}", answer: "FailoverList", text: "Failover records." }
    ]
  },
  {
    title: "Agents in sandboxes (core NATS, answered by the agent of one sandbox)",
    items: [
      {
        subject: SandboxAgent.agentSubject.hello(agent),
        request: "{}",
        answer: "AgentHello",
        text: "Whether the agent is there, and of which sandbox."
      },
      {
        subject: SandboxAgent.agentSubject.exec(agent),
        request: "AgentExec",
        answer: "AgentAnswer",
        text:
          "Runs a program. Its stdin is then taken as bytes on `<base>.to.input.<exec>`, behind a number of 32 bits, `AgentControl` on `<base>.to.control.<exec>`; its output comes on `<base>.from.output.<exec>`, behind a kind byte and a number of 32 bits, at last an `AgentEnd`."
      },
      {
        subject: SandboxAgent.agentSubject.token(agent),
        request: "AgentTokenRequest",
        answer: "AgentTokenAnswer",
        text:
          "Asked by the agent, answered by the pool's owner in the agent's inbox and nowhere else: a token for its key."
      }
    ]
  }
]

export const streams: ReadonlyArray<
  { readonly subject: string; readonly message: MessageName; readonly text: string }
> = [
  {
    subject: Subject.claim(pool),
    message: "ClaimRequest",
    text: "A durable claim: publish to JetStream; the result comes on the next subject and to `Heddle-Reply-To`."
  },
  {
    subject: Subject.claimResult(pool, claimId),
    message: "ClaimResult",
    text: "The newest result of a claim, kept for an hour."
  },
  {
    subject: Subject.poolEvent(pool),
    message: "PoolEvent",
    text: "Who held which sandbox when, and who owned the pool; only the pool's owner writes here."
  },
  {
    subject: Subject.command(shard, instance),
    message: "CommandMessage",
    text:
      "The inbox of a shard: reports and signals of senders that nobody answers. Between services; clients send requests."
  },
  {
    subject: Subject.history(shard, instance),
    message: "HistoryMessage",
    text: "The entries of one instance, derived from the journal."
  },
  {
    subject: Subject.archive(shard, instance),
    message: "HistoryMessage",
    text: "The same of an instance that ended long ago."
  },
  {
    subject: Subject.journal("<ledger>" as unknown as Ledger),
    message: "JournalMessage",
    text: "The truth: entries of all instances of one coordinator process."
  },
  {
    subject: Subject.logs(instance, "<task>:<run>:<attempt>" as unknown as TaskInstanceId),
    message: "LogLine",
    text: "What a task wrote."
  },
  {
    subject: Subject.alert("<sink>"),
    message: "AlertMessage",
    text: "Alerts on their way to their sinks, kept 30 days."
  },
  { subject: Subject.system("<kind>"), message: "SystemEvent", text: "System event bus." }
]

export const headers: ReadonlyArray<readonly [name: string, text: string]> = [
  [
    Subject.header.msgId,
    "Idempotency: of a JetStream publish, and of a command to an instance (`pause`, `resume`, `stop`, `rerun`, `recover`, `run-task`, `force-success`, `force-start`): the same id again, of whatever coordinator, is done once and answered the same. Of a start without `instanceId`: the instance's id is made of it. Of a claim without `claimId`: it is the claim's id (where it is no name, one is made of it)."
  ],
  [
    Subject.header.traceparent,
    "W3C trace context, of a claim (its spans are of that trace) and of a start: its tasks, and those of its sub-workflows, have it as `TRACEPARENT` in their environment."
  ],
  [Subject.header.session, "Session id of the sender's ownership: of the pool, on a published claim result."],
  [Subject.header.replyTo, "Where to publish a result as well."],
  [
    Subject.header.team,
    "Whose share a claim or a run's tasks count against, where the request names no `team`; what is no name is refused."
  ]
]
