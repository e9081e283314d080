import { CoordinationV1Api, CoreV1Api, Exec, makeInformer, type V1Pod, type V1Status } from "@kubernetes/client-node"
import { Readable, Writable } from "node:stream"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import { merge, pod, podPath } from "./Pods.ts"

let cluster: ClusterUnderTest.ClusterUnderTest
let namespace: string

beforeAll(async () => {
  cluster = await ClusterUnderTest.start()
  namespace = await cluster.namespace()
}, 180_000)
afterAll(() => cluster?.stop())

describe("rights", () => {
  it("401 for an unknown token, 403 for nobody", async () => {
    const unknown = await cluster.call("GET", podPath(namespace), undefined, { token: "unknown" })
    expect([unknown.code, unknown.body.reason]).toEqual([401, "Unauthorized"])
    const nobody = await cluster.call("GET", podPath(namespace), undefined, { token: "" })
    expect([nobody.code, nobody.body.message]).toEqual([
      403,
      expect.stringContaining("User \"system:anonymous\" cannot list resource \"pods\"")
    ])
  })

  it("a user may what its rules say, in their namespace, and is told what it lacks", async () => {
    const user = await cluster.user([{ apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "create"] }, {
      apiGroups: [""],
      resources: ["pods/status"],
      verbs: ["patch"]
    }], namespace)
    const as = (method: string, path: string, body?: object) =>
      cluster.call(method, path, body, { token: user.token, ...(method === "PATCH" ? merge : {}) })
    expect((await as("POST", podPath(namespace), pod("mine"))).code).toBe(201)
    expect((await as("GET", podPath(namespace, "mine"))).code).toBe(200)
    expect((await as("PATCH", `${podPath(namespace, "mine")}/status`, { status: { message: "x" } })).code).toBe(200)
    const patch = await as("PATCH", podPath(namespace, "mine"), { metadata: { labels: { a: "1" } } })
    expect(patch.code).toBe(403)
    expect(patch.body).toMatchObject({
      reason: "Forbidden",
      message:
        `pods "mine" is forbidden: User "${user.name}" cannot patch resource "pods" in API group "" in the namespace "${namespace}"`,
      details: { name: "mine", kind: "pods" }
    })
    for (
      const [method, path] of [
        ["DELETE", podPath(namespace, "mine")],
        ["GET", podPath("default")],
        ["GET", "/api/v1/pods"],
        ["GET", `${podPath(namespace)}?watch=true`],
        ["GET", "/api/v1/nodes"]
      ] as const
    ) {
      expect((await as(method, path)).code).toBe(403)
    }
    expect((await cluster.call("GET", podPath(namespace, "mine"))).body.metadata.labels).toBeUndefined()
  })

  it("resourceNames bind a right to names", async () => {
    const user = await cluster.user([{
      apiGroups: ["coordination.k8s.io"],
      resources: ["leases"],
      resourceNames: ["one"],
      verbs: ["get"]
    }], namespace)
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
    expect((await cluster.call("GET", `${path}/one`, undefined, { token: user.token })).code).toBe(404)
    expect((await cluster.call("GET", `${path}/two`, undefined, { token: user.token })).code).toBe(403)
    expect((await cluster.call("GET", path, undefined, { token: user.token })).code).toBe(403)
  })

  it("a right in the whole cluster holds in every namespace", async () => {
    const user = await cluster.user([{ apiGroups: [""], resources: ["pods"], verbs: ["list"] }])
    expect((await cluster.call("GET", "/api/v1/pods", undefined, { token: user.token })).code).toBe(200)
    expect((await cluster.call("GET", podPath(namespace), undefined, { token: user.token })).code).toBe(200)
  })
})

