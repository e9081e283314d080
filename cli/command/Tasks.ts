/** `heddle tasks`: single tasks of a run, and what can be done with one. design/02 "Workflows" (run-task, force-success, force-start). */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Accepted, type DependType, finalStatuses, type TaskView } from "../../shared/protocol/Workflow.ts"
import * as Connection from "../Connection.ts"
import { Ended } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import { type Column, duration, Output } from "../Output.ts"
import * as RunResult from "../RunResult.ts"
import * as RunWatch from "../RunWatch.ts"

interface Input {
  readonly instance: string
  readonly task: string
  readonly reason: Option.Option<string>
  readonly id: Option.Option<string>
  readonly wait: boolean
}

export const ls = (input: { readonly instance: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const view = yield* RunWatch.get(yield* Globals.checkToken("The instance", input.instance))
    const lastOf = (task: TaskView) => task.attempts.at(-1)
    const columns: ReadonlyArray<Column<TaskView>> = [
      { title: "TASK", value: (task) => task.name },
      { title: "TYPE", value: (task) => task.type },
      { title: "STATE", value: (task) => task.state === undefined ? "-" : output.style.state(task.state) },
      { title: "ATTEMPTS", value: (task) => String(task.attempts.length), alignRight: true },
      {
        title: "TIME",
        value: (task) => {
          const last = lastOf(task)
          return last?.startedAt === undefined || last.endedAt === undefined
            ? ""
            : duration(Math.max(0, Date.parse(last.endedAt) - Date.parse(last.startedAt)))
        },
        alignRight: true
      },
      { title: "WHY", value: (task) => task.why ?? lastOf(task)?.reason ?? "" }
    ]
    yield* output.page({ items: view.tasks }, columns, "No tasks.")
  }).pipe(Connection.provide)

const tell = (
  verb: "run-task" | "force-success" | "force-start",
  input: Input,
  more: { readonly dependType?: DependType } = {}
) =>
  Effect.gen(function*() {
    const output = yield* Output
    const instanceId = yield* Globals.checkToken("The instance", input.instance)
    const task = yield* Globals.checkToken("The task", input.task)
    if (Option.isSome(input.id)) yield* Globals.checkToken("--id", input.id.value)
    const { accepted } = yield* Connection.call(Subject.rpc.workflow(verb), Accepted, {
      instanceId,
      task,
      ...(Option.isSome(input.reason) ? { reason: input.reason.value } : {}),
      ...more
    }, { id: input.id })
    const view = input.wait
      ? yield* RunWatch.watch(instanceId, { logs: false, timeoutMs: undefined, show: "nothing" })
      : undefined
    const answer = { instanceId, task, accepted, ...(view === undefined ? {} : { state: view.state }) }
    yield* output.value(answer, () =>
      `${instanceId} ${
        view === undefined || !finalStatuses.has(view.state)
          ? `${verb} ${task} ${accepted ? "accepted" : "refused"}`
          : output.style.state(view.state)
      }`)
    if (!accepted) return yield* new Ended({ exit: 4 })
    const exit = view === undefined ? 0 : RunResult.exitOf(view.state)
    if (exit !== 0) return yield* new Ended({ exit })
  }).pipe(Connection.provide)

export const run = (input: Input & { readonly dependType: Option.Option<DependType> }) =>
  tell("run-task", input, Option.isSome(input.dependType) ? { dependType: input.dependType.value } : {})
export const forceSuccess = (input: Input) => tell("force-success", input)
export const forceStart = (input: Input) => tell("force-start", input)
