/** `heddle tasks`. design/02 "CLI". */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Lazy from "../Lazy.ts"
import { argument, example, flag, instance, reason, requestId } from "./Parts.ts"

const task = argument("task", "Name of the task")
const taskCommand = (
  name: string,
  verb: "forceSuccess" | "forceStart",
  description: string,
  shown: string
) =>
  Command.make(
    name,
    { instance, task, reason, id: requestId, wait: flag("wait", "Wait until the run rests") },
    Lazy.handler(() => import("../command/Tasks.ts").then((_) => _[verb]))
  ).pipe(
    Command.withDescription(description),
    Command.withExamples([example(`tasks ${name} ${shown}`, description)])
  )

export const tasks = Command.make("tasks").pipe(
  Command.withDescription("Single tasks of a run"),
  Command.withSubcommands([
    Command.make("ls", { instance }, Lazy.handler(() => import("../command/Tasks.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("The tasks of an instance, or why one never ran"),
      Command.withExamples([example("tasks ls i-7 -o json", "With every attempt")])
    ),
    Command.make("run", {
      instance,
      task,
      dependType: Flag.Literals("depend-type", ["TASK_ONLY", "TASK_PRE", "TASK_POST"]).pipe(
        Flag.withDescription("Only it, which is what happens when not given; with all before it, or with all after it"),
        Flag.optional
      ),
      reason,
      id: requestId,
      wait: flag("wait", "Wait until the run rests; exit code 1 when it did not succeed")
    }, Lazy.handler(() => import("../command/Tasks.ts").then((_) => _.run))).pipe(
      Command.withDescription("Run one task of an ended instance again"),
      Command.withExamples([example("tasks run i-7 load --depend-type TASK_POST --wait", "And what comes after it")])
    ),
    taskCommand(
      "force-success",
      "forceSuccess",
      "Let a failed task of an ended instance count as succeeded; `workflows recover` then goes on after it",
      "i-7 load --reason 'loaded by hand'"
    ),
    taskCommand(
      "force-start",
      "forceStart",
      "Let a task that waits for a slot of its concurrency group begin without one",
      "i-7 load"
    )
  ])
)
