import { afterAll, beforeAll, describe, expect, it } from "vitest"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import { apply, json, merge, pod, podPath, strategic } from "./Pods.ts"

let cluster: ClusterUnderTest.ClusterUnderTest
let namespace: string
let path: string
let count = 0

beforeAll(async () => {
  cluster = await ClusterUnderTest.start()
  namespace = await cluster.namespace()
}, 180_000)
afterAll(() => cluster?.stop())

const fresh = async (metadata: Json = {}): Promise<Json> => {
  const name = `patched-${++count}`
  path = podPath(namespace, name)
  const answer = await cluster.call("POST", podPath(namespace), pod(name, { metadata }))
  expect(answer.code).toBe(201)
  return answer.body
}
const patch = (body: Json, options: { readonly contentType: string }) => cluster.call("PATCH", path, body, options)

describe("patches", () => {
  it("a merge patch sets, replaces and, by null, removes", async () => {
    await fresh({ labels: { a: "1", b: "2" }, annotations: { note: "x" } })
    const answer = await patch({ metadata: { labels: { a: null, b: "3", c: "4" }, annotations: null } }, merge)
    expect(answer.code).toBe(200)
    expect(answer.body.metadata.labels).toEqual({ b: "3", c: "4" })
    expect(answer.body.metadata.annotations).toBeUndefined()
  })

  it("a resourceVersion in a patch is a precondition: stale is 409 and changes nothing, current is taken", async () => {
    const made = await fresh()
    const first = await patch(
      { metadata: { resourceVersion: made.metadata.resourceVersion, labels: { claim: "1" } } },
      merge
    )
    expect([first.code, first.body.metadata.labels.claim]).toEqual([200, "1"])
    for (const options of [merge, strategic]) {
      const second = await patch({
        metadata: { resourceVersion: made.metadata.resourceVersion, labels: { claim: "2" } }
      }, options)
      expect([second.code, second.body.reason]).toEqual([409, "Conflict"])
    }
    expect((await cluster.call("GET", path)).body.metadata.labels.claim).toBe("1")
  })

  it("a resourceVersion is a text: a number is no precondition but a patch that cannot be read", async () => {
    const made = await fresh()
    for (const options of [merge, strategic]) {
      const answer = await patch(
        { metadata: { resourceVersion: Number(made.metadata.resourceVersion), labels: { claim: "1" } } },
        options
      )
      expect([answer.code, answer.body.reason]).toEqual([422, "Invalid"])
    }
    expect((await cluster.call("GET", path)).body.metadata.resourceVersion).toBe(made.metadata.resourceVersion)
  })

  it("of two patches with one version exactly one wins", async () => {
    const made = await fresh()
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        patch(
          { metadata: { resourceVersion: made.metadata.resourceVersion, labels: { claim: String(index) } } },
          merge
        ))
    )
    expect(answers.map((one) => one.code).sort()).toEqual([200, 409, 409, 409, 409, 409, 409, 409])
  })

  it("a patch of a changed image, labels and annotations in one write", async () => {
    const made = await fresh({ labels: { phase: "idle" } })
    const answer = await patch({
      metadata: {
        resourceVersion: made.metadata.resourceVersion,
        labels: { phase: "running" },
        annotations: { "heddle.dev/claim": "c-1" }
      },
      spec: { containers: [{ name: "main", image: "registry.example/other:2" }] }
    }, strategic)
    expect(answer.code).toBe(200)
    expect(answer.body.metadata).toMatchObject({
      labels: { phase: "running" },
      annotations: { "heddle.dev/claim": "c-1" }
    })
    expect(answer.body.spec.containers).toEqual([{ ...made.spec.containers[0], image: "registry.example/other:2" }])
  })

  it("a merge patch replaces lists: a container without its other fields is another container", async () => {
    await fresh()
    const answer = await patch({ spec: { containers: [{ name: "other", image: "x:1" }] } }, merge)
    expect([answer.code, answer.body.reason]).toEqual([422, "Invalid"])
  })

  it("a strategic merge patch merges finalizers and owners by value and uid, what it names first", async () => {
    await fresh({ finalizers: ["test.dev/a"] })
    const added = await patch({ metadata: { finalizers: ["test.dev/b"] } }, strategic)
    expect(added.body.metadata.finalizers).toEqual(["test.dev/b", "test.dev/a"])
    const owner = { apiVersion: "v1", kind: "Pod", name: "q", uid: "u1" }
    await patch({ metadata: { ownerReferences: [owner] } }, strategic)
    const owners = await patch({ metadata: { ownerReferences: [{ ...owner, name: "r", uid: "u2" }] } }, strategic)
    expect(owners.body.metadata.ownerReferences.map((one: Json) => one.uid)).toEqual(["u2", "u1"])
    const removed = await patch({
      metadata: {
        ownerReferences: [{ $patch: "delete", uid: "u1" }],
        "$deleteFromPrimitiveList/finalizers": ["test.dev/a"]
      }
    }, strategic)
    expect(removed.body.metadata.ownerReferences.map((one: Json) => one.uid)).toEqual(["u2"])
    expect(removed.body.metadata.finalizers).toEqual(["test.dev/b"])
    await patch({ metadata: { finalizers: null } }, merge)
  })

  it("$patch: replace replaces a map", async () => {
    await fresh({ labels: { a: "1", b: "2" } })
    const answer = await patch({ metadata: { labels: { $patch: "replace", c: "3" } } }, strategic)
    expect(answer.body.metadata.labels).toEqual({ c: "3" })
  })

  it("status conditions are merged by type", async () => {
    await fresh()
    const set = (conditions: ReadonlyArray<Json>) =>
      cluster.call("PATCH", `${path}/status`, { status: { conditions } }, strategic)
    await set([{ type: "Mine", status: "True" }, { type: "Ready", status: "False" }])
    const answer = await set([{ type: "Ready", status: "True" }])
    expect(Object.fromEntries(answer.body.status.conditions.map((one: Json) => [one.type, one.status]))).toEqual({
      Mine: "True",
      Ready: "True"
    })
  })

  it("a JSON patch is all or nothing, and its test is a precondition", async () => {
    const made = await fresh({ labels: { a: "1" } })
    const failed = await patch([{ op: "replace", path: "/metadata/labels/a", value: "2" }, {
      op: "test",
      path: "/metadata/name",
      value: "other"
    }], json)
    expect([failed.code, failed.body.reason]).toEqual([422, "Invalid"])
    expect((await cluster.call("GET", path)).body.metadata.labels.a).toBe("1")
    const done = await patch([
      { op: "test", path: "/metadata/uid", value: made.metadata.uid },
      { op: "replace", path: "/metadata/labels/a", value: "2" },
      { op: "add", path: "/metadata/annotations", value: { "test.dev/x": "1" } },
      { op: "copy", from: "/metadata/annotations/test.dev~1x", path: "/metadata/labels/copied" },
      { op: "replace", path: "/spec/containers/0/image", value: "registry.example/app:9" }
    ], json)
    expect(done.code).toBe(200)
    expect(done.body.metadata).toMatchObject({ labels: { a: "2", copied: "1" }, annotations: { "test.dev/x": "1" } })
    expect(done.body.spec.containers[0].image).toBe("registry.example/app:9")
    expect((await patch([{ op: "remove", path: "/metadata/labels/none" }], json)).code).toBe(422)
    expect((await patch({ op: "add" }, json)).code).toBe(400)
  })

  it("415 for an unknown kind of patch, 404 for no object", async () => {
    await fresh()
    expect((await patch({}, { contentType: "application/json" })).code).toBe(415)
    expect((await cluster.call("PATCH", podPath(namespace, "missing"), {}, merge)).code).toBe(404)
  })

  it("422 for a patch whose result is no pod", async () => {
    await fresh()
    const answer = await patch({ metadata: { labels: { a: 1 } } }, merge)
    expect([answer.code, answer.body.reason]).toEqual([422, "Invalid"])
  })
})