describe("@kubernetes/client-node", () => {
  it("makes, reads, lists and deletes; its errors carry the code and the Status", async () => {
    const api = cluster.kubeConfig().makeApiClient(CoreV1Api)
    const made = await api.createNamespacedPod({
      namespace,
      body: pod("by-client", { metadata: { labels: { by: "client" } } })
    })
    expect(made.metadata?.creationTimestamp).toBeInstanceOf(Date)
    expect(
      (await api.listNamespacedPod({ namespace, labelSelector: "by=client" })).items.map((one) => one.metadata?.name)
    ).toEqual(["by-client"])
    await expect(api.createNamespacedPod({ namespace, body: pod("by-client") })).rejects.toMatchObject({
      code: 409,
      body: expect.stringContaining("AlreadyExists")
    })
    await api.deleteNamespacedPod({ name: "by-client", namespace })
    await expect(api.readNamespacedPod({ name: "by-client", namespace })).rejects.toMatchObject({ code: 404 })
  })

  it("a lease by the client: micro-times survive", async () => {
    const api = cluster.kubeConfig().makeApiClient(CoordinationV1Api)
    const body = { metadata: { name: "leader" }, spec: { holderIdentity: "me", leaseDurationSeconds: 15 } }
    await api.createNamespacedLease({ namespace, body })
    const lease = await api.readNamespacedLease({ name: "leader", namespace })
    const taken = await api.replaceNamespacedLease({
      name: "leader",
      namespace,
      body: { ...lease, spec: { ...lease.spec, holderIdentity: "you" } }
    })
    expect(taken.spec?.holderIdentity).toBe("you")
    await expect(api.replaceNamespacedLease({ name: "leader", namespace, body: lease })).rejects.toMatchObject({
      code: 409
    })
  })

  it("its informer sees what is there and what comes", async () => {
    const config = cluster.kubeConfig()
    const api = config.makeApiClient(CoreV1Api)
    const own = await cluster.namespace()
    await api.createNamespacedPod({ namespace: own, body: pod("first") })
    const informer = makeInformer<V1Pod>(config, podPath(own), () => api.listNamespacedPod({ namespace: own }))
    const seen: Array<string> = []
    let wake: () => void = () => undefined
    for (const verb of ["add", "update", "delete"] as const) {
      informer.on(verb, (one: V1Pod) => {
        seen.push(`${verb} ${one.metadata?.name}`)
        wake()
      })
    }
    const until = async (what: string) => {
      while (!seen.includes(what)) {
        await new Promise<void>((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error(`never saw ${what}, only ${seen.join(", ")}`)), 90_000)
          wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
    }
    await informer.start()
    await until("add first")
    await api.createNamespacedPod({ namespace: own, body: pod("second") })
    await until("add second")
    await cluster.call("PATCH", podPath(own, "second"), { metadata: { labels: { a: "1" } } }, merge)
    await until("update second")
    await cluster.call("DELETE", podPath(own, "first"), { gracePeriodSeconds: 0 })
    await until("delete first")
    await informer.stop()
    expect(informer.list().map((one) => one.metadata?.name)).toEqual(["second"])
  }, 180_000)
})

describe("exec", () => {
  const collect = () => {
    let text = ""
    const stream = new Writable({
      write: (chunk, _encoding, done) => {
        text += String(chunk)
        done()
      }
    })
    return { stream, text: () => text }
  }
  const run = async (
    name: string,
    command: ReadonlyArray<string>
  ): Promise<{ readonly status: V1Status; readonly stdout: string; readonly stderr: string }> => {
    const [stdout, stderr] = [collect(), collect()]
    const status = await new Promise<V1Status>((resolve, reject) => {
      new Exec(cluster.kubeConfig()).exec(
        namespace,
        name,
        "main",
        [...command],
        stdout.stream,
        stderr.stream,
        null,
        false,
        resolve
      ).catch(reject)
    })
    return { status, stdout: stdout.text(), stderr: stderr.text() }
  }

  it("runs a command in a running pod: output, error output, exit code", async ({ skip }) => {
    // a real API server passes this on to a kubelet, and envtest has none
    skip(cluster.isReal)
    await cluster.call(
      "POST",
      podPath(namespace),
      pod("shell", {
        spec: { containers: [{ name: "main", image: "local/sh:1", env: [{ name: "GREETING", value: "hello" }] }] }
      })
    )
    await cluster.kubelet.run(namespace, "shell")
    const good = await run("shell", ["sh", "-c", "echo $GREETING $HOSTNAME; echo oops >&2"])
    expect(good).toMatchObject({ status: { status: "Success" }, stdout: "hello shell\n", stderr: "oops\n" })
    const bad = await run("shell", ["sh", "-c", "exit 7"])
    expect(bad.status).toMatchObject({
      status: "Failure",
      reason: "NonZeroExitCode",
      details: { causes: [{ reason: "ExitCode", message: "7" }] }
    })
    const missing = await run("shell", ["no-such-program-here"])
    expect(missing.status).toMatchObject({ status: "Failure", reason: "InternalError" })
  })

  it("passes input on, and its end (v5); a pod that goes ends what runs in it", async ({ skip }) => {
    skip(cluster.isReal)
    await cluster.call(
      "POST",
      podPath(namespace),
      pod("input", { spec: { containers: [{ name: "main", image: "local/sh:1" }] } })
    )
    await cluster.kubelet.run(namespace, "input")
    const out = collect()
    const status = await new Promise<V1Status>((resolve, reject) => {
      const input = Readable.from(["one\n", "two\n"])
      new Exec(cluster.kubeConfig()).exec(namespace, "input", "main", ["cat"], out.stream, null, input, false, resolve)
        .catch(reject)
    })
    expect([status.status, out.text()]).toEqual(["Success", "one\ntwo\n"])
    const killed = await new Promise<V1Status>((resolve, reject) => {
      const started = new Writable({
        write: (_chunk, _encoding, done) => {
          cluster.call("DELETE", podPath(namespace, "input"), { gracePeriodSeconds: 0 }).catch(reject)
          done()
        }
      })
      new Exec(cluster.kubeConfig())
        .exec(namespace, "input", "main", ["sh", "-c", "echo started; sleep 60"], started, null, null, false, resolve)
        .catch(reject)
    })
    expect(killed.details?.causes).toEqual([{ reason: "ExitCode", message: "137" }])
  })

  it("is refused before it begins: no such pod, no node, no rights", async () => {
    await cluster.call("POST", podPath(namespace), pod("unbound"))
    const open = (name: string, token?: string) =>
      new Exec(cluster.kubeConfig(token)).exec(namespace, name, "main", ["true"], null, null, null, false)
    const user = await cluster.user([{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }], namespace)
    await expect(open("missing")).rejects.toBeDefined()
    await expect(open("unbound")).rejects.toBeDefined()
    await expect(open("unbound", user.token)).rejects.toBeDefined()
  })
})
