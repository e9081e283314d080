/** The pool provider `inline`: virtual slots for tasks that need no process of their own (`noop`, `switch`, messages). */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import * as PoolProvider from "../../shared/plugin/PoolProvider.ts"
import type { SandboxClient } from "../../shared/plugin/SandboxClient.ts"
import { InlinePool } from "./InlinePool.ts"

const client: SandboxClient = {
  exec: () =>
    Effect.succeed({
      output: Stream.empty,
      exit: Effect.succeed({
        _tag: "NotStarted",
        reason:
          "a pool of provider \"inline\" runs no processes: give the task a pool of another provider, such as \"local\""
      }),
      kill: Effect.void
    })
}

export const provider: PoolProvider.PoolProvider = PoolProvider.make({
  name: "inline",
  capabilities: { handOff: true, synchronous: true, persistent: false },
  config: Schema.Struct({}),
  open: (context) => Effect.sync(() => new InlinePool(context)),
  connect: () => Effect.succeed(client)
})

export default definePlugin({
  name: "inline",
  version: "1.0.0",
  api: "^1",
  contributes: { poolProviders: { inline: () => provider } }
})
