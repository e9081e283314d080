/**
 * What a pool of provider `kubernetes` takes under `config`, and what the plugin takes for the whole process.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Problem } from "../../shared/protocol/ErrorCode.ts"
import { AgentSettings, PodReset, PodTemplate } from "../../shared/protocol/SandboxPool.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"
import { annotationsProblem, isDnsLabel, labelsProblem } from "./Names.ts"

const KubeNamespace = Schema.String.check(
  Schema.makeFilter((text) => isDnsLabel(text) || "the name of a Kubernetes namespace")
)

/** The object that pods belong to: deleted with it by the cluster's garbage collection, without a finalizer. */
export const Owner = Schema.Struct({
  apiVersion: Schema.String,
  kind: Schema.String,
  name: Schema.String,
  uid: Schema.String
})
export type Owner = typeof Owner.Type

export const Config = Schema.Struct({
  /** Where the pods are; the pool's own namespace when not given. */
  namespace: Schema.optionalKey(KubeNamespace),
  template: PodTemplate,
  reset: PodReset.pipe(Schema.withDecodingDefaultKey(Effect.succeed({ method: "delete" as const }))),
  owner: Schema.optionalKey(Owner),
  /** How holders run processes: `pod`, by `exec` of the cluster's API, or `agent`, by our agent in the first container's image. `websocket` is an older name of `pod`. */
  exec: Schema.Literals(["pod", "agent", "websocket"]).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed("pod" as const))
  ),
  agent: Schema.optionalKey(AgentSettings),
  /** Of a deletion; the pod's own grace when not given. */
  grace: Schema.optionalKey(DurationMs),
  /** A pod that is not ready after this time is replaced; 0: never. */
  startTimeout: DurationMs.pipe(Schema.withDecodingDefaultKey(Effect.succeed("10m"))),
  /** How long pods stay on a node that is lost, unless the template tolerates it. */
  nodeLost: DurationMs.pipe(Schema.withDecodingDefaultKey(Effect.succeed("60s")))
})
export type Config = typeof Config.Type

/** What the structure does not say. */
export const problems = (config: Config): ReadonlyArray<Problem> => {
  const { reset, template } = config
  const names = new Set(template.spec.containers.map((one) => one.name))
  const found: Array<Problem> = []
  const tell = (path: string, message: string | undefined): void => {
    if (message !== undefined) found.push({ path: `config.${path}`, message })
  }
  tell("template.metadata.labels", labelsProblem(template.metadata?.labels ?? {}))
  tell(
    "template.metadata.annotations",
    annotationsProblem(
      Object.fromEntries(
        Object.entries(template.metadata?.annotations ?? {}).filter(([key]) => !allowed.has(key))
      )
    )
  )
  if (names.size < template.spec.containers.length) tell("template.spec.containers", "two containers have one name")
  for (const name of Object.keys(reset.alternates ?? {})) {
    if (!names.has(name)) tell(`reset.alternates.${name}`, "the template has no container of this name")
    const image = template.spec.containers.find((one) => one.name === name)?.image
    if (image === reset.alternates?.[name]) {
      tell(`reset.alternates.${name}`, "the same image as the template's: changing to it would restart nothing")
    }
  }
  if (reset.alternates !== undefined && reset.method !== "restart") {
    tell("reset.alternates", "for the method restart only")
  }
  if (reset.method === "exec" && reset.command === undefined) tell("reset.command", "the method exec needs a command")
  if (reset.container !== undefined && !names.has(reset.container)) {
    tell("reset.container", "the template has no container of this name")
  }
  if (config.exec === "agent" && config.agent === undefined) {
    tell("agent", "exec: agent needs agent.natsUrl: where pods reach NATS, such as nats://nats.heddle.svc:4222")
  }
  if (config.exec !== "agent" && config.agent !== undefined) {
    tell("agent", "is for exec: agent only: write exec: agent, or leave agent out")
  }
  return found
}
/** Keys of heddle and the autoscaler that a template may carry. */
const allowed = new Set(["heddle.dev/protected", "cluster-autoscaler.kubernetes.io/safe-to-evict"])

/** Of the plugin. Without any of it: KUBECONFIG, `~/.kube/config`, or the service account of the pod that it runs in. */
export const PluginConfig = Schema.Struct({
  kubeconfig: Schema.optionalKey(Schema.String),
  context: Schema.optionalKey(Schema.String),
  /** Objects (SandboxPool, SandboxEnv) are read from these namespaces; from all when empty, from none when not given. */
  objects: Schema.optionalKey(Schema.Array(KubeNamespace))
})
export type PluginConfig = typeof PluginConfig.Type
