import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { launcherOf, With } from "./Script.ts"

const decode = Schema.decodeUnknownSync(With)

/** What a shell could take for something of its own. */
const Piece = Schema.Literals([
  "a",
  "ü",
  "'",
  "\"",
  "\\",
  "\n",
  "\r",
  "$HOME",
  "$(exit 3)",
  "`exit 3`",
  " ",
  "\t",
  "_ü",
  "<<",
  "-n",
  "%s",
  "{"
])
const Text = Schema.Array(Piece).check(Schema.isMaxLength(12))

it.prop("source and arguments arrive as they stand, and the file is gone", [Text, Text, Text], ([pieces, one, two]) => {
  const source = pieces.join("")
  const args = [one.join(""), two.join("")]
  const id = `i${process.pid}-property:1:1`
  const run = (interpreter: string | readonly [string, ...ReadonlyArray<string>]) =>
    spawnSync("/bin/sh", ["-c", launcherOf(decode({ interpreter, source, args }), id)], { encoding: "utf8" })
  const shown = run(["sh", "-c", "cat \"$0\"; printf '%s\\0' \"$@\""])
  assert.strictEqual(shown.stderr, "")
  assert.strictEqual(shown.status, 0)
  assert.strictEqual(shown.stdout, `${source}\n${args.map((arg) => `${arg}\0`).join("")}`)
  assert.isFalse(existsSync(join(tmpdir(), `heddle-script-i${process.pid}-property-1-1`)))
})

it("a source that is longer than an argument may be", () => {
  const source = "'ü😀\n".repeat(40_000)
  const { status, stdout } = spawnSync("/bin/sh", {
    input: launcherOf(decode({ interpreter: ["sh", "-c", "cat \"$0\""], source }), `i${process.pid}-long`),
    encoding: "utf8",
    maxBuffer: 16 * 1024 * 1024
  })
  assert.strictEqual(status, 0)
  assert.isTrue(stdout === `${source}\n`)
})

it("the file's name is one that its interpreter goes by", () => {
  const nameOf = (interpreter: unknown, extension?: string) =>
    /"\$dir\/(script[^"]*)"/.exec(
      launcherOf(decode({ interpreter, source: "", ...(extension === undefined ? {} : { extension }) }), "i")
    )?.[1]
  assert.deepStrictEqual(
    [["python3.12", "-u"], "/usr/bin/node", ["deno", "run"], "bash", "pwsh", "my-tool"].map((one) => nameOf(one)),
    ["script.py", "script.js", "script.ts", "script.sh", "script.ps1", "script"]
  )
  assert.strictEqual(nameOf("node", "mts"), "script.mts")
})
