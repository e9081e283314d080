/**
 * The `exec` task type: a program with its arguments, in the assigned sandbox, as they stand: nothing is split, expanded, globbed or redirected.
 *
 * Without `stdin` there is no shell. With it, `/bin/sh` of the sandbox writes the text to a file that only its user reads, opens it as standard input, takes it away and becomes the program.
 * Everything else (variables, parameters, outputs, kill of the whole tree) is as for `shell`: shared/plugin/ProcessTask.ts.
 */
import * as Schema from "effect/Schema"
import * as ProcessTask from "../../shared/plugin/ProcessTask.ts"
import * as ShellText from "../../shared/plugin/ShellText.ts"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"

const ExitCode = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
/** Anything else would end the text early for the program. */
const Argument = Schema.String.check(
  Schema.isPattern(/^[^\0]*$/u, { message: "a text without the character 0, which no argument can hold" })
)

export const With = Schema.Struct({
  /** The program, found on the sandbox's PATH unless it holds a `/`, and arguments. */
  command: Schema.NonEmptyArray(Argument),
  /** Further arguments, after those of `command`: for a list that an expression gives. */
  args: Schema.optionalKey(Schema.Array(Argument)),
  /** Variables of this process, over the `env` of the task and the workflow; heddle's own (`HEDDLE_...`) cannot be changed. */
  env: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  /** Relative to the sandbox's working directory; that directory when not given. */
  workdir: Schema.optionalKey(Schema.String),
  /** What the program reads from standard input, byte for byte; nothing when not given. */
  stdin: Schema.optionalKey(
    Schema.String.check(
      Schema.isPattern(/^[^\0]*$/u, {
        message: "a text without the character 0, which the shell of the sandbox cannot hold"
      })
    )
  ),
  /** Exit codes that are a success; `[0]` when not given. */
  exitCodes: Schema.optionalKey(Schema.NonEmptyArray(ExitCode)),
  /** After SIGINT, and again after SIGTERM, when the task is killed; 5s when not given. */
  grace: Schema.optionalKey(DurationMs)
})
export type With = typeof With.Type

/** What `/bin/sh` runs: the program takes its place, so a kill meets nothing else. `id` names the attempt's file. */
const readingOf = (argv: readonly [string, ...Array<string>], stdin: string, id: string): string =>
  `${ShellText.requireProgram(argv[0])}
file="\${TMPDIR:-/tmp}/heddle-stdin-${id.replaceAll(/[^A-Za-z0-9_-]/g, "-")}"
(umask 077 && { ${ShellText.write(stdin)}; } > "$file") || exit 126
exec < "$file"
rm -f "$file"
exec ${argv.map(ShellText.quote).join(" ")}
`

export const exec: TaskType.TaskType = TaskType.sandboxed<With>({
  type: "exec",
  description:
    "Runs a program with its arguments in the sandbox, without a shell; lines name=value in $HEDDLE_OUTPUTS become outputs.",
  with: With,
  run: (context) => {
    const { args = [], command, env, exitCodes, grace, stdin, workdir } = context.with
    const { instance, taskInstanceId } = context.spec
    const argv = [...command, ...args] as const
    return ProcessTask.run(context, {
      command: stdin === undefined ? argv : { script: readingOf(argv, stdin, `${instance}-${taskInstanceId}`) },
      cwd: workdir,
      env,
      exitCodes,
      graceMs: grace,
      // as without stdin, where the process does not start
      fatal: (exitCode, lastLine) => {
        const missing = stdin === undefined ? undefined : ShellText.missingProgram(exitCode, lastLine)
        return missing === undefined ? undefined : `the process did not start: ${missing}`
      }
    })
  }
})
