/**
 * The HTTP API as a table: each route with its words, the Schemas of what it takes and answers (those of the NATS contract), and the rpc behind it. docs/design/gateway.md "Routes".
 *
 * Kept true: a route that names an rpc asks exactly that, with a body made of the path, the query and what was sent; names are checked before they become part of a subject. The
 * OpenAPI document is made from this table by Effect's HttpApi, and the server takes its routes from it, so neither can say what the other does not. Pure.
 */
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import * as Backfill from "../../shared/protocol/Backfill.ts"
import * as Claim from "../../shared/protocol/Claim.ts"
import * as Definition from "../../shared/protocol/Definition.ts"
import * as Env from "../../shared/protocol/Env.ts"
import { ErrorAnswer } from "../../shared/protocol/ErrorCode.ts"
import * as Group from "../../shared/protocol/Group.ts"
import * as History from "../../shared/protocol/History.ts"
import { MemberList } from "../../shared/protocol/Member.ts"
import * as Pool from "../../shared/protocol/Pool.ts"
import * as Report from "../../shared/protocol/Report.ts"
import * as Schedule from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { FailoverList } from "../../shared/protocol/SystemEvent.ts"
import { Timestamp } from "../../shared/protocol/Time.ts"
import {
  ClaimId,
  DefinitionName,
  InstanceId,
  MemberId,
  Namespace,
  PoolName,
  TaskInstanceId,
  TaskName,
  Token
} from "../../shared/protocol/Token.ts"
import * as Workflow from "../../shared/protocol/Workflow.ts"

// ------------------------------------------------------------------------------------------------- what the gateway itself answers

const definitionOf = Schema.Struct({ namespace: Schema.String, name: Schema.String, version: Schema.Int })

/** A run as the read model has it; without `seq`: as a coordinator lists it. */
export const Run = Schema.Struct({
  instanceId: InstanceId,
  state: Workflow.WorkflowStatus,
  definition: definitionOf,
  startedAt: Timestamp,
  endedAt: Schema.optionalKey(Timestamp),
  seq: Schema.optionalKey(Schema.Int),
  runNumber: Schema.optionalKey(Schema.Int),
  reason: Schema.optionalKey(Schema.String),
  parent: Schema.optionalKey(InstanceId)
})
/** `seq`: the journal sequence up to which it is true. `since`: the read model holds the runs that started from then on. */
export const RunList = Schema.Struct({
  items: Schema.Array(Run),
  next: Schema.optionalKey(Schema.String),
  seq: Schema.Int,
  since: Schema.optionalKey(Timestamp)
})
const byState = Schema.Record(Schema.String, Schema.Int)
export const RunCounts = Schema.Struct({
  total: Schema.Int,
  byState,
  definitions: Schema.Array(
    Schema.Struct({ namespace: Schema.String, name: Schema.String, total: Schema.Int, byState })
  ),
  seq: Schema.Int,
  since: Schema.optionalKey(Timestamp)
})
/** `next` is always there: ask again with it for what came later. */
export const LogList = Schema.Struct({
  items: Schema.Array(Schema.Struct({
    seq: Schema.Int,
    taskId: TaskInstanceId,
    ...Report.LogLine.fields,
    at: Timestamp
  })),
  next: Schema.String
})
export const Durability = Schema.Struct({
  text: Schema.String,
  fsync: Schema.Unknown,
  source: Schema.String,
  replicas: Schema.Int,
  serverVersion: Schema.String,
  apiLevel: Schema.Int
})
export const Info = Schema.Struct({
  version: Schema.String,
  member: MemberId,
  startedAt: Timestamp,
  natsServer: Schema.String,
  durability: Schema.optionalKey(Schema.String),
  readModel: Schema.Struct({
    runs: Schema.Int,
    runsMax: Schema.Int,
    seq: Schema.Int,
    since: Schema.optionalKey(Timestamp)
  }),
  eventStreams: Schema.Int
})

// ------------------------------------------------------------------------------------------------------------------------ the table

/** Checked: every name of the path is one of the contract. */
export type Params = Readonly<Record<string, string>>
export type Json = Readonly<Record<string, unknown>>

