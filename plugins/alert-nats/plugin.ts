/** The `nats` alert sink: a message on a subject of one's own, `<subject>.<kind>`, as the contract's AlertMessage in JSON. */
import * as Schema from "effect/Schema"
import type { AlertSink } from "../../shared/plugin/AlertSink.ts"
import { definePlugin } from "../../shared/plugin/Plugin.ts"

const Config = Schema.Struct({
  /** Without wildcards and not below `heddle.`, which is the mesh's own; `alerts` when not given. */
  subject: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^(?!heddle\.|\$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/u, {
      message: "a subject such as alerts or ops.alerts, without wildcards and not below heddle."
    }))
  )
})
export const subjectDefault = "alerts"

export const nats = (config: typeof Config.Type): AlertSink => ({
  sink: "nats",
  description: "A message on a NATS subject.",
  deliver: (alert, { publish }) => publish(`${config.subject ?? subjectDefault}.${alert.kind}`, JSON.stringify(alert))
})

export default definePlugin({
  name: "alert-nats",
  version: "1.0.0",
  api: "^1",
  config: Config,
  contributes: { alertSinks: { nats } }
})
