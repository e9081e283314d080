/**
 * Every example as its first lines tell a user to run it, against one `heddle dev`, with its result. What stands in examples/ and not here fails the test, and so does
 * one that examples/README.md does not list. demo.ts is run by demo.test.ts, verify-journal.mjs by test/corpus, plugin by plugin.test.ts.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { connect } from "@nats-io/transport-node"
import { readdirSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import { Command } from "./Command.ts"

const readyWithinMs = 150_000
const endWithinMs = 170_000

/** One command; `-o json` is added. `outputs`, `tasks`: of what there is these must be so. `code`: 0 when not given. */
interface Step {
  readonly run: ReadonlyArray<string>
  readonly code?: number
  readonly state?: string
  readonly outputs?: Readonly<Record<string, unknown>>
  /** Through `workflows get`: the state of tasks, `-` for none. */
  readonly tasks?: Readonly<Record<string, string>>
  /** Outputs of one task, for those that are not the workflow's. */
  readonly of?: { readonly task: string; readonly outputs: Readonly<Record<string, unknown>> }
}

const run = (example: string, ...more: ReadonlyArray<string>) => ["run", `examples/${example}`, "--wait", ...more]
const put = (example: string) => ["definitions", "put", `examples/${example}`]
const ok = "SUCCEEDED"

/** Stands for the server that the examples ask. */
const httpUrl = "http://example.invalid"

