/**
 * A run that a command starts: its id, and what is shown of it from then on; with `--wait` or `--watch` until it rests, with the exit code of how it ended.
 *
 * The id is chosen here, so a start whose answer was lost is asked again and never starts twice. design/02 "Workflows".
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import * as Subject from "../shared/protocol/Subject.ts"
import { type StartAnswer, WorkflowResult } from "../shared/protocol/Workflow.ts"
import * as Connection from "./Connection.ts"
import { Ended } from "./ExitCode.ts"
import * as Globals from "./Globals.ts"
import { Output } from "./Output.ts"
import * as RunResult from "./RunResult.ts"
import * as RunWatch from "./RunWatch.ts"

export interface Input {
  readonly wait: boolean
  readonly watch: boolean
  readonly logs: boolean
  readonly waitTimeout: Option.Option<string>
}

/** `nightly@3` -> `nightly-1f0c93a2`: told apart at a glance, and no more than 63 long. */
export const idOf = (name: string) => `${name.replace(/@.*$/, "").slice(0, 50)}-${randomUUID().slice(0, 8)}`

/** How long the command looks on; `undefined`: as long as it takes. */
export const timeoutOf = (input: Input) =>
  Option.isSome(input.waitTimeout)
    ? Globals.durationMs("--wait-timeout", input.waitTimeout.value)
    : Effect.succeed(undefined)

export const follow = Effect.fnUntraced(function*<E, R>(
  starting: Effect.Effect<typeof StartAnswer.Type, E, R>,
  input: Input,
  timeoutMs: number | undefined
) {
  const output = yield* Output
  const answer = yield* starting
  const isWatched = input.watch || input.logs
  if (!input.wait && !isWatched) {
    return yield* output.value(answer, () =>
      output.screen.isTty
        ? `${answer.instanceId}\n${output.style.dim(`Look on: heddle workflows watch ${answer.instanceId}`)}`
        : answer.instanceId)
  }
  if (output.format === "table" && !isWatched) {
    yield* output.note(`heddle: ${answer.instanceId} started`)
  }
  yield* RunWatch.watch(answer.instanceId, {
    logs: input.logs,
    timeoutMs,
    show: isWatched ? RunWatch.showOf(output) : "nothing"
  }).pipe(
    Effect.onInterrupt(() =>
      output.note(`heddle: ${answer.instanceId} goes on; \`heddle workflows stop ${answer.instanceId}\` ends it`)
    )
  )
  const result = yield* Connection.call(Subject.rpc.workflow("result"), WorkflowResult, {
    instanceId: answer.instanceId,
    wait: 2_000
  }, { extraMs: 2_000 })
  yield* output.event(result, () => RunResult.describe(result, output.style))
  const exit = RunResult.exitOf(result.state)
  return exit === 0 ? undefined : yield* new Ended({ exit })
})