/** How a route's rpc is asked. */
export interface Ask {
  readonly subject: (params: Params) => string
  /** The rpc's body: of path, query and what was sent. */
  readonly body: (params: Params, query: Json, sent: Json) => unknown
  /**
   * `read`: only looks, or sets what it names, so it may be asked again. `command`: carries its id as `Nats-Msg-Id`. `trigger`: may only be asked again with an id. `claim`: waits for
   * a sandbox and carries its id as `claimId`. `result`: waits for a run.
   */
  readonly kind: "read" | "command" | "trigger" | "claim" | "result"
}

export interface Route {
  /** Unique. */
  readonly id: string
  readonly group: string
  readonly method: "GET" | "POST" | "DELETE"
  /** Below `/api/v1`. */
  readonly path: `/${string}`
  readonly summary: string
  readonly params: Readonly<Record<string, Schema.Codec<string, string>>>
  readonly query: Readonly<Record<string, Schema.Constraint>>
  /** What is sent. `isOptional`: nothing at all is `{}`. */
  readonly body?: { readonly name: string; readonly schema: Schema.Constraint; readonly isOptional?: boolean }
  /** `events`: Server-Sent Events. */
  readonly answer: { readonly name: string; readonly schema: Schema.Constraint } | "events"
  /** Not given: the gateway answers itself. */
  readonly ask?: Ask
}

export const prefix = "/api/v1"

type Named = Exclude<Route["answer"], "events">
const named = (name: string, schema: Schema.Constraint): Named => ({ name, schema })

const whole = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const limit = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))
const paging = { limit: Schema.optionalKey(limit), next: Schema.optionalKey(Schema.String) }
const text = Schema.optionalKey(Schema.String)
const reason = Workflow.CommandRequest.fields.reason

const id = { id: InstanceId }
const poolParams = { ns: Namespace, pool: PoolName }
const claimParams = { ...poolParams, claimId: ClaimId }

const claimResult = named("ClaimResult", Claim.ClaimResult)
const poolOf = ({ ns, pool }: Params) => ({ namespace: Namespace.make(ns ?? ""), name: PoolName.make(pool ?? "") })

const route = (
  one: Omit<Route, "params" | "query"> & Partial<Pick<Route, "params" | "query">>
): Route => ({ params: {}, query: {}, ...one })

const runs = "runs"
const runCommand = (verb: "pause" | "resume" | "stop" | "rerun" | "recover", summary: string): Route =>
  route({
    id: `${verb}Workflow`,
    group: runs,
    method: "POST",
    path: `/workflows/:id/${verb}`,
    summary,
    params: id,
    body: { name: "Reason", schema: Schema.Struct({ reason }), isOptional: true },
    answer: named("Accepted", Workflow.Accepted),
    ask: {
      subject: () => Subject.rpc.workflow(verb),
      body: (params, _, sent) => ({ ...sent, instanceId: params["id"] }),
      kind: "command"
    }
  })
const taskCommand = (path: string, verb: "run-task" | "force-success" | "force-start", summary: string): Route =>
  route({
    id: verb.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase()),
    group: runs,
    method: "POST",
    path: `/workflows/:id/tasks/:task/${path}`,
    summary,
    params: { ...id, task: TaskName },
    body: {
      name: "TaskCommand",
      schema: Schema.Struct({ reason, dependType: Workflow.TaskCommandRequest.fields.dependType }),
      isOptional: true
    },
    answer: named("Accepted", Workflow.Accepted),
    ask: {
      subject: () => Subject.rpc.workflow(verb),
      body: (params, _, sent) => ({ ...sent, instanceId: params["id"], task: params["task"] }),
      kind: "command"
    }
  })
const claimVerb = (
  verb: "renew" | "cancel" | "pause" | "resume",
  summary: string,
  body?: Route["body"]
): Route =>
  route({
    id: `${verb}Claim`,
    group: "claims",
    method: "POST",
    path: `/pools/:ns/:pool/claims/:claimId/${verb}`,
    summary,
    params: claimParams,
    ...(body === undefined ? {} : { body }),
    answer: claimResult,
    ask: {
      subject: (params) => Subject.rpc.pool(poolOf(params), verb),
      body: (params, _, sent) => ({ ...sent, claimId: params["claimId"] }),
      kind: "read"
    }
  })
const scheduleVerb = (verb: "pause" | "resume", summary: string): Route =>
  route({
    id: `${verb}Schedule`,
    group: "schedules",
    method: "POST",
    path: `/schedules/:name/${verb}`,
    summary,
    params: { name: Schedule.ScheduleName },
    body: { name: "Reason", schema: Schema.Struct({ reason: Schedule.ScheduleRef.fields.reason }), isOptional: true },
    answer: named("ScheduleView", Schedule.ScheduleView),
    ask: {
      subject: () => Subject.rpc.schedule(verb),
      body: (params, _, sent) => ({ ...sent, name: params["name"] }),
      kind: "read"
    }
  })

