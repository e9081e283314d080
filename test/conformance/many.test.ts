import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { StartAnswer } from "../../shared/protocol/Workflow.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as Script from "./Script.ts"
import { SkippingClock } from "./SkippingClock.ts"
import { coordinator, leaksNothing, Mesh, task, until } from "./World.ts"

const count = 10_000
const slots = 500
/** Of the heap, for an instance that was taken over. */
const instanceBytesMax = 20_000

it.live(
  "C23 10,000 unfinished workflows, one of them poisoned: taken over in pages, in bounded memory",
  () =>
    Effect.gen(function*() {
      const mesh = yield* Mesh.make("ex-1")
      const { executor, nats } = mesh
      const clock = new SkippingClock(yield* Clock.Clock)
      const first = yield* coordinator("co-1", { clock })
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, {
        metadata: { name: "many" },
        spec: { tasks: [task("a"), task("b", ["a"])] }
      })
      const ids = Array.from({ length: count }, (_, i) => `C23-${i}`)
      for (const id of ids) executor.plan(id, { a: Script.leave })
      yield* Effect.forEach(
        ids,
        (instanceId) => mesh.call("start", StartAnswer, { definition: "many", instanceId }, 60_000),
        { concurrency: 256, discard: true }
      )
      yield* until("all are on the lane", Effect.sync(() => executor.lane.size === count), 90_000)
      assert.strictEqual(first.stats().live, count)

      first.cut()
      const members = yield* Registry.members(nats)
      const dead = members.find(({ member }) => member === first.name)
      if (dead?.ledger === undefined) return assert.fail("not registered")
      // an entry that does not continue its instance's chain
      const poisoned = ids[count - 1] ?? ""
      const waiting = executor.lane.get(`${poisoned}/a:1:1`)
      yield* Append.publish(
        nats,
        Subject.journal(dead.ledger),
        JSON.stringify({
          v: 1,
          records: [{
            _tag: "Entry",
            shard: waiting?.shard,
            instance: poisoned,
            n: 2,
            prev: 1,
            at: 0,
            cause: [],
            transitions: [],
            effects: [],
            hash: "0".repeat(64)
          }]
        })
      )
      executor.emitted.clear()
      globalThis.gc?.()
      const heapBefore = process.memoryUsage().heapUsed
      const next = yield* coordinator("co-2", { clock })
      // computed by this process, so that what the machine gives to others does not count
      const computedMs = () => {
        const { system, user } = process.cpuUsage()
        return (system + user) / 1_000
      }
      let longestMs = 0
      const others = yield* Effect.forkScoped(Effect.gen(function*() {
        for (;;) {
          const before = computedMs()
          yield* Effect.sleep(5)
          longestMs = Math.max(longestMs, computedMs() - before)
        }
      }))
      yield* Append.publish(
        nats,
        Subject.system("MASTER_FAILOVER"),
        JSON.stringify({
          _tag: "MASTER_FAILOVER",
          id: `master/${dead.startup}`,
          at: 0,
          member: dead.member,
          startup: dead.startup,
          ledger: dead.ledger,
          cause: "test"
        }),
        { msgId: `master/${dead.startup}` }
      )
      yield* until("all are emitted again", Effect.sync(() => executor.emitted.size === count - 1), 30_000)
      yield* Fiber.interrupt(others)
      assert.strictEqual(next.stats().live, count - 1)
      assert.isBelow((process.memoryUsage().heapUsed - heapBefore) / count, instanceBytesMax)
      assert.isTrue(next.logs.some((line) => line.includes(poisoned) && line.includes("could not be restored")))
      // paged: others get their turn meanwhile
      assert.isBelow(longestMs, 1_000)

      executor.lane.delete(`${poisoned}/a:1:1`)
      for (const id of ids) executor.plan(id, {})
      // as many at a time as an executor has slots
      for (let left = count; left > 0; left -= slots) {
        executor.takeSome(slots)
        yield* until(
          "these have ended",
          Effect.sync(() => next.stats().live <= left - slots && executor.held.size === 0),
          180_000
        )
      }
      assert.strictEqual(executor.ran.length, 2 * (count - 1))
      yield* leaksNothing(next)
      yield* mesh.streamsAreEmpty
    }).pipe(Effect.scoped, Effect.provide(Broker.layer())),
  { timeout: 180_000 }
)
