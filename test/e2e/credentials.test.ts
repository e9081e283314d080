/**
 * A mesh on a broker that asks who is there: every service, the command line and the executor's side connect with credentials, in each form that a broker may ask for; who has none, or
 * wrong ones, is told so, and what to do.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import * as SignedBroker from "../integration/SignedBroker.ts"
import { Command } from "./Command.ts"
import { Mesh } from "./Mesh.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("boxes") }
const pools = [{ name: pool.name, provider: "local", size: 2 }]
const workflow = {
  metadata: { name: "known" },
  spec: {
    tasks: [
      { name: "one", type: "shell", pool: pool.name, with: { run: "echo seen=yes >> \"$HEDDLE_OUTPUTS\"" } },
      { name: "two", type: "shell", pool: pool.name, with: { run: "true" }, dependsOn: ["one"] }
    ]
  }
}

const cli = async (
  mesh: { readonly natsUrl: string },
  env: Readonly<Record<string, string>>,
  ...args: ReadonlyArray<string>
) => {
  await using command = new Command(
    process.execPath,
    () => [join(root, "cli", "heddle.ts"), "--nats", mesh.natsUrl, ...args],
    { HEDDLE_TIMEOUT: "60s", ...env }
  )
  return await command.end(150_000)
}

/** A run and two claims, one of them by the command line. */
const works = async (mesh: Mesh, env: Readonly<Record<string, string>>) => {
  await mesh.askPatiently(Subject.rpc.workflow("start"), { instanceId: "w", inline: workflow })
  await mesh.until("the run has succeeded", async () => {
    const result = await mesh.ask(Subject.rpc.workflow("result"), { instanceId: "w", wait: "2s" })
    return JSON.stringify(result).includes("SUCCEEDED")
  })
  const claimed = await mesh.askPatiently(Subject.rpc.pool(pool, "claim"), { claimId: "c-1" })
  assert.include(JSON.stringify(claimed), "\"Claimed\"")
  const ran = await cli(mesh, env, "claim", pool.name, "--exec", "--", "echo", "from the sandbox")
  assert.deepStrictEqual([ran.code, ran.out], [0, "from the sandbox\n"], ran.error)
}

describe("a broker that asks who is there", () => {
  it("by credentials files of an operator's account; without or with others nothing starts, and it says why", async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-creds-"))
    try {
      const signed = await SignedBroker.keys()
      const file = join(folder, "mesh.creds")
      writeFileSync(file, signed.credentials)
      const env = { HEDDLE_NATS_CREDS: file }
      await using mesh = await Mesh.start({
        ttl: "60s",
        pools,
        env,
        brokerConfig: signed.config,
        identity: { credentialsText: signed.credentials }
      })
      await works(mesh, env)

      const refused = async (other: Readonly<Record<string, string>>, ...args: ReadonlyArray<string>) => {
        const { code, error } = await cli(mesh, other, ...args)
        return `${code} ${error}`
      }
      const none =
        /^6 .*NATS at nats:\/\/\S+ refuses a connection without credentials: .*uthorization.*Set HEDDLE_NATS_CREDS to a credentials file/
      assert.match(await refused({}, "pools", "ls"), none)
      assert.match(await refused({}, "serve", "task-executor"), none)
      const stranger = join(folder, "stranger.creds")
      writeFileSync(stranger, (await SignedBroker.keys()).credentials)
      assert.match(
        await refused({ HEDDLE_NATS_CREDS: stranger }, "pools", "ls"),
        /^6 .*refuses the credentials of \S+stranger\.creds/
      )
      assert.match(
        await refused({ HEDDLE_NATS_CREDS: join(folder, "none.creds") }, "pools", "ls"),
        /^2 .*none\.creds is no credentials file: ENOENT.*HEDDLE_NATS_CREDS/
      )
      writeFileSync(stranger, "nothing")
      assert.match(
        await refused({ HEDDLE_NATS_CREDS: stranger }, "pools", "ls"),
        /^2 .*no credentials file: .*nsc generate creds/
      )
      assert.match(
        await refused({ ...env, HEDDLE_NATS_TOKEN: "t" }, "pools", "ls"),
        /^2 .*HEDDLE_NATS_CREDS and HEDDLE_NATS_TOKEN are set/
      )
      assert.match(await refused({ HEDDLE_NATS_USER: "x" }, "pools", "ls"), /^2 .*belong together/)
      const { code, error } = await cli({ natsUrl: mesh.natsUrl.replace("//", "//u:p@") }, env, "pools", "ls")
      assert.match(`${code} ${error}`, /^2 .*URL.*one identity/)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it("by user and password, in the environment or in the URL, and by token", async () => {
    const password = "p@ss:w/rd"
    await using mesh = await Mesh.start({
      ttl: "60s",
      pools,
      env: { HEDDLE_NATS_USER: "mesh", HEDDLE_NATS_PASSWORD: password },
      brokerConfig: `authorization { users: [ { user: mesh, password: ${JSON.stringify(password)} } ] }`,
      identity: { user: "mesh", password: Redacted.make(password) }
    })
    await works(mesh, { HEDDLE_NATS_USER: "mesh", HEDDLE_NATS_PASSWORD: password })
    const url = mesh.natsUrl.replace("//", `//mesh:${encodeURIComponent(password)}@`)
    assert.strictEqual((await cli({ natsUrl: url }, {}, "pools", "ls")).code, 0)
    const wrong = await cli(mesh, { HEDDLE_NATS_USER: "mesh", HEDDLE_NATS_PASSWORD: "guess" }, "pools", "ls")
    assert.strictEqual(wrong.code, 6)
    assert.match(wrong.error, /refuses user "mesh": /)
    assert.notInclude(wrong.error, "guess")
    const inUrl = await cli({ natsUrl: mesh.natsUrl.replace("//", "//mesh:guess@") }, {}, "pools", "ls")
    assert.strictEqual(inUrl.code, 6)
    assert.match(inUrl.error, /refuses the user of the URL/)
    assert.notInclude(inUrl.error, "guess")
  })

  it("by token", async () => {
    const env = { HEDDLE_NATS_TOKEN: "s3cr3t" }
    await using mesh = await Mesh.start({
      ttl: "60s",
      pools,
      env,
      brokerConfig: "authorization { token: s3cr3t }",
      identity: { token: Redacted.make("s3cr3t") }
    })
    await works(mesh, env)
    const wrong = await cli(mesh, { HEDDLE_NATS_TOKEN: "guess" }, "pools", "ls")
    assert.deepStrictEqual([wrong.code, /refuses this token/.test(wrong.error)], [6, true], wrong.error)
  })
})
