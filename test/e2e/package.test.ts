/**
 * The npm package as its user meets it: built, packed, unpacked into a project of their own beside nothing but its dependencies; its command on Node, a workflow and a plugin
 * written against its types.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { findNatsServer, root } from "../../infra/bootstrap/nats-server.mjs"
import { build } from "../../infra/package/main.ts"
import { Command } from "./Command.ts"

let project = ""
const installed = () => join(project, "node_modules", "heddle")
const manifest = (): { readonly version: string; readonly dependencies: Readonly<Record<string, string>> } =>
  JSON.parse(readFileSync(join(installed(), "package.json"), "utf8"))

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), "heddle-package-"))
  const built = join(project, "built")
  build(built)
  mkdirSync(join(project, "node_modules"))
  const packed = execFileSync("npm", ["pack", built, "--pack-destination", project, "--json", "--ignore-scripts"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"]
  })
  const [name] = /heddle-[^"]*\.tgz/.exec(packed) ?? []
  execFileSync("tar", ["-xzf", join(project, name ?? ""), "-C", project])
  renameSync(join(project, "package"), installed())
  // What npm would install; `@types/node` is the project's own.
  for (const dependency of [...Object.keys(manifest().dependencies), "@types/node"]) {
    const link = join(project, "node_modules", dependency)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(root, "node_modules", dependency), link)
  }
}, 300_000)
afterAll(() => rmSync(project, { recursive: true, force: true }))

const heddle = (env: Readonly<Record<string, string>>, ...args: ReadonlyArray<string>) =>
  new Command(process.execPath, () => [join(installed(), "bin", "heddle.mjs"), ...args], {
    XDG_CACHE_HOME: project,
    ...env
  })

const workflow = `
import { defineWorkflow } from "heddle/authoring"

export default defineWorkflow({
  metadata: { name: "packed" },
  spec: { tasks: [{ name: "greet", type: "shell", with: { run: "echo from a package" } }] }
})
`

const plugin = `
import * as Schema from "effect/Schema"
import { definePlugin } from "heddle/plugin/Plugin"
import * as TaskType from "heddle/plugin/TaskType"

const twice = TaskType.inline({
  type: "twice",
  description: "Doubles a number.",
  with: Schema.Struct({ number: Schema.Number }),
  run: ({ with: { number } }) => ({ _tag: "Succeeded", outputs: { result: number * 2 } })
})
const about = { version: "1.0.0", api: "^1" }
export default definePlugin({ name: "twice", ...about, contributes: { taskTypes: { twice: () => twice } } })
// @ts-expect-error what it contributes is a task type
export const wrong = definePlugin({ name: "wrong", ...about, contributes: { taskTypes: { wrong: () => 1 } } })
`

describe("the npm package", () => {
  it("holds the program and its types, and nothing that only a checkout needs", () => {
    const files = globSync("**/*", { cwd: installed(), withFileTypes: false })
    for (const file of ["README.md", "LICENSE", "nats.conf", "console/dist/index.html", "plugins/local/agent.mjs"]) {
      assert.include(files, file)
    }
    assert.deepStrictEqual(
      files.filter((file) =>
        /\.test\.|(^|\/)testing\/|Scripted/.test(file) || /\.tsx?$/.test(file) && !file.endsWith(".d.ts")
      ),
      []
    )
  })

  it("its command starts a mesh, runs a workflow written in TypeScript, claims, and ends without a trace", async () => {
    const { path } = await findNatsServer({ install: false })
    const env = { HEDDLE_NATS_SERVER: path }
    const version = await heddle(env, "--version").end(150_000)
    assert.deepStrictEqual([version.code, version.out], [0, `heddle ${manifest().version}\n`], version.error)

    await using dev = new Command(
      process.execPath,
      (folder) => [
        join(installed(), "bin", "heddle.mjs"),
        "dev",
        "-o",
        "json",
        "--data-dir",
        join(folder, "data"),
        "--pool",
        "default=1"
      ],
      { XDG_CACHE_HOME: project, ...env }
    )
    const ready: { readonly natsUrl: string; readonly httpUrl: string } = JSON.parse(await dev.firstLine(150_000))
    assert.include(await (await fetch(ready.httpUrl)).text(), "<title>")
    const mesh = { HEDDLE_NATS_URL: ready.natsUrl, HEDDLE_TIMEOUT: "100s" }

    const file = join(project, "packed.ts")
    writeFileSync(file, workflow)
    await using run = heddle(mesh, "run", file, "--id", "p-1", "--wait", "-o", "json")
    const ran = await run.end(150_000)
    assert.strictEqual(ran.code, 0, ran.error)
    assert.nestedPropertyVal(JSON.parse(ran.out), "state", "SUCCEEDED")

    await using claim = heddle(mesh, "claim", "default", "--exec", "--", "echo", "in a sandbox")
    const claimed = await claim.end(150_000)
    assert.deepStrictEqual([claimed.code, claimed.out], [0, "in a sandbox\n"], claimed.error)

    dev.signal("SIGTERM")
    const ended = await dev.end(90_000)
    assert.deepStrictEqual([ended.code, ended.signal], [0, null], ended.error)
    assert.deepStrictEqual(await dev.remainders(), [])
  })

  it("a workflow and a plugin are checked against its types, and the plugin is loaded by its command", async () => {
    writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }))
    writeFileSync(join(project, "workflow.ts"), workflow)
    writeFileSync(join(project, "plugin.ts"), plugin)
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          module: "nodenext",
          target: "es2024",
          strict: true,
          noEmit: true,
          skipLibCheck: true,
          types: ["node"]
        },
        files: ["workflow.ts", "plugin.ts"]
      })
    )
    const { status, stdout } = spawnSync(join(root, "node_modules", ".bin", "tsc"), ["-p", project], {
      encoding: "utf8"
    })
    assert.deepStrictEqual([status, stdout], [0, ""])
    await using listing = heddle(
      {},
      "plugins",
      "--plugin",
      join(project, "plugin.ts"),
      "--kind",
      "task-type",
      "-o",
      "json"
    )
    const listed = await listing.end(150_000)
    assert.strictEqual(listed.code, 0, listed.error)
    assert.match(listed.out, /"name": ?"twice"/)
  })
})
