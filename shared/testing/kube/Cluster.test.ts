import { describe, expect, it } from "vitest"
import { Cluster, type ClusterOptions, type Outcome } from "./Cluster.ts"
import type { Json, KubeObject } from "./Json.ts"
import { VirtualClock } from "./KubeClock.ts"
import * as Pod from "./Pod.ts"
import { admin } from "./Rbac.ts"

const make = (options: ClusterOptions = {}) => {
  const clock = new VirtualClock()
  return { clock, cluster: new Cluster({ clock, ...options }) }
}
const pod = (name: string, more: Json = {}): Json => ({
  metadata: { name },
  spec: { containers: [{ name: "main", image: "a:1" }], ...more }
})
const read = (cluster: Cluster, name: string): KubeObject | undefined => cluster.object(Pod.resource, "default", name)
const isReady = (of: KubeObject | undefined) =>
  of?.status?.conditions?.find((one: Json) => one.type === "Ready")?.status
const create = (cluster: Cluster, name: string, more: Json = {}) =>
  cluster.store.create(Pod.resource, "default", pod(name, more))
const request = (name: string, labels: Json) => ({
  verb: "patch" as const,
  resource: Pod.resource,
  namespace: "default",
  name,
  query: {},
  patchType: "merge" as const,
  body: { metadata: { labels } }
})

describe("kubelet", () => {
  it("binds, starts and readies a pod, each after its latency", () => {
    const { clock, cluster } = make({ kubelet: { bindMs: [100, 100], startMs: [1_000, 1_000], readyMs: [500, 500] } })
    create(cluster, "a")
    expect([read(cluster, "a")?.status.phase, read(cluster, "a")?.spec.nodeName]).toEqual(["Pending", undefined])
    clock.advance(100)
    expect([read(cluster, "a")?.status.phase, read(cluster, "a")?.spec.nodeName]).toEqual(["Pending", "node-1"])
    clock.advance(1_000)
    expect([read(cluster, "a")?.status.phase, isReady(read(cluster, "a"))]).toEqual(["Running", "False"])
    clock.advance(500)
    expect(isReady(read(cluster, "a"))).toBe("True")
  })

  it("restarts a container whose image changed: one restart more, another imageID, Ready goes and comes", () => {
    const { clock, cluster } = make({ kubelet: { restartMs: [200, 200], readyMs: [300, 300] } })
    create(cluster, "a")
    clock.advance(300)
    const before = read(cluster, "a")?.status.containerStatuses[0]
    cluster.store.patch(Pod.resource, "default", "a", "strategic", {
      spec: { containers: [{ name: "main", image: "a:2" }] }
    })
    expect(read(cluster, "a")?.status.containerStatuses[0]).toEqual(before)
    clock.advance(200)
    expect(read(cluster, "a")?.status.containerStatuses[0]).toMatchObject({
      image: "a:2",
      restartCount: 1,
      ready: false
    })
    expect(isReady(read(cluster, "a"))).toBe("False")
    clock.advance(300)
    const after = read(cluster, "a")?.status.containerStatuses[0]
    expect([after.ready, after.restartCount, after.imageID === before.imageID]).toEqual([true, 1, false])
  })

  it("an image that changes while the container restarts ends as the last one", () => {
    const { clock, cluster } = make({ kubelet: { restartMs: [200, 200], readyMs: [300, 300] } })
    create(cluster, "a")
    clock.advance(300)
    for (const image of ["a:2", "a:3"]) {
      cluster.store.patch(Pod.resource, "default", "a", "strategic", {
        spec: { containers: [{ name: "main", image }] }
      })
      clock.advance(250)
    }
    clock.advance(2_000)
    expect(read(cluster, "a")?.status.containerStatuses[0]).toMatchObject({ image: "a:3", ready: true })
  })

  it("a crash restarts the container, or ends a pod that is not restarted; an eviction leaves a failed pod", () => {
    const { cluster } = make()
    create(cluster, "a")
    create(cluster, "b", { restartPolicy: "Never" })
    create(cluster, "c")
    cluster.kubelet?.crash("default", "a", { exitCode: 3 })
    expect(read(cluster, "a")?.status.containerStatuses[0]).toMatchObject({
      restartCount: 1,
      lastState: { terminated: { exitCode: 3 } }
    })
    cluster.kubelet?.crash("default", "b", { exitCode: 3 })
    expect(read(cluster, "b")?.status.phase).toBe("Failed")
    cluster.kubelet?.evict("default", "c")
    expect(read(cluster, "c")?.status).toMatchObject({ phase: "Failed", reason: "Evicted" })
  })

  it("a deletion waits for the kubelet, at most its grace", () => {
    const { clock, cluster } = make({ kubelet: { endMs: [5_000, 5_000] } })
    create(cluster, "a")
    create(cluster, "b", { terminationGracePeriodSeconds: 2 })
    for (const name of ["a", "b"]) cluster.store.delete(Pod.resource, "default", name)
    clock.advance(2_000)
    expect([read(cluster, "a") !== undefined, read(cluster, "b")]).toEqual([true, undefined])
    clock.advance(3_000)
    expect(read(cluster, "a")).toBeUndefined()
  })

  it("on a lost node nothing moves; a node that is gone takes its pods along", () => {
    const { clock, cluster } = make({ kubelet: { nodes: ["n1", "n2"], startMs: [1_000, 1_000] } })
    create(cluster, "a")
    create(cluster, "b")
    clock.advance(1_000)
    cluster.kubelet?.loseNode("n1")
    expect([isReady(read(cluster, "a")), isReady(read(cluster, "b"))]).toEqual(["False", "True"])
    cluster.store.delete(Pod.resource, "default", "a")
    clock.advance(100_000)
    expect(read(cluster, "a")?.metadata.deletionTimestamp).toBeDefined()
    cluster.kubelet?.removeNode("n1")
    expect([read(cluster, "a"), read(cluster, "b")?.status.phase]).toEqual([undefined, "Running"])
  })

  it("pods that fail or wait for their image, as the test asks", () => {
    const { cluster } = make({
      kubelet: {
        onStart: (one) =>
          one.metadata.name === "bad"
            ? { fail: { reason: "Error", exitCode: 2 } }
            : one.metadata.name === "stuck"
            ? { waiting: { reason: "ErrImagePull" } }
            : undefined
      }
    })
    for (const name of ["good", "bad", "stuck"]) create(cluster, name)
    expect(["good", "bad", "stuck"].map((name) => read(cluster, name)?.status.phase)).toEqual([
      "Running",
      "Failed",
      "Pending"
    ])
    expect(read(cluster, "stuck")?.status.containerStatuses[0].state.waiting.reason).toBe("ErrImagePull")
  })
})

