/**
 * `heddle workflows import`: a run out of a file into this mesh, so that `get`, `history`, `replay`, `diff` and `fork` know it here.
 *
 * The file is verified first. Its definition is stored under the name and version that the journal names, unless something else stands there; its journal goes to HEDDLE_ARCHIVE,
 * where runs that ended long ago stand, appended with the expected last sequence: whoever imports the same file again adds only what is missing, and nobody overwrites anything.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Engine from "../../services/coordinator/engine/Replay.ts"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { DefinitionStored } from "../../shared/protocol/Definition.ts"
import { shardOf } from "../../shared/protocol/Shard.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId } from "../../shared/protocol/Token.ts"
import { finalStatuses } from "../../shared/protocol/Workflow.ts"
import * as Connection from "../Connection.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import * as Journal from "../Journal.ts"
import { Output } from "../Output.ts"
import * as RunFile from "../RunFile.ts"
import * as RunRecord from "../RunRecord.ts"

/** Of one message; the server takes 8 MiB, others should not wait for it. */
const messageBytesMax = 512 * 1024

const decodeStored = Schema.decodeUnknownOption(Schema.fromJsonString(DefinitionStored))
const conflict = (message: string, fix: string) => new CliFailure({ exit: 4, message, fix })
const unreadable = (error: { readonly message: string }) =>
  new CliFailure({ exit: 1, message: error.message, fix: "`heddle doctor` shows what is missing." })

/** Stores the definition where the journal looks for it; what stands there already must be the same. */
const keepDefinition = Effect.fnUntraced(function*(run: RunRecord.RunRecord) {
  const { ref, source } = yield* RunRecord.definitionOf(run)
  const bucket = Kv.bucket(yield* Connection.nats, Streams.bucketName.definitions)
  const key = RunRecord.keyOf(ref)
  const createdAt = new Date(yield* Clock.currentTimeMillis).toISOString()
  const outcome = yield* bucket.create(key, JSON.stringify({ ...ref, createdAt, definition: source }))
  if (outcome._tag === "Won") return
  const stored = yield* bucket.get(key).pipe(
    Effect.map(Option.flatMap((entry) => decodeStored(entry.value))),
    Effect.mapError(unreadable)
  )
  if (Option.isNone(stored)) {
    return yield* new CliFailure({
      exit: 5,
      message: `It is not known whether the definition ${ref.name}@${ref.version} was stored.`,
      fix:
        "import the file again: nothing is stored twice. The user at the broker must be allowed to write definitions and heddle.archive.*.*"
    })
  }
  if (stored.value.hash !== ref.hash) {
    return yield* conflict(
      `${ref.name}@${ref.version} of namespace ${ref.namespace} is another definition here.`,
      "look at the file without a mesh: `heddle replay FILE`; or import it into an empty one."
    )
  }
})

/** What this mesh has of the instance already, checked to be the beginning of what the file has. */
const known = Effect.fnUntraced(function*({ entries, instance }: RunRecord.RunRecord) {
  const found = yield* Journal.read(instance).pipe(
    Effect.catchIf(
      (error) => error instanceof CliFailure && error.exit === 3,
      () => Effect.succeed<ReadonlyArray<Journal.Recorded>>([])
    )
  )
  const isBeginning = found.length <= entries.length &&
    found.every(({ entry }, at) => entry.hash === entries[at]?.entry.hash)
  const isWhole = found.length === entries.length
  // a run of this mesh itself is nobody's to continue
  if (!isBeginning || !isWhole && found.some(({ ledger }) => ledger !== Streams.name.archive)) {
    return yield* conflict(
      `There is a run ${instance} in this mesh, and it is not the one of the file.`,
      "look at the file without a mesh: `heddle replay FILE`; or import it into another one."
    )
  }
  return found.length
})

/** Messages of the archive, as full as they may be. */
const batches = (entries: ReadonlyArray<Journal.Recorded>): ReadonlyArray<ReadonlyArray<Journal.Recorded>> => {
  const found: Array<Array<Journal.Recorded>> = []
  let bytes = Infinity
  for (const one of entries) {
    const { length } = JSON.stringify(one.entry)
    if (bytes + length > messageBytesMax) {
      found.push([])
      bytes = 0
    }
    bytes += length
    found.at(-1)?.push(one)
  }
  return found
}

export const run = (input: { readonly file: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    if (!RunFile.isFile(input.file)) {
      return yield* Globals.usage(
        `${JSON.stringify(input.file)} is no file.`,
        `write ./${input.file}, or - for standard input; \`heddle workflows export\` writes one.`
      )
    }
    const found = yield* RunRecord.read(input.file)
    const graph = yield* RunRecord.graphOf(found)
    const view = RunRecord.viewAt(found.entries, graph)
    if (view === undefined || !finalStatuses.has(view.state)) {
      return yield* Globals.usage(
        `${found.instance} was ${view?.state ?? "not begun"} when it was exported: a mesh would wait for it for ever.`,
        "export it again when it rests; `heddle replay FILE` shows it as it is."
      )
    }
    const differences = Engine.verify(found.entries.map(({ entry }) => entry), graph)
    const nats = yield* Connection.nats
    const count = yield* known(found)
    yield* keepDefinition(found)
    const instance = InstanceId.make(found.instance)
    const shard = shardOf(instance, yield* Streams.meshShardCount(nats))
    const subject = Subject.archive(shard, instance)
    const last = yield* Read.lastMessage(nats, Streams.name.archive, subject).pipe(Effect.mapError(unreadable))
    let sequence = Option.isSome(last) ? last.value.sequence : 0
    for (const batch of batches(found.entries.slice(count))) {
      const body = {
        v: 1,
        instance,
        shard,
        entries: batch.map(({ entry, sequence: seq }) => ({ seq, entry }))
      }
      const outcome = yield* Append.append(nats, subject, JSON.stringify(body), sequence)
      if (outcome._tag !== "Acked") {
        return yield* new CliFailure({
          exit: outcome._tag === "Fenced" ? 4 : 5,
          message: outcome._tag === "Fenced"
            ? `Somebody else imports ${instance} at this moment.`
            : `It is not known whether all of ${instance} was stored: ${outcome.reason}.`,
          fix: "import the file again: nothing is stored twice."
        })
      }
      sequence = outcome.sequence
    }
    const entries = found.entries.length
    if (differences.length > 0) {
      yield* output.note(
        `heddle: this version decides ${differences.length} of its steps otherwise: heddle replay ${instance} --verify`
      )
    }
    return yield* output.value(
      { instanceId: instance, state: view.state, entries, added: entries - count, differences: differences.length },
      () =>
        count === entries
          ? `${instance} is here already, all ${entries} entries`
          : `${instance}  ${output.style.state(view.state)}  ${entries} entries, verified\n${
            output.style.dim(`Look at it: heddle workflows get ${instance} (lists do not show it)`)
          }`
    )
  }).pipe(Connection.provide)
