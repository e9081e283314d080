import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { execFile } from "node:child_process"
import { join } from "node:path"
import * as Coordinator from "../../services/coordinator/main.ts"
import { Nats, open } from "../../shared/jetstream/Nats.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

const root = join(import.meta.dirname, "..", "..")

/** The command's exit code and what it said. */
const heddle = (url: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<{ readonly code: number; readonly out: string; readonly error: string }>((resume) => {
    const child = execFile(
      process.execPath,
      [join(root, "bin", "heddle.mjs"), "--nats", url, ...args],
      { cwd: root, timeout: 150_000, env: { ...process.env, HEDDLE_TIMEOUT: "60s" } },
      (failure, out, error) =>
        resume(Effect.succeed({ code: failure === null ? 0 : Number(failure.code ?? -1), out, error }))
    )
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("heddle schedules, heddle backfill", (it) => {
  it.effect("from the files of examples/, to the exit code of a backfill that failed", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* open({ url, name: "test" })
      yield* Layer.build(
        Coordinator.layer({ member: MemberId.make("co-cli"), version: "test", shardCount: 4 }).pipe(
          Layer.provide(Nats.layer({ url, name: "co-cli" }))
        )
      )
      yield* ScriptedExecutor.make(nats, "ex-cli", (spec) =>
        spec.params["date"] === "2026-11-10"
          ? { _tag: "FAILED", reason: "exit 1" }
          : { _tag: "SUCCEEDED", outputs: {} })
      const run = (...args: ReadonlyArray<string>) => heddle(url, ...args)
      assert.strictEqual((yield* run("definitions", "put", "examples/dated-report.yaml")).code, 0)
      const stored = yield* run("schedules", "put", "examples/schedule.yaml", "-o", "json")
      assert.nestedPropertyVal(JSON.parse(stored.out), "state", "Active")
      const times = yield* run(
        "schedules",
        "preview",
        "nightly-report",
        "--after",
        "2026-03-28T12:00:00Z",
        "--count",
        "1",
        "-o",
        "json"
      )
      assert.nestedPropertyVal(JSON.parse(times.out), "items[0].instanceId", "nightly-report-20260329T010000")
      const trigger = yield* run("schedules", "trigger", "nightly-report", "--at", "2026-03-29T01:00:00Z")
      assert.strictEqual(trigger.out.trim(), "nightly-report-20260329T010000")
      const paused = yield* run("schedules", "pause", "nightly-report", "--reason", "holiday", "-o", "json")
      assert.nestedPropertyVal(JSON.parse(paused.out), "reason", "holiday")
      assert.include((yield* run("schedules", "ls")).out, "Paused")
      assert.strictEqual((yield* run("schedules", "delete", "nightly-report")).code, 0)
      const unknown = yield* run("schedules", "get", "nightly-report")
      assert.deepStrictEqual([unknown.code, unknown.error.includes("NoSuchSchedule")], [3, true])

      const filled = yield* run("backfill", "start", "-f", "examples/backfill.yaml", "--wait")
      assert.deepStrictEqual([filled.code, filled.out.trim()], [
        0,
        "reports-of-november: Succeeded, 4 of 4 dates succeeded"
      ])
      const failed = yield* run(
        "backfill",
        "start",
        "dated-report",
        "--name",
        "late",
        "--from",
        "2026-11-09",
        "--to",
        "2026-11-12",
        "--wait"
      )
      assert.strictEqual(failed.code, 1)
      assert.include(failed.out, "late: Failed, 1 of 4 dates succeeded\n  FAILED: late-20261110")
      const usage = yield* run("backfill", "start")
      assert.strictEqual(usage.code, 2)
    }))
})