describe("faults", () => {
  const run = (seed: number) => {
    const { clock, cluster } = make({
      seed,
      faults: {
        latencyMs: [1, 20],
        conflictRate: 0.3,
        lostAnswerRate: 0.1,
        lostRequestRate: 0.05,
        tooManyRequestsRate: 0.1,
        internalErrorRate: 0.05,
        watchLagMsMax: 5_000,
        cutWatchRate: 0.02
      }
    })
    create(cluster, "a")
    const history: Array<string> = []
    const watch = () =>
      cluster.watch({ verb: "watch", resource: Pod.resource, namespace: "default", query: {} }, admin, {
        event: (event) =>
          history.push(`${clock.nowMs()} ${event.type} ${event.object["metadata"]?.["resourceVersion"]}`),
        end: (isCut) => {
          history.push(`end ${isCut}`)
          watch()
        }
      })
    watch()
    for (let step = 0; step < 200; step++) {
      cluster.submit(request("a", { step: String(step) }), admin, (outcome: Outcome) => {
        history.push(`${clock.nowMs()} ${outcome._tag} ${outcome._tag === "Answered" ? outcome.code : ""}`)
      })
      clock.advance(10)
    }
    clock.advance(10_000)
    return history
  }

  it("the same seed gives the same history, another seed another", () => {
    expect(run(7)).toEqual(run(7))
    expect(run(8)).not.toEqual(run(7))
    const codes = new Set(run(7).map((line) => line.split(" ").slice(1, 3).join(" ")))
    for (const seen of ["Answered 200", "Answered 429", "Answered 500", "Lost "]) expect(codes).toContain(seen)
  })

  it("a lost answer took effect; a lost request did not", () => {
    const { cluster } = make()
    create(cluster, "a")
    const outcomes: Array<string> = []
    cluster.faults.once({ isLostAfter: true })
    cluster.submit(request("a", { x: "after" }), admin, (outcome) => outcomes.push(outcome._tag))
    expect(read(cluster, "a")?.metadata.labels).toEqual({ x: "after" })
    cluster.faults.once({ isLostBefore: true })
    cluster.submit(request("a", { x: "before" }), admin, (outcome) => outcomes.push(outcome._tag))
    expect(read(cluster, "a")?.metadata.labels).toEqual({ x: "after" })
    expect(outcomes).toEqual(["Lost", "Lost"])
  })

  it("a conflict is a true one: somebody else wrote, and the watch tells it", () => {
    const { cluster } = make({ faults: { conflictRate: 1 } })
    const made = create(cluster, "a")
    const from = cluster.store.resourceVersion
    let code = 0
    const sent = {
      ...request("a", {}),
      body: { metadata: { resourceVersion: read(cluster, "a")?.metadata.resourceVersion, labels: { x: "1" } } }
    }
    cluster.submit(sent, admin, (outcome) => {
      code = outcome._tag === "Answered" ? outcome.code : 0
    })
    expect(code).toBe(409)
    const seen: Array<string> = []
    cluster.store.watch(Pod.resource, { resourceVersion: String(from) }, (event) => seen.push(event.type))
    expect([seen, read(cluster, "a")?.metadata.uid]).toEqual([["MODIFIED"], made.metadata.uid])
  })

  it("a lagging watch keeps its order, whichever of two timers for the same moment is first", () => {
    const timers: Array<() => void> = []
    const clock = {
      nowMs: () => 0,
      after: (_: number, run: () => void) => {
        timers.push(run)
        return () => undefined
      }
    }
    const cluster = new Cluster({ clock, kubelet: false, faults: { watchLagMsMax: 5_000 } })
    const seen: Array<string> = []
    cluster.watch({ verb: "watch", resource: Pod.resource, namespace: "default", query: {} }, admin, {
      event: (event) => seen.push(event.object.metadata.name),
      end: () => undefined
    })
    timers.length = 0
    for (const name of ["a", "b", "c"]) create(cluster, name)
    for (const run of timers.splice(0).toReversed()) run()
    expect(seen).toEqual(["a", "b", "c"])
  })

  it("late events come in order", () => {
    const { clock, cluster } = make({ faults: { watchLagMsMax: 5_000 } })
    const versions: Array<number> = []
    cluster.watch(
      {
        verb: "watch",
        resource: Pod.resource,
        namespace: "default",
        query: { resourceVersion: String(cluster.store.resourceVersion) }
      },
      admin,
      {
        event: (event) => versions.push(Number(event.object["metadata"]?.["resourceVersion"])),
        end: () => undefined
      }
    )
    for (let count = 0; count < 50; count++) {
      create(cluster, `p${count}`)
      clock.advance(50)
    }
    clock.advance(5_000)
    expect(versions.length).toBeGreaterThanOrEqual(50)
    expect(versions).toEqual([...versions].sort((left, right) => left - right))
  })
})

