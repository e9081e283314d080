/** `npm run demo` and `deno task demo`, two copies side by side: each ends by itself with code 0, shows every phase, and leaves nothing behind. */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import { Command } from "./Command.ts"
import { runtimeAsked } from "./Mesh.ts"

const isDeno = runtimeAsked() === "deno"
const deno = join(root, "node_modules", ".bin", "deno")
// Deno looks for packages in its cache even if there is nothing to fetch; the user's is as good as any.
const denoFolder = process.env["HOME"] === undefined
  ? undefined
  : { DENO_DIR: join(process.env["HOME"], ".cache", "deno") }

/** Not a timed test: on two busy cores, beside other tests, two copies need more than the minute of one. */
const limitS = 260

describe(isDeno ? "deno task demo" : "npm run demo", () => {
  it("two copies at once: code 0, every phase, no process and no file left", async () => {
    const demo = () =>
      isDeno
        ? new Command(deno, () => ["task", "demo", "--limit", String(limitS)], denoFolder)
        : new Command(process.execPath, () => ["infra/bootstrap/run.mjs", "demo", "--limit", String(limitS)])
    await using first = demo()
    await using second = demo()
    for (const command of [first, second]) {
      const { code, error, out } = await command.end((limitS + 20) * 1_000)
      assert.strictEqual(code, 0, `${out.slice(-2_000)}\n${error}`)
      assert.match(out, /\| \*\*all\*\* \| \d+ \| \d+ \| \d+ \|/, "the report")
      assert.match(out, /Claimed default-\d/)
      assert.match(out, /\| hello from sandbox process \d+\n[\s\S]*Released in/)
      assert.match(out, /kill -9 of coordinator-[12]/)
      assert.match(out, /MASTER_FAILOVER of coordinator-[12]\/\w+: \d+ shards, [1-9]\d* workflows?, Done/)
      assert.match(out, /from here on written by coordinator-[12]/)
      assert.match(out, /each of its \d+ tasks ran once/)
      assert.match(out, /replay +\d+ steps in .*, hash chain whole/)
      assert.notInclude(out, "\u001b", "no escape byte off a terminal")
      assert.deepStrictEqual(await command.remainders(), [])
      assert.deepStrictEqual(readdirSync(command.folder), [], "its temporary folders are gone")
    }
  })
})
