/**
 * A task that is one process in the assigned sandbox: what it sees of itself, and what its end says of the attempt. For task types such as shell, exec and script.
 *
 * Keeps true: the process sees its instance, task, attempt, parameters and the file for its outputs, and nothing of the executor; its exit code is the outcome; a killed
 * attempt ends with its whole process tree (the scope of the exec sees to that). Follows design/02 "Workflows" (variables and outputs of a process task).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { TaskSpec } from "../protocol/Report.ts"
import * as ProcessOutputs from "./ProcessOutputs.ts"
import type { ExecRequest, ExitStatus } from "./SandboxClient.ts"
import type { TaskContext, TaskOutcome } from "./TaskType.ts"

const lastLineCharactersMax = 400

/** `HEDDLE_PARAM_DAY` of `day`: upper case, everything that a variable's name cannot hold is `_`. */
export const paramVariable = (name: string): string => `HEDDLE_PARAM_${name.toUpperCase().replace(/[^A-Z0-9_]/g, "_")}`

const textOf = (value: unknown): string => typeof value === "string" ? value : JSON.stringify(value) ?? ""

/** The variables of an attempt: the workflow's and task's `env`, what the task type adds, parameters, then who it is. */
export const variables = (spec: TaskSpec, added: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  ...spec.env,
  ...added,
  ...Object.fromEntries(Object.entries(spec.params).map(([name, value]) => [paramVariable(name), textOf(value)])),
  HEDDLE_INSTANCE_ID: spec.instance,
  HEDDLE_TASK: spec.task,
  HEDDLE_ATTEMPT: String(spec.attempt)
})

export interface ProcessOptions {
  readonly command: ExecRequest["command"]
  /** Relative to the sandbox's working directory. */
  readonly cwd?: string | undefined
  /** Over the workflow's and the task's; heddle's own are not to be changed. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** After SIGINT, and again after SIGTERM, when the task is killed. */
  readonly graceMs?: number | undefined
  /** Exit codes that are a success; 0 alone when not given. */
  readonly exitCodes?: ReadonlyArray<number> | undefined
  /** Why no further attempt would do better, told from an exit code that is no success and the last line of stderr. */
  readonly fatal?: (exitCode: number, lastLine: string) => string | undefined
}

const outcomeOf = (status: ExitStatus, lastLine: string, options: ProcessOptions): TaskOutcome => {
  const said = lastLine === "" ? "" : `: ${lastLine}`
  if (status._tag === "NotStarted") return { _tag: "Fatal", reason: `the process did not start: ${status.reason}` }
  if (status._tag === "Signalled") return { _tag: "Failed", reason: `ended by ${status.signal}${said}` }
  const exitCode = status.code
  if (!(options.exitCodes ?? [0]).includes(exitCode)) {
    const fatal = options.fatal?.(exitCode, lastLine)
    return fatal === undefined
      ? { _tag: "Failed", reason: `exit code ${exitCode}${said}`, exitCode }
      : { _tag: "Fatal", reason: fatal, exitCode }
  }
  if (status.collected === undefined) return { _tag: "Succeeded", outputs: {}, exitCode }
  if (status.collected.truncated) {
    return {
      _tag: "Fatal",
      reason:
        `HEDDLE_OUTPUTS has more than ${ProcessOutputs.outputsBytesMax} bytes: put large values into a file or store and its name here`,
      exitCode
    }
  }
  return Result.match(ProcessOutputs.parse(status.collected.text), {
    onFailure: (reason): TaskOutcome => ({ _tag: "Fatal", reason, exitCode }),
    onSuccess: (outputs): TaskOutcome => ({ _tag: "Succeeded", outputs, exitCode })
  })
}

/** Runs the process to its end, with its output in the task's log. Interruption ends its tree. */
export const run = Effect.fnUntraced(
  function*({ log, sandbox, spec }: Pick<TaskContext<unknown>, "log" | "sandbox" | "spec">, options: ProcessOptions) {
    const { command, cwd, env, graceMs } = options
    const process = yield* sandbox.exec({
      command,
      env: variables(spec, env),
      collect: { env: "HEDDLE_OUTPUTS", bytesMax: ProcessOutputs.outputsBytesMax },
      ...(cwd === undefined ? {} : { cwd }),
      ...(graceMs === undefined ? {} : { grace: { sigintMs: graceMs, sigtermMs: graceMs } })
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
    return outcomeOf(yield* process.exit, lastLine, options)
  }
)
