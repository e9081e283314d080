/**
 * A workflow definition: YAML, JSON or the same object from TypeScript. This Schema is the source of types, error paths and the published JSON Schema.
 *
 * Structure only: what a graph must hold beyond it (unique names, known predecessors, no cycle, expressions that parse) is checked by the coordinator's
 * engine, which lists every problem at once. Follows design/02 ("Definition, in full") and design/03 section 7.
 */
import * as Schema from "effect/Schema"
import { AlertTarget } from "./Alert.ts"
import { Labels } from "./Sandbox.ts"
import { DurationMs } from "./Time.ts"
import { DefinitionName, Namespace, Priority, TaskName, Token } from "./Token.ts"

export const apiVersion = "heddle.dev/v1"

/** Arguments of a task type, decoded by the plugin's own schema after `${{ }}` is filled in. */
export const With = Schema.Record(Schema.String, Schema.Unknown)

export const Retry = Schema.Struct({
  /** Attempts after the first. */
  times: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 })),
  interval: Schema.optionalKey(DurationMs),
  backoff: Schema.optionalKey(Schema.Literals(["fixed", "exponential"])),
  intervalMax: Schema.optionalKey(DurationMs),
  jitter: Schema.optionalKey(Schema.Boolean)
})
export type Retry = typeof Retry.Type

export const TimeoutStrategy = Schema.Literals(["warn", "fail", "warn-fail"])
export const Timeout = Schema.Struct({ after: DurationMs, strategy: Schema.optionalKey(TimeoutStrategy) })
export type Timeout = typeof Timeout.Type

/** When a task runs, by how its predecessors ended (design/03 section 5). */
export const Join = Schema.Literals(["all_success", "all_done", "one_success", "one_failed", "none_failed", "always"])
export type Join = typeof Join.Type

export const ForEach = Schema.Struct({
  /** CEL that gives a list; each element is `item`. */
  items: Schema.String,
  parallelism: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 })))
})
export const Group = Schema.Struct({
  name: Token,
  slots: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))),
  priority: Schema.optionalKey(Priority)
})

/** `pool` may be `name` (in the workflow's namespace) or `namespace/name`. */
export const PoolText = Schema.String.check(Schema.isPattern(/^([A-Za-z0-9_-]{1,63}\/)?[A-Za-z0-9_-]{1,63}$/u, {
  message: "a pool: name or namespace/name"
}))

export const TaskDefinition = Schema.Struct({
  name: TaskName,
  type: Token,
  dependsOn: Schema.optionalKey(Schema.Array(TaskName)),
  with: Schema.optionalKey(With),
  params: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  pool: Schema.optionalKey(PoolText),
  retry: Schema.optionalKey(Retry),
  timeout: Schema.optionalKey(Timeout),
  dispatchTimeout: Schema.optionalKey(DurationMs),
  join: Schema.optionalKey(Join),
  delay: Schema.optionalKey(DurationMs),
  priority: Schema.optionalKey(Priority),
  group: Schema.optionalKey(Group),
  forbidden: Schema.optionalKey(Schema.Boolean),
  env: Schema.optionalKey(Labels),
  forEach: Schema.optionalKey(ForEach)
})
export type TaskDefinition = typeof TaskDefinition.Type

/** `onCommit` and `onCleanup`: a task without predecessors that travels on its own lane. */
export const HookDefinition = Schema.Struct({
  type: Token,
  with: Schema.optionalKey(With),
  pool: Schema.optionalKey(PoolText),
  retry: Schema.optionalKey(Retry),
  timeout: Schema.optionalKey(Timeout),
  env: Schema.optionalKey(Labels)
})
export type HookDefinition = typeof HookDefinition.Type

export const FailureStrategy = Schema.Literals(["continue", "end"])
export const ExecutionType = Schema.Literals(["parallel", "serial-wait", "serial-discard", "serial-priority"])

/** The most tasks one definition may have. */
export const tasksMax = 10_000

export const WorkflowSpec = Schema.Struct({
  params: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  pool: Schema.optionalKey(PoolText),
  failureStrategy: Schema.optionalKey(FailureStrategy),
  executionType: Schema.optionalKey(ExecutionType),
  priority: Schema.optionalKey(Priority),
  timeout: Schema.optionalKey(Timeout),
  env: Schema.optionalKey(Labels),
  /** Who is told of failures and time-outs; the deployment's targets when not given, nobody when empty. */
  alerts: Schema.optionalKey(Schema.Array(AlertTarget).check(Schema.isMaxLength(20))),
  onCommit: Schema.optionalKey(HookDefinition),
  onCleanup: Schema.optionalKey(HookDefinition),
  tasks: Schema.Array(TaskDefinition).check(Schema.isMaxLength(tasksMax))
})
export type WorkflowSpec = typeof WorkflowSpec.Type

export const Definition = Schema.Struct({
  apiVersion: Schema.optionalKey(Schema.Literals([apiVersion])),
  kind: Schema.optionalKey(Schema.Literals(["Workflow"])),
  metadata: Schema.Struct({
    name: DefinitionName,
    namespace: Schema.optionalKey(Namespace),
    labels: Schema.optionalKey(Labels)
  }),
  spec: WorkflowSpec
})
export type Definition = typeof Definition.Type
/** As it stands on the wire and in the store (durations as written). */
export type DefinitionEncoded = typeof Definition.Encoded

/** `name` or `name@version`. Versions are 1, 2, ... per put; an inline definition's version is 0 and its identity its content hash. */
export const DefinitionRefText = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9_-]{1,63}(@\d{1,9})?$/u, { message: "a definition: name or name@version" })
)
export const DefinitionVersion = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
export const DefinitionRef = Schema.Struct({
  namespace: Namespace,
  name: DefinitionName,
  version: DefinitionVersion,
  hash: Schema.String
})
export type DefinitionRef = typeof DefinitionRef.Type

export const PutDefinition = Definition
export const DefinitionPut = Schema.Struct({ name: DefinitionName, version: DefinitionVersion, hash: Schema.String })
export const DefinitionQuery = Schema.Struct({
  name: DefinitionName,
  namespace: Schema.optionalKey(Namespace),
  version: Schema.optionalKey(DefinitionVersion)
})
export const DefinitionListQuery = Schema.Struct({
  namespace: Schema.optionalKey(Namespace),
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))),
  next: Schema.optionalKey(Schema.String)
})
/** Newest versions, by name; `createdAt` is missing of what was stored before lists had it. */
export const DefinitionList = Schema.Struct({
  items: Schema.Array(Schema.Struct({
    namespace: Namespace,
    name: DefinitionName,
    version: DefinitionVersion,
    createdAt: Schema.optionalKey(Schema.String)
  })),
  next: Schema.optionalKey(Schema.String)
})
/** Of `validate`: nothing was stored. `version`: what a `put` would answer now. */
export const DefinitionValid = Schema.Struct({
  name: DefinitionName,
  version: DefinitionVersion,
  valid: Schema.Boolean
})
/** `version`: the newest that there was. */
export const DefinitionDeleted = Schema.Struct({ name: DefinitionName, version: DefinitionVersion })
export const DefinitionStored = Schema.Struct({
  namespace: Namespace,
  name: DefinitionName,
  version: DefinitionVersion,
  hash: Schema.String,
  createdAt: Schema.String,
  definition: Schema.toEncoded(Definition)
})
export type DefinitionStored = typeof DefinitionStored.Type
