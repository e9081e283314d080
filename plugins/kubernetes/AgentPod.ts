/**
 * What agent mode (`exec: agent`) adds to a pod: who its agent is, where it connects, and a ticket for tokens that fit nobody else; and who is given a token.
 *
 * Pure. Keeps true: a token is made for a pod that is there, of this pool, and for the key that was made for that pod. The ticket stands in the pod's environment: who may read pods of
 * the namespace can read it, and reaches with it what the pod's own processes reach, its sandbox's subjects while the pod is there.
 * docs/design/kubernetes.md, "Agent mode".
 */
import type { SandboxState } from "../../shared/plugin/PoolProvider.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { agentBase } from "../../shared/protocol/SandboxAgent.ts"
import type { SandboxUid } from "../../shared/protocol/Token.ts"
import * as AgentExec from "./AgentExec.ts"
import { isObject, type JsonObject, listAt } from "./Json.ts"
import { annotation, label, podName } from "./Names.ts"
import * as Pod from "./Pod.ts"

/** A container may be started anew so long after its pod was made; the pods of a key that has become known are of no use for longer. */
export const ticketTtlMs = 90 * 24 * 3_600_000

/** Of the pod that a sandbox of this name is made as. */
export const baseOf = (pool: PoolRef, name: string): string => agentBase(pool, podName(name))

/** `pod` as it is created, with what the agent in its first container is told. */
export const withAgent = (
  pod: JsonObject,
  agent: { readonly base: string; readonly natsUrl: string; readonly credentials: string; readonly user: string }
): JsonObject => {
  const { metadata, spec } = pod
  if (!isObject(metadata) || !isObject(spec)) return pod
  const annotations = isObject(metadata["annotations"]) ? metadata["annotations"] : {}
  const env = [
    { name: "HEDDLE_NATS_URL", value: agent.natsUrl },
    { name: "HEDDLE_AGENT_BASE", value: agent.base },
    { name: "HEDDLE_AGENT_CREDENTIALS", value: agent.credentials },
    { name: "HEDDLE_SANDBOX_UID", valueFrom: { fieldRef: { fieldPath: "metadata.uid" } } }
  ]
  const own = new Set(env.map((one) => one.name))
  const [first, ...rest] = listAt(spec, "containers")
  if (!isObject(first)) return pod
  const others = listAt(first, "env").filter((one) => !isObject(one) || !own.has(String(one["name"])))
  return {
    ...pod,
    metadata: {
      ...metadata,
      annotations: { ...annotations, [annotation.agent]: agent.base, [annotation.agentUser]: agent.user }
    },
    spec: { ...spec, containers: [{ ...first, env: [...others, ...env] }, ...rest] }
  }
}

/** With the agent's address, where the pod has an agent; only its own pool's and its own name's counts. */
export const withAddress = (state: SandboxState, pod: Pod.Pod, pool: PoolRef): SandboxState => {
  const base = agentBase(pool, pod.name)
  return pod.annotations[annotation.agent] === base
    ? { ...state, sandbox: { ...state.sandbox, address: AgentExec.addressOf(base) } }
    : state
}

/** The key that a token for the agent at `base` is made for, or why it gets none. `pod`: as it stands now under that name; `undefined`: there is none. */
export const tokenUser = (
  pod: Pod.Pod | undefined,
  pool: PoolRef,
  asked: { readonly base: string; readonly uid: SandboxUid }
): { readonly user: string } | { readonly refused: string } => {
  const refused = (reason: string) => ({ refused: reason })
  if (pod === undefined || pod.uid !== asked.uid) return refused(`there is no sandbox ${asked.uid} any more`)
  if (Pod.isGone(pod)) return refused(`the sandbox ${asked.uid} ends`)
  const user = pod.annotations[annotation.agentUser]
  const isOfPool = pod.labels[label.pool] === pool.name && pod.labels[label.namespace] === pool.namespace
  return isOfPool && pod.annotations[annotation.agent] === asked.base && user !== undefined
    ? { user }
    : refused(`the pod ${pod.name} is no sandbox of ${pool.namespace}/${pool.name} with an agent`)
}
