/**
 * `heddle fork`: a new instance that begins with what another one had come to, now or at a point of its past: what ended well is taken over, the rest runs. design/02 "CLI".
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Subject from "../../shared/protocol/Subject.ts"
import { StartAnswer } from "../../shared/protocol/Workflow.ts"
import * as Connection from "../Connection.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import * as Journal from "../Journal.ts"
import * as Moment from "../Moment.ts"
import * as Pairs from "../Pairs.ts"
import * as RunFile from "../RunFile.ts"
import * as StartedRun from "../StartedRun.ts"

export interface Input extends StartedRun.Input {
  readonly instance: string
  readonly at: Option.Option<string>
  readonly param: ReadonlyArray<string>
  readonly id: Option.Option<string>
  readonly priority: Option.Option<number>
  readonly pool: Option.Option<string>
  readonly dryRun: boolean
}

/** The newest sequence of the instance's journal that is meant. */
const sequenceOf = Effect.fnUntraced(function*(instance: string, at: string) {
  const upTo = yield* Moment.upTo("--at", at)
  const entries = yield* Journal.read(instance)
  const last = upTo(entries).at(-1)
  return last?.sequence ?? (yield* new CliFailure({
    exit: 3,
    message: `At ${at} ${instance} had not begun.`,
    fix: `its first entry is of ${new Date(entries[0]?.entry.at ?? 0).toISOString()}, sequence ${
      entries[0]?.sequence ?? 0
    }; \`heddle replay ${instance}\` shows all.`
  }))
})

export const run = (input: Input) =>
  Effect.gen(function*() {
    if (RunFile.isFile(input.instance)) {
      return yield* Globals.usage(
        `${JSON.stringify(input.instance)} is no instance of this mesh.`,
        `import it first: heddle workflows import ${input.instance}`
      )
    }
    const instance = yield* Globals.checkToken("The instance", input.instance)
    const params = yield* Pairs.values("--param", input.param)
    const timeoutMs = yield* StartedRun.timeoutOf(input)
    const instanceId = Option.isSome(input.id)
      ? yield* Globals.checkToken("--id", input.id.value)
      : StartedRun.idOf(instance)
    const seq = Option.isSome(input.at) ? yield* sequenceOf(instance, input.at.value) : undefined
    const body = {
      fork: { instanceId: instance, ...(seq === undefined ? {} : { seq }) },
      instanceId,
      ...(Object.keys(params).length > 0 ? { params } : {}),
      ...(input.dryRun ? { dryRun: true } : {}),
      ...(Option.isSome(input.priority) ? { priority: input.priority.value } : {}),
      ...(Option.isSome(input.pool) ? { pool: input.pool.value } : {})
    }
    return yield* StartedRun.follow(
      Connection.call(Subject.rpc.workflow("start"), StartAnswer, body),
      input,
      timeoutMs
    )
  }).pipe(Connection.provide)
