import { assert, describe, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { AlertSink } from "../../shared/plugin/AlertSink.ts"
import * as Script from "./Script.ts"
import { SkippingClock } from "./SkippingClock.ts"
import { nextName, nobodyIsRegistered, shards, Site } from "./Survival.ts"
import { conform, coordinator, leaksNothing, task, until, World } from "./World.ts"

// design/conformance-workflow.md: cases of what is set for a deployment.
const hourMs = 3_600_000
const tooLong = "the run takes longer than the system's maximum of 1h"

describe("A. settings of the deployment", () => {
  layer(Site.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("A49 system-wide max run time: over it a run is ended as by a time-out, whoever owns it then", () =>
      Effect.gen(function*() {
        const { mesh } = yield* Site
        const { executor } = mesh
        const clock = new SkippingClock(yield* Clock.Clock)
        executor.now = () => clock.currentTimeMillisUnsafe()
        yield* nobodyIsRegistered(mesh)
        const limited = yield* coordinator(nextName(), { clock, config: { runMaxMs: hourMs } })
        const hold = { a: Script.hold }
        const tasks = [task("a"), task("b", ["a"])]
        const plain = yield* mesh.start("A49", { tasks }, hold)
        // a definition can be shorter, and its warning changes nothing; it can't be longer
        const warned = yield* mesh.start("A49", { tasks, timeout: { after: "30m", strategy: "warn" } }, hold)
        const longer = yield* mesh.start("A49", { tasks, timeout: { after: "2d" }, onCleanup: { type: "shell" } }, hold)
        const shorter = yield* mesh.start("A49", { tasks, timeout: { after: "30m" } }, hold)
        const quick = yield* mesh.start("A49", { tasks })
        for (const one of [plain, warned, longer, shorter]) yield* one.reaches("a", "RUNNING")
        assert.strictEqual((yield* quick.result).state, "SUCCEEDED")
        clock.skip(hourMs / 2)
        assert.strictEqual((yield* shorter.result).reason, "the workflow timed out")
        clock.skip(hourMs / 2 - 60_000)
        for (const one of [plain, warned, longer]) {
          assert.strictEqual((yield* one.view).state, "RUNNING", "not before its time")
        }
        clock.skip(60_000)
        for (const one of [plain, warned, longer]) {
          const result = yield* one.result
          assert.strictEqual(result.state, "FAILED")
          assert.strictEqual(result.reason, tooLong)
          assert.deepStrictEqual(
            executor.controls.flatMap(({ instance, kind }) => instance === one.id ? [kind] : []),
            ["kill"]
          )
        }
        assert.strictEqual(yield* plain.summary, "a:KILLED/1 b:-/0")
        assert.deepStrictEqual(longer.ran(), ["a:1:1", "onCleanup:1:1"])
        const told = (id: string) =>
          limited.logs.filter((line) => line.includes(`alert WorkflowTimeout: ${id}: ${tooLong}`))
        for (const one of [plain, warned, longer]) assert.strictEqual(told(one.id).length, 1)
        // what it was is in the journal: the next owner has another setting, and keeps to it
        const moved = yield* mesh.start("A49", { tasks }, hold)
        yield* moved.reaches("a", "RUNNING")
        yield* limited.stop
        const other = yield* coordinator(nextName(), { clock })
        yield* until("the other serves all shards", Effect.sync(() => other.stats().shards === shards))
        const free = yield* mesh.start("A49", { tasks }, hold)
        yield* free.reaches("a", "RUNNING")
        yield* until(
          "the timer is armed again",
          Effect.sync(() => other.stats().timers.some((key) => key.includes("limit:1")))
        )
        clock.skip(hourMs)
        assert.strictEqual((yield* moved.result).reason, tooLong)
        const [entry] = yield* moved.history
        assert.deepInclude(entry?.entry.cause[0], { _tag: "WORKFLOW_START" })
        assert.include(JSON.stringify(entry?.entry.cause), `"runMaxMs":${hourMs}`)
        clock.skip(24 * hourMs)
        assert.strictEqual((yield* free.view).state, "RUNNING")
        yield* free.succeed("a")
        assert.strictEqual((yield* free.result).state, "SUCCEEDED")
        yield* leaksNothing(other)
        yield* mesh.streamsAreEmpty
      }))
  })

  const told: Array<string> = []
  const sink: AlertSink = {
    sink: "chat",
    description: "for the test",
    deliver: ({ instanceId, kind }) => Effect.sync(() => void told.push(`${kind} ${instanceId ?? ""}`))
  }
  const alerts = { sinks: new Map([["chat", sink]]), targets: [] }
  layer(World.layerWith({ alerts }), { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("A52 no alert target: no alert, stored or told", () =>
      conform(function*({ clock, coordinator, mesh, start }) {
        const stored = Effect.map(
          Effect.orDie(Streams.info(mesh.nats, Streams.name.alerts)),
          (info) => Option.isSome(info) ? info.value.state.last_seq : -1
        )
        const a = task("a", [], { timeout: { after: "10m", strategy: "warn-fail" } })
        // every kind that a run can raise: time-outs of task and workflow, failure, a failing cleanup, a stop
        const specs = [
          { tasks: [a] },
          { tasks: [a], alerts: [] },
          { tasks: [task("a")], timeout: { after: "10m" }, onCleanup: { type: "shell" } }
        ]
        const runs = []
        for (const spec of specs) {
          runs.push(yield* start("A52", spec, { a: Script.hold, onCleanup: Script.fail() }))
        }
        const stopped = yield* start("A52", { tasks: [task("a")] }, { a: Script.hold })
        for (const one of [...runs, stopped]) yield* one.reaches("a", "RUNNING")
        yield* stopped.command("stop")
        assert.strictEqual((yield* stopped.result).state, "STOPPED")
        clock.skip(600_000)
        for (const one of runs) assert.strictEqual((yield* one.result).state, "FAILED")
        assert.strictEqual(yield* stored, 0)
        // the same run with a target: what was raised above would have been told
        const heard = yield* start("A52", { tasks: [a], alerts: [{ sink: "chat" }] }, { a: Script.hold })
        yield* heard.reaches("a", "RUNNING")
        clock.skip(600_000)
        assert.strictEqual((yield* heard.result).state, "FAILED")
        yield* until("both alerts of it", Effect.sync(() => told.length === 2))
        assert.deepStrictEqual(told.toSorted(), [`TaskTimeout ${heard.id}`, `WorkflowFailed ${heard.id}`])
        assert.strictEqual(yield* stored, 2)
        assert.deepStrictEqual(coordinator.logs.filter((line) => line.includes("alert ")), [])
      }))
  })
})
