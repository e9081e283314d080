import { describe, it } from "vitest"
import * as PlacementPolicySuite from "../../shared/plugin/suite/PlacementPolicySuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import { policy } from "./plugin.ts"

Suite.run(
  { describe, it },
  "fifo keeps what a placement policy promises",
  PlacementPolicySuite.promises({
    policy,
    goesWithin: { job: 2, team: 2, taskPriority: "never", priority: "never", teamWithPriority: "never" },
    weights: "honoured"
  })
)
