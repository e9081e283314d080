import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import { merge, pod, podPath, type Stream, watch } from "./Pods.ts"

let cluster: ClusterUnderTest.ClusterUnderTest
let namespace: string
const streams: Array<Stream> = []

beforeAll(async () => {
  cluster = await ClusterUnderTest.start()
}, 180_000)
afterAll(async () => {
  for (const one of streams) one.stop()
  await cluster?.stop()
})
beforeEach(async () => {
  namespace = await cluster.namespace()
})

const open = async (query: Readonly<Record<string, string>>): Promise<Stream> => {
  const stream = await watch(cluster, `${podPath(namespace)}?${new URLSearchParams({ watch: "true", ...query })}`)
  streams.push(stream)
  return stream
}
const create = async (name: string, labels: Json = {}): Promise<Json> =>
  (await cluster.call("POST", podPath(namespace), pod(name, { metadata: { labels } }))).body
const label = (name: string, labels: Json) =>
  cluster.call("PATCH", podPath(namespace, name), { metadata: { labels } }, merge)
const remove = (name: string) => cluster.call("DELETE", podPath(namespace, name), { gracePeriodSeconds: 0 })
const version = async (): Promise<string> =>
  (await cluster.call("GET", podPath(namespace))).body.metadata.resourceVersion
const brief = (event: Json) => [event.type, event.object.metadata.name]

