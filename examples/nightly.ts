// A workflow in TypeScript: heddle run examples/nightly.ts --watch
// The compiler knows its tasks: a predecessor or branch that does not exist, or an argument that `shell` does not take, is an error in the editor.
import { defineWorkflow } from "heddle/authoring"

const regions = ["eu", "us"]

export default defineWorkflow({
  metadata: { name: "nightly" },
  spec: {
    params: { day: "2026-11-21", regions, full: false },
    failureStrategy: "end",
    timeout: { after: "1h" },
    onCleanup: { type: "shell", with: { run: "echo the night of ${{ params.day }} is to be repeated" } },
    tasks: [
      {
        name: "extract",
        type: "shell",
        forEach: { items: "params.regions", parallelism: 2 },
        retry: { times: 2, interval: "1s", backoff: "exponential" },
        with: { run: "echo rows=3 >> \"$HEDDLE_OUTPUTS\"; echo extract ${{ item }}" }
      },
      {
        name: "how",
        type: "switch",
        dependsOn: ["extract"],
        with: { cases: [{ when: "params.full", next: "rebuild" }], default: "append" }
      },
      { name: "rebuild", type: "shell", dependsOn: ["how"], with: { run: "echo rebuild all of it" } },
      {
        name: "append",
        type: "shell",
        dependsOn: ["how"],
        with: { run: "echo append ${{ params.day }}", grace: "5s" }
      },
      {
        name: "report",
        type: "noop",
        dependsOn: ["rebuild", "append"],
        join: "none_failed",
        with: { outputs: { day: "${{ params.day }}", rows: "${{ tasks.extract.outputs.items.map(i, i.rows) }}" } }
      }
    ]
  }
})
