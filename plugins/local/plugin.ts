/**
 * The `local` pool provider: warm sandboxes as child processes of the pool's scheduler, on one machine. No isolation but a folder, a clean environment and
 * process groups: for development, tests and trusted work.
 */
import { definePlugin } from "../../shared/plugin/Plugin.ts"
import * as PoolProvider from "../../shared/plugin/PoolProvider.ts"
import * as LocalClient from "./LocalClient.ts"
import * as LocalPool from "./LocalPool.ts"

export const local = PoolProvider.make({
  name: "local",
  // A task may find files of the task before it: of the same instance, so its sandbox needs no reset in between.
  capabilities: { handOff: true, synchronous: true, persistent: false, pause: LocalPool.canPause },
  config: LocalPool.LocalConfig,
  open: LocalPool.open,
  connect: LocalClient.connect
})

export default definePlugin({
  name: "local",
  version: "1.0.0",
  api: "^1",
  contributes: { poolProviders: { local: () => local } }
})
