/**
 * One pool-scheduler process with many pools, for real: nats-server, `heddle serve pool-scheduler` and this client are processes of their own (`npm run bench -- claims large`),
 * and so is the API-server double where sandboxes are pods.
 *
 * The specs stand in the bucket before the process is started, so its start is a real one: it finds 200 pools, takes each, makes its sandboxes and serves it. Then: what it
 * costs when nobody asks for anything, what a claim costs over many pools, in a small and in a large one, and how long each pool is without an answer when its owner is killed.
 * Everything is told from outside: /proc, the broker's monitor, the inspector. What the sandboxes of the simulated provider cost is in it, and named.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { ClaimResult, Snapshot } from "../../shared/protocol/Claim.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { rpc } from "../../shared/protocol/Subject.ts"
import { PoolName } from "../../shared/protocol/Token.ts"
import { Mesh } from "../e2e/Mesh.ts"
import * as ProcessUsage from "../e2e/ProcessUsage.ts"
import * as Inspector from "./Inspector.ts"
import type { Asked } from "./kube-double.ts"
import * as Samples from "./Samples.ts"
import { request } from "./scenario/RoundTrip.ts"
import { inFlight } from "./WorkflowClient.ts"

export interface FleetOptions {
  readonly pools: number
  /** Sandboxes of each. */
  readonly each: number
  /** Sandboxes of the one large pool. */
  readonly large: number
  /** Claims of each measurement, each with its release. */
  readonly claims: number
  readonly idleMs: number
  /** Of the schedulers' registrations, the services' own when not given: how soon a killed one is noticed. */
  readonly ttl?: string
  /** Sandboxes are pods of the double, which answers after this time; simulated ones when not given. */
  readonly kubeLatencyMs?: number
  readonly log: (line: string) => void
  /** The folder that CPU profiles of the service are written to. */
  readonly profiles?: string
}

/** Of the service's process unless something else is said. */
export interface Start {
  /** From spawn to the line that says that it is ready, to the last pool that answers, to the last sandbox that is idle, to the last consumer. */
  readonly readyMs: number
  readonly answeringMs: number
  readonly idleMs: number
  readonly wholeMs: number
  readonly cpuMs: number
  readonly brokerCpuMs: number
  readonly messagesSent: number
  readonly messagesReceived: number
  readonly rssMb: number
  readonly heapMb: number
  readonly subscriptions: number
  readonly consumers: number
  readonly keys: number
}

/** Nobody asks for anything. Per second. */
export interface Idle {
  readonly cpuMs: number
  readonly brokerCpuMs: number
  readonly sent: number
  readonly received: number
}

/** Claims, each followed by its release. */
export interface Claims {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  /** CPU of the service for a claim and its release, the simulated sandbox included. */
  readonly cpuUs: number
}

/** Its owner is killed: per pool, from the kill to the first claim that is granted by another process. */
export interface TakeOver {
  /** To the first pool that is the other one's: what the registration's life and grace take. */
  readonly noticedMs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly mostMs: number
  /** Of the other one from the kill to then. */
  readonly cpuMs: number
}

export interface Fleet {
  readonly pools: number
  readonly sandboxes: number
  readonly large: number
  readonly start: Start
  readonly idle: Idle
  readonly spread: Claims
  readonly onePool: Claims
  readonly largePool: Claims
  readonly takeOver: TakeOver
  /** Requests to the API server and its open watches: after the start, and after the take-over. */
  readonly api?: { readonly start: Asked; readonly takeOver: Asked }
}

const service = "pool-scheduler-1"
const successor = "pool-scheduler-2"
const broker = "nats-server"
const most = 64
/** Sandboxes that a pool makes at once: of 200 pools these are 1,600. */
const creatingMost = 8
const pollMs = 250
/** Three lanes and durable claims. */
const consumersEach = 4
/** Between two tries of a claim that nobody takes: what the take-over is measured to. */
const againMs = 100
const answerWithinMs = 10_000
const brokerNoticesMs = 200
const withinMs = 180_000

const Connz = Schema.Struct({
  connections: Schema.Array(Schema.Struct({
    name: Schema.optionalKey(Schema.String),
    in_msgs: Schema.Finite,
    out_msgs: Schema.Finite,
    subscriptions: Schema.Finite
  }))
})
const Jsz = Schema.Struct({
  consumers: Schema.Finite,
  account_details: Schema.Array(Schema.Struct({
    stream_detail: Schema.Array(
      Schema.Struct({ name: Schema.String, state: Schema.Struct({ messages: Schema.Finite }) })
    )
  }))
})
const decodeConnz = Schema.decodeUnknownSync(Connz)
const decodeJsz = Schema.decodeUnknownSync(Jsz)

