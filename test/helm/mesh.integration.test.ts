/**
 * A mesh made of nothing but what the chart and the Dockerfile say: each Deployment's arguments and variables as a process, out of a folder with the image's files, on a real broker;
 * its probes asked as the kubelet would; the scripts of `helm test` run against it; SIGTERM at the end.
 */
import { assert, it } from "@effect/vitest"
import { type ChildProcess, spawn } from "node:child_process"
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { onTestFinished } from "vitest"
import * as Broker from "../../shared/testing/Broker.ts"
import { helms, ofKind, render, type Rendered } from "./Helm.ts"
import * as Image from "./Image.ts"

/** A dozen processes, one after the other on a slow machine. */
const deadlineMs = 600_000

/** What stands in the image, but for packages. */
const filesOf = (app: string): ReadonlyArray<string> =>
  readdirSync(app).flatMap((name) =>
    name === "node_modules" || !lstatSync(join(app, name)).isDirectory()
      ? [name]
      : readdirSync(join(app, name), { recursive: true, encoding: "utf8" }).map((inner) => join(name, inner))
  )

interface Container {
  readonly child: ChildProcess
  readonly output: () => string
  readonly ended: Promise<number | null>
}

/** A container's process, in an environment with nothing but its own. */
const start = (command: ReadonlyArray<string>, env: Readonly<Record<string, string>>, cwd: string): Container => {
  const [program = "", ...args] = command
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()))
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject)
    child.on("close", resolve)
  })
  onTestFinished(() => void child.kill("SIGKILL"))
  return { child, output: () => output, ended }
}

const envOf = (container: Rendered, name: string): Record<string, string> =>
  Object.fromEntries(
    container.env.map((
      one: Rendered
    ) => [one.name, one.value ?? (one.valueFrom.fieldRef.fieldPath === "metadata.name" ? name : "")])
  )

/** Until it is 200. A container that has ended is not waited for. */
const untilOk = async (of: Container, url: string): Promise<string> => {
  for (;;) {
    const answer = await fetch(url).catch(() => undefined)
    const text = await answer?.text()
    if (answer?.status === 200) return text ?? ""
    assert.isNull(of.child.exitCode, `${url}\n${of.output()}`)
    await sleep(100)
  }
}

it.skipIf(helms.length === 0)("the chart's processes come up, pass helm test, and go", async () => {
  const [helm] = helms
  assert.isDefined(helm)
  const folder = mkdtempSync(join(tmpdir(), "heddle-image-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const app = join(folder, "app")
  const bin = join(folder, "bin")
  const tmp = join(folder, "tmp")
  for (const one of [app, bin, tmp]) mkdirSync(one)
  Image.unpack(Image.image, app)
  const before = filesOf(app)
  // as in the image: /usr/local/bin/heddle
  symlinkSync(join(app, "bin", "heddle.mjs"), join(bin, "heddle"))
  symlinkSync(process.execPath, join(bin, "node"))
  const shared = {
    PATH: [bin, "/usr/local/bin", "/usr/bin", "/bin"].join(delimiter),
    HOME: tmp,
    TMPDIR: tmp,
    NODE_ENV: "production",
    NODE_COMPILE_CACHE: join(tmp, "compile")
  }

  const broker = await Broker.startBroker()
  onTestFinished(() => broker.stop())
  const values = join(folder, "values.yaml")
  writeFileSync(
    values,
    JSON.stringify({
      nats: { url: broker.url, sync: "2m" },
      kubernetes: { enabled: false },
      config: { logLevel: "warn", passivateAfter: "1m", archiveAfter: "30d", httpHosts: ["example.com"] },
      taskExecutor: { slots: 8 },
      failover: { grace: "5s" }
    })
  )
  const objects = await render(helm, "--values", values)

  const containers = ofKind(objects, "Deployment").map((one) => {
    const [container] = one.spec.template.spec.containers
    // what a Deployment's pod is called
    const name = `${one.metadata.name}-5d4b9c7f58-x7k2p`
    const args = container.args.map((arg: string) => arg.replace("$(POD_NAME)", name))
    // on one machine each needs ports of its own
    const env = {
      ...shared,
      ...envOf(container, name),
      HEDDLE_STATUS_PORT: "0",
      HEDDLE_STATUS_HOST: "127.0.0.1",
      HEDDLE_OUTPUT: "json"
    }
    if ("HEDDLE_HTTP_PORT" in env) Object.assign(env, { HEDDLE_HTTP_PORT: "0", HEDDLE_HTTP_HOST: "127.0.0.1" })
    return { service: String(container.name), name, probes: container, running: start(["heddle", ...args], env, tmp) }
  })
  assert.strictEqual(containers.length, 5)

  for (const { name, probes, running, service } of containers) {
    let ready: { readonly member: string; readonly statusPort: number; readonly httpUrl?: string } | undefined
    while (ready === undefined) {
      const line = running.output().split("\n").find((one) => one.startsWith("{\"ready\":true"))
      if (line !== undefined) ready = JSON.parse(line)
      else {
        assert.isNull(running.child.exitCode, `${service}\n${running.output()}`)
        await sleep(50)
      }
    }
    assert.strictEqual(ready.member, name)
    for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"]) {
      await untilOk(running, `http://127.0.0.1:${ready.statusPort}${probes[probe].httpGet.path}`)
    }
    assert.match(await untilOk(running, `http://127.0.0.1:${ready.statusPort}/metrics`), /^heddle_build_info/m)
    if (service === "gateway") assert.match(await untilOk(running, `${ready.httpUrl}/api/v1/members`), /task-executor/)
  }

  const tests = ofKind(objects, "Pod").toSorted((a, b) =>
    Number(a.metadata.annotations["helm.sh/hook-weight"]) - Number(b.metadata.annotations["helm.sh/hook-weight"])
  )
  assert.deepStrictEqual(tests.map((one) => one.spec.containers[0].name), ["doctor", "claim", "workflow"])
  for (const pod of tests) {
    const [container] = pod.spec.containers
    const run = start(
      [...container.command, ...container.args],
      { ...shared, ...envOf(container, pod.metadata.name) },
      tmp
    )
    assert.strictEqual(await run.ended, 0, `${container.name}\n${run.output()}`)
  }

  for (const { running } of containers.toReversed()) running.child.kill("SIGTERM")
  for (const { running, service } of containers) {
    assert.strictEqual(await running.ended, 0, `${service}\n${running.output()}`)
  }
  // its root file system is read-only
  assert.deepStrictEqual(filesOf(app), before)
}, deadlineMs)
