/**
 * `heddle serve --status-port`: what a kubelet and Prometheus ask a process of heddle, while it works, while the broker is away, and at its end.
 */
import { assert, describe, it } from "@effect/vitest"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import { startBroker } from "../../shared/testing/Broker.ts"
import { Command } from "./Command.ts"
import { runtimeAsked } from "./Mesh.ts"

const program = join(root, "cli", "heddle.ts")
const deno = join(root, "node_modules", ".bin", "deno")
const heddle = (env: Readonly<Record<string, string>>, ...args: ReadonlyArray<string>): Command =>
  runtimeAsked() === "deno"
    ? new Command(deno, () => ["run", "-A", program, ...args], env)
    : new Command(process.execPath, () => [program, ...args], env)

const ask = async (port: number, path: string) => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`)
  return { status: response.status, text: await response.text() }
}

const readyz = async (port: number, status: number): Promise<string> => {
  const end = performance.now() + 120_000
  for (;;) {
    const answer = await ask(port, "/readyz")
    if (answer.status === status) return answer.text
    if (performance.now() > end) throw new Error(`/readyz is still ${answer.status}: ${answer.text}`)
    await sleep(50)
  }
}

describe("the status of a process", () => {
  it("is ready with a broker and alive without one; it ends in order while somebody asks", async () => {
    const broker = await startBroker()
    try {
      await using serve = heddle(
        { HEDDLE_STATUS_PORT: "0" },
        "serve",
        "coordinator",
        "--nats",
        broker.url,
        "--status-host",
        "127.0.0.1",
        "-o",
        "json"
      )
      const line = JSON.parse(await serve.firstLine(150_000)) as { readonly statusPort: number }
      const { statusPort: port } = line
      await readyz(port, 200)
      const metrics = (await ask(port, "/metrics")).text
      assert.match(
        metrics,
        new RegExp(
          `^heddle_build_info\\{service="coordinator",version="\\S+",runtime="${runtimeAsked()} \\S+"\\} 1$`,
          "m"
        )
      )
      assert.match(metrics, /^heddle_shards_owned 64$/m)
      await broker.kill()
      assert.include(await readyz(port, 503), "\"check\":\"nats\"")
      assert.strictEqual((await ask(port, "/livez")).status, 200)
      await broker.start()
      await readyz(port, 200)
      serve.signal("SIGTERM")
      const { code, error } = await serve.end(90_000)
      assert.strictEqual(code, 0, error)
      assert.include(error, `heddle: status of coordinator at http://127.0.0.1:${port}/readyz, /livez and /metrics`)
    } finally {
      await broker.stop()
    }
  })
})
