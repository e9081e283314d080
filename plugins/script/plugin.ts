/** The `script` task type as a plugin. */
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { script } from "./Script.ts"

export default definePlugin({
  name: "script",
  version: "1.0.0",
  api: "^1",
  contributes: { taskTypes: { script: () => script } }
})