describe("server-side apply", () => {
  const as = (manager: string, name: string, body: Json, query = "") =>
    cluster.call("PATCH", `${podPath(namespace, name)}?fieldManager=${manager}${query}`, body, apply)
  const labelled = (name: string, labels: Json): Json => ({ apiVersion: "v1", kind: "Pod", metadata: { name, labels } })

  it("creates, needs a manager, and what another manager set is a 409 that names both", async () => {
    const body = pod("applied", { metadata: { labels: { a: "1", b: "1" } } })
    expect((await cluster.call("PATCH", podPath(namespace, "applied"), body, apply)).code).toBe(422)
    const made = await as("one", "applied", body)
    expect([made.code, made.body.metadata.labels]).toEqual([201, { a: "1", b: "1" }])
    const again = await as("one", "applied", body)
    expect([again.code, again.body.metadata.resourceVersion]).toEqual([200, made.body.metadata.resourceVersion])
    const conflict = await as("two", "applied", labelled("applied", { a: "2", c: "1" }))
    expect([conflict.code, conflict.body.reason]).toEqual([409, "Conflict"])
    expect(conflict.body.details.causes).toEqual([{
      reason: "FieldManagerConflict",
      message: "conflict with \"one\"",
      field: ".metadata.labels.a"
    }])
    const forced = await as("two", "applied", labelled("applied", { a: "2", c: "1" }), "&force=true")
    expect([forced.code, forced.body.metadata.labels]).toEqual([200, { a: "2", b: "1", c: "1" }])
  })

  it("what a manager no longer applies goes, unless somebody else has it", async () => {
    await as("one", "dropped", pod("dropped", { metadata: { labels: { a: "1", b: "1" } } }))
    await as("two", "dropped", labelled("dropped", { b: "1" }))
    const answer = await as("one", "dropped", pod("dropped", { metadata: { labels: {} } }))
    expect(answer.body.metadata.labels).toEqual({ b: "1" })
  })

  it("what another client patched is its own", async () => {
    await as("one", "edited", pod("edited", { metadata: { labels: { a: "1" } } }))
    await cluster.call("PATCH", `${podPath(namespace, "edited")}?fieldManager=editor`, {
      metadata: { labels: { a: "2" } }
    }, merge)
    const answer = await as("one", "edited", pod("edited", { metadata: { labels: { a: "1" } } }))
    expect([answer.code, answer.body.details.causes[0].message]).toEqual([
      409,
      expect.stringContaining("conflict with \"editor\"")
    ])
  })
})
