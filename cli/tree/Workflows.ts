/** `heddle run`, `heddle workflows`. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Lazy from "../Lazy.ts"
import * as PluginFlag from "../PluginFlag.ts"
import {
  all,
  argument,
  example,
  flag,
  instance,
  limit,
  next,
  param,
  priority,
  reason,
  requestId,
  text
} from "./Parts.ts"

/** Of what starts a run. */
const following = {
  wait: flag("wait", "Wait for the end; exit code 1 when the run did not succeed"),
  watch: flag("watch", "Show every task as it changes, then the result"),
  logs: flag("logs", "Like --watch, with the output of the tasks"),
  waitTimeout: text(
    "wait-timeout",
    "duration",
    "With --wait or --watch: give up after this (exit code 5); the run goes on"
  )
}

export const run = Command.make("run", {
  workflow: argument("workflow", "A file (YAML or JSON), or the name[@version] of a stored definition"),
  param,
  paramsFile: text("params-file", "path", "Parameters from a YAML or JSON file"),
  id: text("id", "instanceId", "Idempotency key: the same id again answers the same instance"),
  ...following,
  priority: priority("0 lowest to 9 highest"),
  pool: text("pool", "name", "Pool of tasks that name none"),
  startNode: Flag.String("start-node").pipe(
    Flag.withMetavar("<task>"),
    Flag.withDescription("Begin at this task; can be passed multiple times"),
    Flag.atLeast(0)
  ),
  dependType: Flag.Literals("depend-type", ["TASK_ONLY", "TASK_PRE", "TASK_POST"]).pipe(
    Flag.withDescription("With --start-node: only these, with all before them, or with all after them"),
    Flag.optional
  ),
  dryRun: flag("dry-run", "Go through the graph without running a task"),
  plugin: PluginFlag.flag
}, Lazy.handler(() => import("../command/Run.ts").then((_) => PluginFlag.given(_.run)))).pipe(
  Command.withShortDescription("Start a workflow"),
  Command.withDescription(
    "Starts a workflow from a file or a stored definition and prints the id of its instance; with --wait or --watch also how it ended."
  ),
  Command.withExamples([
    example("run examples/hello.yaml --watch", "Run a file and look on"),
    example("run nightly@3 --param day=2026-11-21 --id nightly-2026-11-21", "A stored version, at most once"),
    example("run examples/repo-report.yaml --param root=$PWD --wait -o json", "Wait, print the result as JSON")
  ])
)

export const fork = Command.make("fork", {
  instance,
  at: text(
    "at",
    "sequence|time",
    "As it was then: a stream sequence (`replay` shows them), a time (RFC 3339) or so long ago (10m); now when not given"
  ),
  param,
  id: text("id", "instanceId", "Idempotency key: the same id again answers the same instance"),
  ...following,
  priority: priority("0 lowest to 9 highest; that of the original when not given"),
  pool: text("pool", "name", "Pool of tasks that name none; that of the original when not given"),
  dryRun: flag("dry-run", "Go through the graph without running a task")
}, Lazy.handler(() => import("../command/Fork.ts").then((_) => _.run))).pipe(
  Command.withShortDescription("A new run that begins with the results of another one"),
  Command.withDescription(
    "Starts a new instance of the same definition that takes over what had ended well in another one, at its end or at any point of its past, and runs the rest: "
      + "what failed, was under way or came later. Its params are those of the original, also the computed ones, but for those that are given. "
      + "The original stays as it is; `workflows get` shows what a run is a fork of."
  ),
  Command.withExamples([
    example("fork nightly-2026-11-21 --watch", "Try again what failed, beside the original"),
    example("fork i-7 --at 1234 --param day=2026-11-20", "From a step that replay showed, with another day"),
    example("fork i-7 --at 10m --dry-run --wait", "What would be left to do")
  ])
)

const command = (
  name: string,
  description: string,
  verb: "pause" | "resume" | "stop" | "rerun" | "recover",
  shown: string
) =>
  Command.make(name, {
    instance: Argument.String("instance").pipe(
      Argument.withDescription("Ids of workflow instances"),
      Argument.atLeast(1)
    ),
    reason,
    id: requestId,
    wait: flag(
      "wait",
      verb === "pause" || verb === "stop"
        ? "Wait until the run rests"
        : "Wait until the run rests; exit code 1 when it did not succeed"
    )
  }, Lazy.handler(() => import("../command/Workflows.ts").then((_) => _.command(verb)))).pipe(
    Command.withDescription(description),
    Command.withExamples([example(`workflows ${name} ${shown}`, description)])
  )

