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

const create = async (name: string, more: Parameters<typeof pod>[1] = {}): Promise<Json> => {
  const answer = await cluster.call("POST", podPath(namespace), pod(name, more))
  expect(answer.code).toBe(201)
  return answer.body
}
const fields = (answer: ClusterUnderTest.Response) => answer.body.details?.causes?.map((cause: Json) => cause.field)

describe("objects", () => {
  it("a new pod has what the server sets: uid, version, time, defaults, status Pending", async () => {
    const made = await create("defaults")
    expect(made.metadata.uid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-/)
    expect(made.metadata.resourceVersion).toMatch(/^[1-9][0-9]*$/)
    expect(Math.abs(Date.parse(made.metadata.creationTimestamp) - Date.now())).toBeLessThan(60_000)
    expect(made.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    expect(made.spec).toMatchObject({
      restartPolicy: "Always",
      terminationGracePeriodSeconds: 30,
      dnsPolicy: "ClusterFirst",
      schedulerName: "default-scheduler",
      enableServiceLinks: true,
      securityContext: {},
      priority: 0,
      preemptionPolicy: "PreemptLowerPriority",
      containers: [{
        imagePullPolicy: "IfNotPresent",
        resources: {},
        terminationMessagePath: "/dev/termination-log",
        terminationMessagePolicy: "File"
      }]
    })
    expect(made.spec.tolerations).toEqual([
      { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
      { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 }
    ])
    expect(made.status).toMatchObject({ phase: "Pending", qosClass: "BestEffort" })
  })

  it("what a client sends as uid, creationTimestamp and status of a new pod is not taken", async () => {
    const answer = await cluster.call("POST", podPath(namespace), {
      ...pod("own-fields", { metadata: { uid: "mine", creationTimestamp: "2001-01-01T00:00:00Z" } }),
      status: { phase: "Running" }
    })
    expect(answer.code).toBe(201)
    expect(answer.body.metadata.uid).not.toBe("mine")
    expect(answer.body.metadata.creationTimestamp).not.toMatch(/^2001/)
    expect(answer.body.status.phase).toBe("Pending")
  })

  it("images without a tag or with latest are always pulled", async () => {
    const made = await create("pull", {
      spec: {
        containers: [{ name: "a", image: "x" }, { name: "b", image: "reg:5000/x" }, { name: "c", image: "x:latest" }, {
          name: "d",
          image: "x@sha256:0123456789012345678901234567890123456789012345678901234567890123"
        }]
      }
    })
    expect(made.spec.containers.map((one: Json) => one.imagePullPolicy)).toEqual([
      "Always",
      "Always",
      "Always",
      "IfNotPresent"
    ])
  })

  it("generateName makes a name of five more characters, another each time", async () => {
    const names = await Promise.all([0, 1, 2].map(async () => {
      const answer = await cluster.call("POST", podPath(namespace), { ...pod(""), metadata: { generateName: "gen-" } })
      expect(answer.code).toBe(201)
      return answer.body.metadata.name
    }))
    expect(new Set(names).size).toBe(3)
    for (const name of names) expect(name).toMatch(/^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/)
  })

  it("409 AlreadyExists for a name that is taken", async () => {
    await create("taken")
    const answer = await cluster.call("POST", podPath(namespace), pod("taken"))
    expect(answer.code).toBe(409)
    expect(answer.body).toMatchObject({
      kind: "Status",
      status: "Failure",
      reason: "AlreadyExists",
      message: "pods \"taken\" already exists",
      details: { name: "taken", kind: "pods" },
      code: 409
    })
  })

  it("404 NotFound for what is not there: pod, namespace of a new pod, kind", async () => {
    const missing = await cluster.call("GET", podPath(namespace, "missing"))
    expect(missing.code).toBe(404)
    expect(missing.body).toMatchObject({
      kind: "Status",
      reason: "NotFound",
      message: "pods \"missing\" not found",
      details: { name: "missing", kind: "pods" }
    })
    const nowhere = await cluster.call("POST", podPath("no-such-namespace"), pod("x"))
    expect(nowhere.code).toBe(404)
    expect(nowhere.body).toMatchObject({ reason: "NotFound", message: "namespaces \"no-such-namespace\" not found" })
    expect((await cluster.call("GET", "/apis/heddle.dev/v1/none")).code).toBe(404)
  })

  it("400 when body and path name different namespaces or kinds", async () => {
    const other = await cluster.call("POST", podPath(namespace), pod("x", { metadata: { namespace: "other" } }))
    expect([other.code, other.body.reason]).toEqual([400, "BadRequest"])
    const kind = await cluster.call("POST", podPath(namespace), { ...pod("x"), kind: "Node" })
    expect([kind.code, kind.body.reason]).toEqual([400, "BadRequest"])
  })

  it("422 Invalid names each fault of a pod by its field", async () => {
    const answer = await cluster.call(
      "POST",
      podPath(namespace),
      pod("Bad_Name", { spec: { restartPolicy: "Sometimes", containers: [{ name: "a" }, { name: "a", image: "x" }] } })
    )
    expect(answer.code).toBe(422)
    expect(answer.body).toMatchObject({ reason: "Invalid", details: { kind: "Pod", name: "Bad_Name" } })
    expect(fields(answer)).toEqual(
      expect.arrayContaining([
        "metadata.name",
        "spec.containers[0].image",
        "spec.containers[1].name",
        "spec.restartPolicy"
      ])
    )
    const reasons = Object.fromEntries(answer.body.details.causes.map((cause: Json) => [cause.field, cause.reason]))
    expect(reasons).toMatchObject({
      "metadata.name": "FieldValueInvalid",
      "spec.containers[0].image": "FieldValueRequired",
      "spec.containers[1].name": "FieldValueDuplicate",
      "spec.restartPolicy": "FieldValueNotSupported"
    })
  })

  it("422 for a toleration's operator and a finalizer that are none", async () => {
    const operator = await cluster.call(
      "POST",
      podPath(namespace),
      pod("operator", {
        spec: { tolerations: [{ key: "a", operator: "Sometimes" }], containers: [{ name: "m", image: "x:1" }] }
      })
    )
    expect([operator.code, fields(operator)]).toEqual([422, expect.arrayContaining(["spec.tolerations[0].operator"])])
    const bare = await cluster.call("POST", podPath(namespace), pod("bare", { metadata: { finalizers: ["bare"] } }))
    expect([bare.code, fields(bare)]).toEqual([422, expect.arrayContaining(["metadata.finalizers[0]"])])
    expect((await create("fit", { metadata: { finalizers: ["test.dev/fit"] } })).metadata.finalizers).toEqual([
      "test.dev/fit"
    ])
    await cluster.call("PATCH", podPath(namespace, "fit"), { metadata: { finalizers: null } }, merge)
  })

  it("422 for labels that are none", async () => {
    const answer = await cluster.call(
      "POST",
      podPath(namespace),
      pod("labels", { metadata: { labels: { "a b": "x", ok: "not ok!" } } })
    )
    expect(answer.code).toBe(422)
    expect(fields(answer)).toContain("metadata.labels")
  })

  it("400 for a label that is no string", async () => {
    const answer = await cluster.call("POST", podPath(namespace), pod("number", { metadata: { labels: { a: 1 } } }))
    expect([answer.code, answer.body.reason]).toEqual([400, "BadRequest"])
  })

  it("an update needs the name and the version it read; without a version a pod is overwritten", async () => {
    const made = await create("update")
    const next = { ...made, metadata: { ...made.metadata, labels: { step: "1" } } }
    const first = await cluster.call("PUT", podPath(namespace, "update"), next)
    expect(first.code).toBe(200)
    expect(Number(first.body.metadata.resourceVersion)).toBeGreaterThan(Number(made.metadata.resourceVersion))
    const stale = await cluster.call("PUT", podPath(namespace, "update"), {
      ...next,
      metadata: { ...next.metadata, labels: { step: "2" } }
    })
    expect(stale.code).toBe(409)
    expect(stale.body).toMatchObject({
      reason: "Conflict",
      message:
        "Operation cannot be fulfilled on pods \"update\": the object has been modified; please apply your changes to the latest version and try again",
      details: { name: "update", kind: "pods" }
    })
    const { resourceVersion: _, ...unversioned } = next.metadata
    const blind = await cluster.call("PUT", podPath(namespace, "update"), {
      ...next,
      metadata: { ...unversioned, labels: { step: "3" } }
    })
    expect([blind.code, blind.body.metadata.labels.step]).toEqual([200, "3"])
    const renamed = await cluster.call("PUT", podPath(namespace, "update"), {
      ...made,
      metadata: { ...made.metadata, name: "other" }
    })
    expect([renamed.code, renamed.body.reason]).toEqual([400, "BadRequest"])
    const another = await cluster.call("PUT", podPath(namespace, "update"), {
      ...made,
      metadata: { ...unversioned, uid: "2d6ef9c5-7a3c-4f1d-9d4f-0123456789ab" }
    })
    expect([another.code, another.body.reason]).toEqual([409, "Conflict"])
  })

  it("a write that changes nothing takes no version", async () => {
    const made = await create("same", { metadata: { labels: { a: "b" } } })
    const put = await cluster.call("PUT", podPath(namespace, "same"), made)
    expect(put.body.metadata.resourceVersion).toBe(made.metadata.resourceVersion)
    const patched = await cluster.call("PATCH", podPath(namespace, "same"), { metadata: { labels: { a: "b" } } }, merge)
    expect(patched.body.metadata.resourceVersion).toBe(made.metadata.resourceVersion)
  })

  it("of a pod's spec only images, activeDeadlineSeconds and added tolerations change", async () => {
    await create("immutable")
    const path = podPath(namespace, "immutable")
    const node = await cluster.call("PATCH", path, { spec: { nodeName: "n1" } }, merge)
    expect(node.code).toBe(422)
    expect(node.body).toMatchObject({
      reason: "Invalid",
      details: { name: "immutable", kind: "Pod", causes: [{ reason: "FieldValueForbidden", field: "spec" }] }
    })
    const added = await cluster.call("PATCH", path, {
      spec: { containers: [{ name: "main", image: "x:1" }, { name: "b", image: "x:1" }] }
    }, merge)
    expect([added.code, fields(added)]).toEqual([422, ["spec.containers"]])
    const env = await cluster.call("PATCH", path, {
      spec: { containers: [{ name: "main", env: [{ name: "A", value: "b" }] }] }
    }, { contentType: "application/strategic-merge-patch+json" })
    expect([env.code, fields(env)]).toEqual([422, ["spec"]])
    const image = await cluster.call("PATCH", path, {
      spec: { containers: [{ name: "main", image: "registry.example/app:2" }] }
    }, { contentType: "application/strategic-merge-patch+json" })
    expect([image.code, image.body.spec.containers[0].image]).toEqual([200, "registry.example/app:2"])
    const deadline = await cluster.call("PATCH", path, { spec: { activeDeadlineSeconds: 100 } }, merge)
    expect(deadline.code).toBe(200)
    expect((await cluster.call("PATCH", path, { spec: { activeDeadlineSeconds: 200 } }, merge)).code).toBe(422)
    const tolerations = [...deadline.body.spec.tolerations, { key: "extra", operator: "Exists" }]
    expect((await cluster.call("PATCH", path, { spec: { tolerations } }, merge)).code).toBe(200)
    expect((await cluster.call("PATCH", path, { spec: { tolerations: [] } }, merge)).code).toBe(422)
  })

  it("metadata that only the server sets does not change: a uid is refused, a creationTimestamp not taken", async () => {
    const made = await create("meta")
    const patch = (metadata: Json) => cluster.call("PATCH", podPath(namespace, "meta"), { metadata }, merge)
    const uid = await patch({ uid: "2d6ef9c5-7a3c-4f1d-9d4f-0123456789ab" })
    expect([uid.code, fields(uid)?.[0]]).toEqual([422, "metadata.uid"])
    const time = await patch({ creationTimestamp: "2001-01-01T00:00:00Z" })
    expect([time.code, time.body.metadata.creationTimestamp]).toEqual([200, made.metadata.creationTimestamp])
    expect((await patch({ deletionTimestamp: "2001-01-01T00:00:00Z" })).code).toBe(422)
    expect((await patch({ name: "other" })).code).toBe(400)
    expect((await patch({ namespace: "other" })).code).toBe(400)
  })

  it("status is written by its own path, which leaves the spec alone; the object's path leaves the status alone", async () => {
    await create("status")
    const path = podPath(namespace, "status")
    const viaObject = await cluster.call("PATCH", path, {
      metadata: { labels: { a: "1" } },
      status: { phase: "Running" }
    }, merge)
    expect([viaObject.code, viaObject.body.status.phase, viaObject.body.metadata.labels.a]).toEqual([
      200,
      "Pending",
      "1"
    ])
    const viaStatus = await cluster.call("PATCH", `${path}/status`, {
      spec: { activeDeadlineSeconds: 5 },
      status: { phase: "Running" }
    }, merge)
    expect([viaStatus.code, viaStatus.body.status.phase, viaStatus.body.spec.activeDeadlineSeconds]).toEqual([
      200,
      "Running",
      undefined
    ])
    expect((await cluster.call("GET", `${path}/status`)).body.status.phase).toBe("Running")
  })

  it("a pod is bound to a node once", async () => {
    await create("bound")
    await cluster.kubelet.bind(namespace, "bound", "node-7")
    const bound = await cluster.call("GET", podPath(namespace, "bound"))
    expect(bound.body.spec.nodeName).toBe("node-7")
    expect(bound.body.status.conditions).toEqual(
      expect.arrayContaining([expect.objectContaining({ type: "PodScheduled", status: "True" })])
    )
    await expect(cluster.kubelet.bind(namespace, "bound", "node-8")).rejects.toThrow("409")
  })

  it("dryRun answers and stores nothing", async () => {
    const answer = await cluster.call("POST", `${podPath(namespace)}?dryRun=All`, pod("dry"))
    expect(answer.code).toBe(201)
    expect((await cluster.call("GET", podPath(namespace, "dry"))).code).toBe(404)
  })

  it("a lease is created by PUT, and updated only with its version", async () => {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/lock`
    const lease = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "lock" },
      spec: { holderIdentity: "a", leaseDurationSeconds: 15, acquireTime: "2026-01-01T00:00:00.000000Z" }
    }
    const made = await cluster.call("PUT", path, lease)
    expect(made.code).toBe(201)
    const blind = await cluster.call("PUT", path, lease)
    expect([blind.code, fields(blind)]).toEqual([422, ["metadata.resourceVersion"]])
    const taken = await cluster.call("PUT", path, { ...made.body, spec: { ...made.body.spec, holderIdentity: "b" } })
    expect(taken.code).toBe(200)
    expect((await cluster.call("PUT", path, { ...made.body, spec: { ...made.body.spec, holderIdentity: "c" } })).code)
      .toBe(409)
    const wrong = await cluster.call("PUT", path, { ...taken.body, spec: { leaseDurationSeconds: 0 } })
    expect([wrong.code, fields(wrong)]).toEqual([422, ["spec.leaseDurationSeconds"]])
  })

  it("events belong to the namespace of what they tell of", async () => {
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { generateName: "e-" },
      involvedObject: { kind: "Pod", name: "x", namespace },
      reason: "Claimed",
      type: "Normal",
      message: "m"
    }
    const made = await cluster.call("POST", `/api/v1/namespaces/${namespace}/events`, event)
    expect(made.code).toBe(201)
    const wrong = await cluster.call("POST", `/api/v1/namespaces/${namespace}/events`, {
      ...event,
      involvedObject: { ...event.involvedObject, namespace: "other" }
    })
    expect([wrong.code, fields(wrong)]).toEqual([422, ["involvedObject.namespace"]])
    const found = await cluster.call(
      "GET",
      `/api/v1/namespaces/${namespace}/events?fieldSelector=involvedObject.name%3Dx,reason%3DClaimed`
    )
    expect(found.body.items).toHaveLength(1)
  })
})
