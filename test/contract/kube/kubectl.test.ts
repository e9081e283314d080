/**
 * What a person sees who keeps pools with kubectl: the real program against the cluster under test (the double, or with KUBEBUILDER_ASSETS a real API server), with the same assertions.
 *
 * Two differences are not the double's: a server before 1.29 knows no rules (CEL), and one before 1.27 leaves the search for unknown fields to kubectl.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { afterAll, beforeAll, onTestFinished } from "vitest"
import * as Yaml from "yaml"
import { findKubeTools } from "../../../infra/bootstrap/kube-tools.mjs"
import * as PoolObjects from "../../../plugins/kubernetes/PoolObjects.ts"
import type { PoolSink, PoolStanding } from "../../../shared/plugin/PoolSource.ts"
import { ContractError } from "../../../shared/protocol/ErrorCode.ts"
import { MemberId } from "../../../shared/protocol/Token.ts"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import { Kubectl } from "./Kubectl.ts"
import { reach } from "./ProviderWorld.ts"

const read = (file: string): unknown =>
  Yaml.parse(readFileSync(new URL(`../../../infra/crds/${file}`, import.meta.url), "utf8"))
const crds = [read("heddle.dev_sandboxpools.yaml"), read("heddle.dev_sandboxenvs.yaml")]
const tools = await findKubeTools()

let cluster: ClusterUnderTest.ClusterUnderTest
beforeAll(async () => {
  if (tools !== undefined) cluster = await ClusterUnderTest.start({ crds, double: { isSecure: true } })
}, 180_000)
afterAll(() => cluster?.stop())

const testMs = 180_000
const hasRules = () => cluster.version[1] >= 29
const template = { spec: { containers: [{ name: "main", image: "local/x" }] } }
const pool = (name: string, spec: Record<string, unknown> = {}) => ({
  apiVersion: "heddle.dev/v1alpha1",
  kind: "SandboxPool",
  metadata: { name },
  spec: { size: 2, team: "a", template, ...spec }
})
const env = (name: string, spec: Record<string, unknown> = { members: [{ pool: "web", priority: 2 }] }) => ({
  apiVersion: "heddle.dev/v1alpha1",
  kind: "SandboxEnv",
  metadata: { name },
  spec
})
const pod = (name: string) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, labels: { "heddle.dev/pool": "web" } },
  spec: { containers: [{ name: "main", image: "local/x" }] }
})

/** In a namespace of its own. */
const open = async (token?: string, namespace?: string) => {
  const of = namespace ?? await cluster.namespace()
  const kubectl = new Kubectl(cluster, tools?.kubectl ?? "", of, token)
  onTestFinished(() => kubectl.close())
  return { kubectl, namespace: of }
}
/** Lines as words: how far apart the columns stand is no contract. The age, which is last, is left out. */
const table = (text: string): ReadonlyArray<string> =>
  text.trim().split("\n").map((line) => line.trim().split(/\s+/).join(" ").replace(/ (AGE|\d+[smhd]\w*|0s)$/, ""))

const status = {
  replicas: 20,
  ready: "18/20",
  phases: { starting: 1, idle: 6, running: 12, stopping: 1 },
  pendingRequests: 3,
  owner: "scheduler-1",
  session: 4,
  lastHeartbeatTime: new Date().toISOString(),
  conditions: [{
    type: "Ready",
    status: "True",
    reason: "Serving",
    message: "has an owner that serves claims",
    lastTransitionTime: "2026-01-01T00:00:00Z"
  }]
}
/** As a pool's owner does it. */
const say = (kubectl: Kubectl, kind: string, name: string, of: unknown) =>
  kubectl.ok("patch", kind, name, "--subresource=status", "--type=merge", "-p", JSON.stringify({ status: of }))

