import { afterAll, beforeAll, describe, expect, it } from "vitest"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import { merge, pod, podPath } from "./Pods.ts"

let cluster: ClusterUnderTest.ClusterUnderTest
let namespace: string

beforeAll(async () => {
  cluster = await ClusterUnderTest.start()
  namespace = await cluster.namespace()
}, 180_000)
afterAll(() => cluster?.stop())

const create = async (name: string, metadata: Json = {}): Promise<Json> =>
  (await cluster.call("POST", podPath(namespace), pod(name, { metadata }))).body
const read = (name: string) => cluster.call("GET", podPath(namespace, name))
const remove = (name: string, options?: Json) => cluster.call("DELETE", podPath(namespace, name), options)

describe("deletion", () => {
  it("a pod without a node is gone at once, and the answer is the pod", async () => {
    await create("unbound")
    const answer = await remove("unbound")
    expect([answer.code, answer.body.kind]).toEqual([200, "Pod"])
    expect((await read("unbound")).code).toBe(404)
    expect((await remove("unbound")).code).toBe(404)
  })

  it("a pod on a node waits for its kubelet: deletionTimestamp by the grace, which a second deletion can only shorten", async () => {
    await create("bound")
    await cluster.kubelet.run(namespace, "bound")
    const first = await remove("bound")
    expect([first.code, first.body.metadata.deletionGracePeriodSeconds]).toEqual([200, 30])
    const left = Date.parse(first.body.metadata.deletionTimestamp) - Date.now()
    expect(left).toBeGreaterThan(20_000)
    expect(left).toBeLessThan(40_000)
    expect((await remove("bound", { gracePeriodSeconds: 60 })).body.metadata.deletionGracePeriodSeconds).toBe(30)
    expect((await remove("bound", { gracePeriodSeconds: 10 })).body.metadata.deletionGracePeriodSeconds).toBe(10)
    expect(
      (await cluster.call("PATCH", podPath(namespace, "bound"), { metadata: { labels: { still: "writable" } } }, merge))
        .code
    ).toBe(200)
    expect(
      (await cluster.call("PATCH", podPath(namespace, "bound"), { metadata: { finalizers: ["test.dev/late"] } }, merge))
        .code
    ).toBe(422)
    await cluster.kubelet.finish(namespace, "bound")
    expect((await read("bound")).code).toBe(404)
  })

  it("gracePeriodSeconds=0 removes a pod on a node at once; so does an ended pod's plain deletion", async () => {
    for (const name of ["forced", "ended"]) {
      await create(name)
      await cluster.kubelet.run(namespace, name)
    }
    await remove("forced", { gracePeriodSeconds: 0 })
    expect((await read("forced")).code).toBe(404)
    await cluster.kubelet.evict(namespace, "ended")
    expect((await read("ended")).body.status).toMatchObject({ phase: "Failed", reason: "Evicted" })
    await remove("ended")
    expect((await read("ended")).code).toBe(404)
  })

  it("gracePeriodSeconds is taken from the query as well", async () => {
    await create("query")
    await cluster.kubelet.run(namespace, "query")
    await cluster.call("DELETE", `${podPath(namespace, "query")}?gracePeriodSeconds=0`)
    expect((await read("query")).code).toBe(404)
  })

  it("409 for preconditions that do not hold: another uid, an older version", async () => {
    const made = await create("guarded")
    const uid = await remove("guarded", { preconditions: { uid: "2d6ef9c5-7a3c-4f1d-9d4f-0123456789ab" } })
    expect([uid.code, uid.body.reason]).toEqual([409, "Conflict"])
    await cluster.call("PATCH", podPath(namespace, "guarded"), { metadata: { labels: { a: "1" } } }, merge)
    const stale = await remove("guarded", { preconditions: { resourceVersion: made.metadata.resourceVersion } })
    expect([stale.code, stale.body.reason]).toEqual([409, "Conflict"])
    expect((await read("guarded")).code).toBe(200)
    expect((await remove("guarded", { preconditions: { uid: made.metadata.uid } })).code).toBe(200)
    expect((await read("guarded")).code).toBe(404)
  })

  it("a finalizer keeps the object until it is taken away", async () => {
    await create("finalized", { finalizers: ["test.dev/keep"] })
    const answer = await remove("finalized")
    expect(answer.body.metadata).toMatchObject({
      finalizers: ["test.dev/keep"],
      deletionGracePeriodSeconds: 0,
      deletionTimestamp: expect.any(String)
    })
    expect((await remove("finalized", { gracePeriodSeconds: 0 })).code).toBe(200)
    expect((await read("finalized")).code).toBe(200)
    expect(
      (await cluster.call("PATCH", podPath(namespace, "finalized"), { metadata: { finalizers: null } }, merge)).code
    ).toBe(200)
    expect((await read("finalized")).code).toBe(404)
  })

  it("a finalizer and a kubelet: gone when both are done", async () => {
    await create("both", { finalizers: ["test.dev/keep"] })
    await cluster.kubelet.run(namespace, "both")
    await remove("both")
    await cluster.kubelet.finish(namespace, "both")
    expect((await read("both")).body.metadata.deletionGracePeriodSeconds).toBe(0)
    await cluster.call("PATCH", podPath(namespace, "both"), { metadata: { finalizers: [] } }, merge)
    expect((await read("both")).code).toBe(404)
  })

  it("a name is free again, with another uid", async () => {
    const first = await create("again")
    await remove("again")
    const second = await create("again")
    expect(second.metadata.uid).not.toBe(first.metadata.uid)
  })

  it("dryRun deletes nothing; an unknown policy is 422", async () => {
    await create("dry")
    expect((await cluster.call("DELETE", `${podPath(namespace, "dry")}?dryRun=All`)).code).toBe(200)
    expect((await read("dry")).code).toBe(200)
    expect((await remove("dry", { propagationPolicy: "Never" })).code).toBe(422)
  })

  it("what is no pod is answered with a Status that names it", async () => {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
    const made = await cluster.call("POST", path, {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "l" },
      spec: {}
    })
    const answer = await cluster.call("DELETE", `${path}/l`)
    expect(answer.body).toMatchObject({
      kind: "Status",
      status: "Success",
      details: { name: "l", kind: "leases", group: "coordination.k8s.io", uid: made.body.metadata.uid }
    })
  })

  it("the garbage of an owner that is gone is collected", async ({ skip }) => {
    // by kube-controller-manager, which envtest has not
    skip(cluster.isReal)
    const owner = await create("owner")
    const reference = { apiVersion: "v1", kind: "Pod", name: "owner", uid: owner.metadata.uid }
    await create("owned", { ownerReferences: [reference] })
    await create("shared", {
      ownerReferences: [reference, { ...reference, name: "other", uid: "2d6ef9c5-7a3c-4f1d-9d4f-0123456789ab" }]
    })
    await remove("owner")
    expect((await read("owned")).code).toBe(404)
    expect((await read("shared")).body.metadata.ownerReferences).toHaveLength(1)
    const parent = await create("parent")
    await create("child", { ownerReferences: [{ ...reference, name: "parent", uid: parent.metadata.uid }] })
    await remove("parent", { propagationPolicy: "Orphan" })
    expect((await read("parent")).code).toBe(404)
    expect((await read("child")).body.metadata.ownerReferences).toBeUndefined()
  })
})
