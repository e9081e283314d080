/** The `exec` task type as a plugin. */
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { exec } from "./Exec.ts"

export default definePlugin({
  name: "exec",
  version: "1.0.0",
  api: "^1",
  contributes: { taskTypes: { exec: () => exec } }
})
