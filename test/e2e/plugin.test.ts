/**
 * Plugins of the user's own, as they are used: the one in examples/plugin and one that stands outside of the checkout and is JavaScript, loaded by one `heddle dev`; a workflow with
 * tasks of both runs to its end. On Node, and on Deno (`HEDDLE_E2E_RUNTIME`). docs/plugins.md.
 */
import { assert, describe, it } from "@effect/vitest"
import { createHash } from "node:crypto"
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import { Command } from "./Command.ts"
import { runtimeAsked } from "./Mesh.ts"

const isDeno = runtimeAsked() === "deno"
const readyWithinMs = 150_000
const endWithinMs = 150_000

/** `heddle`, started from this folder. */
const command = (
  from: string,
  args: (folder: string) => ReadonlyArray<string>,
  env: Readonly<Record<string, string>> = {}
): Command => {
  const deno = join(root, "node_modules", ".bin", "deno")
  const heddle = isDeno
    ? [deno, "run", "-A", "--config", join(root, "deno.json"), join(root, "cli", "heddle.ts")]
    : [process.execPath, join(root, "bin", "heddle.mjs")]
  return new Command("sh", (folder) => ["-c", "cd \"$0\" && exec \"$@\"", from].concat(heddle, args(folder)), {
    ...(process.env["HOME"] === undefined ? {} : { DENO_DIR: join(process.env["HOME"], ".cache", "deno") }),
    ...env
  })
}

const inFolder = async (use: (folder: string) => Promise<void>): Promise<void> => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "heddle-plugin-")))
  try {
    await use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** It is asked whether it has the SDK's and Effect's modules that heddle has: of another copy its schema would be none. */
const shout = `
import * as Schema from "effect/Schema"
import { definePlugin } from "heddle/plugin/Plugin"
import { inline } from "heddle/plugin/TaskType"
import { suffix } from "./suffix.mjs"

const shout = (config) =>
  inline({
    type: "shout",
    description: "In capitals.",
    with: Schema.Struct({ text: Schema.String }),
    run: ({ with: { text } }) => ({ _tag: "Succeeded", outputs: { loud: text.toUpperCase() + suffix(config.times) } })
  })

export default definePlugin({
  name: "shout",
  version: "0.1.0",
  api: "^1",
  config: Schema.Struct({ times: Schema.Int }),
  contributes: { taskTypes: { shout } }
})
`

const workflow = `
apiVersion: heddle.dev/v1
kind: Workflow
metadata: { name: plugins }
spec:
  tasks:
    - { name: sum, type: checksum, with: { text: heddle } }
    - { name: shout, type: shout, dependsOn: [sum], with: { text: "\${{ tasks.sum.outputs.checksum }}" } }
`

describe(`plugins of one's own on ${runtimeAsked()}`, () => {
  it("heddle dev with two of them runs a workflow with their tasks, with their config", () =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, "shout.mjs"), shout)
      writeFileSync(join(folder, "suffix.mjs"), "export const suffix = (times) => \"!\".repeat(times)\n")
      writeFileSync(join(folder, "config.yaml"), "checksum: { algorithm: sha512 }\nshout:\n  times: 3\n")
      writeFileSync(join(folder, "workflow.yaml"), workflow)
      const env = { HEDDLE_PLUGINS: "./shout.mjs", HEDDLE_PLUGIN_CONFIG: "config.yaml" }
      const example = ["--plugin", join(root, "examples", "plugin", "checksum.ts")]
      await using dev = command(
        folder,
        (own) =>
          ["dev", "-o", "json", "--headless", "--data-dir", join(own, "data"), "--pool", "default=1,inline"].concat(
            example
          ),
        env
      )
      const { natsUrl } = JSON.parse(await dev.firstLine(readyWithinMs)) as { readonly natsUrl: string } // the contract
      await using run = command(
        folder,
        () => ["run", "workflow.yaml", "--wait", "-o", "json"].concat(example),
        { ...env, HEDDLE_NATS_URL: natsUrl, HEDDLE_TIMEOUT: "100s" }
      )
      const ended = await run.end(endWithinMs)
      assert.strictEqual(ended.code, 0, ended.error)
      assert.notInclude(ended.error, "no task type", "the command knows both types")
      const sum = createHash("sha512").update("heddle").digest("hex")
      assert.nestedInclude(JSON.parse(ended.out), { state: "SUCCEEDED", "outputs.loud": `${sum.toUpperCase()}!!!` })
    }))

  it("heddle plugins shows a package that is installed where it is started, and says what is wrong with another", () =>
    inFolder(async (folder) => {
      const acme = join(folder, "node_modules", "acme-shout")
      mkdirSync(acme, { recursive: true })
      writeFileSync(join(acme, "package.json"), JSON.stringify({ type: "module", exports: { import: "./shout.mjs" } }))
      writeFileSync(join(acme, "shout.mjs"), shout)
      writeFileSync(join(acme, "suffix.mjs"), "export const suffix = () => \"\"\n")
      const plugins = async (...more: ReadonlyArray<string>) => {
        await using listing = command(folder, () => ["plugins", "--kind", "task-type", "-o", "json"].concat(more))
        return await listing.end(endWithinMs)
      }
      const [found, missing] = await Promise.all([
        plugins("--plugin", "acme-shout"),
        plugins("--plugin", "acme-whisper")
      ])
      assert.strictEqual(found.code, 0, found.error)
      const { items } = JSON.parse(found.out) as { readonly items: ReadonlyArray<{ readonly name: string }> } // asserted
      const offer = items.find(({ name }) => name === "shout")
      assert.deepInclude(offer ?? {}, { plugin: "shout", version: "0.1.0", origin: "package", named: "acme-shout" })
      assert.strictEqual(missing.code, 2)
      assert.include(
        missing.error,
        `The plugin acme-whisper is not there: no package acme-whisper is installed for ${folder}`
      )
    }))
})
