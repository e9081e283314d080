/**
 * A task type: how one attempt of a task runs. Contributed by a plugin, run by task-executor in the assigned sandbox.
 *
 * `Inline` types are plain functions without I/O, run at once in the executor's slot: no fiber, no sandbox. `Sandboxed` types are effects; interrupting
 * one is how it is killed, so it must end its process tree before the interruption is done (a scoped `exec` does that by itself). `Effectful` types are
 * effects too, but run in the executor alone: they hold the claimed sandbox as everything does and never reach into it (a pool of the provider `inline` will do).
 * The host gives clock, random, logger and interruption through Effect. Follows design/04 section 3.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import type * as Scope from "effect/Scope"
import type { Outputs, TaskSpec } from "../protocol/Report.ts"
import type { Messaging } from "./Messaging.ts"
import type { SandboxClient, SandboxLost } from "./SandboxClient.ts"

/**
 * How an attempt ended. `Failed` may be retried, `Fatal` never (a mistake that every attempt would meet, such as a wrong argument).
 * A killed attempt has no outcome: it was interrupted.
 */
export type TaskOutcome =
  | { readonly _tag: "Succeeded"; readonly outputs: Outputs; readonly exitCode?: number }
  | { readonly _tag: "Failed"; readonly reason: string; readonly exitCode?: number }
  | { readonly _tag: "Fatal"; readonly reason: string; readonly exitCode?: number }
  /** Only after `pauseRequested`. */
  | { readonly _tag: "Paused" }

/** What a task type may use of an attempt, wherever it runs. `with` is decoded by the type's schema. */
interface AttemptContext<With> {
  readonly spec: TaskSpec
  readonly with: With
  /** Task output: kept in order, cut into lines, bounded by the executor (what does not fit is counted). Never waits. */
  readonly log: (stream: "stdout" | "stderr" | "system", bytes: Uint8Array) => void
  /** Completes when the workflow is to pause. A type that cannot pause ignores it and runs to its end. */
  readonly pauseRequested: Effect.Effect<void>
}

/** Of an attempt that runs in a sandbox. */
export interface TaskContext<With> extends AttemptContext<With> {
  readonly sandbox: SandboxClient
}

/** Of an attempt that runs in the executor. */
export interface EffectContext<With> extends AttemptContext<With> {
  /** With the executor's own connection: what its user at the broker may not, the task may not. */
  readonly messaging: Messaging
}

/**
 * Names what a task does in one run of its instance: the same in every attempt, however the ones before ended, and for each item of a fan-out its own. So whoever
 * is asked twice (after a failover, a retry) can see that it is the same thing. A rerun of the instance is another run; a task that is run again by hand is not.
 */
export const idempotencyKey = ({ instance, taskInstanceId }: Pick<TaskSpec, "instance" | "taskInstanceId">): string => {
  const [task, run, , item] = taskInstanceId.split(":")
  return [instance, task, run, ...(item === undefined ? [] : [item])].join(":")
}

/** A task type as the executor sees it: `with` is decoded within, and what does not decode is `Fatal` with every problem and its path. */
export type TaskType =
  | {
    readonly _tag: "Inline"
    readonly type: string
    readonly description: string
    readonly with: Schema.Top
    readonly run: (spec: TaskSpec) => TaskOutcome
  }
  | {
    readonly _tag: "Sandboxed"
    readonly type: string
    readonly description: string
    readonly with: Schema.Top
    readonly run: (context: Omit<TaskContext<never>, "with">) => Effect.Effect<TaskOutcome, SandboxLost, Scope.Scope>
  }
  | {
    readonly _tag: "Effectful"
    readonly type: string
    readonly description: string
    readonly with: Schema.Top
    readonly run: (context: Omit<EffectContext<never>, "with">) => Effect.Effect<TaskOutcome, never, Scope.Scope>
  }

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()
/** One line: `with.run: Missing key; with.grace: ...`. Tables and logs show a reason in a line. */
const problem = (type: string, error: Schema.SchemaError): TaskOutcome => ({
  _tag: "Fatal",
  reason: `the arguments of task type ${type} are wrong: ${
    formatIssue(error.issue).issues.map(({ message, path = [] }) => {
      const keys = path.map((part) => String(typeof part === "object" ? part.key : part))
      return `${["with", ...keys].join(".")}: ${message.replace(/\s*\n\s*/g, " ")}`
    }).join("; ")
  }. Correct the task's \`with\`.`
})

/** What a type of any kind says of itself. `with`: the schema of its arguments. */
interface Described<With> {
  readonly type: string
  readonly description: string
  readonly with: Schema.Codec<With, unknown>
}

/** Reads the arguments of an attempt and goes on with them, or with what is wrong in them as its outcome. */
const reader = <With>({ type, with: schema }: Described<With>) => {
  const decode = Schema.decodeUnknownResult(schema, { errors: "all" })
  return <A>(spec: TaskSpec, run: (value: With) => A, refuse: (outcome: TaskOutcome) => A): A => {
    const decoded = decode(spec.with)
    return Result.isSuccess(decoded) ? run(decoded.success) : refuse(problem(type, decoded.failure))
  }
}

/** Runs at once in the executor's slot; must be pure, quick and must not throw (a throw is `Fatal`). */
export const inline = <With>(
  options: Described<With> & {
    readonly run: (context: { readonly spec: TaskSpec; readonly with: With }) => TaskOutcome
  }
): TaskType => {
  const read = reader(options)
  return {
    _tag: "Inline",
    type: options.type,
    description: options.description,
    with: options.with,
    run: (spec) => read(spec, (value) => options.run({ spec, with: value }), (outcome) => outcome)
  }
}

/** Runs in the assigned sandbox; interrupted when the task is killed. */
export const sandboxed = <With>(
  options: Described<With> & {
    readonly run: (context: TaskContext<With>) => Effect.Effect<TaskOutcome, SandboxLost, Scope.Scope>
  }
): TaskType => {
  const read = reader(options)
  return {
    _tag: "Sandboxed",
    type: options.type,
    description: options.description,
    with: options.with,
    run: (context) => read(context.spec, (value) => options.run({ ...context, with: value }), Effect.succeed)
  }
}

/** Runs in the executor, outside of any sandbox; interrupted when the task is killed. */
export const effectful = <With>(
  options: Described<With> & {
    readonly run: (context: EffectContext<With>) => Effect.Effect<TaskOutcome, never, Scope.Scope>
  }
): TaskType => {
  const read = reader(options)
  return {
    _tag: "Effectful",
    type: options.type,
    description: options.description,
    with: options.with,
    run: (context) => read(context.spec, (value) => options.run({ ...context, with: value }), Effect.succeed)
  }
}
