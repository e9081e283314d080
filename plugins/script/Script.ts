/**
 * The `script` task type: source in the definition, written into the sandbox's scratch folder and run by its interpreter. Variables, parameters, outputs and kill are as
 * for `shell`: shared/plugin/ProcessTask.ts.
 *
 * Keeps true: the source arrives byte for byte (a line break is added at its end), read by nobody but the interpreter; its file is gone when the interpreter has ended, or
 * with the sandbox's reset when it was killed. Asks of the sandbox: `/bin/sh`, `mkdir`, `rm`, and the interpreter.
 */
import * as Schema from "effect/Schema"
import * as ProcessTask from "../../shared/plugin/ProcessTask.ts"
import * as ShellText from "../../shared/plugin/ShellText.ts"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"

const ExitCode = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
const Argument = Schema.String.check(
  Schema.isPattern(/^[^\0]*$/u, { message: "a text without the character 0, which no argument can hold" })
)
const Program = Argument.check(Schema.isNonEmpty({ message: "the name of a program, such as python3" }))

export const With = Schema.Struct({
  /** A program on the sandbox's PATH, such as `python3`, `node` or `bash`, or one with arguments: `[python3, -u]`. The file's path comes after them. */
  interpreter: Schema.Union([Program, Schema.NonEmptyArray(Program)]),
  /** The program text, as it stands: only `${{ }}` is filled in. Take values from `HEDDLE_PARAM_<NAME>` instead where they could be more than a name. */
  source: Schema.String.check(
    Schema.isPattern(/^[^\0]*$/u, { message: "a text without the character 0, which no text file can hold" })
  ),
  /** Of the file's name, where an interpreter goes by it (`ts`); when not given, what the interpreter's files usually have. */
  extension: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^[A-Za-z0-9]{1,16}$/u, { message: "letters and digits, such as ts" }))
  ),
  /** Arguments of the script. */
  args: Schema.optionalKey(Schema.Array(Argument)),
  /** Variables of this process, over the `env` of the task and the workflow; heddle's own (`HEDDLE_...`) cannot be changed. */
  env: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  /** Relative to the sandbox's working directory; that directory when not given. */
  workdir: Schema.optionalKey(Schema.String),
  /** Exit codes that are a success; `[0]` when not given. */
  exitCodes: Schema.optionalKey(Schema.NonEmptyArray(ExitCode)),
  /** After SIGINT, and again after SIGTERM, when the task is killed; 5s when not given. */
  grace: Schema.optionalKey(DurationMs)
})
export type With = typeof With.Type

/** By the interpreter's name without its version. */
const extensions: Readonly<Record<string, string>> = {
  python: "py",
  pypy: "py",
  node: "js",
  deno: "ts",
  bun: "ts",
  bash: "sh",
  sh: "sh",
  ruby: "rb",
  perl: "pl",
  php: "php",
  lua: "lua",
  Rscript: "R",
  pwsh: "ps1"
}

const extensionOf = (program: string): string | undefined =>
  extensions[(program.split("/").at(-1) ?? "").replace(/[\d.]+$/, "")]

/**
 * What `/bin/sh` runs: it writes the file, runs the interpreter as its child and takes the file away. Signals of a kill reach the child by themselves; the shell waits for
 * it, which the traps are for (without one it would end first; ignored signals would be ignored by the child too). `id`: names the attempt's folder.
 */
export const launcherOf = (options: With, id: string): string => {
  const argv = typeof options.interpreter === "string" ? [options.interpreter] : options.interpreter
  const program = argv[0]
  const extension = options.extension ?? extensionOf(program)
  const file = `"$dir/script${extension === undefined ? "" : `.${extension}`}"`
  return `${ShellText.requireProgram(program)}
dir="\${TMPDIR:-/tmp}/heddle-script-${id.replaceAll(/[^A-Za-z0-9_-]/g, "-")}"
rm -rf "$dir" && mkdir -m 700 "$dir" || exit 126
trap : INT TERM
{ ${ShellText.write(options.source)} && echo; } > ${file} || exit 126
${[...argv.map(ShellText.quote), file, ...(options.args ?? []).map(ShellText.quote)].join(" ")}
code=$?
rm -rf "$dir"
exit $code
`
}

export const script: TaskType.TaskType = TaskType.sandboxed<With>({
  type: "script",
  description:
    "Runs source from the definition with its interpreter in the sandbox; lines name=value in $HEDDLE_OUTPUTS become outputs.",
  with: With,
  run: (context) => {
    const { env, exitCodes, grace, workdir } = context.with
    const { instance, taskInstanceId } = context.spec
    return ProcessTask.run(context, {
      command: { script: launcherOf(context.with, `${instance}-${taskInstanceId}`) },
      cwd: workdir,
      env,
      exitCodes,
      graceMs: grace,
      // another attempt would find the same sandbox
      fatal: (exitCode, lastLine) => {
        const missing = ShellText.missingProgram(exitCode, lastLine)
        return missing === undefined
          ? undefined
          : `the script did not start: ${missing}. Name another \`with.interpreter\`, or a pool whose sandboxes have it.`
      }
    })
  }
})
