/**
 * The Dockerfile, as far as it can be held to account without an engine: what it copies is there and is all that the program reads, and the image is what the chart expects.
 * That it builds is not tested here.
 */
import { assert, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { builtinModules } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join, relative } from "node:path"
import { promisify } from "node:util"
import { onTestFinished } from "vitest"
import { parse } from "yaml"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import { chart } from "./Helm.ts"
import * as Image from "./Image.ts"

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

it("every source of a COPY is there, and reaches the build", () => {
  const stages = new Set(Image.stages.map(({ name }) => name))
  for (const { copies } of Image.stages) {
    for (const { sources, stage } of copies) {
      if (stage !== undefined) assert.isTrue(stages.has(stage), stage)
      else {
        for (const source of sources) {
          assert.isTrue(existsSync(join(root, source)), source)
          assert.isTrue(Image.isInContext(source), `${source} is ignored`)
        }
      }
    }
  }
  for (
    const path of [
      "shared/testing/Broker.ts",
      "cli/Pairs.test.ts",
      "node_modules/effect/package.json",
      ".git/HEAD",
      "nats.conf"
    ]
  ) {
    assert.isFalse(Image.isInContext(path), path)
  }
})

it("runs the Node of the checkout, as a user that is not root, by the name that tests and notes use", () => {
  assert.include(Image.text, `ARG NODE_VERSION=${manifest.devDependencies.node}\n`)
  for (const { from } of Image.stages) assert.strictEqual(from, "node:${NODE_VERSION}-trixie-slim")
  const user = Image.image.lines.find((line) => line.startsWith("USER "))
  const { runAsGroup, runAsUser } = parse(readFileSync(join(chart, "values.yaml"), "utf8")).common.podSecurityContext
  assert.strictEqual(user, `USER ${runAsUser}:${runAsGroup}`)
  assert.include(Image.image.lines, "ENTRYPOINT [\"heddle\"]")
  assert.include(Image.image.lines, "RUN ln -s /app/bin/heddle.mjs /usr/local/bin/heddle")
  assert.isDefined(Image.placeOf("bin/heddle.mjs"))
})

it("has every file that the command, a service or the agent in a sandbox imports, and every package", () => {
  const seen = new Set<string>()
  const queue = ["bin/heddle.mjs", "cli/heddle.ts", "services/sandbox-agent/main.ts", "plugins/local/agent.mjs"]
  const missing: Array<string> = []
  const packages = new Set<string>()
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (seen.has(path)) continue
    seen.add(path)
    if (Image.placeOf(path) === undefined) missing.push(path)
    // types alone are erased before anything is looked for
    const source = readFileSync(join(root, path), "utf8").replaceAll(/^(import|export) type [^"]*"[^"]*"/gm, "")
    for (const [, name = ""] of source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"\s]+)"/g)) {
      if (name.endsWith(".d.mts")) continue
      if (name.startsWith(".")) {
        const target = relative(root, join(root, dirname(path), name))
        if (existsSync(join(root, target))) queue.push(target)
      } else if (!name.startsWith("node:") && !builtinModules.includes(name)) {
        packages.add(name.split("/").slice(0, name.startsWith("@") ? 2 : 1).join("/"))
      }
    }
  }
  assert.isAbove(seen.size, 200)
  assert.deepStrictEqual(missing, [])
  const imported = [...packages].filter((name) => /^(@[a-z0-9-]+\/)?[a-z0-9.-]+$/.test(name) && name !== "heddle")
  assert.deepStrictEqual(imported.filter((name) => manifest.dependencies[name] === undefined), [])
})

it("the stage of the console has all that its build reads", async () => {
  const stage = Image.stages.find(({ name }) => name === "console")
  assert.isDefined(stage)
  assert.include(stage.lines, "RUN node_modules/.bin/vite build console")
  assert.deepStrictEqual(Image.image.copies.find((one) => one.stage === "console"), {
    sources: ["/app/console/dist"],
    target: "./console/dist",
    stage: "console"
  })
  const folder = mkdtempSync(join(tmpdir(), "heddle-console-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  Image.unpack(stage, folder)
  const built = await promisify(execFile)(
    process.execPath,
    [join(root, "node_modules/vite/bin/vite.js"), "build", "console"],
    { cwd: folder, env: { ...process.env, NODE_ENV: "production" } }
  )
  assert.isTrue(existsSync(join(folder, "console/dist/index.html")), built.stdout + built.stderr)
})