describe("watch", () => {
  it("from the version of a list: each change after it, in order, and none before", async () => {
    await create("before")
    const stream = await open({ resourceVersion: await version() })
    await create("a")
    await label("a", { x: "1" })
    await label("before", { x: "2" })
    await remove("a")
    const events = await stream.until((event) => event.type === "DELETED")
    expect(events.map(brief)).toEqual([
      ["ADDED", "a"],
      ["MODIFIED", "a"],
      ["MODIFIED", "before"],
      ["MODIFIED", "a"],
      ["DELETED", "a"]
    ])
    // a pod is marked as ending before it goes, even when it goes at once
    expect(events[3]?.object.metadata).toMatchObject({
      deletionTimestamp: expect.any(String),
      deletionGracePeriodSeconds: 0
    })
    const versions = events.map((event) => Number(event.object.metadata.resourceVersion))
    expect(versions).toEqual([...versions].sort((left, right) => left - right))
    expect(new Set(versions).size).toBe(5)
    expect(events[0]?.object).toMatchObject({ apiVersion: "v1", kind: "Pod" })
  })

  it("from a version that is past: what happened since is told first", async () => {
    const from = await version()
    await create("a")
    await label("a", { x: "1" })
    const stream = await open({ resourceVersion: from })
    expect([brief(await stream.next()), brief(await stream.next())]).toEqual([["ADDED", "a"], ["MODIFIED", "a"]])
  })

  it.each([{}, { resourceVersion: "0" }])("with %o: what is there as ADDED, then the changes", async (query) => {
    await create("a")
    await create("b")
    await label("a", { x: "1" })
    const stream = await open(query)
    const first = [await stream.next(), await stream.next()]
    expect(first.map(brief).sort()).toEqual([["ADDED", "a"], ["ADDED", "b"]])
    await remove("a")
    expect((await stream.until((event) => event.type === "DELETED")).map(brief)).toEqual([["MODIFIED", "a"], [
      "DELETED",
      "a"
    ]])
  })

  it("a selector turns a change into an ADDED when it begins to match, into a DELETED when it ceases to", async () => {
    const from = await version()
    const stream = await open({ resourceVersion: from, labelSelector: "phase=idle" })
    await create("a", { phase: "new" })
    await label("a", { phase: "idle" })
    await label("a", { other: "1" })
    const taken = await label("a", { phase: "running" })
    await label("a", { phase: "idle" })
    await remove("a")
    const events = [
      await stream.next(),
      await stream.next(),
      await stream.next(),
      await stream.next(),
      await stream.next(),
      await stream.next()
    ]
    expect(events.map((event) => event.type)).toEqual(["ADDED", "MODIFIED", "DELETED", "ADDED", "MODIFIED", "DELETED"])
    // the last state that matched, at the version of the change that ended it
    expect(events[2]?.object.metadata).toMatchObject({
      labels: { phase: "idle" },
      resourceVersion: taken.body.metadata.resourceVersion
    })
  })

  it("a field selector on the phase does the same", async () => {
    const from = await version()
    const stream = await open({ resourceVersion: from, fieldSelector: "status.phase=Running" })
    await create("a")
    await cluster.kubelet.run(namespace, "a")
    await cluster.kubelet.evict(namespace, "a")
    expect([brief(await stream.next()), brief(await stream.next())]).toEqual([["ADDED", "a"], ["DELETED", "a"]])
  })

  it("a removal is told with the version of the removal", async () => {
    const made = await create("a")
    const stream = await open({ resourceVersion: made.metadata.resourceVersion })
    await remove("a")
    const event = (await stream.until((one) => one.type === "DELETED")).at(-1)
    expect(brief(event)).toEqual(["DELETED", "a"])
    expect(Number(event.object.metadata.resourceVersion)).toBeGreaterThan(Number(made.metadata.resourceVersion))
    expect(event.object.metadata.uid).toBe(made.metadata.uid)
  })

  it("a graceful deletion is a MODIFIED with deletionTimestamp, its end a DELETED", async () => {
    await create("a")
    await cluster.kubelet.run(namespace, "a")
    const stream = await open({ resourceVersion: await version() })
    await cluster.call("DELETE", podPath(namespace, "a"))
    const ending = await stream.next()
    expect(brief(ending)).toEqual(["MODIFIED", "a"])
    expect(ending.object.metadata).toMatchObject({
      deletionGracePeriodSeconds: 30,
      deletionTimestamp: expect.any(String)
    })
    await cluster.kubelet.finish(namespace, "a")
    expect(brief((await stream.until((event) => event.type === "DELETED")).at(-1))).toEqual(["DELETED", "a"])
  })

  it("timeoutSeconds ends the stream in order", async () => {
    await create("a")
    const stream = await open({ timeoutSeconds: "1" })
    const events = await stream.rest()
    expect(events.map(brief)).toEqual([["ADDED", "a"]])
  })

  it("a bookmark tells how far the watch has come", async () => {
    await create("a")
    const from = await version()
    // a server may send none while nothing changes; before the end of a watch it sends one
    const stream = await open({ resourceVersion: from, allowWatchBookmarks: "true", timeoutSeconds: "5" })
    const ended = stream.rest()
    const state = { isOver: false }
    const watched = ended.finally(() => {
      state.isOver = true
    })
    for (let count = 0; !state.isOver && count < 100; count++) {
      await label("a", { count: String(count) })
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    const events = await watched
    const bookmarks = events.filter((event) => event.type === "BOOKMARK")
    expect(bookmarks.length).toBeGreaterThan(0)
    expect(bookmarks[0].object).toMatchObject({
      kind: "Pod",
      apiVersion: "v1",
      metadata: { resourceVersion: expect.stringMatching(/^[0-9]+$/) }
    })
    expect(Number(bookmarks[0].object.metadata.resourceVersion)).toBeGreaterThanOrEqual(Number(from))
  }, 180_000)

  it("one pod is watched by its name", async () => {
    await create("a")
    const stream = await open({ resourceVersion: await version(), fieldSelector: "metadata.name=a" })
    await create("b")
    await label("a", { x: "1" })
    expect(brief(await stream.next())).toEqual(["MODIFIED", "a"])
  })

  it("a version that is too old is told as an ERROR event with 410 Expired", async ({ skip }) => {
    // only the double can be told to forget
    skip(cluster.double === undefined)
    const from = await version()
    await create("a")
    cluster.double?.compact()
    const stream = await open({ resourceVersion: from })
    const events = [await stream.next(), ...await stream.rest()]
    expect(events).toHaveLength(1)
    expect(events[0]).toMatchObject({
      type: "ERROR",
      object: { kind: "Status", status: "Failure", reason: "Expired", code: 410 }
    })
  })

  it("a page whose version was forgotten is 410 Expired with a token that goes on", async ({ skip }) => {
    skip(cluster.double === undefined)
    for (const name of ["a", "b", "c"]) await create(name)
    const first = await cluster.call("GET", `${podPath(namespace)}?limit=1`)
    await create("bb")
    cluster.double?.compact()
    const next = (token: string) =>
      cluster.call("GET", `${podPath(namespace)}?limit=10&continue=${encodeURIComponent(token)}`)
    const gone = await next(first.body.metadata.continue)
    expect([gone.code, gone.body.reason]).toEqual([410, "Expired"])
    const rest = await next(gone.body.metadata.continue)
    expect(rest.body.items.map((one: Json) => one.metadata.name)).toEqual(["b", "bb", "c"])
  })

  it("with sendInitialEvents the state comes first and ends with a marked bookmark", async ({ skip }) => {
    // by default from 1.32 on
    skip(cluster.isReal && !(cluster.version[1] >= 32))
    await create("a")
    const query = { sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan", allowWatchBookmarks: "true" }
    const stream = await open(query)
    const events = await stream.until((event) => event.type === "BOOKMARK")
    expect(events.map((event) => event.type)).toEqual(["ADDED", "BOOKMARK"])
    expect(events[1]?.object.metadata.annotations).toEqual({ "k8s.io/initial-events-end": "true" })
    const wrong = await cluster.call("GET", `${podPath(namespace)}?watch=true&sendInitialEvents=true`)
    expect(wrong.code).toBe(422)
  })
})
