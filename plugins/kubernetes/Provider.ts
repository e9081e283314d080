/**
 * The pool provider `kubernetes`: sandboxes are pods. Opens pools on the cluster that the plugin's config names, one connection for all of them.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { AgentTokens } from "../../shared/plugin/AgentLink.ts"
import * as PoolProvider from "../../shared/plugin/PoolProvider.ts"
import { SandboxLost } from "../../shared/plugin/SandboxClient.ts"
import type { Problem } from "../../shared/protocol/ErrorCode.ts"
import { agentTokenTtlDefaultMs } from "../../shared/protocol/SandboxPool.ts"
import type { Cluster } from "./Cluster.ts"
import { Config, problems } from "./Config.ts"
import * as KubernetesPool from "./KubernetesPool.ts"
import { isDnsLabel, isLabelValue, labelsProblem } from "./Names.ts"
import * as PodFeeds from "./PodFeeds.ts"
import type { ResetHook } from "./PodResets.ts"

const noExec = "this heddle cannot run processes in pods yet: reach the sandbox by its address"

/** Beyond the life of its token, an agent may be late with its question. */
const agentLateMs = 60_000

/** A pool whose names or labels Kubernetes would refuse. */
const contextProblems = (
  { labels, pool }: PoolProvider.OpenContext,
  namespace: string
): ReadonlyArray<Problem> => {
  const found: Array<Problem> = []
  if (!isDnsLabel(namespace)) {
    found.push({
      path: "config.namespace",
      message: `${JSON.stringify(namespace)} is no Kubernetes namespace: name one`
    })
  }
  for (const [path, name] of [["name", pool.name], ["namespace", pool.namespace]] as const) {
    if (!isLabelValue(name)) {
      found.push({ path, message: `${JSON.stringify(name)} begins or ends with a character that no label value may` })
    }
  }
  const problem = labelsProblem(labels)
  if (problem !== undefined) found.push({ path: "labels", message: problem })
  return found
}

export interface ProviderOptions {
  readonly cluster: Cluster
  readonly resetHook?: ResetHook
  readonly connect?: PoolProvider.PoolProvider["connect"]
  readonly prepare?: Effect.Effect<void>
  readonly informer?: KubernetesPool.KubernetesPoolOptions["informer"]
}

export const make = (options: ProviderOptions): PoolProvider.PoolProvider => {
  const { cluster, connect, informer, prepare, resetHook } = options
  const feeds = PodFeeds.make(informer)
  const configProblems = (config: Config): ReadonlyArray<Problem> => {
    const found = problems(config)
    return config.reset.method === "exec" && resetHook === undefined
      ? [...found, { path: "config.reset.method", message: noExec }]
      : found
  }
  const provider = PoolProvider.make({
    name: "kubernetes",
    capabilities: { handOff: false, synchronous: false, persistent: true },
    config: Config,
    ...(prepare === undefined ? {} : { prepare }),
    open: (context, config) =>
      Effect.gen(function*() {
        const namespace = config.namespace ?? context.pool.namespace
        const found = [...configProblems(config), ...contextProblems(context, namespace)]
        if (found.length > 0) {
          return yield* new PoolProvider.ProviderError({
            provider: "kubernetes",
            message: `pool ${context.pool.namespace}/${context.pool.name}: ${
              found.map((one) => `${one.path}: ${one.message}`).join("; ")
            }`,
            problems: found
          })
        }
        const tokens = yield* AgentTokens
        if (config.exec === "agent" && tokens === undefined) {
          return yield* new PoolProvider.ProviderError({
            provider: "kubernetes",
            message:
              `pool ${context.pool.namespace}/${context.pool.name}: config.exec: agent needs the key that signs agents' tokens: set HEDDLE_AGENT_SEED (and HEDDLE_AGENT_ACCOUNT) for every pool scheduler`
          })
        }
        const agents = config.exec === "agent" && config.agent !== undefined && tokens !== undefined
          ? {
            tokens,
            natsUrl: config.agent.natsUrl,
            ttlMs: config.agent.tokenTtl ?? agentTokenTtlDefaultMs,
            lateMs: agentLateMs
          }
          : undefined
        const client = yield* cluster.client
        return yield* KubernetesPool.make({
          client,
          feed: yield* feeds.of(client, namespace),
          shared: cluster.failure,
          context,
          config,
          namespace,
          resetHook: resetHook ?? (() => Effect.succeed(false)),
          agents,
          ...(informer === undefined ? {} : { informer })
        })
      }),
    connect: connect ??
      ((sandbox) => Effect.fail(new SandboxLost({ sandbox: sandbox.uid, reason: noExec })))
  })
  return {
    ...provider,
    validate: (config) => {
      const structure = provider.validate(config)
      if (structure.length > 0) return structure
      const decoded = decodeConfig(config)
      return Option.isNone(decoded) ? [] : configProblems(decoded.value)
    }
  }
}

const decodeConfig = Schema.decodeUnknownOption(Config)
