/**
 * Reads the corpus: journals that earlier versions wrote, one file per feature, and what they came to then. docs/reference/journal.md says what a file holds.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Compile from "../../services/coordinator/engine/Compile.ts"
import * as Replay from "../../services/coordinator/engine/Replay.ts"
import * as Semaphore from "../../services/coordinator/engine/Semaphore.ts"
import * as View from "../../services/coordinator/engine/View.ts"
import type * as WorkflowGraph from "../../services/coordinator/engine/WorkflowGraph.ts"
import type { WorkflowState } from "../../services/coordinator/engine/WorkflowState.ts"
import { Definition } from "../../shared/protocol/Definition.ts"
import { type Entry, JournalMessage } from "../../shared/protocol/Journal.ts"
import { SessionId, StreamSequence } from "../../shared/protocol/Token.ts"
import type { Line } from "./Recorder.ts"

export const folder = import.meta.dirname

/** A file's lines, as parsed. */
export const linesOf = (text: string): ReadonlyArray<Line> =>
  text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Line) // the test decodes it

export interface Recorded {
  /** As parsed: what the hash chain covers. */
  readonly parsed: ReadonlyArray<Entry>
  /** As the coordinator reads them. */
  readonly decoded: ReadonlyArray<Entry>
  /** Of the message each entry is in. */
  readonly sequences: ReadonlyArray<number>
  readonly graph: WorkflowGraph.WorkflowGraph
}

const decodeMessage = Schema.decodeUnknownSync(JournalMessage)
const decodeDefinition = Schema.decodeUnknownSync(Definition)

/** By its first entry: the definition came with the start, or it is a semaphore. */
const graphOf = (instance: string, first: Entry | undefined): WorkflowGraph.WorkflowGraph => {
  const started = first?.cause.find((event) => event._tag === "WORKFLOW_START")
  if (started?._tag !== "WORKFLOW_START") throw new Error(`${instance} does not begin with its start`)
  const { definition, inline } = started.start
  if (definition.hash === Semaphore.definition.hash) return Semaphore.graph
  const graph = Compile.compile(decodeDefinition(inline), definition)
  if (Result.isFailure(graph)) throw new Error(`${instance}: ${JSON.stringify(graph.failure)}`)
  return graph.success
}

/** The entries of each instance, in the order of the journal. */
export const instancesOf = (lines: ReadonlyArray<Line>): ReadonlyMap<string, Recorded> => {
  const found = new Map<string, { parsed: Array<Entry>; decoded: Array<Entry>; sequences: Array<number> }>()
  for (const { message, sequence } of lines) {
    decodeMessage(message).records.forEach((record, i) => {
      if (record._tag !== "Entry") return
      const own = found.get(record.instance) ?? { parsed: [], decoded: [], sequences: [] }
      found.set(record.instance, own)
      own.decoded.push(record)
      own.parsed.push(message.records[i] as Entry) // decoded on the line above
      own.sequences.push(sequence)
    })
  }
  return new Map(
    [...found].map(([instance, own]) => [instance, { ...own, graph: graphOf(instance, own.decoded[0]) }])
  )
}

export const replayed = ({ decoded, graph }: Recorded): WorkflowState => {
  const state = Replay.replay(decoded, graph)
  if (state === undefined) throw new Error("no entries")
  return state
}

/** What a client sees at the end, as JSON; of a semaphore what it holds. */
export const outcome = (recorded: Recorded): unknown => {
  const state = replayed(recorded)
  const view = View.view(state, SessionId.make(1), StreamSequence.make(recorded.sequences.at(-1) ?? 0))
  return JSON.parse(JSON.stringify(state.semaphore === undefined ? view : { view, semaphore: state.semaphore }))
}

/** Where `now` does not hold what `then` held. A field more is no difference: what is answered may grow. */
export const lost = (then: unknown, now: unknown, path = ""): ReadonlyArray<string> => {
  if (typeof then !== "object" || then === null) {
    return then === now ? [] : [`${path}: was ${JSON.stringify(then)}, is ${JSON.stringify(now)}`]
  }
  if (typeof now !== "object" || now === null || Array.isArray(then) !== Array.isArray(now)) {
    return [`${path}: was ${JSON.stringify(then)}, is ${JSON.stringify(now)}`]
  }
  if (Array.isArray(then) && Array.isArray(now) && then.length !== now.length) {
    return [`${path}: had ${then.length} elements, has ${now.length}`]
  }
  const fields = new Map<string, unknown>(Object.entries(now))
  return Object.entries(then).flatMap(([key, value]) => lost(value, fields.get(key), `${path}/${key}`))
}