/** By file; a file that others need is used by them. */
const examples: Readonly<Record<string, ReadonlyArray<Step>>> = {
  "hello.yaml": [{ run: run("hello.yaml", "--param", "name=you"), state: ok, outputs: { loud: "HELLO, YOU!" } }],
  "diamond.yaml": [
    { run: run("diamond.yaml"), state: ok, outputs: { sum: 483 } },
    { run: run("diamond.yaml", "--dry-run"), state: ok, outputs: {}, tasks: { start: "SUCCEEDED", sum: "SUCCEEDED" } },
    {
      run: run("diamond.yaml", "--start-node", "double", "--depend-type", "TASK_PRE"),
      state: ok,
      outputs: { number: 21, value: 42 }
    }
  ],
  "params.yaml": [
    {
      run: run("params.yaml", "-p", "from_start=start", "-p", "from_task=start", "-p", "from_output=start"),
      state: ok,
      outputs: { seen: "definition,start,task,output,start!", expression: "start" }
    },
    { run: run("params.yaml"), state: ok, outputs: { seen: "definition,definition,task,output,definition!" } }
  ],
  "switch.yaml": [
    { run: run("switch.yaml"), state: ok, outputs: { way: "single", report: "rows: 12" } },
    { run: run("switch.yaml", "-p", "rows=0"), state: ok, outputs: { way: "nothing" }, tasks: { bulk: "-" } }
  ],
  "condition.yaml": [{
    run: run("condition.yaml", "-p", "region=us"),
    state: ok,
    outputs: { to: "reports-us" },
    tasks: { primary: "FAILED", tell: "-" }
  }],
  "joins.yaml": [{
    run: run("joins.yaml"),
    code: 1,
    state: "FAILED",
    outputs: { done: "ran", some: "ran", alarm: "ran", ever: "ran", past: "ran" },
    tasks: { all: "-", clean: "-", off: "-" }
  }],
  "for-each.yaml": [{ run: run("for-each.yaml"), state: ok, outputs: { squares: [9, 16, 25, 36] } }],
  "hooks.yaml": [
    { run: run("hooks.yaml"), state: ok, of: { task: "onCommit", outputs: { published: "report.csv" } } },
    {
      run: run("hooks.yaml", "-p", "fail=true", "--id", "hooks-failed"),
      code: 1,
      state: "FAILED",
      of: { task: "onCleanup", outputs: { removed: "all that was half built" } }
    },
    { run: ["tasks", "force-success", "hooks-failed", "check"] },
    { run: ["workflows", "recover", "hooks-failed", "--wait"], state: ok, tasks: { check: "FORCED_SUCCESS" } },
    { run: ["workflows", "rerun", "hooks-failed", "--wait"], code: 1, state: "FAILED", tasks: { check: "FAILED" } },
    { run: ["tasks", "force-success", "hooks-failed", "check"] },
    { run: ["tasks", "run", "hooks-failed", "build", "--wait"], state: ok },
    { run: ["replay", "hooks-failed", "--verify"] }
  ],
  "exec.yaml": [{ run: run("exec.yaml"), state: ok, outputs: { letters: 25, unit: "letters" } }],
  "script.yaml": [{ run: run("script.yaml"), state: ok, outputs: { greeted: ["ADA", "GRACE", "BARBARA"], count: 2 } }],
  "http.yaml": [
    {
      run: run("http.yaml", "-p", `url=${httpUrl}/rows`, "--id", "http-1"),
      state: ok,
      of: {
        task: "post",
        outputs: {
          status: 405,
          headers: { "content-type": "application/json", "x-seen": "heddle", etag: "1" },
          json: { status: 200 }
        }
      }
    },
    // the first attempt was answered 503; the second came with the same idempotency key
    {
      run: ["workflows", "get", "http-1"],
      of: {
        task: "get",
        outputs: { status: 200, headers: { "content-type": "application/json", etag: "2" }, json: {} }
      }
    }
  ],
  "nats.yaml": [
    {
      run: run("nats.yaml"),
      state: ok,
      of: { task: "ask", outputs: { headers: {}, json: { rows: 3, asked: { table: "orders" } } } }
    }
  ],
  "full.yaml": [{
    run: run("full.yaml"),
    state: ok,
    tasks: { extract: "SUCCEEDED", load: "SUCCEEDED", skip: "-", onCommit: "SUCCEEDED", onCleanup: "-" }
  }],
  "retry.yaml": [{ run: run("retry.yaml"), state: ok, outputs: { attempt: 3 } }],
  "timing.yaml": [{
    run: run("timing.yaml"),
    code: 1,
    state: "FAILED",
    outputs: { stage: "stage-test in eu", slow: "FAILED" }
  }],
  "concurrency-group.yaml": [{ run: run("concurrency-group.yaml"), state: ok }],
  "serial.yaml": [{ run: put("serial.yaml") }, { run: ["run", "serial", "--wait"], state: ok }],
  "sub-workflow.yaml": [
    { run: put("sub-workflow-child.yaml") },
    { run: run("sub-workflow.yaml"), state: ok, outputs: { items: [{ file: "eu.csv" }, { file: "us.csv" }] } }
  ],
  "dependent.yaml": [{ run: run("hello.yaml") }, { run: run("dependent.yaml"), state: ok }],
  "alerts.yaml": [{ run: run("alerts.yaml"), code: 1, state: "FAILED" }],
  "schedule.yaml": [
    { run: put("dated-report.yaml") },
    { run: ["schedules", "put", "examples/schedule.yaml"] },
    { run: ["schedules", "trigger", "nightly-report", "--at", "2026-11-21T01:30:00Z", "--id", "report-by-hand"] },
    { run: ["workflows", "result", "report-by-hand"], state: ok, outputs: { line: "Nightly report of 2026-11-21" } },
    { run: ["schedules", "delete", "nightly-report"] }
  ],
  "backfill.yaml": [
    { run: put("dated-report.yaml") },
    { run: ["backfill", "start", "-f", "examples/backfill.yaml", "--wait"] }
  ],
  "repo-report.yaml": [{
    run: run("repo-report.yaml", "-p", `root=${join(root, "examples")}`),
    state: ok
  }],
  "nightly.ts": [{ run: run("nightly.ts"), state: ok, outputs: { rows: [3, 3] }, tasks: { rebuild: "-" } }]
}
/** Used by another's steps. */
const used = ["dated-report.yaml", "sub-workflow-child.yaml"]
const elsewhere = ["demo.ts", "verify-journal.mjs", "plugin", "README.md"]

let dev: Command | undefined
let natsUrl = ""
let webUrl = ""
/** What the examples expect of the world: a web server, somebody who answers on examples.echo, a stream for examples.stored. */
const world: Array<() => unknown> = []

