/**
 * What agent mode (`config.exec: agent`) adds to a pod: who its agent is, where it connects, and a token that fits nobody else.
 *
 * Pure. The token stands in the pod's environment: who may read pods of the namespace can read it, and reaches with it what the pod's own processes reach, its sandbox's subjects.
 * docs/design/kubernetes.md, "Agent mode".
 */
import type { SandboxState } from "../../shared/plugin/PoolProvider.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { agentBase } from "../../shared/protocol/SandboxAgent.ts"
import * as AgentExec from "./AgentExec.ts"
import { isObject, type JsonObject, listAt } from "./Json.ts"
import { domain, podName } from "./Names.ts"
import type { Pod } from "./Pod.ts"

/** The subject of the pod's agent. */
const agentAnnotation = `${domain}/agent`

/** Of the pod that a sandbox of this name is made as. */
export const baseOf = (pool: PoolRef, name: string): string => agentBase(pool, podName(name))

/** `pod` as it is created, with what the agent in its first container is told. */
export const withAgent = (
  pod: JsonObject,
  agent: { readonly base: string; readonly natsUrl: string; readonly credentials: string }
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
    metadata: { ...metadata, annotations: { ...annotations, [agentAnnotation]: agent.base } },
    spec: { ...spec, containers: [{ ...first, env: [...others, ...env] }, ...rest] }
  }
}

/** With the agent's address, where the pod has an agent; only its own pool's and its own name's counts. */
export const withAddress = (state: SandboxState, pod: Pod, pool: PoolRef): SandboxState => {
  const base = agentBase(pool, pod.name)
  return pod.annotations[agentAnnotation] === base
    ? { ...state, sandbox: { ...state.sandbox, address: AgentExec.addressOf(base) } }
    : state
}