/** Asks an rpc with nothing but the query (and what the path names). */
const look = (subject: string | ((params: Params) => string), of: (params: Params) => Json = () => ({})): Ask => ({
  subject: typeof subject === "string" ? () => subject : subject,
  body: (params, query) => ({ ...query, ...of(params) }),
  kind: "read"
})
/** Passes on what was sent. */
const pass = (subject: string, kind: Ask["kind"] = "read"): Ask => ({
  subject: () => subject,
  body: (_, __, sent) => sent,
  kind
})
const nameOf = (params: Params): Json => ({ name: params["name"] })

export const routes: ReadonlyArray<Route> = [
  route({
    id: "listWorkflows",
    group: runs,
    method: "GET",
    path: "/workflows",
    summary: "A page of runs, newest start first, from the read model. `state` may be several, with commas.",
    query: { state: text, definition: text, namespace: text, prefix: text, ...paging },
    answer: named("RunList", RunList)
  }),
  route({
    id: "countWorkflows",
    group: runs,
    method: "GET",
    path: "/workflows/counts",
    summary: "How many runs there are of each state and definition, from the read model.",
    query: { definition: text, namespace: text },
    answer: named("RunCounts", RunCounts)
  }),
  route({
    id: "startWorkflow",
    group: runs,
    method: "POST",
    path: "/workflows",
    summary: "Starts a run of a stored definition, of an inline one, or as a fork of another run.",
    body: { name: "StartRequest", schema: Workflow.StartRequest },
    answer: named("StartAnswer", Workflow.StartAnswer),
    ask: pass(Subject.rpc.workflow("start"), "command")
  }),
  route({
    id: "getWorkflow",
    group: runs,
    method: "GET",
    path: "/workflows/:id",
    summary: "A run with every task of its graph.",
    params: id,
    answer: named("WorkflowView", Workflow.WorkflowView),
    ask: look(Subject.rpc.workflow("get"), (params) => ({ instanceId: params["id"] }))
  }),
  route({
    id: "resultOfWorkflow",
    group: runs,
    method: "GET",
    path: "/workflows/:id/result",
    summary: "How the run ended; waits for that as long as `wait` says (`30s`).",
    params: id,
    query: { wait: text },
    answer: named("WorkflowResult", Workflow.WorkflowResult),
    ask: {
      subject: () => Subject.rpc.workflow("result"),
      body: (params, query) => ({ instanceId: params["id"], wait: query["wait"] ?? "0s" }),
      kind: "result"
    }
  }),
  route({
    id: "historyOfWorkflow",
    group: runs,
    method: "GET",
    path: "/workflows/:id/history",
    summary: "The journal of the run, oldest first.",
    params: id,
    query: paging,
    answer: named("HistoryList", History.HistoryList),
    ask: look(Subject.rpc.workflow("history"), (params) => ({ instanceId: params["id"] }))
  }),
  route({
    id: "logsOfWorkflow",
    group: runs,
    method: "GET",
    path: "/workflows/:id/logs",
    summary: "What its tasks have written, oldest first. `task`: its name, or `name:run:attempt`.",
    params: id,
    query: { task: text, ...paging },
    answer: named("LogList", LogList)
  }),
  route({
    id: "followLogsOfWorkflow",
    group: runs,
    method: "GET",
    path: "/workflows/:id/logs/live",
    summary: "The same as Server-Sent Events `log`, from the first line (or after `Last-Event-ID`), then live.",
    params: id,
    query: { task: text, after: text },
    answer: "events"
  }),
  runCommand("pause", "Lets what runs end and starts nothing more."),
  runCommand("resume", "Goes on with a paused run."),
  runCommand("stop", "Kills what runs and ends."),
  runCommand("rerun", "Everything again, as another run of the instance."),
  runCommand("recover", "What failed or was killed again, and what comes after it."),
  taskCommand("run", "run-task", "Runs one task of a run that has ended again."),
  taskCommand("force-success", "force-success", "A failed task of a run that rests counts as succeeded."),
  taskCommand("force-start", "force-start", "A task that waits for a slot of its group goes on without."),

  route({
    id: "listDefinitions",
    group: "definitions",
    method: "GET",
    path: "/definitions",
    summary: "Newest versions, by name.",
    query: { namespace: text, ...paging },
    answer: named("DefinitionList", Definition.DefinitionList),
    ask: look(Subject.rpc.definition("list"))
  }),
  route({
    id: "putDefinition",
    group: "definitions",
    method: "POST",
    path: "/definitions",
    summary: "Stores a version; the same content again is the same version. JSON, or YAML as `application/yaml`.",
    body: { name: "Definition", schema: Definition.Definition },
    answer: named("DefinitionPut", Definition.DefinitionPut),
    ask: pass(Subject.rpc.definition("put"))
  }),
  route({
    id: "validateDefinition",
    group: "definitions",
    method: "POST",
    path: "/definitions/validate",
    summary: "Stores nothing; every problem with its path.",
    body: { name: "Definition", schema: Definition.Definition },
    answer: named("DefinitionValid", Definition.DefinitionValid),
    ask: pass(Subject.rpc.definition("validate"))
  }),
  route({
    id: "getDefinition",
    group: "definitions",
    method: "GET",
    path: "/definitions/:name",
    summary: "One version; the newest when none is named.",
    params: { name: DefinitionName },
    query: { namespace: text, version: Schema.optionalKey(whole) },
    answer: named("DefinitionStored", Definition.DefinitionStored),
    ask: look(Subject.rpc.definition("get"), nameOf)
  }),
  route({
    id: "deleteDefinition",
    group: "definitions",
    method: "DELETE",
    path: "/definitions/:name",
    summary: "Takes the name out of the list and of new starts; running instances keep their version.",
    params: { name: DefinitionName },
    query: { namespace: text, version: Schema.optionalKey(whole) },
    answer: named("DefinitionDeleted", Definition.DefinitionDeleted),
    ask: look(Subject.rpc.definition("delete"), nameOf)
  }),

  route({
    id: "listPools",
    group: "pools",
    method: "GET",
    path: "/pools",
    summary: "All pools, each with its counters.",
    answer: named("PoolList", Pool.PoolList),
    ask: look(Subject.rpc.pools("list"))
  }),
  route({
    id: "applyPool",
    group: "pools",
    method: "POST",
    path: "/pools",
    summary: "Creates or changes a pool.",
    body: { name: "PoolSpec", schema: Pool.PoolSpec },
    answer: named("PoolView", Pool.PoolView),
    ask: pass(Subject.rpc.pools("apply"))
  }),
  route({
    id: "snapshotOfPool",
    group: "pools",
    method: "GET",
    path: "/pools/:ns/:pool",
    summary: "The pool's counters now.",
    params: poolParams,
    answer: named("Snapshot", Claim.Snapshot),
    ask: look((params) => Subject.rpc.pool(poolOf(params), "snapshot"))
  }),
  route({
    id: "scalePool",
    group: "pools",
    method: "POST",
    path: "/pools/:ns/:pool/scale",
    summary: "Changes how many sandboxes it keeps, or drains it.",
    params: poolParams,
    body: {
      name: "Scale",
      schema: Schema.Struct({
        size: Pool.PoolScale.fields.size,
        min: Pool.PoolScale.fields.min,
        max: Pool.PoolScale.fields.max,
        minIdle: Pool.PoolScale.fields.minIdle,
        drain: Pool.PoolScale.fields.drain
      })
    },
    answer: named("PoolView", Pool.PoolView),
    ask: {
      subject: () => Subject.rpc.pools("scale"),
      body: (params, _, sent) => ({ ...sent, ...poolOf(params) }),
      kind: "read"
    }
  }),
  route({
    id: "deletePool",
    group: "pools",
    method: "DELETE",
    path: "/pools/:ns/:pool",
    summary: "Waiting claims are answered, all its sandboxes go.",
    params: poolParams,
    answer: named("Deleted", Schedule.Deleted),
    ask: look(Subject.rpc.pools("delete"), poolOf)
  }),

  route({
    id: "claim",
    group: "claims",
    method: "POST",
    path: "/pools/:ns/:pool/claims",
    summary: "Claims a sandbox, or a batch; waits up to its `deadline`.",
    params: poolParams,
    body: { name: "ClaimRequest", schema: Claim.ClaimRequest, isOptional: true },
    answer: claimResult,
    ask: {
      subject: (params) => Subject.rpc.pool(poolOf(params), "claim"),
      body: (_, __, sent) => sent,
      kind: "claim"
    }
  }),
  route({
    id: "getClaim",
    group: "claims",
    method: "GET",
    path: "/pools/:ns/:pool/claims/:claimId",
    summary: "What is known of a claim.",
    params: claimParams,
    answer: claimResult,
    ask: look((params) => Subject.rpc.pool(poolOf(params), "get"), ({ claimId }) => ({ claimId }))
  }),
  claimVerb("renew", "The lease begins anew.", {
    name: "Renewal",
    schema: Schema.Struct({ ttl: Claim.RenewRequest.fields.ttl }),
    isOptional: true
  }),
  claimVerb("cancel", "Takes a waiting claim out of the queue; one that was granted before that is given back."),
  claimVerb("pause", "Holds the sandbox still where its provider can."),
  claimVerb("resume", "Lets a paused sandbox go on."),
  route({
    id: "releaseClaim",
    group: "claims",
    method: "DELETE",
    path: "/pools/:ns/:pool/claims/:claimId",
    summary: "Gives the sandbox back; again is no error.",
    params: claimParams,
    answer: claimResult,
    ask: look((params) => Subject.rpc.pool(poolOf(params), "release"), ({ claimId }) => ({ claimId }))
  }),

  route({
    id: "listEnvs",
    group: "envs",
    method: "GET",
    path: "/envs",
    summary: "All envs, each with its members as a claim would find them now.",
    answer: named("EnvList", Env.EnvList),
    ask: look(Subject.rpc.envs("list"))
  }),
  route({
    id: "applyEnv",
    group: "envs",
    method: "POST",
    path: "/envs",
    summary: "Creates or changes an env.",
    body: { name: "EnvSpec", schema: Env.EnvSpec },
    answer: named("EnvView", Env.EnvView),
    ask: pass(Subject.rpc.envs("apply"))
  }),
  route({
    id: "deleteEnv",
    group: "envs",
    method: "DELETE",
    path: "/envs/:ns/:env",
    summary: "Its pools stay.",
    params: { ns: Namespace, env: Env.EnvName },
    answer: named("Deleted", Schedule.Deleted),
    ask: look(Subject.rpc.envs("delete"), ({ env, ns }) => ({ namespace: ns, name: env }))
  }),
  route({
    id: "claimFromEnv",
    group: "envs",
    method: "POST",
    path: "/envs/:ns/:env/claims",
    summary: "Claims a sandbox of the best member pool, which `pool` of the answer names.",
    params: { ns: Namespace, env: Env.EnvName },
    body: { name: "ClaimRequest", schema: Claim.ClaimRequest, isOptional: true },
    answer: claimResult,
    ask: {
      subject: ({ env = "", ns = "" }) => Subject.rpc.env(ns, env),
      body: (_, __, sent) => sent,
      kind: "claim"
    }
  }),

  route({
    id: "listSchedules",
    group: "schedules",
    method: "GET",
    path: "/schedules",
    summary: "Schedules, by name.",
    query: paging,
    answer: named("ScheduleList", Schedule.ScheduleList),
    ask: look(Subject.rpc.schedule("list"))
  }),
  route({
    id: "putSchedule",
    group: "schedules",
    method: "POST",
    path: "/schedules",
    summary: "Makes or changes a schedule.",
    body: { name: "PutSchedule", schema: Schedule.PutSchedule },
    answer: named("ScheduleView", Schedule.ScheduleView),
    ask: pass(Subject.rpc.schedule("put"))
  }),
  route({
    id: "getSchedule",
    group: "schedules",
    method: "GET",
    path: "/schedules/:name",
    summary: "A schedule with its next and last firing.",
    params: { name: Schedule.ScheduleName },
    answer: named("ScheduleView", Schedule.ScheduleView),
    ask: look(Subject.rpc.schedule("get"), nameOf)
  }),
  route({
    id: "deleteSchedule",
    group: "schedules",
    method: "DELETE",
    path: "/schedules/:name",
    summary: "What it started goes on.",
    params: { name: Schedule.ScheduleName },
    answer: named("Deleted", Schedule.Deleted),
    ask: look(Subject.rpc.schedule("delete"), nameOf)
  }),
  scheduleVerb("pause", "Times that pass meanwhile are not made up for."),
  scheduleVerb("resume", "From now on."),
  route({
    id: "triggerSchedule",
    group: "schedules",
    method: "POST",
    path: "/schedules/:name/trigger",
    summary: "Starts what the schedule starts, by hand; also when it is paused.",
    params: { name: Schedule.ScheduleName },
    body: {
      name: "Trigger",
      schema: Schema.Struct({
        scheduledAt: Schedule.ScheduleTrigger.fields.scheduledAt,
        params: Schedule.ScheduleTrigger.fields.params,
        instanceId: Schedule.ScheduleTrigger.fields.instanceId
      }),
      isOptional: true
    },
    answer: named("StartAnswer", Workflow.StartAnswer),
    ask: {
      subject: () => Subject.rpc.schedule("trigger"),
      body: (params, _, sent) => ({ ...sent, name: params["name"] }),
      kind: "trigger"
    }
  }),
  route({
    id: "previewSchedule",
    group: "schedules",
    method: "GET",
    path: "/schedules/:name/preview",
    summary: "The next times.",
    params: { name: Schedule.ScheduleName },
    query: {
      after: Schedule.SchedulePreviewQuery.fields.after,
      count: Schedule.SchedulePreviewQuery.fields.count
    },
    answer: named("SchedulePreview", Schedule.SchedulePreview),
    ask: look(Subject.rpc.schedule("preview"), nameOf)
  }),
  route({
    id: "listBackfills",
    group: "schedules",
    method: "GET",
    path: "/backfills",
    summary: "Backfills, by name.",
    query: paging,
    answer: named("BackfillList", Backfill.BackfillList),
    ask: look(Subject.rpc.backfill("list"))
  }),
  route({
    id: "startBackfill",
    group: "schedules",
    method: "POST",
    path: "/backfills",
    summary: "Starts a backfill; idempotent by name.",
    body: { name: "StartBackfill", schema: Backfill.StartBackfill },
    answer: named("BackfillView", Backfill.BackfillView),
    ask: pass(Subject.rpc.backfill("start"))
  }),
  route({
    id: "getBackfill",
    group: "schedules",
    method: "GET",
    path: "/backfills/:name",
    summary: "A backfill with its dates under way and those that failed.",
    params: { name: Backfill.BackfillName },
    answer: named("BackfillView", Backfill.BackfillView),
    ask: look(Subject.rpc.backfill("get"), nameOf)
  }),
  route({
    id: "stopBackfill",
    group: "schedules",
    method: "POST",
    path: "/backfills/:name/stop",
    summary: "Starts no further date.",
    params: { name: Backfill.BackfillName },
    body: {
      name: "Stop",
      schema: Schema.Struct({ stopRuns: Backfill.BackfillStop.fields.stopRuns }),
      isOptional: true
    },
    answer: named("BackfillView", Backfill.BackfillView),
    ask: {
      subject: () => Subject.rpc.backfill("stop"),
      body: (params, _, sent) => ({ ...sent, name: params["name"] }),
      kind: "read"
    }
  }),
  route({
    id: "listGroups",
    group: "groups",
    method: "GET",
    path: "/groups",
    summary: "Concurrency groups, by namespace and name.",
    query: { namespace: text, ...paging },
    answer: named("GroupList", Group.GroupList),
    ask: look(Subject.rpc.group("list"))
  }),
  route({
    id: "getGroup",
    group: "groups",
    method: "GET",
    path: "/groups/:ns/:group",
    summary: "What holds its slots and what waits for one.",
    params: { ns: Namespace, group: Token },
    answer: named("GroupView", Group.GroupView),
    ask: look(Subject.rpc.group("get"), ({ group, ns }) => ({ namespace: ns, name: group }))
  }),
  route({
    id: "setGroup",
    group: "groups",
    method: "POST",
    path: "/groups/:ns/:group",
    summary: "How many slots it has, whatever definitions say.",
    params: { ns: Namespace, group: Token },
    body: { name: "Slots", schema: Schema.Struct({ slots: Group.GroupSet.fields.slots }) },
    answer: named("GroupView", Group.GroupView),
    ask: {
      subject: () => Subject.rpc.group("set"),
      body: ({ group, ns }, _, sent) => ({ ...sent, namespace: ns, name: group }),
      kind: "read"
    }
  }),

  route({
    id: "events",
    group: "events",
    method: "GET",
    path: "/events",
    summary: "Live events of runs, pools and failovers; resumes after `Last-Event-ID`, or `after`.",
    query: { instance: text, pool: text, kinds: text, after: text },
    answer: "events"
  }),
  route({
    id: "listMembers",
    group: "mesh",
    method: "GET",
    path: "/members",
    summary: "The processes of the mesh.",
    answer: named("MemberList", MemberList),
    ask: look(Subject.rpc.memberList)
  }),
  route({
    id: "listFailovers",
    group: "mesh",
    method: "GET",
    path: "/failovers",
    summary: "What failed over, and what came of it, newest first.",
    query: { limit: Schema.optionalKey(limit) },
    answer: named("FailoverList", FailoverList),
    ask: look(Subject.rpc.failoverList)
  }),
  route({
    id: "durability",
    group: "mesh",
    method: "GET",
    path: "/durability",
    summary: "What an acknowledged write survives on this broker.",
    answer: named("Durability", Durability)
  }),
  route({
    id: "info",
    group: "mesh",
    method: "GET",
    path: "/info",
    summary: "The gateway itself.",
    answer: named("Info", Info)
  })
]

