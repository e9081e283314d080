import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { createServer, type IncomingHttpHeaders } from "node:http"
import type { AddressInfo } from "node:net"
import type { AlertMessage } from "../../shared/protocol/Alert.ts"
import plugin, { webhook } from "./plugin.ts"

const alert: AlertMessage = {
  id: "i-1/alert:WorkflowFailed:1",
  kind: "WorkflowFailed",
  at: "2026-11-21T02:00:00.000Z",
  message: "task load failed: exit 1"
}
const context = { publish: () => Effect.void }
/** For one POST: a machine that stands still for a while is no answer that does not come. */
const timeout = 60_000

/** Answers with the statuses in turn. */
const server = (statuses: ReadonlyArray<number>) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly got: Array<{ headers: IncomingHttpHeaders; body: string }> }>(
      (resume) => {
        const got: Array<{ headers: IncomingHttpHeaders; body: string }> = []
        // an idle connection stays open: one that ends while the next alert is on its way would fail it
        const http = createServer({ keepAliveTimeout: 0 }, (request, response) => {
          let body = ""
          request.setEncoding("utf8").on("data", (part: string) => body += part).on("end", () => {
            const status = statuses[Math.min(got.length, statuses.length - 1)] ?? 200
            got.push({ headers: request.headers, body })
            response.writeHead(status, status === 302 ? { location: "/elsewhere" } : {}).end("x")
          })
        })
        http.listen(0, "127.0.0.1", () => {
          const { port } = http.address() as AddressInfo // it listens on TCP
          resume(Effect.succeed({ url: `http://127.0.0.1:${port}/hook`, got, http }))
        })
      }
    ),
    (running) =>
      Effect.sync(() => {
        const { http } = running as typeof running & { http: ReturnType<typeof createServer> } // as made above
        http.closeAllConnections()
        http.close()
      })
  )

describe("alert sink webhook", () => {
  it.live("a POST with the alert, its id and the configured headers", () =>
    Effect.gen(function*() {
      const { got, url } = yield* server([204])
      yield* webhook({ url, timeout, headers: { authorization: "Bearer t" } }).deliver(alert, context)
      assert.deepStrictEqual(JSON.parse(got[0]?.body ?? ""), alert)
      assert.deepStrictEqual(
        [got[0]?.headers["idempotency-key"], got[0]?.headers["authorization"], got[0]?.headers["content-type"]],
        [alert.id, "Bearer t", "application/json"]
      )
    }))

  it.live("503 is tried again, 404 and a redirect are for good, and so is a missing address", () =>
    Effect.gen(function*() {
      const { got, url } = yield* server([503, 404, 302])
      const sink = webhook({ url, timeout })
      const failures = [
        yield* Effect.flip(sink.deliver(alert, context)),
        yield* Effect.flip(sink.deliver(alert, context)),
        yield* Effect.flip(sink.deliver(alert, context)),
        yield* Effect.flip(webhook({}).deliver(alert, context)),
        yield* Effect.flip(webhook({ url: "http://127.0.0.1:1/" }).deliver(alert, context))
      ]
      assert.deepStrictEqual(failures.map(({ isPermanent }) => isPermanent), [false, true, true, true, false])
      assert.strictEqual(got.length, 3)
      assert.match(failures[3]?.message ?? "", /HEDDLE_ALERT_WEBHOOK_URL/)
    }))

  it("an address that is none is refused when the plugin is loaded", () => {
    assert.isTrue(Result.isFailure(plugin.load({ url: "ftp://x" })))
    assert.deepStrictEqual([...Result.getOrThrow(plugin.load()).alertSinks.keys()], ["webhook"])
  })
})