const monitor = async (mesh: Mesh, path: string): Promise<unknown> =>
  (await fetch(`${mesh.monitorUrl ?? ""}/${path}`)).json()

/** What the broker knows of the pool-schedulers' connections. */
const wire = async (mesh: Mesh) => {
  const { connections } = decodeConnz(await monitor(mesh, "connz?limit=1024"))
  const own = connections.filter(({ name }) => name === "heddle-pool-scheduler")
  const sum = (of: (one: (typeof own)[number]) => number) => own.reduce((total, one) => total + of(one), 0)
  return {
    // Seen from the client.
    sent: sum((one) => one.in_msgs),
    received: sum((one) => one.out_msgs),
    subscriptions: sum((one) => one.subscriptions)
  }
}

const cpuMs = (mesh: Mesh, name: string): number => (mesh.usage(name)?.cpuSeconds ?? Number.NaN) * 1_000

const poolAt = (at: number): PoolRef => ({ namespace: namespaceDefault, name: PoolName.make(`fleet-${at}`) })
const largePool: PoolRef = { namespace: namespaceDefault, name: PoolName.make("fleet-large") }

type Answer = Partial<Pick<ClaimResult, "claimId" | "outcome">>

const claimIn = async (connection: Connection, pool: PoolRef, timeoutMs?: number): Promise<Answer> =>
  JSON.parse(await request(connection, rpc.pool(pool, "claim"), "{}", timeoutMs))
const releaseIn = async (connection: Connection, pool: PoolRef, claimId: string): Promise<Answer> =>
  JSON.parse(await request(connection, rpc.pool(pool, "release"), JSON.stringify({ claimId })))

/** As soon as the process has opened its inspector. */
const inspectorOf = async (mesh: Mesh, name: string): Promise<Inspector.Inspector> => {
  let address: string | undefined
  await mesh.until(`${name} opens its inspector`, async () => {
    address = Inspector.addressOf(mesh.log(name))
    return address !== undefined
  })
  return Inspector.connect(address ?? "")
}

/** With a folder for profiles: writes what the service does meanwhile. */
const profiled = async <A>(
  inspector: Inspector.Inspector,
  { log, profiles }: FleetOptions,
  what: string,
  work: () => Promise<A>
): Promise<A> => {
  log(`fleet: ${what}`)
  if (profiles === undefined) return work()
  const { profile, result } = await inspector.profiled(work)
  writeFileSync(join(profiles, `${what}.cpuprofile`), JSON.stringify(profile))
  return result
}

/** When each pool answers and when each has all its sandboxes, milliseconds after `from`. */
const watchStart = async (mesh: Mesh, connection: Connection, options: FleetOptions, from: number) => {
  const answering = new Float64Array(options.pools)
  const idle = new Float64Array(options.pools)
  await inFlight(options.pools, options.pools, async (at) => {
    for (;;) {
      if (performance.now() - from > withinMs) {
        throw new Error(
          `pool ${at} was not ready within ${withinMs} ms; the log of its scheduler:\n${
            mesh.log(service).slice(-2_000)
          }`
        )
      }
      const asked = await mesh.alive(
        "start",
        request(connection, rpc.pool(poolAt(at), "snapshot"), "{}").catch(() => "{}")
      )
      const { idleReady }: Partial<Snapshot> = JSON.parse(asked)
      if (idleReady !== undefined && answering[at] === 0) answering[at] = performance.now() - from
      if (idleReady === options.each) break
      await sleep(pollMs)
    }
    idle[at] = performance.now() - from
  })
  return { answeringMs: Math.max(...answering), idleMs: Math.max(...idle) }
}

