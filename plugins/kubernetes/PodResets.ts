/**
 * Resets of one pool's pods: brings a pod in Stopping back to Idle, step by step, as `Reset` decides from the pod alone.
 *
 * Keeps true: a pod has one step under way at a time; a command that has run is not run again for a write that failed; a pod whose reset fails or takes too long is replaced; an
 * owner that has been replaced takes no further step.
 */
import * as Effect from "effect/Effect"
import type { SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import type { Config } from "./Config.ts"
import type { Informer } from "./Informer.ts"
import type * as Pod from "./Pod.ts"
import * as PodPatch from "./PodPatch.ts"
import type { PodRequests } from "./PodRequests.ts"
import * as Reset from "./Reset.ts"

/** Runs the reset command in a pod; true: exit code 0. Interrupted when it takes too long. */
export type ResetHook = (
  pod: { readonly namespace: string; readonly name: string; readonly uid: SandboxUid; readonly container: string },
  command: ReadonlyArray<string>
) => Effect.Effect<boolean>

export interface PodResetsOptions {
  readonly requests: PodRequests
  readonly informer: Informer<Pod.Pod>
  readonly reset: Config["reset"]
  readonly sessionId: SessionId
  readonly hook: ResetHook
  readonly isFenced: () => boolean
  /** The pod is of no use any more. */
  readonly replace: (pod: Pod.Pod, reason: string) => void
  /** Whatever the pod asks for now. */
  readonly look: (pod: Pod.Pod) => void
}

export class PodResets {
  private readonly options: PodResetsOptions
  private readonly resetting = new Set<SandboxUid>()
  /** Those that are looked at again at their end. */
  private readonly waiting = new Set<SandboxUid>()

  constructor(options: PodResetsOptions) {
    this.options = options
  }

  /** The pod is gone. */
  forget(uid: SandboxUid): void {
    this.resetting.delete(uid)
  }

  /** One step of the reset of a pod in Stopping. */
  step(pod: Pod.Pod): void {
    if (this.resetting.has(pod.uid)) return
    const { hook, informer, look, replace, requests, reset } = this.options
    const next = Reset.next(pod, reset, requests.now())
    switch (next._tag) {
      case "Replace":
        return replace(pod, next.reason)
      case "Finish":
        return this.finish(pod)
      case "Wait":
        if (this.waiting.has(pod.uid)) return
        this.waiting.add(pod.uid)
        return requests.later(next.until - requests.now(), () => {
          this.waiting.delete(pod.uid)
          const latest = informer.cache.get(pod.uid)
          if (latest !== undefined) look(latest)
        })
      case "Exec": {
        this.resetting.add(pod.uid)
        const container = reset.container ?? Object.keys(pod.images)[0] ?? ""
        const run = hook(
          { namespace: pod.namespace, name: pod.name, uid: pod.uid, container },
          reset.command ?? []
        )
        requests.fork(
          run.pipe(
            Effect.timeoutOption(Math.max(next.until - requests.now(), 0)),
            Effect.map((done) => done._tag === "Some" && done.value),
            Effect.catchCause(() => Effect.succeed(false)),
            Effect.map((isReset) => {
              const latest = informer.cache.get(pod.uid)
              if (latest === undefined || latest.sandboxPhase !== "Stopping") {
                this.resetting.delete(pod.uid)
              } else if (isReset) this.finish(latest)
              else {
                this.resetting.delete(pod.uid)
                replace(latest, "its reset command failed")
              }
            })
          )
        )
      }
    }
  }

  private finish(pod: Pod.Pod): void {
    this.resetting.add(pod.uid)
    const { informer, isFenced, requests, reset, sessionId } = this.options
    requests.patch(pod, PodPatch.idle(pod, sessionId, reset.method === "restart"), (verdict) => {
      if (verdict._tag === "Done") {
        this.resetting.delete(pod.uid)
        requests.wrote(verdict.body)
        return
      }
      // Whatever it was: the next look at the pod, as it is then, decides.
      requests.read(pod, (now) => {
        if (typeof now !== "string" && (now === undefined || now.sandboxPhase !== "Stopping")) {
          this.resetting.delete(pod.uid)
          return
        }
        const latest = typeof now === "string" || now === undefined ? pod : now
        if (verdict._tag === "Conflict" && latest.version > pod.version) return this.finish(latest)
        requests.later(1_000, () => {
          this.resetting.delete(pod.uid)
          // A command that has run is not run again for a write that failed.
          const again = informer.cache.get(pod.uid)
          if (again === undefined || again.sandboxPhase !== "Stopping" || isFenced()) return
          if (reset.method === "exec") this.finish(again)
          else this.step(again)
        })
      })
    })
  }
}
