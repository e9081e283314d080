import { assert, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import fifoPlugin from "../../plugins/fifo/plugin.ts"
import { provider } from "../../plugins/simulated/plugin.ts"
import * as PoolScheduler from "../../services/pool-scheduler/main.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { definePlugin, PluginHost } from "../../shared/plugin/Plugin.ts"
import type { PoolProvider } from "../../shared/plugin/PoolProvider.ts"
import { PoolList } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { apply, claim, connect, quick, scheduler, snapshot, until } from "./PoolSchedulers.ts"

const heddle = fileURLToPath(new URL("../../bin/heddle.mjs", import.meta.url))

/** A pool scheduler in a process of its own, with the defaults that people get. */
const process1 = (member: string) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const child = spawn(
      process.execPath,
      [heddle, "serve", "pool-scheduler", "--nats", broker.url, "--member", member],
      { stdio: "ignore" }
    )
    const kill = Effect.sync(() => child.kill("SIGKILL"))
    yield* Effect.addFinalizer(() => kill)
    return { kill }
  })

layer(Broker.layer(), { timeout: "60 seconds", excludeTestServices: true })("pool-scheduler: take-over", (it) => {
  it.effect("! a killed owner's pool is served again in under 5 s, under a greater session, and claims that were on their way are answered", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* process1("ps-killed")
      const listed = Rpc.call(nats, Subject.rpc.pools("list"), PoolList, {}).pipe(
        Effect.retry({ times: 400, schedule: Schedule.spaced(50) })
      )
      yield* listed
      const of = yield* apply(nats, "taken-over", { ...quick, size: 2 })
      assert.strictEqual((yield* listed).items[0]?.owner, "ps-killed")
      const { sessionId } = yield* snapshot(nats, of)
      assert.strictEqual((yield* claim(nats, of, { claimId: "before" })).outcome, "Claimed")
      yield* scheduler("ps-heir", {})
      yield* until(Rpc.call(nats, Subject.rpc.pools("list"), PoolList, {}), (_) => _.items.length === 1)
      yield* first.kill
      const killedAt = yield* Clock.currentTimeMillis
      const result = yield* claim(nats, of, { claimId: "after" }).pipe(
        Effect.timeoutOrElse({ duration: 1_000, orElse: () => Effect.fail("no answer") }),
        Effect.retry({ times: 400, schedule: Schedule.spaced(20) })
      )
      const tookMs = (yield* Clock.currentTimeMillis) - killedAt
      assert.strictEqual(result.outcome, "Claimed")
      assert.isAbove(result.sessionId, sessionId)
      assert.isBelow(tookMs, 5_000)
      yield* Effect.log(`taken over and claimed ${tookMs} ms after the kill`)
    }))

  it.effect("a scheduler loads what a pool's provider needs as soon as it knows of the pool, once, also while another one owns it", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const { url } = yield* Broker
      yield* scheduler("ps-owner")
      yield* apply(nats, "prepared-1", { ...quick, size: 1 })
      yield* apply(nats, "prepared-2", { ...quick, size: 1 })
      let prepared = 0
      const counting: PoolProvider = {
        ...provider,
        prepare: Effect.sync(() => void prepared++)
      }
      const plugin = definePlugin({
        name: "counting",
        version: "1.0.0",
        api: "^1",
        contributes: { poolProviders: { simulated: () => counting } }
      })
      yield* Layer.build(
        PoolScheduler.layer({ member: MemberId.make("ps-standby"), version: "0.0.0" }).pipe(
          Layer.provide(Nats.layer({ url, name: "ps-standby" })),
          Layer.provide(PluginHost.layer([plugin, fifoPlugin]))
        )
      )
      yield* until(Effect.sync(() => prepared), (count) => count > 0)
      // A request is answered after everything that the watch has told.
      yield* snapshot(nats, yield* apply(nats, "prepared-3", { ...quick, size: 1 }))
      assert.strictEqual(prepared, 1)
    }))
})
