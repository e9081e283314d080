/** The `shell` task type as a plugin. */
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { shell } from "./Shell.ts"

export default definePlugin({
  name: "shell",
  version: "1.0.0",
  api: "^1",
  contributes: { taskTypes: { shell: () => shell } }
})
