import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { AlertMessage } from "../../shared/protocol/Alert.ts"
import plugin from "./plugin.ts"

const alert: AlertMessage = {
  id: "i-1/alert:WorkflowFailed:1",
  kind: "WorkflowFailed",
  at: "2026-11-21T02:00:00.000Z",
  message: "task load failed: exit 1"
}

describe("alert sink nats", () => {
  it.effect("on its subject by kind; a subject of the mesh is refused", () =>
    Effect.gen(function*() {
      const sent: Array<string> = []
      const loaded = Result.getOrThrow(plugin.load({ subject: "ops.alerts" }))
      const sink = loaded.alertSinks.get("nats")
      assert.isDefined(sink)
      yield* sink?.deliver(alert, { publish: (subject, body) => Effect.sync(() => void sent.push(subject, body)) }) ??
        Effect.void
      assert.deepStrictEqual(sent, ["ops.alerts.WorkflowFailed", JSON.stringify(alert)])
      for (const subject of ["heddle.rpc", "$JS.API", "a.*", "a..b"]) {
        assert.isTrue(Result.isFailure(plugin.load({ subject })), subject)
      }
    }))
})
