/**
 * Specs of pools and envs on their way to `apply`: out of a file (one, a list, or several documents) or from flags, checked before a service is asked.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Connection from "./Connection.ts"
import * as FilePath from "./FilePath.ts"
import * as Globals from "./Globals.ts"

/** The values of a YAML or JSON file, one per document or list item. */
export const valuesOf = Effect.fnUntraced(function*(path: string) {
  const text = yield* FilePath.read(path, { of: "-f" })
  const { parseAllDocuments } = yield* Effect.promise(() => import("yaml"))
  const documents = parseAllDocuments(text)
  const values: Array<unknown> = []
  for (const document of Array.isArray(documents) ? documents : []) {
    const problem = document.errors[0]
    if (problem !== undefined) return yield* Globals.usage(`${path}: ${problem.message.split("\n")[0] ?? ""}`)
    const value: unknown = document.toJS()
    if (Array.isArray(value)) values.push(...value as ReadonlyArray<unknown>) // of a parsed file
    else if (value !== null && value !== undefined) values.push(value)
  }
  return values
})

/** A file given as a name would become the name of a pool. */
export const checkNoFile = (group: "pools" | "envs", name: string) =>
  /\.(ya?ml|json)$/.test(name)
    ? Effect.fail(Globals.usage(`${name} is no name.`, `to apply a file, write: heddle ${group} apply -f ${name}`))
    : Effect.void

/** Applies one spec, in the current namespace where it names none. `source`: where it comes from, for the message. */
export const applier = <A, I>(of: {
  readonly kind: "pool" | "env"
  readonly schema: Schema.ConstraintDecoder<unknown>
  readonly subject: string
  readonly answer: Schema.Codec<A, I>
}) => {
  const decode = Schema.decodeUnknownEffect(of.schema, { errors: "all" })
  const article = of.kind === "env" ? "an env" : "a pool"
  return Effect.fnUntraced(function*(value: unknown, source: string) {
    const namespace = yield* Globals.namespaceToken()
    const spec = typeof value === "object" && value !== null && !("namespace" in value)
      ? { namespace, ...value }
      : value
    yield* decode(spec).pipe(
      Effect.mapError((error) =>
        Globals.usage(
          `${source}: not ${article}: ${error.message}`,
          `\`heddle ${of.kind}s describe NAME -o yaml\` shows a good one.`
        )
      )
    )
    return yield* Connection.call(of.subject, of.answer, spec)
  })
}
