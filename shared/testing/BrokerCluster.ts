/**
 * Three real nats-servers as one cluster, each as `Broker` makes one: for what only replicated streams do (a leader that dies, an election, a replica that lags).
 *
 * Keeps true: as `Broker`, nothing is left behind. It is started when the servers have a leader for their streams, which a client sees as JetStream that answers.
 */
import { setTimeout as delay } from "node:timers/promises"
import { type BrokerOptions, type RunningBroker, startBroker } from "./Broker.ts"
import { freePort } from "./FreePort.ts"

export interface BrokerCluster {
  /** `n1`, `n2`, `n3`: what the server calls itself in `STREAM.INFO`. */
  readonly nodes: ReadonlyMap<string, RunningBroker>
  /** All of them, with commas between. */
  readonly url: string
  readonly stop: () => Promise<void>
}

const names = ["n1", "n2", "n3"]
const readyWithinMs = 120_000

/** Routes are written down before any server runs: a port that is taken meanwhile is a failed start, which is tried again. */
const startOnce = async (options: BrokerOptions): Promise<ReadonlyMap<string, RunningBroker>> => {
  const ports = await Promise.all(names.map(freePort))
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(", ")
  const starts = await Promise.allSettled(names.map((name, at) =>
    startBroker({
      ...options,
      hasMonitor: true,
      config: [
        options.config ?? "",
        `server_name: ${name}`,
        `cluster { name: heddle-test, listen: "127.0.0.1:${ports[at]}", routes: [${routes}] }`
      ].join("\n")
    })
  ))
  const running = starts.flatMap((one) => one.status === "fulfilled" ? [one.value] : [])
  const failed = starts.find((one) => one.status === "rejected")
  if (failed !== undefined) {
    await Promise.all(running.map((one) => one.stop()))
    throw failed.reason
  }
  return new Map(running.map((one, at) => [names[at] ?? "", one]))
}

/** 200 once the server knows a leader of the cluster's streams and has caught up with it. */
const isHealthy = async (broker: RunningBroker): Promise<boolean> => {
  try {
    return (await fetch(`${broker.monitorUrl}/healthz`)).ok
  } catch {
    return false
  }
}

/** Waits until this server is a full member again, at its start or after it was started anew. */
export const awaitHealthy = async (broker: RunningBroker): Promise<void> => {
  const until = performance.now() + readyWithinMs
  while (!await isHealthy(broker)) {
    if (performance.now() > until) {
      throw new Error(`a nats-server of the cluster is not healthy within ${readyWithinMs} ms`)
    }
    await delay(50)
  }
}

/** The caller calls `stop`. */
export const startCluster = async (options: BrokerOptions = {}): Promise<BrokerCluster> => {
  const nodes = await startOnce(options).catch(() => startOnce(options))
  const stop = async () => void await Promise.all(Array.from(nodes.values(), (one) => one.stop()))
  try {
    await Promise.all(Array.from(nodes.values(), awaitHealthy))
  } catch (cause) {
    await stop()
    throw cause
  }
  return { nodes, url: Array.from(nodes.values(), (one) => one.url).join(","), stop }
}
