/**
 * What a pod in Stopping needs next. Level-triggered: decided from the pod alone, so a scheduler that takes the pool over goes on where the last one stopped.
 *
 * Pure. Follows design/04 point 11 and docs/design/kubernetes.md, "Reset".
 */
import { type PodReset, resetTimeoutDefaultMs } from "../../shared/protocol/SandboxPool.ts"
import * as Pod from "./Pod.ts"

export type Next =
  | { readonly _tag: "Wait"; readonly until: number }
  /** Everything is as new: it may be Idle. */
  | { readonly _tag: "Finish" }
  /** The reset command is to run (once; whoever runs it knows whether it does already). */
  | { readonly _tag: "Exec"; readonly until: number }
  /** It cannot be reset, or not in time. */
  | { readonly _tag: "Replace"; readonly reason: string }

export const next = (pod: Pod.Pod, reset: PodReset, now: number): Next => {
  const mark = Pod.resetOf(pod)
  if (mark === undefined) return { _tag: "Replace", reason: "its reset cannot be read" }
  const until = mark.at + (reset.timeout ?? resetTimeoutDefaultMs)
  if (now >= until) return { _tag: "Replace", reason: "it was not reset in time" }
  switch (reset.method) {
    case "none":
      return { _tag: "Finish" }
    case "delete":
      return { _tag: "Replace", reason: "pods of this pool are not reset" }
    case "exec":
      return { _tag: "Exec", until }
    case "restart": {
      const waiting = Object.entries(mark.restarts).some(([name, count]) => (pod.restarts[name] ?? 0) <= count)
      return waiting || !pod.isReady ? { _tag: "Wait", until } : { _tag: "Finish" }
    }
  }
}
