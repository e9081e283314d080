import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import * as Profile from "./Profile.ts"

const root = "/home/somebody/heddle"
const node = (id: number, functionName: string, url: string, lineNumber: number) => ({
  id,
  callFrame: { functionName, url, lineNumber }
})
/** Samples at 100, 110, 130, 160 and 200; the last has no end. */
const profile: Profile.CpuProfile = {
  nodes: [
    { ...node(1, "(root)", "", -1), children: [2, 3, 5] },
    node(2, "(idle)", "", -1),
    { ...node(3, "decide", `file://${root}/services/coordinator/engine/Decide.ts`, 9), children: [4] },
    node(4, "", `file://${root}/node_modules/@nats-io/nats-core/lib/parser.js`, 99),
    node(5, "(garbage collector)", "", -1)
  ],
  startTime: 0,
  samples: [3, 4, 2, 5, 3],
  timeDeltas: [100, 10, 20, 30, 40]
}

describe("Profile", () => {
  it("a sample counts until the next one, and waiting is no work", () => {
    const summary = Profile.summarize([profile], root)
    assert.strictEqual(summary.idleMs, 0.03)
    assert.strictEqual(summary.busyMs, 0.07)
    assert.deepStrictEqual(summary.functions.map(({ place, selfMs }) => [place, selfMs]), [
      ["(garbage collector)", 0.04],
      ["(anonymous) @nats-io/nats-core/lib/parser.js:100", 0.02],
      ["decide services/coordinator/engine/Decide.ts:10", 0.01]
    ])
    assert.deepStrictEqual(summary.files.map(({ place }) => place), [
      "(garbage collector)",
      "@nats-io/nats-core",
      "services/coordinator/engine/Decide.ts"
    ])
    assert.deepStrictEqual(summary.withCallees.map(({ place, selfMs }) => [place, selfMs]), [
      ["decide services/coordinator/engine/Decide.ts:10", 0.03]
    ])
    assert.closeTo(summary.functions.reduce((sum, { share }) => sum + share, 0), 1, 1e-9)
  })

  it("only what lies in a window counts", () => {
    const summary = Profile.summarize([profile, profile], root, [[105, 120], [0, 50]])
    assert.deepStrictEqual(summary.functions.map(({ selfMs }) => selfMs), [0.04])
    assert.strictEqual(summary.idleMs, 0)
  })

  it("nothing measured is nothing, not a division by zero", () => {
    assert.deepStrictEqual(Profile.summarize([profile], root, []), {
      busyMs: 0,
      idleMs: 0,
      functions: [],
      files: [],
      withCallees: []
    })
  })

  it("reads what Node writes, on the clock of nowUs", async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-profile-test-"))
    try {
      const script = join(folder, "busy.mjs")
      writeFileSync(
        script,
        `const us = () => Number(process.hrtime.bigint() / 1000n)
        const spin = (ms) => { const from = us(); let x = 0; while (us() - from < ms * 1000) x += Math.sqrt(x); return x }
        function before() { return spin(60) }
        function measured() { return spin(60) }
        before(); const from = us(); measured(); console.log(JSON.stringify([from, us()]))`
      )
      const { stdout } = await promisify(execFile)(process.execPath, [
        "--cpu-prof",
        `--cpu-prof-dir=${folder}`,
        "--cpu-prof-interval=500",
        script
      ])
      const window: Profile.Window = JSON.parse(stdout)
      const profiles = Profile.readFolder(folder)
      assert.strictEqual(profiles.length, 1)
      const { busyMs, files } = Profile.summarize(profiles, folder, [window])
      assert.isAbove(busyMs, 30)
      assert.isBelow(busyMs, 110)
      assert.include(files.map(({ place }) => place), "busy.mjs")
      assert.isBelow(Math.abs(window[1] - Profile.nowUs()), 60e6)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
