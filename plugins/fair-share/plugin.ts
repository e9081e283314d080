/** The placement policy `fair-share`: weighted shares of teams before any priority, then each team's own priorities, turns among jobs, order of arrival. */
import type { PlacementPolicy } from "../../shared/plugin/PlacementPolicy.ts"
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { ShareQueue } from "./ShareQueue.ts"

export const policy: PlacementPolicy = { name: "fair-share", make: ({ weights }) => new ShareQueue(weights) }

export default definePlugin({
  name: "fair-share",
  version: "1.0.0",
  api: "^1",
  contributes: { placementPolicies: { "fair-share": () => policy } }
})
