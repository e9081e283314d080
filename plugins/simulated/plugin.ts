/** The pool provider `simulated`: sandboxes that exist only in the scheduler's memory, with the faults that `config` asks for. */
import * as Effect from "effect/Effect"
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import * as PoolProvider from "../../shared/plugin/PoolProvider.ts"
import { SandboxLost } from "../../shared/plugin/SandboxClient.ts"
import { Config, SimulatedPool } from "./SimulatedPool.ts"
import * as Timeline from "./Timeline.ts"

export const provider: PoolProvider.PoolProvider = PoolProvider.make({
  name: "simulated",
  capabilities: { handOff: false, synchronous: false, persistent: false, pause: true },
  config: Config,
  open: (context, config) => Effect.map(Timeline.shared, (timeline) => new SimulatedPool(context, config, timeline)),
  connect: (sandbox) =>
    Effect.fail(new SandboxLost({ sandbox: sandbox.uid, reason: "a simulated sandbox runs nothing" }))
})

export default definePlugin({
  name: "simulated",
  version: "1.0.0",
  api: "^1",
  contributes: { poolProviders: { simulated: () => provider } }
})
