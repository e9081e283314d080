/**
 * A release's life by the real Helm: install, upgrade, rollback, uninstall, against the API-server double, or with KUBEBUILDER_ASSETS a real API server. Nothing runs the pods in either.
 */
import { assert, describe, it } from "@effect/vitest"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import * as BuiltIn from "../../shared/testing/kube/BuiltIn.ts"
import * as ClusterUnderTest from "../../shared/testing/kube/ClusterUnderTest.ts"
import { chart, type Helm, helms, run, valuesOf } from "./Helm.ts"

/** Kinds that the double keeps as they are written: nothing here acts on them. */
const kinds = [
  ["apps", "v1", "deployments", "Deployment"],
  ["", "v1", "services", "Service"],
  ["policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"],
  ["rbac.authorization.k8s.io", "v1", "roles", "Role"],
  ["rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"]
] as const

let cluster: ClusterUnderTest.ClusterUnderTest
const folder = mkdtempSync(join(tmpdir(), "heddle-install-"))
const kubeconfig = join(folder, "config")
beforeAll(async () => {
  if (helms.length === 0) return
  cluster = await ClusterUnderTest.start({ double: { isSecure: true } })
  for (const [group, version, plural, kind] of kinds) {
    const names = {
      group,
      version,
      plural,
      kind,
      singular: kind.toLowerCase(),
      listKind: `${kind}List`,
      shortNames: []
    }
    cluster.double?.store.define({ ...BuiltIn.configMap, ...names })
  }
  writeFileSync(kubeconfig, cluster.kubeConfig().exportConfig())
}, 120_000)
afterAll(async () => {
  await cluster?.stop()
  rmSync(folder, { recursive: true, force: true })
})

const pool = { name: "web", spec: { size: 1, template: { spec: { containers: [{ name: "main", image: "x:1" }] } } } }

if (helms.length === 0) it.skip("needs Helm: Linux on x64, or HEDDLE_HELM and HEDDLE_HELM3", () => undefined)

describe.each(helms)("$name", (helm: Helm) => {
  it("install, upgrade, rollback, uninstall", async () => {
    const namespace = await cluster.namespace()
    const call = (...args: ReadonlyArray<string>) =>
      run(helm, [...args, "--namespace", namespace], { KUBECONFIG: kubeconfig })
    const ok = async (...args: ReadonlyArray<string>): Promise<string> => {
      const { code, err, out } = await call(...args)
      assert.strictEqual(code, 0, `helm ${args.join(" ")}: ${err}`)
      return out + err
    }
    const names = async (path: string) => {
      const { body, code } = await cluster.call("GET", path)
      assert.strictEqual(code, 200, path)
      return body.items.map((one: { readonly metadata: { readonly name: string } }) => one.metadata.name).sort()
    }
    const deployments = `/apis/apps/v1/namespaces/${namespace}/deployments`
    const pools = `/apis/heddle.dev/v1alpha1/namespaces/${namespace}/sandboxpools`
    const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    const replicas = async () =>
      (await cluster.call("GET", `${deployments}/demo-heddle-coordinator`)).body.spec.replicas
    const values = ["--values", valuesOf("minimal")]
    const withPool = ["--set-json", `pools=${JSON.stringify([pool])}`, "--set", "coordinator.replicas=5"]

    // one release cannot bring a kind and objects of it: said before anything is made
    const early = await call("install", "demo", chart, ...values, ...withPool)
    assert.notStrictEqual(early.code, 0)
    assert.match(early.err, /the cluster does not know SandboxPool yet\. Install without them first/)

    assert.match(await ok("install", "demo", chart, ...values), /STATUS: deployed/)
    assert.deepStrictEqual(
      await names(deployments),
      ["coordinator", "failover", "gateway", "pool-scheduler", "task-executor"].map((service) =>
        `demo-heddle-${service}`
      )
    )
    assert.deepStrictEqual(await names(definitions), ["sandboxenvs.heddle.dev", "sandboxpools.heddle.dev"])
    assert.deepStrictEqual(await names(pools), [])
    assert.strictEqual(await replicas(), 2)

    await ok("upgrade", "demo", chart, ...values, ...withPool)
    assert.deepStrictEqual(await names(pools), ["web"])
    assert.strictEqual(await replicas(), 5)

    await ok("rollback", "demo", "1")
    assert.deepStrictEqual(await names(pools), [])
    assert.strictEqual(await replicas(), 2)

    assert.match(await ok("uninstall", "demo"), /kept due to the resource policy/)
    assert.deepStrictEqual(await names(deployments), [])
    for (const kind of ["serviceaccounts", "services", "secrets"]) {
      const left = (await names(`/api/v1/namespaces/${namespace}/${kind}`)).filter((name: string) =>
        name !== "kubernetes"
      )
      assert.deepStrictEqual(left, [], kind)
    }
    assert.deepStrictEqual(await names(`/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles`), [])
    // pools that somebody else has made outlive the release
    for (const name of await names(definitions)) {
      assert.strictEqual((await cluster.call("DELETE", `${definitions}/${name}`)).code, 200)
    }
  })
})
