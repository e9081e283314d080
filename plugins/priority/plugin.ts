/** The placement policy `priority`: highest priority first, then order of arrival, with ageing; no shares of teams. */
import type { PlacementPolicy } from "../../shared/plugin/PlacementPolicy.ts"
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { AgingQueue } from "./AgingQueue.ts"

export const policy: PlacementPolicy = { name: "priority", make: () => new AgingQueue() }

export default definePlugin({
  name: "priority",
  version: "1.0.0",
  api: "^1",
  contributes: { placementPolicies: { priority: () => policy } }
})