describe.skipIf(tools === undefined)("kubectl", () => {
  it("finds the kinds by their names, short names and category", async () => {
    const { kubectl } = await open()
    assert.deepStrictEqual(table(await kubectl.ok("api-resources", "--api-group=heddle.dev")), [
      "NAME SHORTNAMES APIVERSION NAMESPACED KIND",
      "sandboxenvs sbe heddle.dev/v1alpha1 true SandboxEnv",
      "sandboxpools sbp heddle.dev/v1alpha1 true SandboxPool"
    ])
    assert.match((await kubectl.run("get", "sandboxpools")).err, /No resources found/)
    await kubectl.ok("create", "-f", kubectl.file("both.yaml", pool("web"), env("all")))
    assert.strictEqual(await kubectl.ok("get", "sbp", "-o", "name"), "sandboxpool.heddle.dev/web\n")
    assert.strictEqual(await kubectl.ok("get", "sandboxenv/all", "-o", "name"), "sandboxenv.heddle.dev/all\n")
    const all = await kubectl.ok("get", "heddle", "-o", "name")
    assert.sameMembers(all.trim().split("\n"), ["sandboxpool.heddle.dev/web", "sandboxenv.heddle.dev/all"])
    assert.match(await kubectl.fails("get", "sbp", "nope"), /sandboxpools\.heddle\.dev "nope" not found/)
  }, testMs)

  it("get: what a pool and an env are doing, at a glance", async () => {
    const { kubectl } = await open()
    await kubectl.ok(
      "apply",
      "-f",
      kubectl.file("both.yaml", pool("web", { env: "all" }), env("all", { selector: { tier: "gold" } }))
    )
    assert.deepStrictEqual(table(await kubectl.ok("get", "sbp")), [
      "NAME STATUS READY IDLE CLAIMED WAITING",
      "web"
    ])
    await say(kubectl, "sbp", "web", status)
    assert.deepStrictEqual(table(await kubectl.ok("get", "sbp")), [
      "NAME STATUS READY IDLE CLAIMED WAITING",
      "web Serving 18/20 6 12 3"
    ])
    const [head, row] = table(await kubectl.ok("get", "sbp", "web", "-o", "wide"))
    assert.strictEqual(head, "NAME STATUS READY IDLE CLAIMED WAITING PROVIDER TEAM ENV OWNER SESSION HEARD")
    assert.match(row ?? "", /^web Serving 18\/20 6 12 3 kubernetes a all scheduler-1 4 \d+s$/)
    await say(kubectl, "sbe", "all", {
      ready: "1/2",
      memberCount: 2,
      members: [{ pool: "gold", state: "Missing" }, { pool: "web", state: "Serving", owner: "scheduler-1" }],
      conditions: status.conditions
    })
    assert.deepStrictEqual(table(await kubectl.ok("get", "sbe")), ["NAME STATUS READY", "all Serving 1/2"])
    const wide = await kubectl.ok("get", "sbe", "-o", "wide")
    assert.match(
      wide,
      /^NAME +STATUS +READY +SELECTOR +AGE\nall +Serving +1\/2 +(\{"tier":"gold"\}|map\[tier:gold\]) +\d+s\n$/
    )
    const described = await kubectl.ok("describe", "sbp", "web")
    for (const part of [/Kind: +SandboxPool/, /Size: +2/, /Pending Requests: +3/, /Reason: +Serving/]) {
      assert.match(described, part)
    }
    assert.match(await kubectl.ok("describe", "sbe", "all"), /Pool: +gold\n +State: +Missing/)
  }, testMs)

  it("explain: what each field means", async () => {
    const { kubectl } = await open()
    const spec = await kubectl.ok("explain", "sandboxpool.spec")
    for (
      const part of [
        /What the pool is to be/,
        /minIdle\s+<integer>\n\s+The idle buffer/,
        /template\s+<Object>\n\s+The pods of the pool/
      ]
    ) {
      assert.match(spec, part)
    }
    assert.match(await kubectl.ok("explain", "sbp.spec.reset.method"), /the pod is deleted/)
    assert.match(await kubectl.ok("explain", "sbe.status.members.state"), /Missing/)
    assert.match(await kubectl.ok("explain", "sandboxpool"), /A pool of warm sandboxes/)
    assert.match(await kubectl.fails("explain", "sbp.spec.sizes"), /field "sizes" does not exist/)
  }, testMs)

  it("apply, diff and a dry run; by the server, with its conflicts", async () => {
    const { kubectl } = await open()
    const two = kubectl.file("two.yaml", pool("web"))
    const five = kubectl.file("five.yaml", pool("web", { size: 5 }))
    const size = () => kubectl.ok("get", "sbp", "web", "-o", "jsonpath={.spec.size}")
    assert.strictEqual(await kubectl.ok("apply", "-f", two), "sandboxpool.heddle.dev/web created\n")
    assert.strictEqual(await kubectl.ok("apply", "-f", two), "sandboxpool.heddle.dev/web unchanged\n")
    assert.strictEqual(await kubectl.ok("diff", "-f", two), "")
    const diff = await kubectl.run("diff", "-f", five)
    assert.strictEqual(diff.code, 1, diff.err)
    assert.match(diff.out, /^-  size: 2\n\+  size: 5$/m)
    assert.match(await kubectl.ok("apply", "--dry-run=server", "-f", five), /configured \(server dry run\)/)
    assert.strictEqual(await size(), "2")
    assert.strictEqual(await kubectl.ok("apply", "-f", five), "sandboxpool.heddle.dev/web configured\n")
    assert.strictEqual(await size(), "5")

    assert.match(await kubectl.ok("apply", "--server-side", "-f", five), /web serverside-applied/)
    assert.match(
      await kubectl.fails("apply", "--server-side", "--field-manager=another", "-f", two),
      /Apply failed with \d+ conflicts?: conflicts? with "kubectl(-client-side-apply)?"[^]*\.spec\.size/
    )
    assert.strictEqual(await size(), "5")
    await kubectl.ok("apply", "--server-side", "--field-manager=another", "--force-conflicts", "-f", two)
    assert.strictEqual(await size(), "2")
    assert.match(await kubectl.ok("get", "sbp", "web", "-o", "yaml", "--show-managed-fields"), /manager: another/)
    assert.match(await kubectl.fails("create", "-f", two), /AlreadyExists/)
  }, testMs)

  it("scale, patch, edit, label", async () => {
    const { kubectl } = await open()
    await kubectl.ok("apply", "-f", kubectl.file("web.yaml", pool("web")))
    const size = () => kubectl.ok("get", "sbp", "web", "-o", "jsonpath={.spec.size}")
    assert.match(await kubectl.ok("scale", "sandboxpool", "web", "--replicas=7"), /scaled/)
    assert.strictEqual(await size(), "7")
    assert.match(
      await kubectl.fails("scale", "sbp", "web", "--current-replicas=9", "--replicas=1"),
      /Expected replicas to be 9, was 7/
    )
    await kubectl.ok("patch", "sbp", "web", "--type=merge", "-p", `{"spec":{"size":4}}`)
    await kubectl.ok("patch", "sbp", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/team","value":"b"}]`)
    assert.strictEqual(await kubectl.ok("get", "sbp", "web", "-o", "jsonpath={.spec.size} {.spec.team}"), "4 b")
    assert.match(
      await kubectl.fails("patch", "sbp", "web", "-p", `{"spec":{"size":1}}`),
      /strategic-merge-patch\+json is not supported/
    )
    kubectl.env["KUBE_EDITOR"] = "sed -i s/team:/user:/"
    assert.match(await kubectl.ok("edit", "sbp", "web"), /edited/)
    assert.strictEqual(await kubectl.ok("get", "sbp", "web", "-o", "jsonpath={.spec.user}{.spec.team}"), "b")
    await kubectl.ok("label", "sbp", "web", "tier=gold")
    assert.match(await kubectl.ok("get", "sbp", "-l", "tier=gold", "-o", "name"), /web/)
    assert.strictEqual(await kubectl.ok("get", "sbp", "-l", "tier=tin", "-o", "name"), "")
  }, testMs)

  it("what is wrong with a manifest is told by field", async () => {
    const { kubectl } = await open()
    const apply = (name: string, object: unknown) => kubectl.fails("apply", "-f", kubectl.file(`${name}.yaml`, object))
    assert.match(
      await apply("ttl", pool("x", { ttl: "soon" })),
      /The SandboxPool "x" is invalid: spec\.ttl: Invalid value: "soon"/
    )
    assert.match(
      await apply("size", pool("x", { size: -1 })),
      /spec\.size in body should be greater than or equal to 0/
    )
    assert.match(
      await apply("typo", pool("x", { sizes: 2 })),
      /unknown field ("spec\.sizes"|"sizes" in dev\.heddle\.v1alpha1\.SandboxPool\.spec)/
    )
    assert.match(await apply("kind", { ...pool("x"), kind: "SandboxPond" }), /no matches for kind "SandboxPond"/)
    if (!hasRules()) return
    assert.match(
      await apply("none", pool("x", { size: undefined })),
      /spec\.size: Required value: a pool names its size/
    )
    assert.match(
      await apply("min", pool("x", { min: 1 })),
      /spec\.autoscale: Required value: min, max and minIdle are for pools that follow/
    )
    assert.match(await apply("name", pool("x.y")), /metadata\.name: Invalid value: .*a name of at most 63/)
    assert.match(await apply("env", env("x", {})), /spec\.members: Required value: an env without members/)
    await kubectl.ok("apply", "-f", kubectl.file("web.yaml", pool("web")))
    assert.match(
      await apply("provider", pool("web", { provider: "local", template: undefined })),
      /spec\.provider: Forbidden: the provider of a pool stays/
    )
  }, testMs)

  it("watch and wait follow what the owner tells", async () => {
    const { kubectl } = await open()
    await kubectl.ok("apply", "-f", kubectl.file("web.yaml", pool("web")))
    const watch = kubectl.watch("get", "sandboxpools", "-w")
    await watch.until(/^web /m)
    const waiting = kubectl.run("wait", "sbp/web", "--for=condition=Ready", "--timeout=15s")
    await say(kubectl, "sbp", "web", status)
    const met = await waiting
    assert.deepStrictEqual([met.code, met.out], [0, "sandboxpool.heddle.dev/web condition met\n"], met.err)
    assert.match(await watch.until(/^web +Serving +18\/20 +6 +12 +3 /m), /^NAME +STATUS/)
    const gone = kubectl.run("wait", "sbp/web", "--for=delete", "--timeout=15s")
    assert.match(await kubectl.ok("delete", "sbp", "web"), /sandboxpool\.heddle\.dev "web" deleted/)
    assert.strictEqual((await gone).code, 0)
    assert.match(await kubectl.fails("get", "sbp", "web"), /NotFound/)
    assert.match(await kubectl.fails("wait", "sbp/web", "--for=condition=Ready", "--timeout=1s"), /not found/)
  }, testMs)

  it("pods of a pool: list, watch, describe, delete; exec and logs where there is a kubelet", async () => {
    const { kubectl, namespace } = await open()
    const watch = kubectl.watch("get", "pods", "-w", "--output-watch-events")
    await kubectl.ok("apply", "-f", kubectl.file("pods.yaml", pod("web-1"), pod("web-2")))
    assert.match(await kubectl.fails("exec", "web-1", "--", "true"), /pod web-1 does not have a host assigned/)
    await watch.until(/^ADDED +web-2 +0\/1 +Pending +0 /m)
    await cluster.kubelet.run(namespace, "web-1")
    await watch.until(/^MODIFIED +web-1 +1\/1 +Running +0 /m)
    assert.deepStrictEqual(table(await kubectl.ok("get", "pods", "-l", "heddle.dev/pool=web")), [
      "NAME READY STATUS RESTARTS",
      "web-1 1/1 Running 0",
      "web-2 0/1 Pending 0"
    ])
    assert.match(await kubectl.ok("get", "pod", "web-1", "-o", "wide"), /10\.64\.0\.1 +node-1 +<none> +<none>/)
    assert.match(await kubectl.ok("describe", "pod", "web-1"), /Status: +Running/)
    if (!cluster.isReal) {
      assert.strictEqual(await kubectl.ok("exec", "web-1", "--", "echo", "hello"), "hello\n")
      const failed = await kubectl.run("exec", "web-1", "--", "sh", "-c", "echo no >&2; exit 3")
      assert.deepStrictEqual([failed.code, failed.err], [3, "no\ncommand terminated with exit code 3\n"])
      assert.strictEqual(await kubectl.ok("logs", "web-1"), "")
    }
    await kubectl.ok("delete", "pod", "web-1", "web-2", "--now", "--wait=false")
    await cluster.kubelet.finish(namespace, "web-1").catch(() => undefined) // the double's has gone by itself where none had it
    await watch.until(/^DELETED +web-2 /m)
  }, testMs)

  it("auth: what somebody with our roles may do", async () => {
    const namespace = await cluster.namespace()
    const user = await cluster.user([
      { apiGroups: ["heddle.dev"], resources: ["sandboxpools"], verbs: ["get", "list", "watch"] }
    ], namespace)
    const { kubectl } = await open(user.token, namespace)
    assert.strictEqual(await kubectl.ok("auth", "can-i", "list", "sandboxpools"), "yes\n")
    const no = await kubectl.run("auth", "can-i", "delete", "sbp/web")
    assert.deepStrictEqual([no.code, no.out], [1, "no\n"])
    assert.match(
      await kubectl.ok("auth", "can-i", "--list"),
      /sandboxpools\.heddle\.dev +\[\] +\[\] +\[get list watch\]/
    )
    assert.match(
      await kubectl.fails("apply", "-f", kubectl.file("web.yaml", pool("web"))),
      /sandboxpools\.heddle\.dev is forbidden: User "[^"]+" cannot create resource "sandboxpools"/
    )
  }, testMs)

  it.live("from the manifest to Serving, and what is refused, as the sources tell it", () =>
    Effect.gen(function*() {
      const { kubectl, namespace } = yield* Effect.promise(() => open())
      const served: PoolStanding = { _tag: "Served", owner: MemberId.make("scheduler-1"), isDraining: false }
      const sink: PoolSink = {
        pools: Effect.succeed([]),
        envs: Effect.succeed([]),
        applyPool: ({ provider }) =>
          provider === "moon"
            ? Effect.fail(new ContractError({ code: "InvalidMessage", message: "there is no pool provider moon" }))
            : Effect.void,
        removePool: () => Effect.void,
        applyEnv: () => Effect.void,
        removeEnv: () => Effect.void,
        standing: ({ name }) => name === "near" ? served : { _tag: "Absent" },
        members: () => [],
        changes: () => Effect.void
      }
      const { ca, token, url } = cluster
      const reached = reach({ url, token, ca })
      yield* Effect.forkScoped(PoolObjects.make({ cluster: reached, namespaces: [namespace] }).run(sink))
      yield* Effect.promise(async () => {
        const near = { ...pool("near"), spec: { provider: "local", size: 1, config: {} } }
        const dark = { ...pool("dark"), spec: { provider: "moon", size: 1, config: {} } }
        const all = env("all", { members: [{ pool: "near" }, { pool: "far" }] })
        await kubectl.ok("apply", "-f", kubectl.file("all.yaml", near, dark, all))
        await kubectl.ok("wait", "sbp/near", "sbe/all", "--for=condition=Ready", "--timeout=15s")
        await kubectl.ok("wait", "sbp/near", "sbe/all", "--for=condition=Accepted", "--timeout=15s")
        assert.deepStrictEqual(table(await kubectl.ok("get", "sbe")), ["NAME STATUS READY", "all Serving 1/2"])
        await kubectl.ok("wait", "sbp/dark", "--for=condition=Accepted=False", "--timeout=15s")
        const pools = await kubectl.ok("get", "sbp")
        assert.match(pools, /^near +Serving /m)
        assert.match(pools, /^dark +Refused /m)
        assert.match(await kubectl.ok("describe", "sbp", "dark"), /Message: +there is no pool provider moon/)
        await kubectl.ok("delete", "-f", kubectl.file("all.yaml", near, dark, all))
        assert.strictEqual(await kubectl.ok("get", "heddle", "-o", "name"), "")
      })
    }), testMs)
})
