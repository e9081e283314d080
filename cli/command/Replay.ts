/**
 * `heddle replay`: goes through a run again from what JetStream holds, step by step, and can prove that the log is whole and follows from the rules.
 *
 * Replay folds recorded transitions and never decides anew; `--verify` does that apart and compares (design/03 section 2).
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as Replay from "../../services/coordinator/engine/Replay.ts"
import * as View from "../../services/coordinator/engine/View.ts"
import * as WorkflowGraph from "../../services/coordinator/engine/WorkflowGraph.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { Definition, type DefinitionRef, DefinitionStored } from "../../shared/protocol/Definition.ts"
import { SessionId, StreamSequence } from "../../shared/protocol/Token.ts"
import * as Connection from "../Connection.ts"
import { CliFailure, Ended } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import * as Journal from "../Journal.ts"
import { Output } from "../Output.ts"
import * as ReplayStep from "../ReplayStep.ts"
import * as RunResult from "../RunResult.ts"
import * as RunWatch from "../RunWatch.ts"

export interface Input {
  readonly instance: string
  readonly until: Option.Option<string>
  readonly step: boolean
  readonly speed: Option.Option<string>
  readonly verify: boolean
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")

/** Whether an entry is in the part that was asked for. */
const untilOf = (text: string) =>
  Effect.gen(function*() {
    if (/^\d+$/.test(text)) return (recorded: Journal.Recorded) => recorded.sequence <= Number(text)
    const at = Date.parse(text)
    if (Number.isNaN(at)) {
      return yield* Globals.usage(
        `--until ${JSON.stringify(text)} is neither a sequence nor a time.`,
        "write 1234, or 2026-11-21T10:00:00Z."
      )
    }
    return (recorded: Journal.Recorded) => recorded.entry.at <= at
  })

const speedOf = (text: string) => {
  const factor = text === "max" ? Infinity : Number(text)
  return factor > 0
    ? Effect.succeed(factor)
    : Effect.fail(Globals.usage(`--speed ${JSON.stringify(text)} is no speed.`, "write 1, 10 or max."))
}

const decodeStored = Schema.decodeUnknownOption(Schema.fromJsonString(DefinitionStored))

/** As the coordinator keeps definitions: versions for ever, those that came with a start by their hash. */
const keyOf = (ref: DefinitionRef) =>
  ref.version === 0
    ? `inline.${ref.namespace}.${ref.name}.${ref.hash}`
    : `version.${ref.namespace}.${ref.name}.${ref.version}`

/** The graph that the instance pins: from its first entry, or from the bucket of definitions. */
const graphOf = Effect.fnUntraced(function*(entries: ReadonlyArray<Journal.Recorded>) {
  const start = entries[0]?.entry.cause.find((event) => event._tag === "WORKFLOW_START")
  if (start === undefined) {
    return yield* new CliFailure({
      exit: 1,
      message: "The journal does not begin with the start of this instance: its oldest entries have expired."
    })
  }
  const { definition: ref, inline } = start.start
  const bucket = Kv.bucket(yield* Connection.nats, Streams.bucketName.definitions)
  const stored = inline === undefined
    ? yield* bucket.get(keyOf(ref)).pipe(
      Effect.map(Option.flatMap((entry) => decodeStored(entry.value))),
      Effect.mapError((error) =>
        new CliFailure({ exit: 1, message: `The definitions cannot be read: ${error.message}` })
      )
    )
    : Option.none()
  const source: unknown = inline ?? Option.getOrUndefined(stored)?.definition
  if (source === undefined) {
    return yield* new CliFailure({
      exit: 1,
      message:
        `The definition ${ref.name}@${ref.version} is not in the bucket ${Streams.bucketName.definitions} any more.`
    })
  }
  const definition = yield* Schema.decodeUnknownEffect(Definition)(source).pipe(
    Effect.mapError((error) =>
      new CliFailure({ exit: 1, message: `The definition ${ref.name}@${ref.version} cannot be read: ${error.message}` })
    )
  )
  return yield* Effect.fromResult(WorkflowGraph.compile(definition, ref)).pipe(
    Effect.mapError((problems) =>
      new CliFailure({
        exit: 1,
        message: `The definition ${ref.name}@${ref.version} is not valid any more.`,
        problems: problems.map((problem) => `${problem.path}: ${problem.message}`)
      })
    )
  )
})

const waitForEnter = Effect.callback<void>((resume) => {
  const done = () => {
    process.stdin.pause()
    resume(Effect.void)
  }
  process.stdin.resume()
  process.stdin.once("data", done)
  process.stdin.once("end", done)
  return Effect.sync(() => {
    process.stdin.off("data", done)
    process.stdin.off("end", done)
    process.stdin.pause()
  })
})

