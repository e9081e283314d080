/**
 * Workflow definitions: stored by version in the bucket `heddle_definitions`, compiled once and kept.
 *
 * Keys: `version.<ns>.<name>.<n>` (never changed), `inline.<ns>.<name>.<hash>` (definitions that came with a start; the journal names their hash), and `latest.<ns>.<name>`, which
 * is compared-and-set on every put, so versions are 1, 2, 3 without a gap. Putting the same content again gives the same version. Follows design/03 section 7.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { hash as cryptoHash } from "node:crypto"
import * as Problems from "../../shared/authoring/Problems.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { Definition, type DefinitionRef, DefinitionStored } from "../../shared/protocol/Definition.ts"
import { ContractError, type Problem } from "../../shared/protocol/ErrorCode.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { DefinitionName, Namespace } from "../../shared/protocol/Token.ts"
import * as Compile from "./engine/Compile.ts"
import * as ContentHash from "./engine/ContentHash.ts"
import * as Semaphore from "./engine/Semaphore.ts"
import type * as WorkflowGraph from "./engine/WorkflowGraph.ts"

/** Compiled definitions kept in memory; the least recently used goes first. */
export const compiledMax = 1_000
/** A definition larger than this is refused: it travels in one message. */
export const definitionBytesMax = 768 * 1024

const Latest = Schema.Struct({
  version: Schema.Int,
  hash: Schema.String,
  deleted: Schema.optionalKey(Schema.Boolean),
  /** Of this version; missing in what was written before lists showed it. */
  createdAt: Schema.optionalKey(Schema.String)
})
type Latest = typeof Latest.Type

const decodeLatest = Decode.decoder(Latest)
const decodeStored = Decode.decoder(DefinitionStored)
const decodeDefinition = Decode.valueDecoder(Definition)

const unavailable = (error: JetStreamFailed) =>
  new ContractError({ code: "Unavailable", message: `the store of definitions does not answer: ${error.message}` })

const sha256 = (text: string): string => cryptoHash("sha256", text, "hex")

const namespaceOf = (definition: Definition): Namespace => definition.metadata.namespace ?? namespaceDefault

/** What the task types that are known here say of a definition's arguments. */
export type ArgumentProblems = (definition: Definition) => ReadonlyArray<Problem>

export class Definitions {
  readonly #bucket: Kv.Bucket
  readonly #compiled = new Map<string, WorkflowGraph.WorkflowGraph>()
  /** Newest versions as the watch shows them; a miss asks the bucket. */
  readonly #latest = new Map<string, Latest>()
  readonly #now: () => number
  readonly #argumentProblems: ArgumentProblems

  constructor(nats: Connection, now: () => number, argumentProblems: ArgumentProblems = () => []) {
    this.#argumentProblems = argumentProblems
    this.#bucket = Kv.bucket(nats, Streams.bucketName.definitions)
    this.#now = now
  }

  /** Follows `latest.*` for ever: run it as a supervised fiber. */
  readonly watch: Effect.Effect<void, JetStreamFailed> = Effect.suspend(() =>
    Stream.runForEach(this.#bucket.watch("latest."), (event) =>
      Effect.sync(() => {
        if (event._tag === "Put") {
          const latest = decodeLatest(event.value)
          if (Result.isSuccess(latest)) this.#latest.set(event.key.slice("latest.".length), latest.success)
        } else if (event._tag === "Removed") this.#latest.delete(event.key.slice("latest.".length))
      }))
  )

