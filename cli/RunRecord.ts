/**
 * Everything that is recorded of one run: its journal and the definition that it pins, from JetStream without any service, or from a file. What it was at any moment is the fold
 * of its entries up to then; nothing is decided anew. design/03 section 2.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Compile from "../services/coordinator/engine/Compile.ts"
import * as Replay from "../services/coordinator/engine/Replay.ts"
import * as View from "../services/coordinator/engine/View.ts"
import type * as WorkflowGraph from "../services/coordinator/engine/WorkflowGraph.ts"
import * as Kv from "../shared/jetstream/Kv.ts"
import * as Streams from "../shared/jetstream/Streams.ts"
import { Definition, type DefinitionRef, DefinitionStored } from "../shared/protocol/Definition.ts"
import { SessionId, StreamSequence } from "../shared/protocol/Token.ts"
import * as Connection from "./Connection.ts"
import { CliFailure } from "./ExitCode.ts"
import * as FilePath from "./FilePath.ts"
import * as Globals from "./Globals.ts"
import * as Journal from "./Journal.ts"
import * as RunFile from "./RunFile.ts"

export interface RunRecord {
  readonly instance: string
  /** Oldest first, one at least. */
  readonly entries: readonly [Journal.Recorded, ...ReadonlyArray<Journal.Recorded>]
  /** As it was stored or sent. From a file it is there already. */
  readonly source: unknown
}

const decodeStored = Schema.decodeUnknownOption(Schema.fromJsonString(DefinitionStored))

/** As the coordinator keeps definitions: versions for ever, those that came with a start by their hash. */
export const keyOf = (ref: DefinitionRef) =>
  ref.version === 0
    ? `inline.${ref.namespace}.${ref.name}.${ref.hash}`
    : `version.${ref.namespace}.${ref.name}.${ref.version}`

const ofFile = Effect.fnUntraced(function*(path: string) {
  const text = yield* FilePath.read(path, {
    fix: "`heddle workflows export INSTANCE` writes one; an instance is given by its id."
  })
  return yield* Effect.fromResult(RunFile.decode(text)).pipe(
    Effect.mapError((problem) =>
      Globals.usage(`${path === "-" ? "<stdin>" : path} is no run that can be trusted: ${problem}.`)
    )
  )
})

/** A run's file, or the journal of an instance. Fails with exit code 3 when there is none. */
export const read = Effect.fnUntraced(function*(text: string) {
  if (RunFile.isFile(text)) {
    const { entries, header } = yield* ofFile(text)
    return record(header.instanceId, entries, header.definition.source)
  }
  const instance = yield* Globals.checkToken("The instance", text)
  return record(instance, yield* Journal.read(instance), undefined)
})

const record = (instance: string, entries: ReadonlyArray<Journal.Recorded>, source: unknown): RunRecord => ({
  instance,
  entries: entries as RunRecord["entries"], // both readers give one at least
  source
})

/** The definition that the run pins: what the journal calls it, and its content as it was stored. */
export const definitionOf = Effect.fnUntraced(function*({ entries, source }: RunRecord) {
  const start = entries[0].entry.cause.find((event) => event._tag === "WORKFLOW_START")
  if (start === undefined) {
    return yield* new CliFailure({
      exit: 1,
      message: "The journal does not begin with the start of this instance: its oldest entries have expired."
    })
  }
  const { definition: ref, inline } = start.start
  if (source !== undefined || inline !== undefined) return { ref, source: source ?? inline }
  const bucket = Kv.bucket(yield* Connection.nats, Streams.bucketName.definitions)
  const stored = yield* bucket.get(keyOf(ref)).pipe(
    Effect.map(Option.flatMap((entry) => decodeStored(entry.value))),
    Effect.mapError((error) => new CliFailure({ exit: 1, message: `The definitions cannot be read: ${error.message}` }))
  )
  if (Option.isNone(stored)) {
    return yield* new CliFailure({
      exit: 1,
      message:
        `The definition ${ref.name}@${ref.version} is not in the bucket ${Streams.bucketName.definitions} any more.`
    })
  }
  return { ref, source: stored.value.definition as unknown }
})

export const graphOf = Effect.fnUntraced(function*(run: RunRecord) {
  const { ref, source } = yield* definitionOf(run)
  const definition = yield* Schema.decodeUnknownEffect(Definition)(source).pipe(
    Effect.mapError((error) =>
      new CliFailure({ exit: 1, message: `The definition ${ref.name}@${ref.version} cannot be read: ${error.message}` })
    )
  )
  return yield* Effect.fromResult(Compile.compile(definition, ref)).pipe(
    Effect.mapError((problems) =>
      new CliFailure({
        exit: 1,
        message: `The definition ${ref.name}@${ref.version} is not valid any more.`,
        problems: problems.map((problem) => `${problem.path}: ${problem.message}`)
      })
    )
  )
})

/** What the run was after these entries of it (the oldest ones). Undefined for none. */
export const viewAt = (entries: ReadonlyArray<Journal.Recorded>, graph: WorkflowGraph.WorkflowGraph) => {
  const state = Replay.replay(entries.map((recorded) => recorded.entry), graph)
  const last = entries.at(-1)
  return state === undefined || last === undefined
    ? undefined
    : View.view(state, SessionId.make(0), StreamSequence.make(last.sequence))
}
