/**
 * The requests of one pool about its pods: single writes and reads, with what they tell put into the cache.
 *
 * Keeps true: what an answer shows is in the cache before whoever asked hears of it; a write that is given up is not sent again; the server's wish to wait is obeyed as long as
 * the write's time allows. Whether a write may be sent at all is its caller's to know.
 */
import * as Effect from "effect/Effect"
import * as Answer from "./Answer.ts"
import { type Abort, type Api, type Request, strategicMergePatch } from "./ApiClient.ts"
import type { Informer } from "./Informer.ts"
import { at, isObject } from "./Json.ts"
import * as Pod from "./Pod.ts"
import * as PodPatch from "./PodPatch.ts"

/** How long a write is tried within its own deadline (the scheduler's is 5 s) when the server asks to wait. */
const writeBudgetMs = 4_500

/** A write that can be given up. */
export interface Pending {
  /** The version that it names. */
  readonly version: number
  isGivenUp: boolean
  abort: Abort
}

export interface Runtime {
  readonly now: () => number
  readonly fork: (effect: Effect.Effect<void>) => void
}

export interface PodRequestsOptions {
  readonly client: Api
  readonly informer: Informer<Pod.Pod>
  readonly namespace: string
  /** For the log: `default/web`. */
  readonly pool: string
  readonly runtime: Runtime
}

export const podsPath = (namespace: string): string => `/api/v1/namespaces/${namespace}/pods`

export class PodRequests {
  readonly now: () => number
  readonly fork: (effect: Effect.Effect<void>) => void
  private readonly client: Api
  private readonly informer: Informer<Pod.Pod>
  private readonly path: string
  private readonly pool: string

  constructor(options: PodRequestsOptions) {
    this.client = options.client
    this.informer = options.informer
    this.path = podsPath(options.namespace)
    this.pool = options.pool
    this.now = options.runtime.now
    this.fork = options.runtime.fork
  }

  create(body: unknown, done: (verdict: Answer.Verdict) => void): void {
    this.write({ method: "POST", path: this.path, body }, done)
  }

  patch(pod: Pod.Pod, body: unknown, done: (verdict: Answer.Verdict) => void, pending?: Pending): void {
    this.write(
      { method: "PATCH", path: `${this.path}/${pod.name}`, body, contentType: strategicMergePatch },
      done,
      pending
    )
  }

  /** `version`: the one that was judged; undefined: whatever it is now. */
  remove(
    pod: Pod.Pod,
    version: number | undefined,
    graceSeconds: number | undefined,
    done: (verdict: Answer.Verdict) => void
  ): void {
    this.write({
      method: "DELETE",
      path: `${this.path}/${pod.name}`,
      body: PodPatch.deleteOptions(pod, version, graceSeconds)
    }, (verdict) => {
      if (verdict._tag === "Done") {
        // Either the pod as it is now (it ends within its grace), or a Status: it is gone at once.
        const now = isObject(verdict.body) && verdict.body["kind"] === "Status" ? undefined : this.wrote(verdict.body)
        if (now === undefined) this.informer.forget(pod.uid)
      }
      done(verdict)
    })
  }

  /** One write. The server's wish to wait is obeyed as long as the write's time allows; given up, it is not sent again. */
  private write(request: Request, done: (verdict: Answer.Verdict) => void, pending?: Pending): void {
    const until = this.now() + writeBudgetMs
    const send = (): void => {
      const abort = this.client.send("write", request, (answer) => {
        const verdict = Answer.verdict(answer)
        if (verdict._tag === "Later" && pending?.isGivenUp !== true && this.now() + verdict.afterMs < until) {
          return this.later(verdict.afterMs, () => pending?.isGivenUp === true ? done(verdict) : send())
        }
        done(verdict)
      })
      if (pending !== undefined) pending.abort = abort
    }
    send()
  }

  /** The pod as it is now; `undefined`: this one is gone. A text: it could not be read, and why. */
  read(known: Pod.Pod, done: (pod: Pod.Pod | undefined | string) => void): void {
    this.readNamed(known.name, (pod) => {
      if (typeof pod !== "string" && pod?.uid !== known.uid) {
        this.informer.forget(known.uid)
        return done(undefined)
      }
      if (typeof pod === "object") this.informer.told(pod)
      done(pod)
    })
  }

  readNamed(name: string, done: (pod: Pod.Pod | undefined | string) => void): void {
    this.client.send("read", { method: "GET", path: `${this.path}/${name}` }, (answer) => {
      const verdict = Answer.verdict(answer)
      if (verdict._tag === "NotFound") return done(undefined)
      if (verdict._tag !== "Done") return done(verdict.message)
      done(Pod.read(verdict.body) ?? `the pod ${name} cannot be read`)
    })
  }

  /** The pod that a write of ours has left. */
  wrote(body: unknown): Pod.Pod | undefined {
    const pod = at(body, "kind") === "Status" ? undefined : Pod.read(body)
    if (pod === undefined) return undefined
    this.informer.wrote(pod.version)
    this.informer.told(pod)
    return pod
  }

  later(afterMs: number, run: () => void): void {
    this.fork(Effect.andThen(Effect.sleep(Math.max(afterMs, 0)), Effect.sync(run)))
  }

  warn(message: string, details: Readonly<Record<string, unknown>>): void {
    this.fork(
      Effect.logWarning(message, { pool: this.pool, ...details })
    )
  }
}
