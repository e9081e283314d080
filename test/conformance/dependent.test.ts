import { assert, describe, layer } from "@effect/vitest"
import * as Script from "./Script.ts"
import { conform, type Spec, task, World } from "./World.ts"

// design/conformance-workflow.md, A65: task type dependent.
const dependent = (of: ReadonlyArray<object>, retry = 0): Spec => ({
  tasks: [
    task("wait", [], { type: "dependent", with: { all: of }, retry: { times: retry, interval: "1m" } }),
    task("after", ["wait"])
  ]
})
const upstream: Spec = { tasks: [task("up")] }

describe("A. dependent", () => {
  layer(World.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("A65 dependent on another workflow's last run: waits for it, ends as it did, in its own namespace", () =>
      conform(function*({ clock, mesh, start }) {
        const within = [{ workflow: "A65-up", within: "1h" }]
        // none yet: the retry says how long to go on looking
        const early = yield* start("A65", dependent(within, 5))
        yield* early.reaches("wait", "FAILED")
        assert.match((yield* early.taskView("wait")).attempts[0]?.reason ?? "", /^A65-up has no run from /u)
        // a run of that name in another namespace is not it
        yield* mesh.define("A65-up", upstream, "sales")
        const elsewhere = yield* start("A65", { definition: "A65-up" }, {}, { namespace: "sales" })
        assert.strictEqual((yield* elsewhere.result).state, "SUCCEEDED")
        const own = yield* start("A65", dependent(within))
        assert.match((yield* own.result).reason ?? "", /A65-up has no run from /u)
        const named = yield* start("A65", dependent([{ workflow: "A65-up", namespace: "sales", within: "1h" }]))
        assert.strictEqual((yield* named.result).state, "SUCCEEDED")
        assert.deepStrictEqual((yield* named.taskView("wait")).outputs, { runs: { "sales/A65-up": elsewhere.id } })
        // the newest run counts, and it is waited for
        yield* mesh.define("A65-up", upstream)
        const good = yield* start("A65", { definition: "A65-up" }, { up: Script.hold })
        yield* good.running("up")
        clock.skip(60_000)
        yield* early.reaches("wait", "RUNNING")
        const waiting = yield* start("A65", dependent(within))
        yield* waiting.reaches("wait", "RUNNING")
        assert.deepStrictEqual(waiting.ran(), [])
        yield* good.succeed("up")
        for (const one of [early, waiting]) {
          assert.strictEqual((yield* one.result).state, "SUCCEEDED")
          assert.deepStrictEqual((yield* one.taskView("wait")).outputs, { runs: { "A65-up": good.id } })
          assert.deepStrictEqual(one.ran(), ["after:1:1"])
        }
        const bad = yield* start("A65", { definition: "A65-up" }, { up: Script.fail() })
        assert.strictEqual((yield* bad.result).state, "FAILED")
        const failing = yield* start("A65", dependent(within))
        const result = yield* failing.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, `task wait failed: ${bad.id} of A65-up is FAILED`)
        const inverse = yield* start("A65", dependent([{ workflow: "A65-up", within: "1h", is: "failed" }]))
        assert.strictEqual((yield* inverse.result).state, "SUCCEEDED")
        // out of the window
        clock.skip(2 * 3_600_000)
        const late = yield* start("A65", dependent(within))
        assert.match((yield* late.result).reason ?? "", /A65-up has no run from /u)
      }))
  })
})