// ---------------------------------------------------------------------------------------------------------------- the OpenAPI document

const identified = new Map<string, Schema.Top>()
/** The schema under its name, so that it stands in the document once. */
const component = ({ name, schema }: Named): Schema.Top => {
  let found = identified.get(name)
  if (found === undefined) {
    found = Schema.toEncoded(schema).annotate({ identifier: name })
    identified.set(name, found)
  }
  return found
}

const endpointOf = (one: Route) => {
  const fields = <A extends object>(key: string, value: A) => Object.keys(value).length === 0 ? {} : { [key]: value }
  const options = {
    disableCodecs: true,
    ...fields("params", one.params),
    ...fields("query", one.query),
    ...(one.method === "POST"
      ? { headers: Schema.Struct({ "idempotency-key": Schema.optionalKey(Token) }) }
      : {}),
    ...(one.body === undefined ? {} : { payload: component(one.body) }),
    success: one.answer === "events"
      ? Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/event-stream" }))
      : component(one.answer),
    error: component({ name: "ErrorAnswer", schema: ErrorAnswer })
  }
  // the table is data, of which TypeScript knows no literal types; what HttpApi makes of it is only read by `OpenApi`
  return HttpApiEndpoint.make(one.method)(one.id, `${prefix}${one.path}`, options as never)
    .annotateMerge(OpenApi.annotations({ summary: one.summary })) as unknown as HttpApiEndpoint.HttpApiEndpoint<
      string,
      "GET",
      `/${string}`
    >
}

