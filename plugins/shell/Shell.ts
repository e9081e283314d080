/**
 * The `shell` task type: one process per attempt, in the assigned sandbox. Follows design/02 "Workflows" (variables and outputs of a process task).
 *
 * Keeps true: the process sees its instance, task, attempt, parameters and the file for its outputs, and nothing of the executor; its exit code is the
 * outcome; a killed attempt ends with its whole process tree (the scope of the exec sees to that).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { ExitStatus, KillGrace } from "../../shared/plugin/SandboxClient.ts"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import type { TaskSpec } from "../../shared/protocol/Report.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"
import * as Outputs from "./Outputs.ts"

export const With = Schema.Struct({
  /** A script, or a program with its arguments. */
  run: Schema.Union([Schema.String, Schema.NonEmptyArray(Schema.String)]),
  /** Runs a script; `/bin/sh` when not given. */
  shell: Schema.optionalKey(Schema.String),
  /** Relative to the sandbox's working directory. */
  cwd: Schema.optionalKey(Schema.String),
  /** After SIGINT, and again after SIGTERM, when the task is killed. */
  grace: Schema.optionalKey(DurationMs)
})
export type With = typeof With.Type

const lastLineCharactersMax = 400

/** `HEDDLE_PARAM_DAY` of `day`: upper case, everything that a variable's name cannot hold is `_`. */
export const paramVariable = (name: string): string => `HEDDLE_PARAM_${name.toUpperCase().replace(/[^A-Z0-9_]/g, "_")}`

const textOf = (value: unknown): string => typeof value === "string" ? value : JSON.stringify(value) ?? ""

/** The variables of an attempt: the workflow's and task's `env`, parameters, then who it is. */
export const variables = (spec: TaskSpec): Record<string, string> => ({
  ...spec.env,
  ...Object.fromEntries(Object.entries(spec.params).map(([name, value]) => [paramVariable(name), textOf(value)])),
  HEDDLE_INSTANCE_ID: spec.instance,
  HEDDLE_TASK: spec.task,
  HEDDLE_ATTEMPT: String(spec.attempt)
})

const outcomeOf = (status: ExitStatus, lastLine: string): TaskType.TaskOutcome => {
  const said = lastLine === "" ? "" : `: ${lastLine}`
  if (status._tag === "NotStarted") return { _tag: "Fatal", reason: `the process did not start: ${status.reason}` }
  if (status._tag === "Signalled") return { _tag: "Failed", reason: `ended by ${status.signal}${said}` }
  const exitCode = status.code
  if (exitCode !== 0) return { _tag: "Failed", reason: `exit code ${exitCode}${said}`, exitCode }
  if (status.collected === undefined) return { _tag: "Succeeded", outputs: {}, exitCode }
  if (status.collected.truncated) {
    return {
      _tag: "Fatal",
      reason:
        `HEDDLE_OUTPUTS has more than ${Outputs.outputsBytesMax} bytes: put large values into a file or store and its name here`,
      exitCode
    }
  }
  return Result.match(Outputs.parse(status.collected.text), {
    onFailure: (reason): TaskType.TaskOutcome => ({ _tag: "Fatal", reason, exitCode }),
    onSuccess: (outputs): TaskType.TaskOutcome => ({ _tag: "Succeeded", outputs, exitCode })
  })
}

const run = Effect.fnUntraced(function*({ log, sandbox, spec, with: options }: TaskType.TaskContext<With>) {
  const grace: KillGrace | undefined = options.grace === undefined
    ? undefined
    : { sigintMs: options.grace, sigtermMs: options.grace }
  const process = yield* sandbox.exec({
    command: typeof options.run === "string"
      ? { script: options.run, ...(options.shell === undefined ? {} : { shell: options.shell }) }
      : options.run,
    env: variables(spec),
    collect: { env: "HEDDLE_OUTPUTS", bytesMax: Outputs.outputsBytesMax },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(grace === undefined ? {} : { grace })
  })
  const decoder = new TextDecoder()
  let tail = ""
  yield* Stream.runForEachArray(process.output, (chunks) =>
    Effect.sync(() => {
      for (const { bytes, stream } of chunks) {
        log(stream, bytes)
        if (stream === "stderr") {
          tail = (tail + decoder.decode(bytes, { stream: true })).slice(-4 * lastLineCharactersMax)
        }
      }
    }))
  const lastLine = tail.trimEnd().split("\n").at(-1)?.trim().slice(0, lastLineCharactersMax) ?? ""
  return outcomeOf(yield* process.exit, lastLine)
})

export const shell: TaskType.TaskType = TaskType.sandboxed({
  type: "shell",
  description: "Runs a script or a program in the sandbox; lines name=value in $HEDDLE_OUTPUTS become outputs.",
  with: With,
  run
})
