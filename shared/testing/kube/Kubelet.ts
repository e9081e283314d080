/**
 * The scheduler and the kubelets of the double: binds pods to nodes, brings them from Pending to Running and Ready, restarts a container whose image changed (or that crashed),
 * ends pods whose deletion waits for its grace. Level-triggered: each step looks at what the pod is when the step is due. What a test wants to go wrong it asks for by method:
 * `crash`, `evict`, `finish`, `loseNode`, `removeNode`, or by `hooks` for each pod that starts.
 */
import type { ApiStore, StoreEvent } from "./ApiStore.ts"
import * as BuiltIn from "./BuiltIn.ts"
import type { Json, KubeObject } from "./Json.ts"
import { type Random, seeded, timestamp } from "./KubeClock.ts"
import * as Pod from "./Pod.ts"
import * as Refusal from "./Refusal.ts"
import * as Subresource from "./Subresource.ts"

/** At least and at most, in milliseconds. */
export type Latency = readonly [number, number]

export interface StartPlan {
  /** Instead of the configured latencies. */
  readonly bindMs?: number
  readonly startMs?: number
  readonly readyMs?: number
  /** The pod ends as Failed instead of running. */
  readonly fail?: { readonly reason: string; readonly message?: string; readonly exitCode?: number }
  /** The image cannot be pulled: the pod stays Pending with this reason (`ErrImagePull`). */
  readonly waiting?: { readonly reason: string; readonly message?: string }
}

export interface KubeletOptions {
  /** Default: `node-1`. */
  readonly nodes?: ReadonlyArray<string>
  /** Pods a node takes; default: without end. A pod for which no node has room stays Pending, unschedulable. */
  readonly podsPerNodeMax?: number
  /** From creation to a node. Default [0, 0]. */
  readonly bindMs?: Latency
  /** From a node to Running. Default [0, 0]. */
  readonly startMs?: Latency
  /** From Running to Ready. Default [0, 0]. */
  readonly readyMs?: Latency
  /** From a changed image to the new container. Default [0, 0]. */
  readonly restartMs?: Latency
  /** From deletion to removal; never longer than the grace. Default [0, 0]. */
  readonly endMs?: Latency
  readonly onStart?: (pod: KubeObject) => StartPlan | undefined
  /** The containers of a pod come and go: what runs processes for them lives on this. `container` undefined: the pod as a whole. */
  readonly onContainer?: (pod: KubeObject, container: string, change: "Started" | "Stopped") => void
  readonly onGone?: (pod: KubeObject) => void
}

const none: Latency = [0, 0]
const taintNotReady = { key: "node.kubernetes.io/unreachable", effect: "NoExecute" }

type Key = string

interface Tracked {
  readonly uid: string
  readonly plan: StartPlan
  /** What the containers run now, by name; image of the spec. */
  readonly images: Map<string, string>
  step: "Binding" | "Starting" | "Readying" | "Running" | "Restarting" | "Ending" | "Over"
  cancel: (() => void) | undefined
}

const isMissing = (error: unknown) => error instanceof Refusal.Refusal && error.code === 404

export class Kubelet {
  readonly #store: ApiStore
  readonly #random: Random
  readonly #tracked = new Map<Key, Tracked>()
  readonly #load = new Map<string, number>()
  readonly #lost = new Set<string>()
  readonly #stop: () => void
  #turn = 0
  #addresses = 0
  /** Changed while a test runs, as it likes. */
  options: KubeletOptions

