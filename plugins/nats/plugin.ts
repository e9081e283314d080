/** The `nats` task type as a plugin. */
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { Config, nats } from "./NatsTask.ts"

export default definePlugin({
  name: "nats",
  version: "1.0.0",
  api: "^1",
  config: Config,
  contributes: { taskTypes: { nats } }
})
