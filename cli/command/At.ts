/** `heddle at`: what was, at a moment, from what JetStream has recorded; no service is asked. design/02 "CLI". */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { poolKey } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as Connection from "../Connection.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import * as Moment from "../Moment.ts"
import * as Output from "../Output.ts"
import * as PoolPast from "../PoolPast.ts"
import * as ReplayStep from "../ReplayStep.ts"
import * as RunRecord from "../RunRecord.ts"
import * as RunResult from "../RunResult.ts"
import * as RunWatch from "../RunWatch.ts"

const workflow = Effect.fnUntraced(function*(at: number, upTo: string, name: string) {
  const output = yield* Output.Output
  const run = yield* RunRecord.read(name)
  const [first] = run.entries
  const time = new Date(at).toISOString()
  if (first.entry.n !== 1) {
    return yield* new CliFailure({
      exit: 3,
      message: `The record of ${run.instance} does not reach back to its start: it begins at ${
        new Date(first.entry.at).toISOString()
      }, entry ${first.entry.n}.`,
      fix: `\`heddle replay ${name}\` shows the steps that are left.`
    })
  }
  const shown = (yield* Moment.upTo("The time", upTo))(run.entries)
  if (shown.length === 0) {
    return yield* new CliFailure({
      exit: 3,
      message: `At ${time} ${run.instance} had not begun.`,
      fix: `its first entry is of ${new Date(first.entry.at).toISOString()}.`
    })
  }
  const view = RunRecord.viewAt(shown, yield* RunRecord.graphOf(run))
  const next = run.entries[shown.length]
  if (view === undefined) return undefined // there is an entry
  return yield* output.value({ at: time, ...view }, () => {
    const outputs = RunResult.outputs(view.outputs, output.style)
    return [
      RunWatch.picture(view, output.style, at),
      ...(outputs.length > 0 ? ["", ...outputs] : []),
      "",
      output.style.dim(
        next === undefined
          ? `At ${time}: after its last step, ${shown.length}. Nothing has happened since.`
          : `At ${time}: after step ${shown.length} of ${run.entries.length}. Then, ${
            Output.duration(Math.max(0, next.entry.at - at))
          } later: ${next.entry.cause.map(ReplayStep.causeText).join(", ")}`
      )
    ].join("\n")
  })
})

const pool = Effect.fnUntraced(function*(at: number, name: string) {
  const output = yield* Output.Output
  const ref = yield* Globals.poolOf(name)
  const nats = yield* Connection.nats
  const time = new Date(at).toISOString()
  const reader = new PoolPast.Reader(at)
  yield* Read.readRange(nats, Streams.name.poolEvents, { filter: Subject.poolEvent(ref), from: 1 }).pipe(
    Stream.takeWhile((message) => reader.take(message.sequence, message.text)),
    Stream.runDrain,
    Effect.mapError((error) =>
      new CliFailure({ exit: 1, message: error.message, fix: "`heddle doctor` shows what is missing." })
    )
  )
  const { past, since } = reader
  if (past === undefined) {
    return yield* new CliFailure({
      exit: 3,
      message: since === undefined
        ? `Nothing is recorded of a pool ${poolKey(ref)}.`
        : `The record of pool ${poolKey(ref)} does not reach back to ${time}: it begins at ${since}.`,
      fix: since === undefined
        ? "`heddle pools ls` lists them; events are kept for 30 days."
        : "events are kept for 30 days, from the pool's first owner on."
    })
  }
  yield* output.value(
    { pool: poolKey(ref), at: time, ...past, queue: null, notRecorded: PoolPast.notRecorded },
    () => {
      const claims = past.claims.length === 0
        ? "No claim was held."
        : Output.table(
          [
            { title: "CLAIM", value: (held) => held.claimId },
            { title: "SANDBOX", value: (held) => held.sandbox },
            { title: "HOLDER", value: (held) => held.holder },
            { title: "SINCE", value: (held) => held.at },
            { title: "LEASE", value: (held) => held.leaseExpiresAt ?? "" },
            { title: "", value: (held) => held.isStale ? output.style.dim("not told of since the take-over") : "" }
          ],
          past.claims,
          output.style
        )
      return `${output.style.bold(poolKey(ref))}  at ${time}  ${
        past.owner === undefined
          ? "owner not recorded"
          : `owner ${past.owner} since ${past.ownedSince ?? ""}, session ${past.session ?? 0}`
      }\n${claims}`
    }
  )
  if (output.format !== "table") return undefined
  if (!past.isComplete) {
    yield* output.note(
      `heddle: the record begins at ${past.recordSince}: claims made before it may be missing`
    )
  }
  return yield* output.note(`heddle: not recorded: ${PoolPast.notRecorded.join("; ")}`)
})

export const run = (
  input: { readonly time: string; readonly kind: "pool" | "workflow"; readonly name: string }
) =>
  Effect.gen(function*() {
    const at = yield* Moment.past("The time", input.time)
    yield* input.kind === "pool" ? pool(at, input.name) : workflow(at, new Date(at).toISOString(), input.name)
  }).pipe(Connection.provide)
