/** `heddle workflows export`: the journal of a run and its definition as a file, which a colleague can replay without this mesh. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { InstanceId } from "../../shared/protocol/Token.ts"
import * as Connection from "../Connection.ts"
import { CliFailure } from "../ExitCode.ts"
import * as FilePath from "../FilePath.ts"
import { Output } from "../Output.ts"
import * as RunFile from "../RunFile.ts"
import * as RunRecord from "../RunRecord.ts"
import * as Version from "../Version.ts"

/** Runs that this one started; each has a journal of its own. */
const childrenOf = ({ entries }: RunRecord.RunRecord): ReadonlyArray<string> => [
  ...new Set(
    entries.flatMap(({ entry }) =>
      entry.transitions.flatMap((transition) => transition._tag === "CHILD" ? [transition.child] : [])
    )
  )
]

export const run = (input: { readonly instance: string; readonly file: Option.Option<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const found = yield* RunRecord.read(input.instance)
    const definition = yield* RunRecord.definitionOf(found)
    const text = RunFile.encode({
      instanceId: InstanceId.make(found.instance),
      exportedAt: new Date(yield* Clock.currentTimeMillis).toISOString(),
      heddle: Version.version,
      definition
    }, found.entries)
    const whole = RunFile.decode(text)
    if (Result.isFailure(whole)) {
      return yield* new CliFailure({
        exit: 1,
        message: `The record of ${found.instance} cannot be exported: ${whole.failure}.`,
        fix: `\`heddle replay ${found.instance} --verify\` shows where.`
      })
    }
    for (const child of childrenOf(found)) {
      yield* output.note(`heddle: its sub-workflow ${child} is a run of its own: heddle workflows export ${child}`)
    }
    const path = Option.getOrUndefined(input.file)
    if (path === undefined) return output.screen.write(text)
    yield* FilePath.write(path, text, "--file")
    return yield* output.value(
      { file: path, instanceId: found.instance, entries: found.entries.length },
      () => `${path}: ${found.instance}, ${found.entries.length} entries. Look at it: heddle replay ${path}`
    )
  }).pipe(Connection.provide)