/** Every error has the one shape, whatever its status; what may be left out is said so. */
const corrected = (operation: OpenApi.OpenAPISpecOperation, one: Route) => {
  const { 500: error, ...responses } = operation.responses
  return {
    ...operation,
    operationId: one.id,
    responses: { ...responses, default: { ...error, description: "An error of the contract." } },
    ...(operation.requestBody === undefined
      ? {}
      : { requestBody: { ...operation.requestBody, required: one.body?.isOptional !== true } }),
    security: [{}, { token: [] }]
  }
}

/** The document that `/api/v1/openapi.json` answers (OpenAPI 3.1). */
export const openApi = (): object => {
  const groups = [...new Set(routes.map(({ group }) => group))].map((name) =>
    routes.filter(({ group }) => group === name).reduce(
      (made, one) => made.add(endpointOf(one)) as unknown as typeof made, // as above
      HttpApiGroup.make(name)
    )
  )
  const api = groups.reduce(
    (made, group) => made.add(group) as unknown as typeof made, // as above
    HttpApi.make("heddle")
  )
  const made = OpenApi.fromApi(api.annotateMerge(OpenApi.annotations({
    title: "heddle",
    version: "v1",
    description: "The HTTP API of heddle's gateway: docs/design/gateway.md."
  })))
  const paths: Record<string, Record<string, object>> = {}
  for (const one of routes) {
    const path = `${prefix}${one.path}`.replace(/:([a-z]+)/giu, "{$1}")
    const method = one.method === "GET" ? "get" : one.method === "POST" ? "post" : "delete"
    const operation = made.paths[path]?.[method]
    if (operation !== undefined) paths[path] = { ...paths[path], [method]: corrected(operation, one) }
  }
  return {
    ...made,
    paths,
    components: { ...made.components, securitySchemes: { token: { type: "http", scheme: "bearer" } } }
  }
}
