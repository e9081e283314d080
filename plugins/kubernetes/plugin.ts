/** The pool provider `kubernetes`: sandboxes are pods of the cluster that KUBECONFIG, the plugin's config or the pod's own service account names. */
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import * as AgentExec from "./AgentExec.ts"
import * as Cluster from "./Cluster.ts"
import { PluginConfig } from "./Config.ts"
import * as PodExec from "./PodExec.ts"
import * as PoolObjects from "./PoolObjects.ts"
import * as Provider from "./Provider.ts"

export default definePlugin({
  name: "kubernetes",
  version: "1.0.0",
  api: "^1",
  config: PluginConfig,
  contributes: {
    poolProviders: {
      kubernetes: (config) => {
        const cluster = Cluster.make(Cluster.access(config))
        const pods = PodExec.make(cluster)
        return Provider.make({
          cluster,
          prepare: Cluster.prepare,
          resetHook: pods.resetHook,
          connect: (sandbox) =>
            AgentExec.isAddress(sandbox.address) ? AgentExec.connect(sandbox) : pods.connect(sandbox)
        })
      }
    },
    poolSources: {
      kubernetes: (config) =>
        PoolObjects.make({ cluster: Cluster.make(Cluster.access(config)), namespaces: config.objects })
    }
  }
})