  /** As `check`, with the arguments of its tasks: for what is new. What is stored was good for those who stored it. */
  checkNew(value: unknown): ReturnType<Definitions["check"]> {
    return this.check(value, this.#argumentProblems)
  }

  /** Every problem of `value`, or the decoded definition and its compiled graph. */
  check(
    value: unknown,
    argumentProblems: ArgumentProblems = () => []
  ): Result.Result<
    {
      readonly definition: Definition
      readonly hash: string
      readonly compile: (ref: DefinitionRef) => WorkflowGraph.WorkflowGraph
    },
    ContractError
  > {
    const decoded = decodeDefinition(value)
    if (Result.isFailure(decoded)) return Result.fail(withGraphProblems(decoded.failure, value))
    const definition = decoded.success
    const hash = ContentHash.contentHash(value, sha256)
    const ref = { namespace: namespaceOf(definition), name: definition.metadata.name, version: 0, hash }
    const graph = Compile.compile(definition, ref)
    const ofArguments = argumentProblems(definition)
    if (Result.isFailure(graph) || ofArguments.length > 0) {
      const problems = [...(Result.isFailure(graph) ? graph.failure : []), ...ofArguments]
      const first = problems[0]
      return Result.fail(
        new ContractError({
          code: "InvalidDefinition",
          message: `${
            problems.length === 1 ? "a problem" : `${problems.length} problems`
          } in workflow ${definition.metadata.name}: ${first?.path ?? ""}: ${first?.message ?? ""}`,
          ...(first === undefined ? {} : { path: first.path }),
          details: problems
        })
      )
    }
    return Result.succeed({ definition, hash, compile: (as) => ({ ...graph.success, definition: as }) })
  }

  /** The graph of a definition that is compiled already; `undefined`: ask `resolve`. */
  cached(
    namespace: Namespace,
    name: DefinitionName,
    version: number | undefined
  ): WorkflowGraph.WorkflowGraph | undefined {
    const newest = this.#latest.get(`${namespace}.${name}`)
    const latest = version ?? (newest?.deleted === true ? undefined : newest?.version)
    return latest === undefined ? undefined : this.#touch(`version.${namespace}.${name}.${latest}`)
  }

  readonly resolve = Effect.fnUntraced(
    function*(this: Definitions, namespace: Namespace, name: DefinitionName, version: number | undefined) {
      const wanted = version ?? (yield* this.#readLatest(namespace, name))?.version
      if (wanted === undefined) return yield* noSuch(namespace, name, version)
      const key = `version.${namespace}.${name}.${wanted}`
      return this.#touch(key) ?? (yield* this.#load(key, () => noSuch(namespace, name, version)))
    }
  ).bind(this)

  /** The graph that a journal names: stored under its version, or under its hash when it came inline. */
  readonly byRef = Effect.fnUntraced(function*(this: Definitions, ref: DefinitionRef) {
    if (ref.hash === Semaphore.definition.hash) return Semaphore.graph
    const key = keyOf(ref)
    return this.#touch(key) ?? (yield* this.#load(key, () => noSuch(ref.namespace, ref.name, ref.version)))
  }).bind(this)

  /** Keeps a definition that came with a start, so that whoever takes over finds it. */
  readonly keepInline = Effect.fnUntraced(function*(this: Definitions, value: unknown) {
    const checked = yield* Effect.fromResult(this.check(value))
    const ref: DefinitionRef = {
      namespace: namespaceOf(checked.definition),
      name: checked.definition.metadata.name,
      version: 0,
      hash: checked.hash
    }
    const key = keyOf(ref)
    const known = this.#touch(key)
    if (known !== undefined) return known
    yield* Effect.fromResult(this.checkNew(value))
    yield* this.#create(key, yield* this.#text(ref, value))
    return this.#keep(key, checked.compile(ref))
  }).bind(this)

  /** What `put` would answer now; nothing is stored. */
  readonly validate = Effect.fnUntraced(function*(this: Definitions, value: unknown) {
    const { definition, hash } = yield* Effect.fromResult(this.checkNew(value))
    const { name } = definition.metadata
    const entry = yield* this.#bucket.get(`latest.${namespaceOf(definition)}.${name}`).pipe(
      Effect.mapError(unavailable)
    )
    const latest = Option.isSome(entry) ? yield* Effect.fromResult(decodeLatest(entry.value.value)) : undefined
    const isSame = latest !== undefined && latest.hash === hash && latest.deleted !== true
    return { name, version: isSame ? latest.version : (latest?.version ?? 0) + 1, valid: true }
  }).bind(this)

  readonly put = Effect.fnUntraced(function*(this: Definitions, value: unknown) {
    const checked = yield* Effect.fromResult(this.checkNew(value))
    const namespace = namespaceOf(checked.definition)
    const name = checked.definition.metadata.name
    const latestKey = `latest.${namespace}.${name}`
    for (;;) {
      const entry = yield* this.#bucket.get(latestKey).pipe(Effect.mapError(unavailable))
      const latest = Option.isSome(entry) ? yield* Effect.fromResult(decodeLatest(entry.value.value)) : undefined
      if (latest !== undefined && latest.hash === checked.hash && latest.deleted !== true) {
        return { name, version: latest.version, hash: checked.hash }
      }
      const ref: DefinitionRef = { namespace, name, version: (latest?.version ?? 0) + 1, hash: checked.hash }
      const key = keyOf(ref)
      // a version that another put was about to make: theirs if its content differs, then the next number is tried after they have set `latest`
      const stored = yield* this.#create(key, yield* this.#text(ref, value))
      const won = stored.hash === checked.hash
      const { createdAt } = stored
      const text = JSON.stringify({ version: ref.version, hash: stored.hash, createdAt })
      const outcome = yield* Option.isSome(entry)
        ? this.#bucket.update(latestKey, text, entry.value.revision)
        : this.#bucket.create(latestKey, text)
      if (!won) continue
      if (outcome._tag !== "Won") {
        // written all the same, or another put went on from this version: fine. Else a delete came between, or the answer was lost: once more
        const now = yield* this.#bucket.get(latestKey).pipe(Effect.mapError(unavailable))
        const standing = Option.isSome(now) ? yield* Effect.fromResult(decodeLatest(now.value.value)) : undefined
        if (standing === undefined || standing.version < ref.version) continue
      }
      this.#latest.set(`${namespace}.${name}`, { version: ref.version, hash: checked.hash, createdAt })
      this.#keep(key, checked.compile(ref))
      return { name, version: ref.version, hash: checked.hash }
    }
  }).bind(this)

  readonly get = Effect.fnUntraced(
    function*(this: Definitions, namespace: Namespace, name: DefinitionName, version: number | undefined) {
      const wanted = version ?? (yield* this.#readLatest(namespace, name))?.version
      if (wanted === undefined) return yield* noSuch(namespace, name, version)
      const entry = yield* this.#bucket.get(`version.${namespace}.${name}.${wanted}`).pipe(Effect.mapError(unavailable))
      if (Option.isNone(entry)) return yield* noSuch(namespace, name, version)
      return yield* Effect.fromResult(decodeStored(entry.value.value))
    }
  ).bind(this)

  /** Newest versions, by name; `next` is the last name of the page. */
  list(namespace: Namespace | undefined, limit: number, next: string | undefined) {
    const keys = [...this.#latest.entries()]
      .filter(([key, latest]) =>
        latest.deleted !== true && (namespace === undefined || key.startsWith(`${namespace}.`)) &&
        (next === undefined || key > next)
      )
      .map(([key]) => key)
      .sort()
    const page = keys.slice(0, limit)
    const last = page.at(-1)
    return {
      items: page.map((key) => {
        const [ns, name] = key.split(".")
        const { createdAt, version = 0 } = this.#latest.get(key) ?? {}
        return { namespace: ns ?? "", name: name ?? "", version, ...(createdAt === undefined ? {} : { createdAt }) }
      }),
      ...(keys.length > limit && last !== undefined ? { next: last } : {})
    }
  }

  /** Takes the name out of `list` and new starts; versions stay for the instances that pin them. */
  readonly delete = Effect.fnUntraced(function*(this: Definitions, namespace: Namespace, name: DefinitionName) {
    const key = `latest.${namespace}.${name}`
    for (;;) {
      const entry = yield* this.#bucket.get(key).pipe(Effect.mapError(unavailable))
      if (Option.isNone(entry)) return yield* noSuch(namespace, name, undefined)
      const latest = yield* Effect.fromResult(decodeLatest(entry.value.value))
      if (latest.deleted === true) return yield* noSuch(namespace, name, undefined)
      const outcome = yield* this.#bucket.update(
        key,
        JSON.stringify({ ...latest, deleted: true }),
        entry.value.revision
      )
      if (outcome._tag !== "Won") continue
      this.#latest.set(`${namespace}.${name}`, { ...latest, deleted: true })
      return { name, version: latest.version }
    }
  }).bind(this)

  readonly #readLatest = Effect.fnUntraced(function*(this: Definitions, namespace: Namespace, name: DefinitionName) {
    const known = this.#latest.get(`${namespace}.${name}`)
    if (known !== undefined) return known.deleted === true ? undefined : known
    const entry = yield* this.#bucket.get(`latest.${namespace}.${name}`).pipe(Effect.mapError(unavailable))
    if (Option.isNone(entry)) return undefined
    const latest = yield* Effect.fromResult(decodeLatest(entry.value.value))
    return latest.deleted === true ? undefined : latest
  }).bind(this)

