/**
 * The API-server double as a process of its own, for the claim bench: `node test/bench/kube-double.ts LATENCY_MS`. Prints its URL; ends with its input.
 *
 * Every request takes the latency, half before and half after it takes effect, as over a network; nothing else goes wrong.
 */
import { ApiServer } from "../../shared/testing/kube/ApiServer.ts"

const latencyMs = Number(process.argv[2] ?? 0)
const server = await ApiServer.start({ faults: { latencyMs: [latencyMs, latencyMs] }, historyLengthMax: 100_000 })
process.stdout.write(`${server.url}\n`)
process.stdin.once("close", () => void server.stop()).resume()
