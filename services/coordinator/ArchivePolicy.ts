/**
 * When the history of a finished instance goes to the archive: an age, or never, with other ages for single namespaces. Pure.
 *
 * As text (`HEDDLE_ARCHIVE_AFTER`): `30d`, `never`, `30d,batch=1d,audit=never`. The age counts from the end of the run.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { parseDurationMs } from "../../shared/protocol/Time.ts"
import { Namespace } from "../../shared/protocol/Token.ts"

export interface ArchivePolicy {
  /** Milliseconds; `undefined`: never. */
  readonly afterMs: number | undefined
  readonly namespaces: ReadonlyMap<Namespace, number | undefined>
}

export const textDefault = "30d"

export const afterMsOf = (policy: ArchivePolicy, namespace: Namespace): number | undefined =>
  policy.namespaces.has(namespace) ? policy.namespaces.get(namespace) : policy.afterMs

/** The ages that occur, the least first. */
export const ages = (policy: ArchivePolicy): ReadonlyArray<number> =>
  [...new Set([policy.afterMs, ...policy.namespaces.values()].filter((age) => age !== undefined))].toSorted((a, b) =>
    a - b
  )

const isNamespace = Schema.is(Namespace)

const refuse = (part: string) =>
  Result.fail(
    new ContractError({
      code: "InvalidMessage",
      message: `${
        JSON.stringify(part)
      } is no archive policy: write an age such as "30d" or "never", then, with commas between, "namespace=age"`
    })
  )

export const parse = (text: string): Result.Result<ArchivePolicy, ContractError> => {
  let afterMs = parseDurationMs(textDefault)
  const namespaces = new Map<Namespace, number | undefined>()
  for (const part of text.split(",").map((one) => one.trim())) {
    const [left = "", right] = part.split("=").map((one) => one.trim())
    const age = right ?? left
    const ms = age === "never" ? undefined : parseDurationMs(age)
    if (age !== "never" && ms === undefined) return refuse(part)
    if (right === undefined) afterMs = ms
    else if (isNamespace(left)) namespaces.set(left, ms)
    else return refuse(part)
  }
  return Result.succeed({ afterMs, namespaces })
}

const variable = "HEDDLE_ARCHIVE_AFTER"

/** `HEDDLE_ARCHIVE_AFTER`; `textDefault` when it is not given. */
export const fromEnvironment: Effect.Effect<ArchivePolicy, ContractError> = Config.String(variable).pipe(
  Config.withDefault(textDefault),
  Effect.mapError((error) => new ContractError({ code: "InvalidMessage", message: `${variable}: ${error.message}` })),
  Effect.flatMap((text) =>
    Effect.fromResult(
      Result.mapError(
        parse(text),
        (error) => new ContractError({ code: error.code, message: `${variable}: ${error.message}` })
      )
    )
  )
)