  readonly #load = Effect.fnUntraced(function*(this: Definitions, key: string, missing: () => ContractError) {
    const entry = yield* this.#bucket.get(key).pipe(Effect.mapError(unavailable))
    if (Option.isNone(entry)) return yield* missing()
    const stored = yield* Effect.fromResult(decodeStored(entry.value.value))
    const checked = yield* Effect.fromResult(this.check(stored.definition))
    return this.#keep(
      key,
      checked.compile({ namespace: stored.namespace, name: stored.name, version: stored.version, hash: stored.hash })
    )
  }).bind(this)

  /** Writes a key that never changes; gives what stands there. */
  readonly #create = Effect.fnUntraced(function*(this: Definitions, key: string, text: string) {
    for (;;) {
      const outcome = yield* this.#bucket.create(key, text)
      const entry = outcome._tag === "Won" ? undefined : yield* this.#bucket.get(key).pipe(Effect.mapError(unavailable))
      if (entry === undefined) return yield* Effect.fromResult(decodeStored(text))
      if (Option.isSome(entry)) return yield* Effect.fromResult(decodeStored(entry.value.value))
      if (outcome._tag === "Unknown") {
        return yield* new ContractError({
          code: "Unavailable",
          message: `the definition was not stored: ${outcome.reason}. Try again.`
        })
      }
    }
  }).bind(this)

  #text(ref: DefinitionRef, value: unknown): Effect.Effect<string, ContractError> {
    const text = JSON.stringify({ ...ref, createdAt: timestamp(this.#now()), definition: value })
    return text.length <= definitionBytesMax ? Effect.succeed(text) : Effect.fail(
      new ContractError({
        code: "PayloadTooLarge",
        message:
          `the definition is ${text.length} bytes, ${definitionBytesMax} at most: move long scripts into files or split the workflow`
      })
    )
  }

  #touch(key: string): WorkflowGraph.WorkflowGraph | undefined {
    const graph = this.#compiled.get(key)
    if (graph === undefined) return undefined
    if (this.#compiled.size > compiledMax / 2) {
      this.#compiled.delete(key)
      this.#compiled.set(key, graph)
    }
    return graph
  }

  #keep(key: string, graph: WorkflowGraph.WorkflowGraph): WorkflowGraph.WorkflowGraph {
    this.#compiled.set(key, graph)
    if (this.#compiled.size > compiledMax) {
      const oldest = this.#compiled.keys().next()
      if (oldest.done !== true) this.#compiled.delete(oldest.value)
    }
    return graph
  }
}

/** What is wrong with the graph and its expressions, told beside what is wrong with the structure. */
const withGraphProblems = (error: ContractError, value: unknown): ContractError => {
  const rest = Problems.remainder(value)
  if (rest === undefined || !Array.isArray(error.details)) return error
  const { name } = rest.metadata
  const graph = Compile.compile(rest, { namespace: namespaceOf(rest), name, version: 0, hash: "" })
  if (Result.isSuccess(graph)) return error
  return new ContractError({
    ...error.answer.error,
    details: [...error.details as ReadonlyArray<unknown>, ...graph.failure]
  })
}

const keyOf = (ref: DefinitionRef): string =>
  ref.version === 0
    ? `inline.${ref.namespace}.${ref.name}.${ref.hash}`
    : `version.${ref.namespace}.${ref.name}.${ref.version}`

const noSuch = (namespace: Namespace, name: DefinitionName, version: number | undefined) =>
  new ContractError({
    code: "NoSuchDefinition",
    message: `no workflow definition ${name}${
      version === undefined ? "" : `@${version}`
    } in namespace ${namespace}: \`heddle definitions ls\` lists them`
  })
