/** The `log` alert sink: a warning in the log of the coordinator. */
import * as Effect from "effect/Effect"
import type { AlertSink } from "../../shared/plugin/AlertSink.ts"
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import type { AlertMessage } from "../../shared/protocol/Alert.ts"

/** `alert WorkflowFailed: nightly-20261121T020000/load: exit 1` */
export const line = (alert: AlertMessage): string => {
  const of = alert.instanceId ?? alert.schedule ?? alert.backfill ?? ""
  return `alert ${alert.kind}: ${of}${alert.task === undefined ? "" : `/${alert.task}`}: ${alert.message}`
}

export const log: AlertSink = {
  sink: "log",
  description: "A warning in the coordinator's log.",
  deliver: (alert) => Effect.logWarning(line(alert))
}

export default definePlugin({
  name: "alert-log",
  version: "1.0.0",
  api: "^1",
  contributes: { alertSinks: { log: () => log } }
})