const measureStart = async (mesh: Mesh, connection: Connection, options: FleetOptions): Promise<{
  readonly start: Start
  readonly inspector: Inspector.Inspector
}> => {
  const brokerBefore = cpuMs(mesh, broker)
  const from = performance.now()
  const starting = mesh.start(service).then(() => performance.now() - from)
  const inspector = await inspectorOf(mesh, service)
  const watched = () => watchStart(mesh, connection, options, from)
  const { answeringMs, idleMs } = await profiled(inspector, options, "start", watched)
  const readyMs = await starting
  // Requests are answered before the last consumer stands.
  await mesh.until(
    "every pool has its consumers",
    async () => decodeJsz(await monitor(mesh, "jsz?streams=true")).consumers >= options.pools * consumersEach
  )
  const wholeMs = performance.now() - from
  const used = cpuMs(mesh, service)
  const brokerUsed = cpuMs(mesh, broker) - brokerBefore
  const { received, sent, subscriptions } = await wire(mesh)
  const { account_details: accounts, consumers } = decodeJsz(await monitor(mesh, "jsz?streams=true"))
  const bucket = accounts.flatMap((one) => one.stream_detail).find(({ name }) =>
    name === `KV_${Streams.bucketName.pools}`
  )
  const heapBytes = await inspector.heapBytes()
  const pid = mesh.processes.get(service)?.pid ?? 0
  return {
    inspector,
    start: {
      readyMs,
      answeringMs,
      idleMs,
      wholeMs,
      cpuMs: used,
      brokerCpuMs: brokerUsed,
      messagesSent: sent,
      messagesReceived: received,
      rssMb: ProcessUsage.read(pid)?.peakMb ?? Number.NaN,
      heapMb: heapBytes / 1e6,
      subscriptions,
      consumers,
      keys: bucket?.state.messages ?? Number.NaN
    }
  }
}

const measureIdle = async (mesh: Mesh, forMs: number): Promise<Idle> => {
  const before = { wire: await wire(mesh), own: cpuMs(mesh, service), broker: cpuMs(mesh, broker) }
  const from = performance.now()
  await mesh.alive("idle", sleep(forMs))
  const seconds = (performance.now() - from) / 1_000
  const after = await wire(mesh)
  return {
    cpuMs: (cpuMs(mesh, service) - before.own) / seconds,
    brokerCpuMs: (cpuMs(mesh, broker) - before.broker) / seconds,
    sent: (after.sent - before.wire.sent) / seconds,
    received: (after.received - before.wire.received) / seconds
  }
}

/** Each claim is released before the next of the same place is asked for, so at most `most` sandboxes are held. */
const measureClaims = async (
  mesh: Mesh,
  connection: Connection,
  count: number,
  poolOf: (at: number) => PoolRef
): Promise<Claims> => {
  const times = new Float64Array(count)
  const held = new Set<string>()
  const one = async (at: number): Promise<void> => {
    const pool = poolOf(at)
    const sent = performance.now()
    const { claimId = "", outcome } = await claimIn(connection, pool)
    times[at] = performance.now() - sent
    if (outcome !== "Claimed" || held.has(claimId)) throw new Error(`a claim was answered ${outcome} ${claimId}`)
    held.add(claimId)
    const released = await releaseIn(connection, pool, claimId)
    if (released.outcome !== "Released") throw new Error(`a release was answered ${released.outcome}`)
  }
  const before = cpuMs(mesh, service)
  const from = performance.now()
  await mesh.alive("claims", inFlight(count, most, one))
  const seconds = (performance.now() - from) / 1_000
  return {
    perSecond: count / seconds,
    p50: Samples.percentile(times, 0.5),
    p99: Samples.percentile(times, 0.99),
    cpuUs: (cpuMs(mesh, service) - before) * 1_000 / count
  }
}

/** The other one runs already when the owner is killed. */
const measureTakeOver = async (mesh: Mesh, connection: Connection, pools: number): Promise<TakeOver> => {
  const times = new Float64Array(pools)
  const from = performance.now()
  const before = cpuMs(mesh, successor)
  const logBefore = mesh.log(successor).length
  const killedAt = Date.now()
  await mesh.kill(service)
  // What the broker still sends to the dead connection would only be lost.
  await sleep(brokerNoticesMs)
  await mesh.alive(
    "take-over",
    inFlight(pools, pools, async (at) => {
      for (;;) {
        if (performance.now() - from > withinMs) throw new Error(`pool ${at} was not taken over in ${withinMs} ms`)
        const answer: Answer = await claimIn(connection, poolAt(at), answerWithinMs).catch(() => ({}))
        if (answer.outcome === "Claimed") break
        await sleep(againMs)
      }
      times[at] = performance.now() - from
    })
  )
  const first = /timestamp=(\S+) .* is ours/.exec(mesh.log(successor).slice(logBefore))?.[1]
  return {
    noticedMs: first === undefined ? Number.NaN : Date.parse(first) - killedAt,
    p50Ms: Samples.percentile(times, 0.5),
    p99Ms: Samples.percentile(times, 0.99),
    mostMs: Math.max(...times),
    cpuMs: cpuMs(mesh, successor) - before
  }
}

