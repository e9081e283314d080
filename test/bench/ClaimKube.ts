/**
 * The claim path on Kubernetes: scheduler and provider in this process, the API-server double in one of its own over HTTP, with a latency (`npm run bench -- claims`).
 *
 * Beside each run of claims stands the same number of plain PATCHes, sent straight to the double at the same times over as many connections, onto pods of the same kind: what the
 * API allows. The same pods are watched meanwhile, so the double has the same work. What is told of claims is from `enqueue` to the result.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { Agent, request } from "node:http"
import { join } from "node:path"
import { connectionsMax, strategicMergePatch } from "../../plugins/kubernetes/ApiClient.ts"
import * as Cluster from "../../plugins/kubernetes/Cluster.ts"
import type { KubernetesPool } from "../../plugins/kubernetes/KubernetesPool.ts"
import type * as Pod from "../../plugins/kubernetes/Pod.ts"
import * as PodPatch from "../../plugins/kubernetes/PodPatch.ts"
import * as Provider from "../../plugins/kubernetes/Provider.ts"
import { generator } from "../../plugins/simulated/SimulatedSandboxes.ts"
import * as AlarmClock from "../../services/pool-scheduler/AlarmClock.ts"
import { PoolScheduler } from "../../services/pool-scheduler/PoolScheduler.ts"
import { ClaimId, Namespace, PoolName, SessionId } from "../../shared/protocol/Token.ts"
import * as Samples from "./Samples.ts"

/** How claims arrive: evenly by chance (Poisson) at a rate, or all at once. */
export interface Load {
  readonly name: string
  readonly count: number
  /** Undefined: at once. */
  readonly perSecond: number | undefined
}

export interface Measured {
  readonly perSecond: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  /** CPU of this process, of each: the scheduler's or the plain sender's, the watch included. Hardly drifts on a busy machine. */
  readonly cpuUs: number
}

export interface Compared {
  readonly latencyMs: number
  readonly load: Load
  readonly claims: Measured
  readonly patches: Measured
  /** Rate of the claims over that of the plain PATCHes. */
  readonly ratio: number
  readonly addedAtP99Ms: number
}

export const loads = (isQuick: boolean): ReadonlyArray<Load> =>
  isQuick
    ? [{ name: "burst of 5", count: 5, perSecond: undefined }, { name: "100/s", count: 10, perSecond: 100 }]
    : [
      { name: "45/s Poisson", count: 225, perSecond: 45 },
      { name: "300/s Poisson", count: 1_200, perSecond: 300 },
      { name: "burst of 300", count: 300, perSecond: undefined }
    ]

/** Milliseconds after the start, of each. */
const arrivals = ({ count, perSecond }: Load): ReadonlyArray<number> => {
  const random = generator(7)
  let at = 0
  return Array.from(
    { length: count },
    () => perSecond === undefined ? 0 : (at += -Math.log(1 - random()) * 1_000 / perSecond)
  )
}

/** Starts each at its time and waits for all; what is slow does not delay what comes after it. */
const drive = (load: Load, start: (index: number, done: () => void) => void): Promise<Measured> =>
  new Promise((resolve) => {
    const times = arrivals(load)
    const took = new Float64Array(load.count)
    const cpu = process.cpuUsage()
    const from = performance.now()
    let next = 0
    let open = load.count
    const step = (): void => {
      for (; next < load.count && from + (times[next] ?? 0) <= performance.now(); next++) {
        const index = next
        // From when it should have started: a busy process is no excuse.
        const at = from + (times[index] ?? 0)
        start(index, () => {
          took[index] = performance.now() - at
          if (--open > 0) return
          const { system, user } = process.cpuUsage(cpu)
          resolve({
            cpuUs: (system + user) / load.count,
            perSecond: load.count / (performance.now() - from) * 1_000,
            p50: Samples.percentile(took, 0.5),
            p90: Samples.percentile(took, 0.9),
            p99: Samples.percentile(took, 0.99)
          })
        })
      }
      if (next < load.count) setTimeout(step, Math.max(0, from + (times[next] ?? 0) - performance.now()))
    }
    step()
  })

const namespace = "default"
const template = {
  spec: {
    containers: [{
      name: "main",
      image: "registry.example/box:1",
      env: [{ name: "MODE", value: "warm" }],
      resources: { requests: { cpu: "100m", memory: "64Mi" } }
    }]
  }
}

/** The double's process; ended by `stop`. */
const startDouble = async (latencyMs: number): Promise<{ readonly url: string; readonly child: ChildProcess }> => {
  const child = spawn(process.execPath, [join(import.meta.dirname, "kube-double.ts"), String(latencyMs)], {
    stdio: ["pipe", "pipe", "inherit"]
  })
  const [line] = await once(child.stdout, "data")
  return { url: String(line).trim(), child }
}

