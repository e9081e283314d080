/**
 * `heddle replay`: goes through a run again from what JetStream holds, step by step, and can prove that the log is whole and follows from the rules.
 *
 * Replay folds recorded transitions and never decides anew; `--verify` does that apart and compares (design/03 section 2).
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as Replay from "../../services/coordinator/engine/Replay.ts"
import * as Connection from "../Connection.ts"
import { CliFailure, Ended } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import type * as Journal from "../Journal.ts"
import * as Moment from "../Moment.ts"
import { Output } from "../Output.ts"
import * as ReplayStep from "../ReplayStep.ts"
import * as RunFile from "../RunFile.ts"
import * as RunRecord from "../RunRecord.ts"
import * as RunResult from "../RunResult.ts"
import * as RunWatch from "../RunWatch.ts"

export interface Input {
  readonly instance: string
  readonly until: Option.Option<string>
  readonly step: boolean
  readonly speed: Option.Option<string>
  readonly verify: boolean
}

const speedOf = (text: string) => {
  const factor = text === "max" ? Infinity : Number(text)
  return factor > 0
    ? Effect.succeed(factor)
    : Effect.fail(Globals.usage(`--speed ${JSON.stringify(text)} is no speed.`, "write 1, 10 or max."))
}

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
const verifyAll = Effect.fnUntraced(function*(run: RunRecord.RunRecord) {
  const entries = run.entries.map((recorded) => recorded.entry)
  const chain = Chain.verifyChain(entries, RunFile.sha256)
  const graph = yield* RunRecord.graphOf(run)
  const differences = Replay.verify(entries, graph)
  return { chain, differences, isGood: chain === undefined && differences.length === 0 }
})

export const run = (input: Input) =>
  Effect.gen(function*() {
    const output = yield* Output
    const until = Option.isSome(input.until) ? yield* Moment.upTo("--until", input.until.value) : undefined
    const speed = Option.isSome(input.speed) ? yield* speedOf(input.speed.value) : Infinity
    const recordedRun = yield* RunRecord.read(input.instance)
    const { entries: all, instance } = recordedRun
    const shown = until === undefined ? all : until(all)
    if (shown.length === 0) {
      return yield* new CliFailure({
        exit: 3,
        message: `Nothing of ${instance} had happened yet.`,
        fix: `the first entry is of ${new Date(all[0].entry.at).toISOString()}, sequence ${all[0].sequence}.`
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
    const graph = yield* Effect.result(RunRecord.graphOf(recordedRun))
    const last = shown.at(-1)
    const view = Result.isSuccess(graph) ? RunRecord.viewAt(shown, graph.success) : undefined
    const verified = input.verify ? yield* verifyAll(recordedRun) : undefined
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