/** The double in a process of its own, and the file that tells a scheduler the way to it. */
const startDouble = async (latencyMs: number, folder: string) => {
  const child = spawn(process.execPath, [join(import.meta.dirname, "kube-double.ts"), String(latencyMs)], {
    stdio: ["pipe", "pipe", "inherit"]
  })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const { value: url } = await lines.next()
  const kubeconfig = join(folder, "kubeconfig.json")
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      clusters: [{ name: "double", cluster: { server: url, "insecure-skip-tls-verify": true } }],
      users: [{ name: "bench", user: {} }],
      contexts: [{ name: "double", context: { cluster: "double", user: "bench" } }],
      "current-context": "double"
    })
  )
  return {
    kubeconfig,
    asked: async (): Promise<Asked> => {
      child.stdin.write("\n")
      const { value } = await lines.next()
      return JSON.parse(value ?? "")
    },
    stop: async () => {
      child.stdin.end()
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit")
    }
  }
}

const podTemplate = { spec: { containers: [{ name: "main", image: "registry.example/box:1" }] } }

export const run = async (options: FleetOptions): Promise<Fleet> => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-fleet-"))
  try {
    if (options.kubeLatencyMs === undefined) return await runIn(options, undefined)
    const double = await startDouble(options.kubeLatencyMs, folder)
    try {
      return await runIn(options, double)
    } finally {
      await double.stop()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const runIn = async (
  options: FleetOptions,
  double: Awaited<ReturnType<typeof startDouble>> | undefined
): Promise<Fleet> => {
  const { claims, each, pools } = options
  const kind = double === undefined
    ? { provider: "simulated" }
    : { provider: "kubernetes", config: { template: podTemplate } }
  const mesh = await Mesh.start({
    coordinators: 0,
    poolSchedulers: 0,
    executors: 0,
    runtime: "node",
    hasMonitor: true,
    readyWithinMs: withinMs,
    ...(options.ttl === undefined ? {} : { ttl: options.ttl }),
    ...(double === undefined ? {} : { env: { KUBECONFIG: double.kubeconfig } }),
    runtimeFlags: (name) => name === service || name === successor ? [Inspector.flag] : []
  })
  try {
    const connection = await mesh.connection()
    await Effect.runPromise(Effect.gen(function*() {
      yield* Streams.ensure(connection)
      const bucket = Kv.bucket(connection, Streams.bucketName.pools)
      for (let at = 0; at < pools; at++) {
        const { name, namespace } = poolAt(at)
        yield* bucket.put(
          `spec.${namespace}.${name}`,
          JSON.stringify({ name, namespace, ...kind, size: each, creatingMax: creatingMost })
        )
      }
    }))
    const { inspector, start } = await measureStart(mesh, connection, options)
    const started = await double?.asked()
    const idle = await profiled(inspector, options, "idle", () => measureIdle(mesh, options.idleMs))
    await mesh.applyPool({ name: largePool.name, ...kind, size: options.large })
    const warmUp = Math.max(1, Math.floor(claims / 4))
    const spreadOver = (at: number): PoolRef => poolAt(at % pools)
    await measureClaims(mesh, connection, warmUp, spreadOver)
    const spread = await profiled(
      inspector,
      options,
      "spread",
      () => measureClaims(mesh, connection, claims, spreadOver)
    )
    const onePool = await profiled(
      inspector,
      options,
      "one",
      () => measureClaims(mesh, connection, claims, () => poolAt(0))
    )
    const large = await profiled(
      inspector,
      options,
      "large",
      () => measureClaims(mesh, connection, claims, () => largePool)
    )
    inspector.close()
    await mesh.start(successor)
    const second = await inspectorOf(mesh, successor)
    const takeOver = await profiled(second, options, "take-over", () => measureTakeOver(mesh, connection, pools))
    second.close()
    const takenOver = await double?.asked()
    return {
      pools,
      sandboxes: pools * each,
      large: options.large,
      start,
      idle,
      spread,
      onePool,
      largePool: large,
      takeOver,
      ...(started === undefined || takenOver === undefined ? {} : { api: { start: started, takeOver: takenOver } })
    }
  } finally {
    await mesh.stop()
  }
}
