/** The scale policies that come with heddle: `buffer` (by demand), `schedule` (windows of time) and `webhook` (asks a service). */
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { buffer } from "./Buffer.ts"
import { webhook } from "./Webhook.ts"
import { schedule } from "./Windows.ts"

export default definePlugin({
  name: "scale",
  version: "1.0.0",
  api: "^1",
  contributes: { scalePolicies: { buffer: () => buffer, schedule: () => schedule, webhook: () => webhook } }
})
