import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { ScaleView } from "../../shared/plugin/ScalePolicy.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { buffer } from "./Buffer.ts"
import { webhook } from "./Webhook.ts"
import { schedule } from "./Windows.ts"

const view = (more: Partial<ScaleView> = {}): ScaleView => ({
  pool: { namespace: Namespace.make("default"), name: PoolName.make("p") },
  now: 0,
  idle: 0,
  waiting: 0,
  claimed: 0,
  creating: 0,
  total: 0,
  target: 0,
  min: 0,
  max: 100,
  minIdle: 0,
  ...more
})

describe("buffer", () => {
  it("demand plus the idle buffer; a spare one while in use; to zero without demand", () => {
    const { decide } = buffer.open({})
    assert.strictEqual(decide(view({ waiting: 3, claimed: 4, minIdle: 2 }), undefined).target, 9)
    assert.strictEqual(decide(view({ claimed: 4 }), undefined).target, 5)
    assert.strictEqual(decide(view(), undefined).target, 0)
    const share = buffer.open({ idleShare: 0.5, spare: 0 })
    assert.strictEqual(share.decide(view({ claimed: 9 }), undefined).target, 14)
    assert.strictEqual(buffer.validate({ idleShare: -1 }).length, 1)
  })
})

describe("schedule", () => {
  const at = (text: string) => Date.parse(text)
  const { decide } = schedule.open({
    timezone: "Europe/Berlin",
    windows: [
      { cron: "0 8 * * MON-FRI", duration: "10h", minIdle: 20, min: 5 },
      { cron: "0 9 * * MON", duration: "1h", minIdle: 50 }
    ]
  })
  const wish = (text: string) => decide(view({ now: at(text) }), undefined)

  it("windows open and close in their time zone, summer and winter; the one that began last counts", () => {
    assert.deepStrictEqual(wish("2026-01-14T06:59:59Z"), { until: at("2026-01-14T07:00:00Z") })
    assert.deepStrictEqual(wish("2026-01-14T07:00:00Z"), {
      min: 5,
      minIdle: 20,
      until: at("2026-01-14T17:00:00Z")
    })
    assert.deepStrictEqual(wish("2026-01-14T17:00:00Z"), { until: at("2026-01-15T07:00:00Z") })
    assert.strictEqual(wish("2026-07-15T06:00:00Z").minIdle, 20)
    assert.strictEqual(wish("2026-07-15T05:59:59Z").minIdle, undefined)
    assert.deepStrictEqual(wish("2026-01-12T08:30:00Z"), {
      min: 5,
      minIdle: 50,
      until: at("2026-01-12T09:00:00Z")
    })
    assert.deepStrictEqual(wish("2026-01-12T07:30:00Z"), { min: 5, minIdle: 20, until: at("2026-01-12T08:00:00Z") })
    assert.deepStrictEqual(wish("2026-01-17T12:00:00Z"), { until: at("2026-01-19T07:00:00Z") })
  })

  it("a cron that nothing understands is told with its place", () => {
    const [problem] = schedule.validate({ windows: [{ cron: "whenever", duration: "1h" }] })
    assert.strictEqual(problem?.path, "config.windows[0].cron")
    assert.strictEqual(
      schedule.validate({ timezone: "Mars/Base", windows: [{ cron: "0 8 * * *", duration: "1h" }] }).length,
      1
    )
  })
})

describe("webhook", () => {
  const server = (answer: (body: string) => { readonly status: number; readonly body: string } | undefined) =>
    Effect.acquireRelease(
      Effect.callback<{ readonly url: string; readonly stop: () => void }>((resume) => {
        // an idle connection stays open: one that ends while the next question is on its way would fail it
        const http = createServer({ keepAliveTimeout: 0 }, (request, response) => {
          let body = ""
          request.setEncoding("utf8").on("data", (part: string) => body += part).on("end", () => {
            const said = answer(body)
            if (said !== undefined) response.writeHead(said.status).end(said.body)
          })
        })
        http.listen(0, "127.0.0.1", () => {
          const { port } = http.address() as AddressInfo // it listens on TCP
          const stop = () => {
            http.closeAllConnections()
            http.close()
          }
          resume(Effect.succeed({ url: `http://127.0.0.1:${port}/`, stop }))
        })
      }),
      ({ stop }) => Effect.sync(stop)
    )

  it.live("is told the counters and answers a target; anything else fails, and says why", () =>
    Effect.gen(function*() {
      const got: Array<unknown> = []
      const says: Array<{ readonly status: number; readonly body: string } | undefined> = [
        { status: 200, body: "{\"target\":12}" },
        { status: 500, body: "" },
        { status: 200, body: "{\"target\":-1}" },
        undefined
      ]
      const { url } = yield* server((body) => {
        got.push(JSON.parse(body))
        return says.shift()
      })
      const { decide, fetch } = webhook.open({ url, timeout: "1m", every: "1s" })
      assert.strictEqual(fetch?.everyMs, 1_000)
      const ask = fetch?.run(view({ waiting: 7 })) ?? Effect.die("no fetch")
      assert.deepStrictEqual(yield* ask, { target: 12 })
      assert.deepInclude(got[0], { waiting: 7, pool: { namespace: "default", name: "p" } })
      const hasty = webhook.open({ url, timeout: "150ms" }).fetch?.run(view()) ?? Effect.die("no fetch")
      for (
        const [question, expected] of [
          [ask, "answered 500"],
          [ask, "something else"],
          [hasty, "no answer within 150 ms"]
        ] as const
      ) {
        const exit = yield* Effect.exit(question)
        assert.include(String(Exit.isFailure(exit) ? exit.cause : ""), expected)
      }
      assert.deepStrictEqual(decide(view(), undefined), {}, "before the first answer")
      assert.deepStrictEqual(decide(view(), { target: 12 }), { target: 12 })
    }))
})