export const workflows = Command.make("workflows").pipe(
  Command.withAlias("wf"),
  Command.withDescription("Runs of workflows"),
  Command.withSubcommands([
    Command.make("ls", {
      state: text("state", "STATE", "Only in this state, such as RUNNING"),
      definition: text("definition", "name", "Only of this definition"),
      limit,
      next,
      all
    }, Lazy.handler(() => import("../command/Workflows.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("Instances, newest first"),
      Command.withExamples([example("workflows ls --state RUNNING", "What runs now")])
    ),
    Command.make(
      "get",
      { instance },
      Lazy.handler(
        () => import("../command/Workflows.ts").then((_) => _.get)
      )
    ).pipe(
      Command.withDescription("State, tasks and attempts of one instance"),
      Command.withExamples([example("workflows get i-7", "Each task with its state, or why it never ran")])
    ),
    Command.make("watch", {
      instance,
      logs: flag("logs", "With the output of the tasks"),
      waitTimeout: text("wait-timeout", "duration", "Give up after this (exit code 5)")
    }, Lazy.handler(() => import("../command/Workflows.ts").then((_) => _.watch))).pipe(
      Command.withDescription("Look on until the run rests; exit code 1 when it did not succeed"),
      Command.withExamples([example("workflows watch i-7 -o jsonl", "One JSON line for each change")])
    ),
    Command.make("result", {
      instance,
      waitTimeout: text("wait-timeout", "duration", "How long to wait for the end; 30s when not given, 0s: not at all")
    }, Lazy.handler(() => import("../command/Workflows.ts").then((_) => _.result))).pipe(
      Command.withDescription("How the run ended, with its outputs; exit code 1 when it did not succeed"),
      Command.withExamples([example("workflows result i-7 -o json", "Outputs as JSON")])
    ),
    Command.make("history", {
      instance,
      limit,
      next,
      all
    }, Lazy.handler(() => import("../command/Workflows.ts").then((_) => _.history))).pipe(
      Command.withDescription("The journal of an instance: every turn, its cause, what changed"),
      Command.withExamples([example("workflows history i-7 --all -o jsonl", "The whole journal, one entry a line")])
    ),
    Command.make("logs", {
      instance,
      task: text("task", "name", "Only of this task"),
      follow: flag("follow", "Go on until the run rests").pipe(Flag.withAlias("f"))
    }, Lazy.handler(() => import("../command/Workflows.ts").then((_) => _.logs))).pipe(
      Command.withDescription("What the tasks wrote"),
      Command.withExamples([example("workflows logs i-7 --task count --follow", "One task, live")])
    ),
    Command.make("export", {
      instance,
      file: text("file", "path", "Where to write it; standard output when not given").pipe(Flag.withAlias("f"))
    }, Lazy.handler(() => import("../command/Export.ts").then((_) => _.run))).pipe(
      Command.withDescription(
        "The journal of a run and its definition as one file (JSON Lines), for `replay`, `at`, `diff` and `workflows import` on any machine"
      ),
      Command.withExamples([example("workflows export i-7 -f i-7.jsonl", "Send it to a colleague")])
    ),
    Command.make("import", {
      file: argument("file", "Of `heddle workflows export`; - for standard input")
    }, Lazy.handler(() => import("../command/Import.ts").then((_) => _.run))).pipe(
      Command.withDescription(
        "A run out of a file into this mesh, verified first: `get`, `history`, `diff` and `fork` know it here. Importing it again changes nothing"
      ),
      Command.withExamples([example("workflows import i-7.jsonl", "Then: heddle workflows get i-7")])
    ),
    command("pause", "Pause: running tasks that can pause do, nothing new starts", "pause", "i-7 --reason maintenance"),
    command("resume", "Go on after a pause", "resume", "i-7"),
    command("stop", "Stop: active tasks are killed", "stop", "i-7 --reason 'wrong day' --wait"),
    command("rerun", "Run a finished instance again from its start", "rerun", "i-7"),
    command("recover", "Run the failed tasks of a finished instance again, and what comes after them", "recover", "i-7")
  ])
)
