/** `heddle definitions`: the store of definitions, and what is wrong with a file before it gets there. design/02, design/03 section 7. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import {
  type Definition,
  DefinitionDeleted,
  DefinitionList,
  DefinitionPut,
  DefinitionStored
} from "../../shared/protocol/Definition.ts"
import { ContractError, Problem } from "../../shared/protocol/ErrorCode.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as Connection from "../Connection.ts"
import * as DefinitionCheck from "../DefinitionCheck.ts"
import * as Globals from "../Globals.ts"
import { Output } from "../Output.ts"
import * as WorkflowFile from "../WorkflowFile.ts"

export const ls = (input: { readonly limit: Option.Option<number>; readonly next: Option.Option<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const page = yield* Connection.call(Subject.rpc.definition("list"), DefinitionList, {
      namespace: yield* Globals.namespaceToken(),
      ...(Option.isSome(input.limit) ? { limit: input.limit.value } : {}),
      ...(Option.isSome(input.next) ? { next: input.next.value } : {})
    })
    yield* output.page(
      page,
      [
        { title: "NAME", value: (item) => item.name },
        { title: "VERSION", value: (item) => String(item.version), alignRight: true },
        { title: "STORED", value: (item) => item.createdAt ?? "" },
        { title: "NAMESPACE", value: (item) => item.namespace }
      ],
      "No definitions. What to do: `heddle definitions put FILE` stores one."
    )
    if (page.next !== undefined && output.format === "table") {
      yield* output.note(`heddle: there are more: --next ${page.next}`)
    }
  }).pipe(Connection.provide)

export const get = (input: { readonly name: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const [name = "", version] = input.name.split("@")
    const stored = yield* Connection.call(Subject.rpc.definition("get"), DefinitionStored, {
      name: yield* Globals.checkToken("The definition", name),
      namespace: yield* Globals.namespaceToken(),
      ...(version === undefined ? {} : { version: Number(version) })
    })
    // A file that `put` takes again; the rest of the answer is for programs.
    if (output.format === "table" || output.format === "yaml") {
      const { stringify } = yield* Effect.promise(() => import("yaml"))
      yield* output.line(
        `# ${stored.name}@${stored.version}, stored ${stored.createdAt}\n${stringify(stored.definition).trimEnd()}`
      )
    } else yield* output.value(stored, () => "")
  }).pipe(Connection.provide)

/** Answers of the store name places in the definition; people want them in their file. */
const inFile = (file: WorkflowFile.WorkflowFile) => <E>(error: E) => {
  if (!(error instanceof ContractError)) return error
  const problems = Schema.decodeUnknownOption(Schema.Array(Problem))(error.details)
  return Option.isSome(problems) && problems.value.length > 0
    ? WorkflowFile.invalid(file, WorkflowFile.locate(file.source, problems.value))
    : error
}

const withNamespace = Effect.fnUntraced(function*(definition: typeof Definition.Encoded) {
  const namespace = yield* Globals.namespaceToken()
  return definition.metadata.namespace === undefined
    ? { ...definition, metadata: { ...definition.metadata, namespace } }
    : definition
})

export const put = (input: { readonly file: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const file = yield* WorkflowFile.read(input.file)
    const definition = yield* Effect.flatMap(DefinitionCheck.definitionOf(file, { isDraft: true }), withNamespace)
    const stored = yield* Connection.call(Subject.rpc.definition("put"), DefinitionPut, definition).pipe(
      Effect.mapError(inFile(file))
    )
    yield* output.value(stored, () => `${stored.name}@${stored.version}`)
  }).pipe(Connection.provide)

/** Whoever was asked first may have died with the answer: then nobody says which version was the newest. */
const Removed = Schema.Struct({
  ...DefinitionDeleted.fields,
  name: Schema.String,
  version: Schema.optionalKey(Schema.Int)
})

export const remove = (input: { readonly name: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const name = yield* Globals.checkToken("The definition", input.name)
    const namespace = yield* Globals.namespaceToken()
    const deleted = yield* Connection.remove(Subject.rpc.definition("delete"), Removed, { name, namespace }, { name })
    yield* output.value(deleted, () => `deleted ${deleted.name}; instances that run keep their version`)
  }).pipe(Connection.provide)

export const validate = (input: { readonly file: string; readonly local: boolean }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const file = yield* WorkflowFile.read(input.file)
    const { problems, warnings } = yield* DefinitionCheck.check(file, { isWhole: true, isDraft: true })
    yield* DefinitionCheck.warn(file, warnings)
    const { definition } = file
    if (definition === undefined || problems.length > 0) {
      if (output.format !== "table") yield* report(file, problems)
      return yield* WorkflowFile.invalid(file, problems)
    }
    if (!input.local) {
      // The store may know more: pools, plugins, limits. Without one, the engine's word is what there is.
      yield* Connection.provide(
        Effect.flatMap(withNamespace(definition), (body) =>
          Connection.call(Subject.rpc.definition("validate"), Schema.Unknown, body)).pipe(
            Effect.mapError(inFile(file))
          )
      ).pipe(
        Effect.catchIf(
          (error) =>
            error instanceof ContractError && error.code === "Unavailable",
          () =>
            output.note(
              "heddle: no server answers, so only structure, graph and expressions were checked (--local says so without this line)"
            )
        )
      )
    }
    return yield* output.value({ valid: true, name: definition.metadata.name, problems: [], warnings }, () =>
      `${file.path} is valid: ${definition.metadata.name}, ${definition.spec.tasks.length} tasks`)
  })

const report = (file: WorkflowFile.WorkflowFile, problems: WorkflowFile.WorkflowFile["problems"]) =>
  Effect.gen(function*() {
    const output = yield* Output
    yield* output.value({ valid: false, file: file.path, problems }, () => "")
  })
