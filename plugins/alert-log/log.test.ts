import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import type { AlertMessage } from "../../shared/protocol/Alert.ts"
import plugin, { line } from "./plugin.ts"

const alert: AlertMessage = {
  id: "i-1/alert:WorkflowFailed:1",
  kind: "WorkflowFailed",
  at: "2026-11-21T02:00:00.000Z",
  message: "task load failed: exit 1"
}

describe("alert sink log", () => {
  it("one line: what, of which, why", () => {
    assert.deepStrictEqual([...Result.getOrThrow(plugin.load()).alertSinks.keys()], ["log"])
    assert.strictEqual(
      line({ ...alert, schedule: "nightly" }),
      "alert WorkflowFailed: nightly: task load failed: exit 1"
    )
  })
})
