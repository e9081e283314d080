/**
 * The `shell` task type: one process per attempt, in the assigned sandbox. What the process sees and what its end means stands in shared/plugin/ProcessTask.ts.
 */
import * as Schema from "effect/Schema"
import * as ProcessTask from "../../shared/plugin/ProcessTask.ts"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"

export const With = Schema.Struct({
  /** A script, or a program with its arguments. */
  run: Schema.Union([Schema.String, Schema.NonEmptyArray(Schema.String)]),
  /** Runs a script; `/bin/sh` when not given. */
  shell: Schema.optionalKey(Schema.String),
  /** Relative to the sandbox's working directory. */
  cwd: Schema.optionalKey(Schema.String),
  /** After SIGINT, and again after SIGTERM, when the task is killed; 5s when not given. */
  grace: Schema.optionalKey(DurationMs)
})
export type With = typeof With.Type

export const shell: TaskType.TaskType = TaskType.sandboxed<With>({
  type: "shell",
  description: "Runs a script or a program in the sandbox; lines name=value in $HEDDLE_OUTPUTS become outputs.",
  with: With,
  run: (context) => {
    const { cwd, grace, run, shell } = context.with
    return ProcessTask.run(context, {
      command: typeof run === "string" ? { script: run, ...(shell === undefined ? {} : { shell }) } : run,
      cwd,
      graceMs: grace
    })
  }
})
