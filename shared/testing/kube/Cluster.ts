/**
 * A cluster in memory: the store with the built-in kinds, users and their rights, the controllers that act on their own (garbage collection, namespaces, CRDs, kubelet),
 * and the faults between a client and the server. ApiServer.ts gives it an HTTP address; a simulation calls `submit`, `watch` and `handle` directly with a virtual clock.
 *
 * Keeps true: with no faults an answer comes before `submit` returns; with faults whatever the clock and the seed say, and the same every time.
 */
import * as Api from "./Api.ts"
import { ApiStore, type Watcher, type WatchEvent } from "./ApiStore.ts"
import * as BuiltIn from "./BuiltIn.ts"
import { Controllers } from "./Controllers.ts"
import * as CustomResource from "./CustomResource.ts"
import { type FaultOptions, Faults } from "./Faults.ts"
import type { Json, KubeObject } from "./Json.ts"
import * as Clock from "./KubeClock.ts"
import { Kubelet, type KubeletOptions } from "./Kubelet.ts"
import * as Pod from "./Pod.ts"
import * as Rbac from "./Rbac.ts"
import * as Refusal from "./Refusal.ts"
import { type Resource } from "./Resource.ts"
import * as Route from "./Route.ts"

export interface ClusterOptions {
  /** Default: the machine's. */
  readonly clock?: Clock.KubeClock
  /** Of names, uids and faults. Default 1. */
  readonly seed?: number
  readonly historyLengthMax?: number
  /** By bearer token. With none given every request is the administrator's. */
  readonly users?: Readonly<Record<string, Rbac.User>>
  /** CustomResourceDefinitions (apiextensions.k8s.io/v1) that are there from the start. */
  readonly crds?: ReadonlyArray<Json>
  /** Namespaces that are there from the start, besides `default` and `kube-system`. */
  readonly namespaces?: ReadonlyArray<string>
  /** Default: one node, pods run at once. `false`: no kubelet, pods stay as they are written. */
  readonly kubelet?: KubeletOptions | false
  readonly faults?: FaultOptions
  /** Default 60,000. */
  readonly bookmarkEveryMs?: number
}

/** What became of a request. `Lost`: the connection broke; the write may have taken effect. */
export type Outcome =
  | {
    readonly _tag: "Answered"
    readonly code: number
    readonly body: Json
    readonly retryAfterSeconds?: number | undefined
    readonly warnings?: ReadonlyArray<string> | undefined
  }
  | { readonly _tag: "Lost" }

export interface WatchSink {
  readonly event: (event: WatchEvent) => void
  /** The stream is over; `isCut`: without the end of the HTTP body. */
  readonly end: (isCut: boolean) => void
}

export class Cluster {
  readonly clock: Clock.KubeClock
  readonly store: ApiStore
  readonly faults: Faults
  readonly kubelet: Kubelet | undefined
  readonly users = new Map<string, Rbac.User>()
  readonly #bookmarkEveryMs: number
  readonly #controllers: Controllers

  constructor(options: ClusterOptions = {}) {
    this.clock = options.clock ?? Clock.real
    const seed = options.seed ?? 1
    this.#bookmarkEveryMs = options.bookmarkEveryMs ?? 60_000
    this.store = new ApiStore({
      clock: this.clock,
      random: Clock.seeded(seed),
      ...(options.historyLengthMax === undefined ? {} : { historyLengthMax: options.historyLengthMax })
    })
    this.store.define(Pod.resource)
    for (const resource of BuiltIn.resources) this.store.define(resource)
    for (const [token, user] of Object.entries(options.users ?? {})) this.users.set(token, user)
    this.faults = new Faults(options.faults ?? {}, seed)
    this.#controllers = new Controllers(this.store)
    for (const name of ["default", "kube-system", ...(options.namespaces ?? [])]) {
      this.store.create(BuiltIn.namespace, undefined, { metadata: { name } })
    }
    for (const crd of options.crds ?? []) this.store.create(BuiltIn.customResourceDefinition, undefined, crd)
    this.kubelet = options.kubelet === false ? undefined : new Kubelet(this.store, options.kubelet ?? {}, seed)
  }

  /** The kind by group, version and plural; undefined when it is not served so. */
  readonly find = (group: string, version: string, plural: string): Resource | undefined => {
    const resource = this.store.find(group, plural)
    return resource !== undefined && (resource.version === version || CustomResource.isServed(resource, version))
      ? resource
      : undefined
  }

