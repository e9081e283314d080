/**
 * The `noop` task type: succeeds at once, without a process. `with.outputs` become its outputs: for joins, gates, tests and measurements.
 */
import * as Schema from "effect/Schema"
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import type { Outputs } from "../../shared/protocol/Report.ts"

export const With = Schema.Struct({
  /** What it gives, by name; nothing when not given. */
  outputs: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))
})
const none: Outputs = {}
const nothing: TaskType.TaskOutcome = { _tag: "Succeeded", outputs: none }

export const noop: TaskType.TaskType = TaskType.inline({
  type: "noop",
  description: "Succeeds at once; `outputs` become its outputs.",
  with: With,
  run: ({ with: { outputs } }) => outputs === undefined ? nothing : { _tag: "Succeeded", outputs }
})

export default definePlugin({
  name: "noop",
  version: "1.0.0",
  api: "^1",
  contributes: { taskTypes: { noop: () => noop } }
})
