/**
 * The API-server double as a process of its own, for the claim bench: `node test/bench/kube-double.ts LATENCY_MS`. Prints its URL; ends with its input.
 *
 * Every request takes the latency, half before and half after it takes effect, as over a network; nothing else goes wrong. For each line of its input it prints what it was asked so far.
 */
import { ApiServer } from "../../shared/testing/kube/ApiServer.ts"

/** Requests since its start; `watching`: watches that are open now. */
export interface Asked {
  readonly requests: number
  readonly watches: number
  readonly watching: number
}

const latencyMs = Number(process.argv[2] ?? 0)
const server = await ApiServer.start({ faults: { latencyMs: [latencyMs, latencyMs] }, historyLengthMax: 100_000 })
const { cluster } = server
const asked = { requests: 0, watches: 0, watching: 0 }
const submit = cluster.submit.bind(cluster)
cluster.submit = (...request) => {
  asked.requests++
  return submit(...request)
}
const watch = cluster.watch.bind(cluster)
cluster.watch = (...request) => {
  const watching = watch(...request)
  asked.watches++
  asked.watching++
  let isOpen = true
  return {
    stop: () => {
      if (isOpen) asked.watching--
      isOpen = false
      watching.stop()
    }
  }
}
process.stdout.write(`${server.url}\n`)
process.stdin.once("close", () => void server.stop()).on(
  "data",
  () => process.stdout.write(`${JSON.stringify(asked satisfies Asked)}\n`)
)
