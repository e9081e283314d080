/**
 * `npm run bench:restate`: the workflow scenarios of `npm run bench`, run by Restate on the same machine, so that both can be compared here and not across machines.
 *
 * The same sizes and the same definition of each figure: hello, fan-out 100 and chain 20 one at a time (p50 of submit to result), 2,000 five-task diamonds with 64 and 256
 * in flight and as a burst. Each is measured with the steps in the handler's own process (`ctx.run`) and dispatched to a second service (a call of one handler by another,
 * the nearer counterpart of a task in an executor). Restate runs as it comes: one node, its log with fsync. Handlers and client are processes of their own.
 *
 * Its packages are no dependency of the project: the first run installs them into `.heddle/peers/restate`. Plain JavaScript, since their types are not there to check with.
 */
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { Agent, request } from "node:http"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

const packages = { "@restatedev/restate-sdk": "1.17.2", "@restatedev/restate-server": "1.7.12" }
const folder = join(fileURLToPath(new URL("../../..", import.meta.url)), ".heddle", "peers", "restate")
const self = fileURLToPath(import.meta.url)
const from = createRequire(join(folder, "package.json"))

const install = () => {
  if (Object.keys(packages).every((name) => existsSync(join(folder, "node_modules", name)))) return
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module", dependencies: packages }))
  const { status } = spawnSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund"], {
    cwd: folder,
    stdio: ["ignore", process.stderr, process.stderr]
  })
  if (status !== 0) throw new Error(`npm install of ${Object.keys(packages).join(", ")} failed in ${folder}`)
}

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().once("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

/** The handlers. `local`: a step is `ctx.run`; `dispatched`: a step is a call of the service `noop`. */
const serveHandlers = async (port) => {
  const restate = await import(pathToFileURL(from.resolve("@restatedev/restate-sdk")).href)
  const { RestatePromise } = restate
  const noop = restate.service({ name: "noop", handlers: { run: async () => 1 } })
  const flows = (name, step) =>
    restate.service({
      name,
      handlers: {
        hello: async (ctx) => void await step(ctx),
        fanOut: async (ctx) => {
          await step(ctx)
          await RestatePromise.all(Array.from({ length: 100 }, () => step(ctx)))
          await step(ctx)
        },
        chain: async (ctx) => {
          for (let at = 0; at < 20; at++) await step(ctx)
        },
        diamond: async (ctx) => {
          await step(ctx)
          await RestatePromise.all([step(ctx), step(ctx), step(ctx)])
          await step(ctx)
        }
      }
    })
  await restate.serve({
    services: [
      noop,
      flows("local", (ctx) => ctx.run("step", () => 1)),
      flows("dispatched", (ctx) => ctx.serviceClient(noop).run())
    ],
    port
  })
}

const post = (agent, url, body) =>
  new Promise((resolve, reject) => {
    const call = request(url, { method: "POST", agent, headers: body ? { "content-type": "application/json" } : {} })
    call.once("error", reject)
    call.once("response", (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (chunk) => text += chunk)
      response.once("end", () =>
        response.statusCode < 300 ? resolve(text) : reject(new Error(`${url}: ${response.statusCode} ${text}`)))
    })
    call.end(body)
  })

const inFlight = async (total, most, work) => {
  let next = 0
  await Promise.all(Array.from({ length: Math.min(most, total) }, async () => {
    while (next++ < total) await work()
  }))
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)]

const log = (line) => void process.stderr.write(`restate: ${line}\n`)

const measure = async (ingress, service) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 4_096 })
  const call = (handler) => post(agent, `${ingress}/${service}/${handler}`)
  const latency = async (handler, count, warmUp) => {
    log(`${service}/${handler}`)
    for (let at = 0; at < warmUp; at++) await call(handler)
    const medians = []
    for (let run = 0; run < 3; run++) {
      const times = []
      for (let at = 0; at < count; at++) {
        const begun = performance.now()
        await call(handler)
        times.push(performance.now() - begun)
      }
      medians.push(median(times))
    }
    return median(medians)
  }
  const rate = async (most) => {
    log(`${service}/diamond, ${most} in flight`)
    const rates = []
    for (let run = 0; run < 3; run++) {
      const begun = performance.now()
      await inFlight(2_000, most, () => call("diamond"))
      rates.push(2_000 / ((performance.now() - begun) / 1_000))
    }
    return median(rates)
  }
  const figures = {
    "hello p50 ms": await latency("hello", 500, 200),
    "fan-out p50 ms": await latency("fanOut", 20, 10),
    "chain p50 ms": await latency("chain", 30, 15)
  }
  await inFlight(2_000, 64, () => call("diamond"))
  for (const most of [64, 256, 2_000]) {
    figures[`diamonds ${most === 2_000 ? "burst" : most} /s`] = await rate(most)
  }
  agent.destroy()
  log(`${service}: ${JSON.stringify(figures)}`)
  return figures
}

const until = async (what, attempt) => {
  const deadline = performance.now() + 60_000
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > deadline) throw new Error(`${what} did not come up: ${error}`, { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}

const main = async () => {
  install()
  const [ingress, admin, node, handlers] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
  const data = mkdtempSync(join(tmpdir(), "heddle-peer-restate-"))
  const children = []
  /** The data folder goes last: a server that is still ending writes into it. */
  const end = async () => {
    for (const child of children) child.kill("SIGKILL")
    await Promise.all(
      children.map((child) => child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined)
    )
    rmSync(data, { recursive: true, force: true })
  }
  const stopped = async (signal) => {
    await end()
    process.exit(signal === "SIGINT" ? 130 : 143)
  }
  process.once("SIGINT", stopped).once("SIGTERM", stopped)
  const start = (command, args, env) => {
    const child = spawn(command, args, {
      cwd: data,
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "ignore"]
    })
    children.push(child)
  }
  try {
    start(from.resolve(`@restatedev/restate-server-${process.platform}-${process.arch}/bin/restate-server`), [
      "--no-logo"
    ], {
      RESTATE_BASE_DIR: data,
      RESTATE_LISTEN_MODE: "tcp",
      RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`,
      RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
      RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
      RESTATE_DISABLE_TELEMETRY: "true",
      RESTATE_LOG_FILTER: "error",
      DO_NOT_TRACK: "1"
    })
    start(process.execPath, [self, "--handlers", String(handlers)], { NODE_ENV: "production" })
    const agent = new Agent()
    await until(
      "Restate",
      () =>
        post(agent, `http://127.0.0.1:${admin}/deployments`, JSON.stringify({ uri: `http://127.0.0.1:${handlers}` }))
    )
    agent.destroy()
    const base = `http://127.0.0.1:${ingress}`
    const warm = new Agent()
    await until("the handlers", () => post(warm, `${base}/local/hello`))
    warm.destroy()
    const local = await measure(base, "local")
    const dispatched = await measure(base, "dispatched")
    const row = ([name, value]) =>
      `${name.padEnd(20)}${value.toFixed(1).padStart(12)}${dispatched[name].toFixed(1).padStart(14)}`
    process.stdout.write(`${"Restate (fsync)".padEnd(20)}${"in process".padStart(12)}${"dispatched".padStart(14)}\n`)
    process.stdout.write(`${Object.entries(local).map(row).join("\n")}\n`)
  } finally {
    await end()
  }
}

const at = process.argv.indexOf("--handlers")
await (at > 0 ? serveHandlers(Number(process.argv[at + 1])) : main())
