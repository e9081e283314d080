/** The placement policy `fifo`: priority, fair turns among teams and then jobs, order of arrival within a job. */
import type { PlacementPolicy } from "../../shared/plugin/PlacementPolicy.ts"
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import { FairQueue } from "./FairQueue.ts"

export const policy: PlacementPolicy = { name: "fifo", make: ({ weights }) => new FairQueue(weights) }

export default definePlugin({
  name: "fifo",
  version: "1.0.0",
  api: "^1",
  contributes: { placementPolicies: { fifo: () => policy } }
})