const startWorld = async (): Promise<void> => {
  // requests by idempotency key; the answer tells in `etag` how many there were
  const asked = new Map<string, number>()
  const web = createServer((request, response) => {
    const key = String(request.headers["idempotency-key"])
    const count = (asked.get(key) ?? 0) + 1
    asked.set(key, count)
    let text = ""
    request.setEncoding("utf8").on("data", (part: string) => text += part).on("end", () => {
      const status = request.method === "POST" ? 405 : count === 1 ? 503 : 200
      const seen = request.headers["x-example"] ?? ""
      response.writeHead(status, { "content-type": "application/json", "x-seen": seen, etag: String(count) })
      response.end(text === "" ? "{}" : text)
    })
  })
  await new Promise<void>((listening) => web.listen(0, "127.0.0.1", () => listening()))
  world.push(() => web.close(), () => web.closeAllConnections())
  webUrl = `http://127.0.0.1:${(web.address() as AddressInfo).port}` // it listens on TCP
  const client = await connect({ servers: natsUrl })
  world.push(() => client.close())
  client.subscribe("examples.echo", {
    callback: (_, message) => void message.respond(JSON.stringify({ rows: 3, asked: message.json<unknown>() }))
  })
  const stream = { name: "EXAMPLES", subjects: ["examples.stored"], storage: "memory" }
  await client.request("$JS.API.STREAM.CREATE.EXAMPLES", JSON.stringify(stream))
}

const heddle = async (
  args: ReadonlyArray<string>
): Promise<{ readonly code: number | null; readonly value: unknown }> => {
  await using command = new Command(process.execPath, () => ["bin/heddle.mjs", ...args, "-o", "json"], {
    HEDDLE_NATS_URL: natsUrl,
    HEDDLE_TIMEOUT: "150s"
  })
  const { code, error, out } = await command.end(endWithinMs)
  assert.notStrictEqual(out, "", `${args.join(" ")}: ${error}`)
  return { code, value: JSON.parse(out) as unknown }
}

interface Answer {
  readonly instanceId?: string
  readonly state?: string
  readonly outputs?: Readonly<Record<string, unknown>>
  readonly tasks?: ReadonlyArray<Answer & { readonly name: string }>
}

const check = async (step: Step): Promise<void> => {
  const said = step.run.join(" ")
  const { code, value } = await heddle(step.run.map((arg) => arg.replace(httpUrl, webUrl)))
  assert.strictEqual(code, step.code ?? 0, `${said}: ${JSON.stringify(value)}`)
  const answer = value as Answer // what is looked at is asserted
  if (step.state !== undefined) assert.strictEqual(answer.state, step.state, said)
  if (step.outputs !== undefined) assert.deepInclude(answer.outputs, step.outputs, said)
  if (step.tasks === undefined && step.of === undefined) return
  const view = (await heddle(["workflows", "get", answer.instanceId ?? ""])).value as Answer
  const of = (name: string) => view.tasks?.find((task) => task.name === name)
  for (const [name, state] of Object.entries(step.tasks ?? {})) {
    assert.strictEqual(of(name)?.state ?? "-", state, `${said}: ${name}`)
  }
  if (step.of !== undefined) assert.deepStrictEqual(of(step.of.task)?.outputs, step.of.outputs, said)
}

describe("examples", () => {
  beforeAll(async () => {
    dev = new Command(process.execPath, (folder) => [
      "bin/heddle.mjs",
      "dev",
      "-o",
      "json",
      "--data-dir",
      join(folder, "data"),
      "--pool",
      "default=4",
      "--pool",
      "gpu=1"
    ])
    const ready = JSON.parse(await dev.firstLine(readyWithinMs)) as { readonly natsUrl: string }
    natsUrl = ready.natsUrl
    await startWorld()
  }, 180_000)
  afterAll(async () => {
    for (const end of world) await end()
    await dev?.[Symbol.asyncDispose]()
  }, 120_000)

  it("each is run here, and listed in examples/README.md", () => {
    const files = readdirSync(join(root, "examples"))
    assert.sameMembers(files, [...Object.keys(examples), ...used, ...elsewhere])
    const readme = readFileSync(join(root, "examples", "README.md"), "utf8")
    assert.deepStrictEqual(files.filter((file) => file !== "README.md" && !readme.includes(`(${file})`)), [])
  })

  for (const [file, steps] of Object.entries(examples)) {
    it(file, async () => {
      for (const step of steps) await check(step)
    })
  }
})
