/**
 * A plugin of one's own: the task type `checksum`, of a text or of what stands at a URL. See README.md.
 *
 *   heddle dev --plugin examples/plugin/checksum.ts
 *   heddle run examples/plugin/checksum.yaml --watch
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { definePlugin } from "heddle/plugin/Plugin"
import * as TaskType from "heddle/plugin/TaskType"
import { createHash } from "node:crypto"

const Algorithm = Schema.Literals(["sha256", "sha512", "sha3-256"])

/** Of the plugin, for the whole mesh: `HEDDLE_PLUGIN_CONFIG={"checksum":{"algorithm":"sha512"}}`. */
const Config = Schema.Struct({
  /** Of tasks that name none; `sha256` when not given. */
  algorithm: Schema.optionalKey(Algorithm)
})

/** What a task takes under `with`. */
const With = Schema.Struct({
  /** This text, in UTF-8. */
  text: Schema.optionalKey(Schema.String),
  /** Or what an HTTP server answers. */
  url: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^https?:\/\/\S+$/, { message: "http:// or https://" }))
  ),
  algorithm: Schema.optionalKey(Algorithm)
}).check(
  Schema.makeFilter(({ text, url }) => (text === undefined) === (url === undefined) ? "give text or url" : undefined)
)

/** What another attempt could mend is `Failed`, everything else `Fatal`. */
const failed = (reason: string): TaskType.TaskOutcome => ({ _tag: "Failed", reason })
const fatal = (reason: string): TaskType.TaskOutcome => ({ _tag: "Fatal", reason })

const ofText = (text: string, algorithm: string): TaskType.TaskOutcome => ({
  _tag: "Succeeded",
  outputs: { algorithm, checksum: createHash(algorithm).update(text).digest("hex"), bytes: Buffer.byteLength(text) }
})

/** Reads the answer part by part, so that its size does not matter. */
const ofUrl = async (url: string, algorithm: string, signal: AbortSignal): Promise<TaskType.TaskOutcome> => {
  const response = await fetch(url, { signal })
  if (!response.ok) {
    await response.body?.cancel()
    return (response.status >= 500 ? failed : fatal)(`${url} answered ${response.status}`)
  }
  const hash = createHash(algorithm)
  let bytes = 0
  for await (const part of response.body ?? []) {
    hash.update(part)
    bytes += part.length
  }
  return { _tag: "Succeeded", outputs: { algorithm, checksum: hash.digest("hex"), bytes } }
}

const checksum = (config: typeof Config.Type) =>
  TaskType.effectful({
    type: "checksum",
    description: "The checksum of a text or of what stands at a URL.",
    with: With,
    // Runs in the executor. A kill of the task interrupts the effect, and with it the request.
    run: ({ log, with: { algorithm = config.algorithm ?? "sha256", text, url } }) =>
      Effect.gen(function*() {
        log("stdout", new TextEncoder().encode(`${algorithm} of ${url ?? "a text"}\n`))
        if (url === undefined) return ofText(text ?? "", algorithm)
        return yield* Effect.tryPromise((signal) => ofUrl(url, algorithm, signal)).pipe(
          Effect.catch((error) => Effect.succeed(failed(`${url} did not answer: ${String(error.cause)}`)))
        )
      })
  })

export default definePlugin({
  name: "checksum",
  version: "1.0.0",
  // Of the SDK: any 1.x of it.
  api: "^1",
  config: Config,
  contributes: { taskTypes: { checksum } }
})
