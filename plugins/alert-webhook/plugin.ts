/**
 * The `webhook` alert sink: an HTTP POST of the contract's AlertMessage in JSON, with its id as `Idempotency-Key`.
 *
 * Delivered is what was answered 2xx. 408, 425, 429, 5xx and no answer are tried again; every other answer is for good: another try would get it too.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { AlertFailed, type AlertSink } from "../../shared/plugin/AlertSink.ts"
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"

const Config = Schema.Struct({
  /** http or https. Without one every delivery fails for good, with the fix in the message. */
  url: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^https?:\/\/\S+$/u, { message: "an address such as https://example.org/x" }))
  ),
  /** Further headers, such as `authorization`. */
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  /** For one POST; 10s when not given. */
  timeout: Schema.optionalKey(DurationMs)
})
const timeoutDefaultMs = 10_000
const isPassing = (status: number): boolean => status >= 500 || status === 408 || status === 425 || status === 429

export const webhook = (config: typeof Config.Type): AlertSink => ({
  sink: "webhook",
  description: "An HTTP POST.",
  deliver: (alert) => {
    const { headers, timeout, url } = config
    if (url === undefined) {
      return Effect.fail(
        new AlertFailed({
          message: "the webhook sink has no address: set `url` of the plugin alert-webhook (HEDDLE_ALERT_WEBHOOK_URL)",
          isPermanent: true
        })
      )
    }
    return Effect.tryPromise({
      // redirects are not followed: an alert goes where the deployment says
      try: (signal) =>
        fetch(url, {
          method: "POST",
          signal,
          redirect: "manual",
          headers: { "content-type": "application/json", "idempotency-key": alert.id, ...headers },
          body: JSON.stringify(alert)
        }).then(async (answer) => {
          await answer.body?.cancel()
          return answer.status
        }),
      catch: (cause) => {
        const inner = cause instanceof Error && cause.cause instanceof Error ? `: ${cause.cause.message}` : ""
        return new AlertFailed({
          message: `no answer: ${cause instanceof Error ? cause.message : String(cause)}${inner}`,
          isPermanent: false
        })
      }
    }).pipe(
      Effect.timeoutOrElse({
        duration: timeout ?? timeoutDefaultMs,
        orElse: () =>
          Effect.fail(
            new AlertFailed({ message: `no answer within ${timeout ?? timeoutDefaultMs} ms`, isPermanent: false })
          )
      }),
      Effect.flatMap((status) =>
        status >= 200 && status < 300 ? Effect.void : Effect.fail(
          new AlertFailed({ message: `answered ${status}`, isPermanent: !isPassing(status) })
        )
      )
    )
  }
})

export default definePlugin({
  name: "alert-webhook",
  version: "1.0.0",
  api: "^1",
  config: Config,
  contributes: { alertSinks: { webhook } }
})
