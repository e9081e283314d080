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
import { Deleted } from "../../shared/protocol/Schedule.ts"
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

layer(Broker.layer(), { timeout: "180 seconds", excludeTestServices: true })("pool-scheduler: take-over", (it) => {
  it.effect("! a killed owner's pool is served again in under 5 s, under a greater session, and claims that were on their way are answered", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const listed = Rpc.call(nats, Subject.rpc.pools("list"), PoolList, {}).pipe(
        Effect.retry({ times: 2_000, schedule: Schedule.spaced(50) })
      )
      /** How long the n-th take-over takes, from the kill to the claim's answer. */
      const takeOver = (n: number) =>
        Effect.gen(function*() {
          const name = `taken-over-${n}`
          const first = yield* process1(`ps-killed-${n}`)
          yield* listed
          const of = yield* apply(nats, name, { ...quick, size: 2 })
          const ownerOf = Effect.map(listed, ({ items }) => items.find((item) => item.name === name)?.owner)
          assert.strictEqual(yield* ownerOf, `ps-killed-${n}`)
          const { sessionId } = yield* snapshot(nats, of)
          assert.strictEqual((yield* claim(nats, of, { claimId: "before" })).outcome, "Claimed")
          const heir = yield* scheduler(`ps-heir-${n}`, {})
          yield* listed
          yield* first.kill
          const killedAt = yield* Clock.currentTimeMillis
          const result = yield* claim(nats, of, { claimId: "after" }).pipe(
            Effect.timeoutOrElse({ duration: 1_000, orElse: () => Effect.fail("no answer") }),
            Effect.retry({ times: 4_000, schedule: Schedule.spaced(20) })
          )
          const tookMs = (yield* Clock.currentTimeMillis) - killedAt
          assert.strictEqual(result.outcome, "Claimed")
          assert.isAbove(result.sessionId, sessionId)
          yield* Rpc.call(nats, Subject.rpc.pools("delete"), Deleted, { name }, { timeoutMs: 60_000 })
          yield* heir.stop
          return tookMs
        })
      // On a machine that does other things meanwhile the first may take longer: the time that is promised is a matter of the product's own waits, which are the same in each.
      const tookMs = [yield* takeOver(1)]
      while (Math.min(...tookMs) >= 5_000 && tookMs.length < 4) tookMs.push(yield* takeOver(tookMs.length + 1))
      assert.isBelow(Math.min(...tookMs), 5_000)
      yield* Effect.log(`taken over and claimed ${tookMs.join(", ")} ms after the kill`)
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
