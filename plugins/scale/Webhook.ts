/**
 * The scale policy `webhook`: an HTTP POST of the pool's counters; the answer `{"target": 12}` is how many sandboxes it should have.
 *
 * Asked every `every`, beside the scheduler; an answer that is late, not 2xx or not understood leaves the last one in force. Before the first answer the demand alone decides.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { make, ScalePolicyFailed, type ScaleView, type ScaleWish } from "../../shared/plugin/ScalePolicy.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"

const Interval = DurationMs.check(Schema.isBetween({ minimum: 100, maximum: 3_600_000 }))
export const Config = Schema.Struct({
  url: Schema.String.check(
    Schema.isPattern(/^https?:\/\/\S+$/u, { message: "an address such as https://example.org/x" })
  ),
  /** Further headers, such as `authorization`. */
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  /** Between two questions; 10s when not given. */
  every: Schema.optionalKey(Interval),
  /** For one answer; 5s when not given. */
  timeout: Schema.optionalKey(Interval)
})
export type Config = typeof Config.Type
const everyDefaultMs = 10_000
const timeoutDefaultMs = 5_000
const answerBytesMax = 65_536

const Answer = Schema.Struct({ target: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 })) })
const decodeAnswer = Schema.decodeUnknownEffect(Schema.fromJsonString(Answer))

const failed = (message: string) => new ScalePolicyFailed({ policy: "webhook", message })

const ask = (config: Config, view: ScaleView): Effect.Effect<ScaleWish, ScalePolicyFailed> => {
  const timeoutMs = config.timeout ?? timeoutDefaultMs
  return Effect.tryPromise({
    // redirects are not followed: the question goes where the deployment says
    try: (signal) =>
      fetch(config.url, {
        method: "POST",
        signal,
        redirect: "manual",
        headers: { "content-type": "application/json", ...config.headers },
        body: JSON.stringify(view)
      }).then(async (answer) => ({ status: answer.status, text: (await answer.text()).slice(0, answerBytesMax) })),
    catch: (cause) => failed(`no answer: ${cause instanceof Error ? cause.message : String(cause)}`)
  }).pipe(
    Effect.timeoutOrElse({
      duration: timeoutMs,
      orElse: () => Effect.fail(failed(`no answer within ${timeoutMs} ms`))
    }),
    Effect.flatMap(({ status, text }) =>
      status < 200 || status >= 300
        ? Effect.fail(failed(`answered ${status}`))
        : Effect.mapError(decodeAnswer(text), (error) =>
          failed(`answered something else than {"target": n}: ${error.message}`))
    )
  )
}

export const webhook = make({
  name: "webhook",
  config: Config,
  open: (config) => ({
    decide: (_, fetched) => fetched ?? {},
    fetch: { everyMs: config.every ?? everyDefaultMs, run: (view) => ask(config, view) }
  })
})
