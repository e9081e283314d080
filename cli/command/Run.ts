/**
 * `heddle run`: starts a workflow from a file or a stored definition; with `--wait` or `--watch` until it rests.
 *
 * The instance's id is chosen here, so a start whose answer was lost is asked again and never starts twice. design/02 "Workflows".
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { DefinitionRefText } from "../../shared/protocol/Definition.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { StartAnswer, StartRequest } from "../../shared/protocol/Workflow.ts"
import * as Connection from "../Connection.ts"
import * as DefinitionCheck from "../DefinitionCheck.ts"
import { CliFailure } from "../ExitCode.ts"
import * as FilePath from "../FilePath.ts"
import * as Globals from "../Globals.ts"
import { Output } from "../Output.ts"
import * as Pairs from "../Pairs.ts"
import * as StartedRun from "../StartedRun.ts"
import * as WorkflowFile from "../WorkflowFile.ts"
import * as YamlSource from "../YamlSource.ts"

export interface Input extends StartedRun.Input {
  readonly workflow: string
  readonly param: ReadonlyArray<string>
  readonly paramsFile: Option.Option<string>
  readonly id: Option.Option<string>
  readonly priority: Option.Option<number>
  readonly pool: Option.Option<string>
  readonly startNode: ReadonlyArray<string>
  readonly dependType: Option.Option<"TASK_ONLY" | "TASK_PRE" | "TASK_POST">
  readonly dryRun: boolean
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const paramsOfFile = Effect.fnUntraced(function*(path: string) {
  const source = YamlSource.parse(yield* FilePath.read(path, { of: "--params-file", isStdin: false }))
  if (source.syntax.length > 0) {
    return yield* new CliFailure({
      exit: 2,
      message: `${path} is not valid.`,
      problems: YamlSource.describe(path, source.syntax)
    })
  }
  return isRecord(source.value) ? source.value : yield* Globals.usage(`${path} is not a map of parameters.`)
})

/** A problem that the coordinator found in an inline definition, at its line. */
const located =
  (file: WorkflowFile.WorkflowFile | undefined) => (error: ContractError | CliFailure): ContractError | CliFailure => {
    if (
      file === undefined || error._tag !== "ContractError" ||
      !["InvalidDefinition", "InvalidMessage", "InvalidName"].includes(error.code)
    ) return error
    const problems = Array.isArray(error.details) ? error.details.filter(isRecord) : []
    const found = problems.flatMap((problem) =>
      typeof problem["path"] === "string" && typeof problem["message"] === "string" &&
        // others are of the start itself, such as a start node that is no task
        (error.code === "InvalidDefinition" || problem["path"].startsWith("inline"))
        ? [{ path: problem["path"].replace(/^inline\.?/, ""), message: problem["message"] }]
        : []
    )
    return found.length === 0 ? error : WorkflowFile.invalid(file, WorkflowFile.locate(file.source, found))
  }

/** Given, but not declared by a definition that declares some: allowed, expressions may use it, and more often a slip of the pen. */
export const undeclared = (
  given: Readonly<Record<string, unknown>>,
  declared: Readonly<Record<string, unknown>>
): ReadonlyArray<string> =>
  Object.keys(declared).length === 0 ? [] : Object.keys(given).filter((name) => !Object.hasOwn(declared, name))

export const run = (input: Input) =>
  Effect.gen(function*() {
    const output = yield* Output
    const file = WorkflowFile.isFile(input.workflow) ? yield* WorkflowFile.read(input.workflow) : undefined
    const inline = file === undefined ? undefined : yield* DefinitionCheck.definitionOf(file, { isDraft: false })
    const params = {
      ...(Option.isSome(input.paramsFile) ? yield* paramsOfFile(input.paramsFile.value) : {}),
      ...(yield* Pairs.values("--param", input.param))
    }
    const timeoutMs = yield* StartedRun.timeoutOf(input)
    const namespace = yield* Globals.namespaceToken()
    const name = inline === undefined ? input.workflow : String(inline.metadata.name)
    if (inline === undefined) {
      yield* Schema.decodeUnknownEffect(DefinitionRefText)(input.workflow).pipe(Effect.mapError(() =>
        Globals.usage(
          `${JSON.stringify(input.workflow)} is neither a file nor a definition.`,
          "give a path, or name or name@version."
        )
      ))
    }
    const instanceId = Option.isSome(input.id)
      ? yield* Globals.checkToken("--id", input.id.value)
      : StartedRun.idOf(name)
    const unknown = undeclared(params, inline?.spec.params ?? {})
    if (unknown.length > 0) {
      yield* output.note(
        `heddle: ${name} declares no parameter ${unknown.join(", ")}; it has ${
          Object.keys(inline?.spec.params ?? {}).join(", ")
        }`
      )
    }
    const body = {
      ...(inline === undefined ? { definition: input.workflow } : { inline }),
      instanceId,
      namespace,
      ...(Object.keys(params).length > 0 ? { params } : {}),
      ...(input.startNode.length > 0 ? { startNodes: input.startNode } : {}),
      ...(Option.isSome(input.dependType) ? { dependType: input.dependType.value } : {}),
      ...(input.dryRun ? { dryRun: true } : {}),
      ...(Option.isSome(input.priority) ? { priority: input.priority.value } : {}),
      ...(Option.isSome(input.pool) ? { pool: input.pool.value } : {})
    }
    yield* Schema.decodeUnknownEffect(StartRequest, { errors: "all" })(body).pipe(
      Effect.mapError((error) => Globals.usage(`The start is not valid: ${error.message}`))
    )
    yield* StartedRun.follow(
      Connection.call(Subject.rpc.workflow("start"), StartAnswer, body).pipe(Effect.mapError(located(file))),
      input,
      timeoutMs
    )
  }).pipe(Connection.provide)