  constructor(store: ApiStore, options: KubeletOptions, seed: number) {
    this.#store = store
    this.options = options
    this.#random = seeded(seed ^ 0x2545f491)
    for (const name of options.nodes ?? ["node-1"]) this.addNode(name)
    this.#stop = store.listen((event, resource) => {
      if (resource.plural === "pods" && resource.group === "") this.#on(event)
    })
  }

  stop(): void {
    this.#stop()
    for (const tracked of this.#tracked.values()) tracked.cancel?.()
    this.#tracked.clear()
  }

  addNode(name: string): void {
    this.#load.set(name, 0)
    this.#lost.delete(name)
    this.#store.create(BuiltIn.node, undefined, {
      metadata: { name, labels: { "kubernetes.io/hostname": name } },
      status: {
        conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", lastTransitionTime: this.#now() }]
      }
    })
  }

  #now(): string {
    return timestamp(this.#store.clock.nowMs())
  }

  #ms(latency: Latency | undefined): number {
    const [least, most] = latency ?? none
    return least === most ? least : least + this.#random() * (most - least)
  }

  /** The pod as it is now, when it is still the one that was tracked. */
  #pod(key: Key, uid: string): KubeObject | undefined {
    const slash = key.indexOf("/")
    const pod = this.#store.peek(Pod.resource, key.slice(0, slash), key.slice(slash + 1))
    return pod?.metadata.uid === uid ? pod : undefined
  }

  #later(key: Key, tracked: Tracked, step: Tracked["step"], ms: number, run: (pod: KubeObject) => void): void {
    tracked.cancel?.()
    tracked.step = step
    const act = () => {
      tracked.cancel = undefined
      if (this.#tracked.get(key) !== tracked) return
      const pod = this.#pod(key, tracked.uid)
      if (pod === undefined || this.#lost.has(pod.spec?.nodeName ?? "")) return
      run(pod)
    }
    // at once means in this very call: a cluster without latencies needs no clock
    if (ms <= 0) act()
    else tracked.cancel = this.#store.clock.after(ms, act)
  }

  #on(event: StoreEvent): void {
    const { object } = event
    const key: Key = `${object.metadata.namespace ?? ""}/${object.metadata.name}`
    let tracked = this.#tracked.get(key)
    if (event.type === "DELETED") {
      const node = object.spec?.nodeName
      if (node !== undefined) this.#load.set(node, Math.max(0, (this.#load.get(node) ?? 0) - 1))
      if (tracked?.uid === object.metadata.uid) {
        tracked.cancel?.()
        this.#tracked.delete(key)
      }
      this.options.onGone?.(object)
      return
    }
    if (tracked === undefined || tracked.uid !== object.metadata.uid) {
      if (object.spec?.schedulerName !== "default-scheduler") return
      tracked?.cancel?.()
      tracked = {
        uid: object.metadata.uid,
        plan: this.options.onStart?.(object) ?? {},
        images: new Map(),
        step: "Binding",
        cancel: undefined
      }
      this.#tracked.set(key, tracked)
      this.#bind(key, tracked)
      return
    }
    if (object.metadata.deletionTimestamp !== undefined) {
      if (
        tracked.step !== "Ending" ||
        event.previous?.metadata.deletionGracePeriodSeconds !== object.metadata.deletionGracePeriodSeconds
      ) {
        this.#end(key, tracked, object)
      }
      return
    }
    if (event.previous !== undefined && event.previous.spec !== object.spec) {
      if ((event.previous.spec?.nodeName ?? "") === "" && tracked.step === "Binding" && object.spec?.nodeName) {
        this.#start(key, tracked)
      } else if (tracked.step === "Running" || tracked.step === "Readying") this.#restartChanged(key, tracked, object)
    }
  }

  #bind(key: Key, tracked: Tracked): void {
    this.#later(key, tracked, "Binding", tracked.plan.bindMs ?? this.#ms(this.options.bindMs), (pod) => {
      if (pod.spec?.nodeName) {
        this.#start(key, tracked)
        return
      }
      const node = this.#choose()
      if (node === undefined) {
        this.#condition(pod, "PodScheduled", "False", "Unschedulable")
        // tried again, as a scheduler does
        tracked.cancel = this.#store.clock.after(1_000, () => this.#bind(key, tracked))
        return
      }
      this.#load.set(node, (this.#load.get(node) ?? 0) + 1)
      Subresource.perform(this.#store, {
        verb: "create",
        resource: Pod.resource,
        namespace: pod.metadata.namespace,
        name: pod.metadata.name,
        subresource: "binding",
        query: {},
        body: { target: { kind: "Node", name: node } }
      }, {})
      this.#start(key, tracked)
    })
  }

  #choose(): string | undefined {
    const nodes = [...this.#load.keys()]
    const most = this.options.podsPerNodeMax ?? Number.POSITIVE_INFINITY
    for (let tries = 0; tries < nodes.length; tries++) {
      const node = nodes[this.#turn++ % nodes.length]
      if (node !== undefined && !this.#lost.has(node) && (this.#load.get(node) ?? 0) < most) return node
    }
    return undefined
  }

  #start(key: Key, tracked: Tracked): void {
    if (tracked.step !== "Binding") return
    this.#later(key, tracked, "Starting", tracked.plan.startMs ?? this.#ms(this.options.startMs), (pod) => {
      const { fail, waiting } = tracked.plan
      if (waiting !== undefined) {
        this.#status(pod, {
          containerStatuses: (pod.spec?.containers ?? []).map((container: Json) => ({
            ...idle(container),
            state: {
              waiting: {
                reason: waiting.reason,
                ...(waiting.message === undefined ? {} : { message: waiting.message })
              }
            }
          }))
        })
        return
      }
      if (fail !== undefined) {
        this.#fail(key, tracked, pod, fail)
        return
      }
      for (const container of pod.spec?.containers ?? []) tracked.images.set(container.name, container.image)
      const now = this.#now()
      const address = ++this.#addresses
      this.#status(pod, {
        phase: "Running",
        hostIP: "10.0.0.1",
        podIP: `10.${64 + ((address >> 16) & 63)}.${(address >> 8) & 255}.${address & 255}`,
        podIPs: [{ ip: `10.${64 + ((address >> 16) & 63)}.${(address >> 8) & 255}.${address & 255}` }],
        startTime: now,
        conditions: conditions(pod, now, false),
        containerStatuses: (pod.spec?.containers ?? []).map((container: Json) =>
          running(container, 0, now, false, pod.metadata.uid)
        )
      })
      for (const container of pod.spec?.containers ?? []) this.options.onContainer?.(pod, container.name, "Started")
      this.#ready(key, tracked)
    })
  }

  #ready(key: Key, tracked: Tracked): void {
    this.#later(key, tracked, "Readying", tracked.plan.readyMs ?? this.#ms(this.options.readyMs), (pod) => {
      tracked.step = "Running"
      this.#status(pod, {
        conditions: conditions(pod, this.#now(), true),
        containerStatuses: (pod.status?.containerStatuses ?? []).map((one: Json) => ({
          ...one,
          ready: true,
          started: true
        }))
      })
      // an image that changed on the way
      const now = this.#pod(key, tracked.uid)
      if (now !== undefined && tracked.step === "Running") this.#restartChanged(key, tracked, now)
    })
  }

  #restartChanged(key: Key, tracked: Tracked, pod: KubeObject): void {
    const changed = (pod.spec?.containers ?? []).filter((container: Json) =>
      tracked.images.get(container.name) !== container.image
    )
    if (changed.length === 0) return
    this.#restart(key, tracked, changed.map((container: Json) => container.name), 0, "Completed")
  }

  /** The containers stop (Ready goes), and come back with one restart more. */
  #restart(key: Key, tracked: Tracked, names: ReadonlyArray<string>, exitCode: number, reason: string): void {
    this.#later(key, tracked, "Restarting", this.#ms(this.options.restartMs), (pod) => {
      const now = this.#now()
      for (const name of names) this.options.onContainer?.(pod, name, "Stopped")
      const byName = new Map<string, Json>(
        (pod.spec?.containers ?? []).map((container: Json) => [container.name, container])
      )
      for (const name of names) tracked.images.set(name, byName.get(name)?.image)
      this.#status(pod, {
        conditions: conditions(pod, now, false),
        containerStatuses: (pod.status?.containerStatuses ?? []).map((one: Json) => {
          const container = byName.get(one.name)
          if (!names.includes(one.name) || container === undefined) return one
          return {
            ...running(container, (one.restartCount ?? 0) + 1, now, false, pod.metadata.uid),
            lastState: {
              terminated: {
                exitCode,
                reason,
                startedAt: one.state?.running?.startedAt ?? now,
                finishedAt: now,
                containerID: one.containerID
              }
            }
          }
        })
      })
      for (const name of names) this.options.onContainer?.(pod, name, "Started")
      this.#ready(key, tracked)
    })
  }

  #end(key: Key, tracked: Tracked, pod: KubeObject): void {
    const graceMs = (pod.metadata.deletionGracePeriodSeconds ?? 0) * 1000
    this.#later(key, tracked, "Ending", Math.min(graceMs, this.#ms(this.options.endMs)), (now) => {
      for (const container of now.spec?.containers ?? []) this.options.onContainer?.(now, container.name, "Stopped")
      tracked.step = "Over"
      this.#store.delete(Pod.resource, now.metadata.namespace, now.metadata.name, {
        gracePeriodSeconds: 0,
        preconditions: { uid: now.metadata.uid }
      })
    })
  }

  #status(pod: KubeObject, status: Json): KubeObject {
    return this.#store.patch(Pod.resource, pod.metadata.namespace, pod.metadata.name, "merge", { status }, {
      subresource: "status"
    })
  }

  #condition(pod: KubeObject, type: string, status: string, reason: string): void {
    const others = (pod.status?.conditions ?? []).filter((one: Json) => one?.type !== type)
    this.#status(pod, {
      conditions: [...others, { type, status, reason, lastProbeTime: null, lastTransitionTime: this.#now() }]
    })
  }

  #fail(key: Key, tracked: Tracked, pod: KubeObject, fail: NonNullable<StartPlan["fail"]>): void {
    const now = this.#now()
    tracked.cancel?.()
    tracked.cancel = undefined
    tracked.step = "Over"
    for (const name of tracked.images.keys()) this.options.onContainer?.(pod, name, "Stopped")
    this.#status(pod, {
      phase: fail.exitCode === 0 ? "Succeeded" : "Failed",
      ...(fail.exitCode === 0 ? {} : { reason: fail.reason, message: fail.message ?? fail.reason }),
      conditions: conditions(pod, now, false),
      containerStatuses: (pod.spec?.containers ?? []).map((container: Json) => ({
        ...idle(container),
        restartCount: (pod.status?.containerStatuses ?? []).find((one: Json) =>
          one.name === container.name
        )?.restartCount ?? 0,
        state: { terminated: { exitCode: fail.exitCode ?? 1, reason: fail.reason, startedAt: now, finishedAt: now } }
      }))
    })
    const after = this.#pod(key, tracked.uid)
    if (after?.metadata.deletionTimestamp !== undefined) this.#end(key, tracked, after)
  }

  #find(
    namespace: string,
    name: string
  ): { readonly key: Key; readonly tracked: Tracked; readonly pod: KubeObject } | undefined {
    const key: Key = `${namespace}/${name}`
    const tracked = this.#tracked.get(key)
    const pod = tracked === undefined ? undefined : this.#pod(key, tracked.uid)
    return tracked === undefined || pod === undefined ? undefined : { key, tracked, pod }
  }

  /** One container (default: the first) ends by itself; it comes back, as its restart policy says. False when the pod does not run. */
  crash(
    namespace: string,
    name: string,
    options: { readonly container?: string; readonly exitCode?: number; readonly reason?: string } = {}
  ): boolean {
    const found = this.#find(namespace, name)
    if (found === undefined || (found.tracked.step !== "Running" && found.tracked.step !== "Readying")) return false
    const container = options.container ?? found.pod.spec?.containers?.[0]?.name
    const exitCode = options.exitCode ?? 137
    const reason = options.reason ?? (exitCode === 0 ? "Completed" : "Error")
    const policy = found.pod.spec?.restartPolicy
    if (policy === "Never" || (policy === "OnFailure" && exitCode === 0)) {
      this.#fail(found.key, found.tracked, found.pod, { reason, exitCode })
    } else this.#restart(found.key, found.tracked, [container], exitCode, reason)
    return true
  }

  /** The kubelet evicts the pod: Failed, reason Evicted; the object stays until somebody deletes it. */
  evict(namespace: string, name: string, message = "The node was low on resource: memory."): boolean {
    const found = this.#find(namespace, name)
    if (found === undefined) return false
    this.#fail(found.key, found.tracked, found.pod, { reason: "Evicted", message, exitCode: 137 })
    return true
  }

  /** The node stops answering: it and its pods are no longer ready, and nothing on it moves until `recoverNode` or `removeNode`. */
  loseNode(name: string): void {
    this.#lost.add(name)
    this.#store.patch(BuiltIn.node, undefined, name, "merge", {
      status: {
        conditions: [{ type: "Ready", status: "Unknown", reason: "NodeStatusUnknown", lastTransitionTime: this.#now() }]
      }
    }, { subresource: "status" })
    this.#store.patch(BuiltIn.node, undefined, name, "merge", { spec: { taints: [taintNotReady] } })
    for (const pod of this.#on_(name)) {
      this.#status(pod, { conditions: conditions(pod, this.#now(), false) })
    }
  }

  recoverNode(name: string): void {
    this.#lost.delete(name)
    this.#store.patch(BuiltIn.node, undefined, name, "merge", {
      status: {
        conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", lastTransitionTime: this.#now() }]
      }
    }, { subresource: "status" })
    this.#store.patch(BuiltIn.node, undefined, name, "merge", { spec: { taints: null } })
    for (const pod of this.#on_(name)) {
      const key: Key = `${pod.metadata.namespace ?? ""}/${pod.metadata.name}`
      const tracked = this.#tracked.get(key)
      if (tracked === undefined) continue
      if (pod.metadata.deletionTimestamp !== undefined) this.#end(key, tracked, pod)
      else if (tracked.step === "Running" || tracked.step === "Readying") this.#ready(key, tracked)
    }
  }

  /** The node is gone with all that ran there: its pods are removed without grace. */
  removeNode(name: string): void {
    const pods = [...this.#on_(name)]
    this.#load.delete(name)
    this.#lost.delete(name)
    try {
      this.#store.delete(BuiltIn.node, undefined, name)
    } catch (error) {
      if (!isMissing(error)) throw error
    }
    for (const pod of pods) {
      this.#store.delete(Pod.resource, pod.metadata.namespace, pod.metadata.name, {
        gracePeriodSeconds: 0,
        preconditions: { uid: pod.metadata.uid }
      })
    }
  }

  #on_(node: string): ReadonlyArray<KubeObject> {
    return [...this.#store.all(Pod.resource)].filter((pod) => pod.spec?.nodeName === node)
  }
}