/** A pool on the double with this many idle pods, and its scheduler. */
const openPool = (url: string, name: string, size: number) =>
  Effect.gen(function*() {
    const provider = Provider.make({
      cluster: Cluster.make(Effect.succeed({
        server: url,
        credentials: Effect.succeed({ headers: {}, tls: {}, agent: undefined })
      }))
    })
    const sessionId = SessionId.make(1)
    const pool = yield* provider.open({
      pool: { namespace: Namespace.make(namespace), name: PoolName.make(name) },
      sessionId,
      size,
      labels: {},
      startedAt: 0
    }, { template })
    const context = yield* Effect.context<never>()
    const alarm = yield* AlarmClock.make((now) => scheduler.tick(now))
    let isListing = false
    const repair = (): void => {
      if (isListing) return
      isListing = true
      const token = scheduler.listing()
      Effect.runForkWith(context)(Effect.map(pool.list, (states) => {
        isListing = false
        scheduler.listed(token, states)
      }))
    }
    let onIdle = (): void => {}
    const scheduler: PoolScheduler = new PoolScheduler({
      provider: pool,
      now: alarm.now,
      arm: alarm.arm,
      repair,
      event: () => {},
      adoptedTask: () => {},
      fenced: () => {},
      warn: () => {},
      changed: () => onIdle()
    }, { sessionId, poolName: name, size, creatingMax: 64 })
    yield* Effect.forkScoped(alarm.run)
    yield* pool.watch((delta) => {
      scheduler.observe(delta)
    })
    const token = scheduler.listing()
    scheduler.listed(token, yield* pool.list)
    yield* Effect.callback<void>((resume) => {
      onIdle = () => {
        if (scheduler.idleReady >= size) resume(Effect.void)
      }
      onIdle()
    }).pipe(Effect.timeout(120_000))
    onIdle = () => {}
    // The provider makes no other.
    return { scheduler, pods: (pool as KubernetesPool).informer.cache }
  })

/** The PATCH that a claim sends, without the claim path. */
const patcher = (url: string) => {
  const { hostname, port } = new URL(url)
  const agent = new Agent({ keepAlive: true, maxSockets: connectionsMax.write, scheduling: "lifo" })
  const patch = (pod: Pod.Pod, index: number, done: () => void): void => {
    const body = JSON.stringify(PodPatch.claim(pod, {
      uid: pod.uid,
      version: pod.version,
      mark: {
        claimId: ClaimId.make(`patch-${index}`),
        holder: "bench",
        // Of an earlier owner, so that the scheduler that watches takes note of it and writes nothing.
        sessionId: SessionId.make(0),
        team: "default",
        ttlMs: 600_000
      }
    }))
    const outgoing = request({
      agent,
      hostname,
      port,
      method: "PATCH",
      path: `/api/v1/namespaces/${namespace}/pods/${pod.name}`,
      headers: {
        "content-type": strategicMergePatch,
        "content-length": Buffer.byteLength(body)
      }
    }, (response) => {
      const chunks: Array<Buffer> = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("end", () => {
        if (response.statusCode !== 200) {
          throw new Error(`a plain PATCH was answered ${response.statusCode}: ${Buffer.concat(chunks).toString()}`)
        }
        done()
      })
    })
    outgoing.end(body)
  }
  return { patch, close: () => agent.destroy() }
}

let pools = 0

const measure = async (url: string, load: Load, what: "claims" | "patches"): Promise<Measured> => {
  const scope = Scope.makeUnsafe()
  try {
    const name = `bench-${pools++}`
    const { pods, scheduler } = await Effect.runPromise(Scope.provide(openPool(url, name, load.count), scope))
    if (what === "claims") {
      const measured = await drive(load, (index, done) =>
        void scheduler.enqueue({
          claimId: ClaimId.make(`${name}-${index}`),
          holder: "bench",
          team: "default",
          priority: 5,
          deadlineAt: Infinity,
          ttlMs: 600_000
        }, ({ error, outcome }) => {
          if (outcome !== "Claimed") throw new Error(`a claim was answered ${outcome}: ${error?.message}`)
          done()
        }))
      if (scheduler.snapshot().claimed !== load.count) throw new Error("not every claim holds a pod")
      return measured
    }
    const targets = Array.from(pods.values()).filter((pod) => pod.isReady)
    const plain = patcher(url)
    const measured = await drive(load, (index, done) => {
      const target = targets[index]
      if (target === undefined) throw new Error("there are fewer pods than PATCHes")
      plain.patch(target, index, done)
    })
    plain.close()
    return measured
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const median = (runs: ReadonlyArray<Measured>): Measured => ({
  cpuUs: Samples.median(runs.map((one) => one.cpuUs)),
  perSecond: Samples.median(runs.map((one) => one.perSecond)),
  p50: Samples.median(runs.map((one) => one.p50)),
  p90: Samples.median(runs.map((one) => one.p90)),
  p99: Samples.median(runs.map((one) => one.p99))
})

/** Each load `runs` times, claims and plain PATCHes in turns; the medians. */
export const run = async (
  latencyMs: number,
  isQuick: boolean,
  runs: number,
  log: (line: string) => void
): Promise<ReadonlyArray<Compared>> => {
  const { child, url } = await startDouble(latencyMs)
  try {
    // Both paths once before anything counts.
    const warmUp: Load = { name: "warm-up", count: isQuick ? 3 : 300, perSecond: undefined }
    await measure(url, warmUp, "patches")
    await measure(url, warmUp, "claims")
    const compared: Array<Compared> = []
    for (const load of loads(isQuick)) {
      const claims: Array<Measured> = []
      const patches: Array<Measured> = []
      for (let i = 0; i < runs; i++) {
        const order = i % 2 === 0 ? ["patches", "claims"] as const : ["claims", "patches"] as const
        for (const what of order) (what === "claims" ? claims : patches).push(await measure(url, load, what))
      }
      const [c, p] = [median(claims), median(patches)]
      compared.push({
        latencyMs,
        load,
        claims: c,
        patches: p,
        ratio: c.perSecond / p.perSecond,
        addedAtP99Ms: c.p99 - p.p99
      })
      log(`${latencyMs} ms, ${load.name}: ${Samples.format(c.perSecond)}/s of ${Samples.format(p.perSecond)}/s`)
    }
    return compared
  } finally {
    child.stdin?.end()
    await once(child, "exit")
  }
}
