/**
 * An alert sink: where an alert is told (a log, a NATS subject, a web hook). Contributed by a plugin, run by coordinators.
 *
 * The host delivers at least once: it repeats a delivery that failed, with back-off and a bound, and gives each a deadline; nothing waits for a sink. `id` of an
 * alert is the same in every delivery of it. Clock, random, logger and interruption come from the host through Effect. Follows design/03 section 6.
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { AlertMessage } from "../protocol/Alert.ts"

/** Not delivered. `isPermanent`: no further try would do better (a wrong address); else it is tried again. */
export class AlertFailed extends Schema.TaggedError<AlertFailed>()("AlertFailed", {
  message: Schema.String,
  isPermanent: Schema.Boolean
}) {}

/** What a sink may use of the mesh. */
export interface AlertContext {
  /** To a NATS subject, stored or not as the server's streams say; fails when the connection is down. */
  readonly publish: (subject: string, body: string) => Effect.Effect<void, AlertFailed>
}

export interface AlertSink {
  readonly sink: string
  readonly description: string
  /** Done when the other side has it. Interrupted at the host's deadline (30 s). */
  readonly deliver: (alert: AlertMessage, context: AlertContext) => Effect.Effect<void, AlertFailed>
}