const idle = (container: Json): Json => ({
  name: container.name,
  image: container.image,
  imageID: "",
  ready: false,
  started: false,
  restartCount: 0,
  state: { waiting: { reason: "ContainerCreating" } },
  lastState: {}
})

/** Stands for the digest: the same for the same image. */
export const imageId = (image: string): string => {
  let hash = 0xcbf29ce484222325n
  for (let index = 0; index < image.length; index++) {
    hash = ((hash ^ BigInt(image.charCodeAt(index))) * 0x100000001b3n) & 0xffffffffffffffffn
  }
  return `${image.replace(/@.*$/, "")}@sha256:${hash.toString(16).padStart(16, "0").repeat(4)}`
}

const running = (container: Json, restartCount: number, now: string, isReady: boolean, uid: string): Json => ({
  name: container.name,
  image: container.image,
  imageID: imageId(container.image),
  containerID: `containerd://${uid}-${container.name}-${restartCount}`,
  ready: isReady,
  started: isReady,
  restartCount,
  state: { running: { startedAt: now } },
  lastState: {}
})

const conditionTypes = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]

const conditions = (pod: KubeObject, now: string, isReady: boolean): ReadonlyArray<Json> => {
  const before: ReadonlyArray<Json> = pod.status?.conditions ?? []
  const own = conditionTypes.map((type) => {
    const status = isReady || type === "PodScheduled" || type === "Initialized" ? "True" : "False"
    const had = before.find((one) => one?.type === type)
    if (had?.status === status) return had
    return {
      type,
      status,
      lastProbeTime: null,
      lastTransitionTime: now,
      ...(status === "True" ? {} : { reason: "ContainersNotReady", message: "containers with unready status" })
    }
  })
  // a condition that is not the kubelet's (a readiness gate) is left as it is
  return [...own, ...before.filter((one) => !conditionTypes.includes(one?.type))]
}