/** A step for programs: the entry, and where it stands. */
const stepOf = ({ entry, ledger, sequence }: Journal.Recorded) => ({ seq: sequence, ledger, ...entry })

/** Chain and decisions; lines for people, and whether all is as it should be. */
const verifyAll = Effect.fnUntraced(function*(all: ReadonlyArray<Journal.Recorded>) {
  const entries = all.map((recorded) => recorded.entry)
  const chain = Chain.verifyChain(entries, sha256)
  const graph = yield* graphOf(all)
  const differences = Replay.verify(entries, graph)
  return { chain, differences, isGood: chain === undefined && differences.length === 0 }
})

export const run = (input: Input) =>
  Effect.gen(function*() {
    const output = yield* Output
    const instance = yield* Globals.checkToken("The instance", input.instance)
    const isWanted = Option.isSome(input.until) ? yield* untilOf(input.until.value) : () => true
    const speed = Option.isSome(input.speed) ? yield* speedOf(input.speed.value) : Infinity
    const all = yield* Journal.read(instance)
    const shown = all.filter(isWanted)
    if (shown.length === 0) {
      return yield* new CliFailure({
        exit: 3,
        message: `Nothing of ${instance} had happened yet.`,
        fix: `the first entry is of ${new Date(all[0]?.entry.at ?? 0).toISOString()}, sequence ${
          all[0]?.sequence ?? 0
        }.`
      })
    }
    const states: ReplayStep.States = new Map()
    const isDocument = output.format === "json" || output.format === "yaml"
    let previousAt: number | undefined
    for (const recorded of shown) {
      if (previousAt !== undefined && Number.isFinite(speed)) {
        yield* Effect.sleep(Math.max(0, recorded.entry.at - previousAt) / speed)
      }
      const text = ReplayStep.lines(recorded, previousAt, states, output.style)
      previousAt = recorded.entry.at
      if (isDocument) continue
      if (output.format === "jsonl") {
        yield* output.line(JSON.stringify(stepOf(recorded)))
      } else for (const line of text) yield* output.line(line)
      if (input.step && output.format === "table") {
        yield* output.note(output.errorStyle.dim("Enter for the next step"))
        yield* waitForEnter
      }
    }
    // The picture needs the graph, which may be in a store that nobody answers for; the steps do not.
    const graph = yield* Effect.result(graphOf(all))
    const state = Result.isSuccess(graph)
      ? Replay.replay(shown.map((recorded) => recorded.entry), graph.success)
      : undefined
    const last = shown.at(-1)
    const view = state === undefined || last === undefined
      ? undefined
      : View.view(state, SessionId.make(0), StreamSequence.make(last.sequence))
    const verified = input.verify ? yield* verifyAll(all) : undefined
    if (isDocument) {
      yield* output.value({
        instanceId: instance,
        steps: shown.map(stepOf),
        ...(view === undefined ? {} : { state: view }),
        ...(verified === undefined ? {} : { verify: verified })
      }, () => "")
    } else if (output.format === "jsonl") {
      if (verified !== undefined) yield* output.line(JSON.stringify({ verify: verified }))
    } else {
      yield* output.line("")
      if (view === undefined) {
        yield* output.note(
          `heddle: the final picture needs the definition: ${Result.isFailure(graph) ? graph.failure.message : ""}`
        )
      } else {
        yield* output.line(RunWatch.picture(view, output.style, last?.entry.at ?? 0))
        for (const line of RunResult.outputs(view.outputs, output.style)) yield* output.line(line)
      }
      if (verified !== undefined) {
        yield* output.line("")
        yield* output.line(
          verified.chain === undefined
            ? `hash chain  ${output.style.state("ok")}  ${all.length} entries, nothing missing, nothing changed`
            : `hash chain  ${output.style.state("problem")}  ${verified.chain.message}`
        )
        yield* output.line(
          verified.differences.length === 0
            ? `decisions   ${output.style.state("ok")}  the engine decides all ${all.length} the same again`
            : `decisions   ${output.style.state("problem")}  ${verified.differences.length} differ`
        )
        for (const difference of verified.differences) {
          yield* output.line(`  step ${difference.n}, ${difference.part}`)
          yield* output.line(`    recorded ${JSON.stringify(difference.recorded)}`)
          yield* output.line(`    decided  ${JSON.stringify(difference.decided)}`)
        }
      }
    }
    return verified === undefined || verified.isGood ? undefined : yield* new Ended({ exit: 1 })
  }).pipe(Connection.provide)