  /** The user of an `authorization` header. Throws 401. */
  readonly userOf = (authorization: string | undefined): Rbac.User => {
    const token = /^Bearer\s+(.+)$/i.exec(authorization ?? "")?.[1]
    if (token === undefined) {
      if (this.users.size === 0) return Rbac.admin
      return { name: "system:anonymous", groups: ["system:unauthenticated"], grants: [] }
    }
    const user = this.users.get(token)
    if (user !== undefined) return user
    if (this.users.size === 0) return Rbac.admin
    throw Refusal.unauthorized()
  }

  /** Answered at once and without faults. */
  perform(request: Route.ApiRequest, user: Rbac.User = Rbac.admin): Api.Answer {
    try {
      Api.authorize(request, user)
      return Api.perform(this.store, request)
    } catch (error) {
      return Api.refused(error)
    }
  }

  /** Answered by `done`, through the faults. */
  submit(request: Route.ApiRequest, user: Rbac.User, done: (outcome: Outcome) => void): void {
    const fate = this.faults.fate(request)
    const answer = () => {
      if (fate.refusal !== undefined) {
        done({
          _tag: "Answered",
          code: fate.refusal.code,
          body: fate.refusal.status,
          retryAfterSeconds: fate.refusal.status.details?.retryAfterSeconds
        })
        return
      }
      if (fate.isLostBefore) {
        done({ _tag: "Lost" })
        return
      }
      if (fate.isDisturbed) this.faults.disturb(this.store, request)
      const performed = this.perform(request, user)
      const { code, body } = fate.refusalAfter === undefined
        ? performed
        : { code: fate.refusalAfter.code, body: fate.refusalAfter.status }
      const tell = () =>
        done(
          fate.isLostAfter ? { _tag: "Lost" } : { _tag: "Answered", code, body, warnings: performed.warnings }
        )
      if (fate.latencyAfterMs > 0) this.clock.after(fate.latencyAfterMs, tell)
      else tell()
    }
    if (fate.latencyBeforeMs > 0) this.clock.after(fate.latencyBeforeMs, answer)
    else answer()
  }

  /** Throws `Refusal` when there can be no watch. `stop` of the answer ends it without a word. */
  watch(request: Route.ApiRequest, user: Rbac.User, sink: WatchSink): { readonly stop: () => void } {
    Api.authorize(request, user)
    const { clock } = this
    const fate = this.faults.watchFate()
    let isOver = false
    let watcher: Watcher | undefined
    const timers = new Set<() => void>()
    const stop = () => {
      if (isOver) return
      isOver = true
      watcher?.stop()
      for (const cancel of timers) cancel()
      timers.clear()
    }
    const end = (isCut: boolean) => {
      if (isOver) return
      stop()
      sink.end(isCut)
    }
    const later = (delayMs: number, run: () => void) => {
      const cancel = clock.after(delayMs, () => {
        timers.delete(cancel)
        run()
      })
      timers.add(cancel)
    }
    const deliver = (event: WatchEvent) => {
      if (isOver) return
      sink.event(event)
      if (event.type === "ERROR") end(false)
      else if (event.type !== "BOOKMARK" && fate.isCutNow()) end(true)
    }
    let dueMs = 0
    const late: Array<WatchEvent> = []
    watcher = Api.watch(this.store, request, (event) => {
      const lagMs = fate.lagMs()
      if (lagMs === 0 && late.length === 0) {
        deliver(event)
        return
      }
      // Late, but in order: two timers for the same moment may come either way.
      dueMs = Math.max(dueMs, clock.nowMs() + lagMs)
      late.push(event)
      later(dueMs - clock.nowMs(), () => {
        const next = late.shift()
        if (next !== undefined) deliver(next)
      })
    })
    // ended while it began
    if (isOver) watcher.stop()
    const seconds = Route.timeoutSecondsOf(request) ?? 0
    const timeoutMs = (seconds > 0 ? seconds : 1800 + Math.floor(this.store.random() * 1800)) * 1000
    const remind = () => {
      watcher?.bookmark()
      if (!isOver) later(this.#bookmarkEveryMs, remind)
    }
    if (!isOver) {
      later(timeoutMs, () => end(false))
      if (Route.isTrue(request.query["allowWatchBookmarks"])) {
        later(this.#bookmarkEveryMs, remind)
        // one before the end, so that the next watch begins where this one ended
        if (timeoutMs > 2_000) later(timeoutMs - 2_000, () => watcher?.bookmark())
      }
    }
    return { stop }
  }

  /** The object as stored: for assertions. */
  object(resource: Resource, namespace: string | undefined, name: string): KubeObject | undefined {
    return this.store.peek(resource, namespace, name)
  }

  /** Forgets all history: the next watch or page from before is told 410. */
  compact(): void {
    this.store.compact()
  }

  stop(): void {
    this.kubelet?.stop()
    this.#controllers.stop()
  }
}
