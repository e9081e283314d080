import { afterAll, beforeAll, describe, expect, it } from "vitest"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import { merge, pod, podPath } from "./Pods.ts"

let cluster: ClusterUnderTest.ClusterUnderTest
let namespace: string

const labels = [{ app: "a", tier: "web" }, { app: "b", tier: "web" }, { app: "b" }, { app: "c", tier: "db" }, {}]

beforeAll(async () => {
  cluster = await ClusterUnderTest.start()
  namespace = await cluster.namespace()
  for (const [index, one] of labels.entries()) {
    expect((await cluster.call("POST", podPath(namespace), pod(`pod-${index}`, { metadata: { labels: one } }))).code)
      .toBe(201)
  }
  await cluster.kubelet.run(namespace, "pod-1", { node: "node-a" })
}, 180_000)
afterAll(() => cluster?.stop())

const list = async (query: Readonly<Record<string, string>>) =>
  cluster.call("GET", `${podPath(namespace)}?${new URLSearchParams(query)}`)
const names = (answer: ClusterUnderTest.Response) => answer.body.items.map((one: Json) => one.metadata.name)

describe("lists", () => {
  it("tells the kind, the version, and the objects in the order of their names", async () => {
    const answer = await list({})
    expect(answer.body).toMatchObject({ kind: "PodList", apiVersion: "v1" })
    expect(names(answer)).toEqual(["pod-0", "pod-1", "pod-2", "pod-3", "pod-4"])
    const versions = answer.body.items.map((one: Json) => Number(one.metadata.resourceVersion))
    expect(Number(answer.body.metadata.resourceVersion)).toBeGreaterThanOrEqual(Math.max(...versions))
  })

  it.each([
    ["app=b", ["pod-1", "pod-2"]],
    ["app==b,tier=web", ["pod-1"]],
    ["app!=b", ["pod-0", "pod-3", "pod-4"]],
    ["app in (a,c)", ["pod-0", "pod-3"]],
    ["app notin (a, b)", ["pod-3", "pod-4"]],
    ["tier", ["pod-0", "pod-1", "pod-3"]],
    ["!tier", ["pod-2", "pod-4"]],
    ["tier,app notin (a)", ["pod-1", "pod-3"]],
    ["app=", []]
  ])("labelSelector %s", async (labelSelector, expected) => {
    expect(names(await list({ labelSelector }))).toEqual(expected)
  })

  it.each([
    ["metadata.name=pod-3", ["pod-3"]],
    ["metadata.name!=pod-3", ["pod-0", "pod-1", "pod-2", "pod-4"]],
    ["spec.nodeName=node-a", ["pod-1"]],
    ["spec.nodeName=", ["pod-0", "pod-2", "pod-3", "pod-4"]],
    ["status.phase=Running", ["pod-1"]],
    ["status.phase!=Running,metadata.name!=pod-0", ["pod-2", "pod-3", "pod-4"]]
  ])("fieldSelector %s", async (fieldSelector, expected) => {
    expect(names(await list({ fieldSelector }))).toEqual(expected)
  })

  it.each([{ labelSelector: "app in b" }, { labelSelector: "a b" }, { fieldSelector: "spec.image=x" }, {
    fieldSelector: "nonsense"
  }])("400 for a selector that is none: %o", async (query) => {
    const answer = await list(query)
    expect([answer.code, answer.body.reason]).toEqual([400, "BadRequest"])
  })

  it("pages show one moment: a change between them is not seen, and the version is the first page's", async () => {
    const own = await cluster.namespace()
    for (const name of ["a", "b", "c", "d", "e"]) await cluster.call("POST", podPath(own), pod(name))
    const page = async (token?: string) =>
      cluster.call(
        "GET",
        `${podPath(own)}?limit=2${token === undefined ? "" : `&continue=${encodeURIComponent(token)}`}`
      )
    const first = await page()
    expect(names(first)).toEqual(["a", "b"])
    expect(first.body.metadata.remainingItemCount).toBe(3)
    await cluster.call("DELETE", podPath(own, "c"), { gracePeriodSeconds: 0 })
    await cluster.call("PATCH", podPath(own, "d"), { metadata: { labels: { late: "yes" } } }, merge)
    await cluster.call("POST", podPath(own), pod("bb"))
    const second = await page(first.body.metadata.continue)
    expect(names(second)).toEqual(["c", "d"])
    expect(second.body.items[1].metadata.labels).toBeUndefined()
    expect(second.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion)
    const third = await page(second.body.metadata.continue)
    expect(names(third)).toEqual(["e"])
    expect(third.body.metadata.continue ?? "").toBe("")
    expect(names(await page())).toEqual(["a", "b"])
  })

  it("a limit that holds all gives no token; with a selector the rest is not counted", async () => {
    const all = await list({ limit: "5" })
    expect([names(all).length, all.body.metadata.continue ?? ""]).toEqual([5, ""])
    const some = await list({ limit: "1", labelSelector: "tier" })
    expect(names(some)).toEqual(["pod-0"])
    expect(some.body.metadata.continue).toBeTypeOf("string")
    expect(some.body.metadata.remainingItemCount).toBeUndefined()
  })

  it("400 for a token that is none", async () => {
    expect((await list({ limit: "1", continue: "bm9uZQ" })).code).toBe(400)
  })

  it("a version in the future is waited for, and then refused as a time-out that may be tried again", async () => {
    const { body } = await list({})
    const answer = await list({
      resourceVersion: String(Number(body.metadata.resourceVersion) + 1_000_000),
      resourceVersionMatch: "NotOlderThan"
    })
    expect([answer.code, answer.body.reason]).toEqual([504, "Timeout"])
    expect(answer.body.details.retryAfterSeconds).toBeGreaterThan(0)
    expect(answer.body.details.causes[0].reason ?? answer.body.details.causes[0].message).toMatch(
      /ResourceVersionTooLarge|Too large resource version/
    )
  })

  it("resourceVersionMatch Exact shows the past", async () => {
    const own = await cluster.namespace()
    await cluster.call("POST", podPath(own), pod("a"))
    const before = (await cluster.call("GET", podPath(own))).body.metadata.resourceVersion
    await cluster.call("POST", podPath(own), pod("b"))
    const exact = await cluster.call("GET", `${podPath(own)}?resourceVersion=${before}&resourceVersionMatch=Exact`)
    expect(names(exact)).toEqual(["a"])
    expect(exact.body.metadata.resourceVersion).toBe(before)
    const newer = await cluster.call(
      "GET",
      `${podPath(own)}?resourceVersion=${before}&resourceVersionMatch=NotOlderThan`
    )
    expect(names(newer)).toContain("a")
    expect((await cluster.call("GET", `${podPath(own)}?resourceVersionMatch=Exact`)).code).toBe(422)
    // 0 is any version, and so no exact one
    const zero = await cluster.call("GET", `${podPath(own)}?resourceVersion=0&resourceVersionMatch=Exact`)
    expect([zero.code, zero.body.details.causes[0].field]).toEqual([422, "resourceVersionMatch"])
  })

  it("a list of all namespaces has the objects of each", async () => {
    const answer = await cluster.call("GET", "/api/v1/pods?labelSelector=tier%3Ddb")
    expect(answer.body.items.map((one: Json) => `${one.metadata.namespace}/${one.metadata.name}`)).toContain(
      `${namespace}/pod-3`
    )
  })

  it("deletecollection removes what is selected, and nothing else", async () => {
    const own = await cluster.namespace()
    for (const [index, app] of ["x", "y", "x"].entries()) {
      await cluster.call("POST", podPath(own), pod(`p${index}`, { metadata: { labels: { app } } }))
    }
    const answer = await cluster.call("DELETE", `${podPath(own)}?labelSelector=app%3Dx`)
    expect(answer.code).toBe(200)
    expect(names(answer)).toEqual(["p0", "p2"])
    expect(names(await cluster.call("GET", podPath(own)))).toEqual(["p1"])
  })
})
