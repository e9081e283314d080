/** What one request and its answer cost on this machine: a process that answers at once, over the same connection and client library as the claims. */
import * as Result from "effect/Result"
import type { Connection } from "../../../shared/jetstream/Nats.ts"
import * as Samples from "../Samples.ts"
import type { Scenario } from "../Scenario.ts"
import { inFlight } from "../WorkflowClient.ts"

const count = 20_000
const most = 64
const subject = "bench.echo"

/** The text of the answer. */
export const request = (connection: Connection, to: string, body: string, timeoutMs = 60_000): Promise<string> =>
  new Promise((resolve, reject) =>
    connection.requestUnsafe(
      to,
      body,
      { timeoutMs },
      (result) => Result.isSuccess(result) ? resolve(result.success.text) : reject(result.failure)
    )
  )

export const roundTrip: Scenario = {
  name: "round-trip",
  group: "claim",
  what: "20,000 raw NATS requests, 64 in flight; p50 and p99 of one at a time as `alone`",
  figures: [
    { name: "requests", unit: "/s" },
    { name: "p50", unit: "ms" },
    { name: "p99", unit: "ms" },
    { name: "alone p50", unit: "ms" },
    { name: "alone p99", unit: "ms" }
  ],
  prepare: async ({ connection, launch, quick }) => {
    await launch("echo.ts", [subject])
    const total = quick ? 50 : count
    const one = async (): Promise<void> => {
      const text = await request(connection, subject, "{}")
      if (text !== "{}") throw new Error(`the echo answered ${text}`)
    }
    await inFlight(quick ? 10 : 5_000, most, one)
    return {
      run: async () => {
        const times = new Float64Array(total)
        const from = performance.now()
        await inFlight(total, most, async (at) => {
          const sent = performance.now()
          await one()
          times[at] = performance.now() - sent
        })
        const seconds = (performance.now() - from) / 1_000
        const alone: Array<number> = []
        for (let at = 0; at < (quick ? 5 : 1_000); at++) {
          const sent = performance.now()
          await one()
          alone.push(performance.now() - sent)
        }
        return {
          requests: total / seconds,
          p50: Samples.percentile(times, 0.5),
          p99: Samples.percentile(times, 0.99),
          "alone p50": Samples.percentile(alone, 0.5),
          "alone p99": Samples.percentile(alone, 0.99)
        }
      }
    }
  }
}
