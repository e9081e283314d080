/** The `http` task type as a plugin. */
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { Config, http } from "./Http.ts"

export default definePlugin({
  name: "http",
  version: "1.0.0",
  api: "^1",
  config: Config,
  contributes: { taskTypes: { http } }
})
