/**
 * A workflow definition from TypeScript: the object that YAML would give, with types that know this one workflow. design/03 section 7.
 *
 * Kept true here: nothing is checked at run time and nothing is added but `apiVersion` and `kind`, so the same Schema decodes both (the command line and the coordinator do,
 * and say what is wrong); what does not compile here would be refused there: a predecessor or branch that is no task, a wrong argument of a task type.
 */
import { apiVersion, type DefinitionEncoded, type WorkflowSpec } from "../protocol/Definition.ts"

/** `"30s"`, `"1.5h"`, or milliseconds. */
export type Duration = number | `${number}${"ms" | "s" | "m" | "h" | "d"}`

/** A text that holds `${{ CEL }}`; it may stand for every argument, whatever its type. */
export type Expression = `${string}\${{${string}}}${string}`

/**
 * What `with` takes, by task type. A plugin's types are added to it where they are used:
 * `declare module "heddle/authoring" { interface TaskTypes { kafka: { readonly topic: string } } }`.
 */
export interface TaskTypes {
  /** A process in a sandbox. `run`: a script, or a program with its arguments. */
  readonly shell: {
    readonly run: string | readonly [string, ...ReadonlyArray<string>]
    readonly shell?: string
    readonly cwd?: string
    readonly grace?: Duration | Expression
  }
  /** A program with its arguments in a sandbox, without a shell. */
  readonly exec: ProcessArguments & {
    readonly command: readonly [string, ...ReadonlyArray<string>]
    readonly args?: ReadonlyArray<string> | Expression
    readonly stdin?: string
  }
  /** Source in a sandbox, run by its interpreter. */
  readonly script: ProcessArguments & {
    readonly interpreter: string | readonly [string, ...ReadonlyArray<string>]
    readonly source: string
    readonly extension?: string
    readonly args?: ReadonlyArray<string> | Expression
  }
  /** An HTTP request from the executor. */
  readonly http: {
    readonly url: string
    readonly method?: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | Expression
    readonly query?: { readonly [name: string]: string | number | boolean } | Expression
    readonly headers?: { readonly [name: string]: string } | Expression
    readonly json?: unknown
    readonly body?: string
    readonly timeout?: Duration | Expression
    readonly expect?: readonly [ExpectedStatus, ...ReadonlyArray<ExpectedStatus>] | Expression
    readonly retryAfterMax?: Duration | Expression
    readonly redirects?: number | Expression
    readonly answer?: "json" | "text" | "none" | Expression
    readonly answerHeaders?: ReadonlyArray<string> | Expression
    readonly idempotencyKey?: string
  }
  /** A message on a NATS subject, from the executor. */
  readonly nats: {
    readonly subject: string
    readonly mode?: "publish" | "jetstream" | "request" | Expression
    readonly data?: unknown
    readonly headers?: { readonly [name: string]: string } | Expression
    readonly timeout?: Duration | Expression
    readonly replies?: number | Expression
    readonly msgId?: string
  }
  /** Succeeds at once with these outputs. */
  readonly noop: {
    readonly outputs?: { readonly [name: string]: unknown } | Expression
  }
}

/** A status of HTTP, or a class of them. */
export type ExpectedStatus = number | "2xx" | "3xx" | "4xx" | "5xx"

/** What `exec` and `script` have in common. No interface: it must pass for a record. */
export type ProcessArguments = {
  readonly env?: { readonly [name: string]: string } | Expression
  readonly workdir?: string
  readonly exitCodes?: readonly [number, ...ReadonlyArray<number>] | Expression
  readonly grace?: Duration | Expression
}

/** `{task, is}` of a task it depends on, joined with `and` and `or`; `is` is `success` when not given. */
export type When<Name extends string> =
  | { readonly task: Name; readonly is?: "success" | "failed" }
  | { readonly and: ReadonlyArray<When<Name>> }
  | { readonly or: ReadonlyArray<When<Name>> }

/** The newest run of a workflow that started in the window; `is` is `success` when not given. */
export type Dependency =
  & { readonly workflow: string; readonly namespace?: string; readonly is?: "success" | "failed" }
  & (
    | { readonly within: Exclude<Duration, number> | Expression; readonly from?: never; readonly to?: never }
    | { readonly within?: never; readonly from?: string; readonly to?: string }
  )

/** What `with` takes of the types that the engine runs itself. */
export interface EngineTypes<Name extends string> {
  /** Goes on to the first case that holds, else to `default`. */
  readonly switch: {
    readonly cases: ReadonlyArray<{ readonly when: string; readonly next: Name }>
    readonly default?: Name
  }
  /** Goes on to `success` or `failed`; without `when`: whether all predecessors succeeded. */
  readonly condition: {
    readonly when?: When<Name>
    readonly success?: Name | ReadonlyArray<Name>
    readonly failed?: Name | ReadonlyArray<Name>
  }
  /** Another workflow, `name` or `name@version`, as a task. */
  readonly "sub-workflow": {
    readonly definition: string
    readonly namespace?: string
    readonly params?: { readonly [name: string]: unknown } | Expression
  }
  /** Waits for how the last runs of other workflows ended: all of them, or any. */
  readonly dependent:
    | { readonly all: ReadonlyArray<Dependency>; readonly any?: never }
    | { readonly any: ReadonlyArray<Dependency>; readonly all?: never }
}

declare const other: unique symbol
/** The name of a task type that `TaskTypes` does not know. */
export type OtherType = string & { readonly [other]: true }

/** Names a task type that `TaskTypes` does not know: its `with` is not checked here. */
export const taskType = (name: string): OtherType => name as OtherType // the brand exists only in types

type SpecEncoded = typeof WorkflowSpec.Encoded
type TaskEncoded = SpecEncoded["tasks"][number]
type HookEncoded = NonNullable<SpecEncoded["onCommit"]>

/** An argument object that must be given has required fields. */
type WithOf<With> = {} extends With ? { readonly with?: With } : { readonly with: With }
type Typed<Types> = { readonly [Type in keyof Types]: { readonly type: Type } & WithOf<Types[Type]> }[keyof Types]
type Untyped = { readonly type: OtherType; readonly with?: { readonly [name: string]: unknown } }

interface TaskFields<Name extends string>
  extends Omit<TaskEncoded, "name" | "type" | "with" | "dependsOn" | "delay" | "dispatchTimeout">
{
  readonly name: Name
  readonly dependsOn?: ReadonlyArray<NoInfer<Name>>
  readonly delay?: Duration
  readonly dispatchTimeout?: Duration
}
/** A task of a workflow whose tasks have these names. */
export type Task<Name extends string> =
  & TaskFields<Name>
  & (Typed<TaskTypes> | Typed<EngineTypes<NoInfer<Name>>> | Untyped)

/** `onCommit` and `onCleanup`. */
export type Hook = Omit<HookEncoded, "type" | "with"> & (Typed<TaskTypes> | Untyped)

export interface Spec<Name extends string> extends Omit<SpecEncoded, "tasks" | "onCommit" | "onCleanup"> {
  readonly onCommit?: Hook
  readonly onCleanup?: Hook
  readonly tasks: ReadonlyArray<Task<Name>>
}

/** A definition whose tasks have these names. */
export interface Workflow<Name extends string> extends Omit<DefinitionEncoded, "spec"> {
  readonly spec: Spec<Name>
}

/** The definition as `heddle definitions put` and `heddle run` take it, and as the wire carries it. */
export const defineWorkflow = <const Name extends string>(workflow: Workflow<Name>): DefinitionEncoded => ({
  apiVersion,
  kind: "Workflow",
  ...workflow
})
