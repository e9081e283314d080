/**
 * `npm run dev` and `deno task dev` as a user meets them: the ready line, a claim by command and by plain NATS request, a run, its replay, the end by one signal.
 * Which of the two `HEDDLE_E2E_RUNTIME` says; the commands run on the same runtime. design/02 "CLI".
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import { Nats } from "../../shared/jetstream/Nats.ts"
import { Command, type Ended } from "./Command.ts"
import { runtimeAsked } from "./Mesh.ts"

const deno = join(root, "node_modules", ".bin", "deno")
const isDeno = runtimeAsked() === "deno"
const readyWithinMs = 150_000
const endWithinMs = 90_000

const dev = (...more: ReadonlyArray<string>) =>
  new Command(
    isDeno ? deno : "npm",
    (folder) => [
      ...(isDeno ? ["task", "dev"] : ["run", "--silent", "dev", "--"]),
      "-o",
      "json",
      "--data-dir",
      join(folder, "data"),
      ...more
    ],
    // Deno looks for packages in its cache even if there is nothing to fetch; the user's is as good as any.
    process.env["HOME"] === undefined ? {} : { DENO_DIR: join(process.env["HOME"], ".cache", "deno") }
  )

const heddle = async (natsUrl: string, ...args: ReadonlyArray<string>): Promise<Ended> => {
  await using command = new Command(
    isDeno ? deno : process.execPath,
    () => [...(isDeno ? ["run", "-A", "cli/heddle.ts"] : ["bin/heddle.mjs"]), ...args],
    { HEDDLE_NATS_URL: natsUrl, HEDDLE_TIMEOUT: "100s" }
  )
  return await command.end(150_000)
}

interface Ready {
  readonly ready: boolean
  readonly natsUrl: string
  readonly httpUrl: string
  readonly pools: ReadonlyArray<unknown>
  readonly pid: number
}

const request = (natsUrl: string, subject: string, body: unknown): Promise<unknown> =>
  Effect.gen(function*() {
    const nats = yield* Nats
    const message = yield* nats.request(subject, JSON.stringify(body), { timeoutMs: 60_000 })
    return JSON.parse(message.text) as unknown
  }).pipe(Effect.provide(Nats.layer({ url: natsUrl, name: "heddle-test-dev" })), (effect) => Effect.runPromise(effect))

describe(`heddle dev on ${runtimeAsked()}`, () => {
  it("ready line, claim, release, run, replay; SIGTERM: code 0 and nothing left", async () => {
    await using command = dev("--pool", "default=2")
    const ready = JSON.parse(await command.firstLine(readyWithinMs)) as Ready // what the contract says; asserted below
    assert.strictEqual(ready.ready, true)
    assert.deepInclude(ready.pools, { namespace: "default", name: "default", provider: "local", size: 2 })
    assert.isAbove(command.processes().length, 2, "itself, nats-server and sandboxes are found by their folder")

    const claimed = await heddle(ready.natsUrl, "claim", "default", "--id", "c-1", "-o", "json")
    assert.nestedPropertyVal(JSON.parse(claimed.out), "outcome", "Claimed", claimed.error)
    const released = await heddle(ready.natsUrl, "release", "default", "c-1")
    assert.strictEqual(released.code, 0, released.error)

    const pool = "heddle.rpc.pool.default.default"
    const answer = await request(ready.natsUrl, `${pool}.claim`, { claimId: "c-2" })
    assert.nestedPropertyVal(answer, "outcome", "Claimed")
    const back = await request(ready.natsUrl, `${pool}.release`, { claimId: "c-2" })
    assert.nestedPropertyVal(back, "outcome", "Released")

    const used = await heddle(
      ready.natsUrl,
      "claim",
      "default",
      "--exec",
      "--",
      "sh",
      "-c",
      "echo in a sandbox; exit 7"
    )
    assert.deepStrictEqual([used.code, used.out], [7, "in a sandbox\n"], used.error)

    const run = await heddle(ready.natsUrl, "run", "examples/hello.yaml", "--id", "h-1", "--wait", "-o", "json")
    assert.strictEqual(run.code, 0, run.error)
    assert.nestedPropertyVal(JSON.parse(run.out), "state", "SUCCEEDED")
    const replay = await heddle(ready.natsUrl, "replay", "h-1", "--verify")
    assert.strictEqual(replay.code, 0, replay.error)

    // the same over HTTP: the run in the list, its live events, the page; an event stream does not hold up the end
    assert.match(ready.httpUrl, /^http:\/\/127\.0\.0\.1:\d+$/)
    assert.strictEqual((await fetch(`${ready.httpUrl}/readyz`)).status, 200)
    assert.include((await fetch(ready.httpUrl)).headers.get("content-type") ?? "", "text/html")
    const list = async () => await (await fetch(`${ready.httpUrl}/api/v1/workflows`)).text()
    // the list follows the journal by a delivery
    while (!(await list()).includes(`{"instanceId":"h-1","state":"SUCCEEDED"`)) await sleep(50)
    const events = await fetch(`${ready.httpUrl}/api/v1/events?instance=h-1&after=0`)
    let text = ""
    let isTold = false
    for await (const part of events.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += part
      if (isTold || !text.includes(`"state":"SUCCEEDED","endedAt"`)) continue
      isTold = true
      command.signal("SIGTERM")
    }
    assert.include(text, "event: dropped")
    const ended = await command.end(endWithinMs)
    assert.deepStrictEqual([ended.code, ended.signal], [0, null], ended.error)
    assert.deepStrictEqual(await command.remainders(), [])
  })

  it("killed with SIGKILL: the server and the sandboxes end too", async () => {
    await using command = dev()
    const ready = JSON.parse(await command.firstLine(readyWithinMs)) as Ready
    process.kill(ready.pid, "SIGKILL")
    await command.end(endWithinMs)
    assert.deepStrictEqual(await command.remainders(), [])
  })
})