describe("history", () => {
  it("a watcher that writes while it is told does not make others see its change before the one it reacts to", () => {
    const { cluster } = make({ kubelet: false })
    const seen: Array<string> = []
    const watch = (send: (type: string) => void) =>
      cluster.store.watch(
        Pod.resource,
        { resourceVersion: String(cluster.store.resourceVersion) },
        (event) => send(event.type)
      )
    watch((type) => {
      if (type === "ADDED") {
        cluster.store.patch(Pod.resource, "default", "a", "merge", { metadata: { labels: { x: "1" } } })
      }
    })
    watch((type) => seen.push(type))
    create(cluster, "a")
    expect(seen).toEqual(["ADDED", "MODIFIED"])
  })

  it("is bounded: a version that fell out is told as expired", () => {
    const { cluster } = make({ kubelet: false, historyLengthMax: 10 })
    create(cluster, "a")
    const from = cluster.store.resourceVersion
    for (let step = 0; step < 30; step++) {
      cluster.store.patch(Pod.resource, "default", "a", "merge", { metadata: { labels: { x: String(step) } } })
    }
    const codes: Array<unknown> = []
    cluster.store.watch(
      Pod.resource,
      { resourceVersion: String(from) },
      (event) => codes.push(event.type === "ERROR" ? event.object.code : event.type)
    )
    expect(codes).toEqual([410])
    const recent: Array<string> = []
    cluster.store.watch(
      Pod.resource,
      { resourceVersion: String(cluster.store.resourceVersion - 5) },
      (event) => recent.push(event.type)
    )
    expect(recent).toHaveLength(5)
  })
})
