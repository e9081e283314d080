import { afterAll, beforeAll, describe, expect, it } from "vitest"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import { json, merge, strategic } from "./Pods.ts"

const rules = [
  { rule: "self.min <= self.max", message: "min must not be above max" },
  {
    rule: "!has(self.class) || self.class != 'forbidden'",
    message: "no such class",
    fieldPath: ".class",
    reason: "FieldValueForbidden"
  },
  {
    rule: "self.max == oldSelf.max || self.max > oldSelf.max",
    messageExpression: "'max may not go below ' + string(oldSelf.max)"
  }
]

const widgets = (group: string, hasRules: boolean): Json => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `widgets.${group}` },
  spec: {
    group,
    scope: "Namespaced",
    names: { plural: "widgets", singular: "widget", kind: "Widget", listKind: "WidgetList", shortNames: ["wg"] },
    versions: [{
      name: "v1",
      served: true,
      storage: true,
      subresources: {
        status: {},
        scale: {
          specReplicasPath: ".spec.min",
          statusReplicasPath: ".status.replicas",
          labelSelectorPath: ".status.selector"
        }
      },
      schema: {
        openAPIV3Schema: {
          type: "object",
          required: ["spec"],
          properties: {
            spec: {
              type: "object",
              required: ["max"],
              ...(hasRules ? { "x-kubernetes-validations": rules } : {}),
              properties: {
                min: { type: "integer", minimum: 0, default: 1 },
                max: { type: "integer", minimum: 1, maximum: 10 },
                mode: { type: "string", enum: ["A", "B"], default: "A" },
                class: { type: "string", maxLength: 12, pattern: "^[a-z]+$" },
                items: {
                  type: "array",
                  maxItems: 3,
                  items: {
                    type: "object",
                    required: ["key"],
                    properties: { key: { type: "string" }, weight: { type: "integer", default: 7 } }
                  },
                  "x-kubernetes-list-type": "map",
                  "x-kubernetes-list-map-keys": ["key"]
                },
                set: { type: "array", items: { type: "string" }, "x-kubernetes-list-type": "set" },
                amount: { "x-kubernetes-int-or-string": true },
                free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
                numbers: { type: "object", additionalProperties: { type: "integer" } },
                maybe: { type: "string", nullable: true }
              }
            },
            status: {
              type: "object",
              properties: { replicas: { type: "integer" }, selector: { type: "string" }, phase: { type: "string" } }
            }
          }
        }
      }
    }]
  }
})

let cluster: ClusterUnderTest.ClusterUnderTest
let namespace: string
let path: string

beforeAll(async () => {
  cluster = await ClusterUnderTest.start({ crds: [widgets("test.dev", false)] })
  namespace = await cluster.namespace()
  path = `/apis/test.dev/v1/namespaces/${namespace}/widgets`
}, 180_000)
afterAll(() => cluster?.stop())

const widget = (name: string, spec: Json, group = "test.dev"): Json => ({
  apiVersion: `${group}/v1`,
  kind: "Widget",
  metadata: { name },
  spec
})
const create = (name: string, spec: Json) => cluster.call("POST", path, widget(name, spec))
const causes = (answer: ClusterUnderTest.Response) =>
  answer.body.details?.causes?.map((cause: Json) => [cause.field, cause.reason])

describe("custom resources", () => {
  it("defaults are filled in, unknown fields pruned, free ones kept, generation 1, status dropped", async () => {
    const answer = await cluster.call("POST", path, {
      ...widget("defaults", {
        max: 2,
        nonsense: 1,
        free: { a: { b: 1 } },
        items: [{ key: "x", other: 1 }],
        mode: null,
        maybe: null,
        amount: "5%"
      }),
      status: { phase: "x" }
    })
    expect(answer.code).toBe(201)
    expect(answer.body.metadata.generation).toBe(1)
    expect(answer.body.spec).toEqual({
      min: 1,
      max: 2,
      mode: "A",
      free: { a: { b: 1 } },
      items: [{ key: "x", weight: 7 }],
      maybe: null,
      amount: "5%"
    })
    expect(answer.body.status).toBeUndefined()
  })

  it("unknown fields are dropped; from 1.27 on with a warning, or not at all where the writer is strict", async () => {
    const spec = { max: 2, nonsense: 1, items: [{ key: "x", other: 1 }] }
    const post = (name: string, validation: string) =>
      cluster.call("POST", `${path}?fieldValidation=${validation}`, widget(name, spec))
    const isStrict = cluster.version[1] >= 27
    const warned = await create("warned", spec)
    const ignored = await post("ignored", "Ignore")
    for (const answer of [warned, ignored]) {
      expect(answer.code).toBe(201)
      expect(answer.body.spec).toMatchObject({ max: 2, items: [{ key: "x", weight: 7 }] })
      expect(answer.body.spec.nonsense).toBeUndefined()
    }
    expect(ignored.headers["warning"]).toBeUndefined()
    const fields = ["spec.items[0].other", "spec.nonsense"]
    if (isStrict) {
      for (const field of fields) expect(warned.headers["warning"]).toContain(`unknown field \\"${field}\\"`)
    }
    const strict = await post("strict", "Strict")
    expect(strict.code).toBe(isStrict ? 400 : 201)
    if (isStrict) { for (const field of fields) expect(strict.body.message).toContain(`unknown field "${field}"`) }
  })

  it("who wrote which field is known from the creation on", async () => {
    await cluster.call("POST", `${path}?fieldManager=maker`, widget("owned", { max: 2 }))
    const patched = await cluster.call("PATCH", `${path}/owned?fieldManager=patcher`, { spec: { max: 3 } }, merge)
    const owners = patched.body.metadata.managedFields.map((one: Json) => [one.manager, one.operation])
    expect(owners).toEqual([["maker", "Update"], ["patcher", "Update"]])
    const [maker, patcher] = patched.body.metadata.managedFields
    expect(patcher.fieldsV1["f:spec"]).toMatchObject({ "f:max": {} })
    expect(maker.fieldsV1["f:spec"]["f:max"]).toBeUndefined()
  })

  it.each([
    ["too small", { max: 0 }, "spec.max", "FieldValueInvalid"],
    ["too large", { max: 11 }, "spec.max", "FieldValueInvalid"],
    ["missing", {}, "spec.max", "FieldValueRequired"],
    ["not one of", { max: 1, mode: "C" }, "spec.mode", "FieldValueNotSupported"],
    ["no match", { max: 1, class: "NO" }, "spec.class", "FieldValueInvalid"],
    ["item without key", { max: 1, items: [{ weight: 1 }] }, "spec.items[0].key", "FieldValueRequired"],
    ["same key twice", { max: 1, items: [{ key: "a" }, { key: "a" }] }, "spec.items[1]", "FieldValueDuplicate"],
    ["same item twice", { max: 1, set: ["a", "a"] }, "spec.set[1]", "FieldValueDuplicate"]
  ])("422 names the field: %s", async (name, spec, field, reason) => {
    const answer = await create(name.replaceAll(" ", "-"), spec)
    expect([answer.code, answer.body.reason]).toEqual([422, "Invalid"])
    // older servers leave out the index of an item that lacks something
    const told = causes(answer).map(([at, why]: readonly [string, string]) => [at.replaceAll(/\[\d+\]\./g, "."), why])
    expect(told).toContainEqual([field.replaceAll(/\[\d+\]\./g, "."), reason])
    expect(answer.body.details).toMatchObject({ group: "test.dev", kind: "Widget" })
  })

  it.each([
    ["a string for a number", { max: "2" }, "spec.max"],
    ["a fraction for an integer", { max: 1.5 }, "spec.max"],
    ["a string in a map of numbers", { max: 1, numbers: { a: "b" } }, "spec.numbers.a"],
    ["a list for a string", { max: 1, class: ["a"] }, "spec.class"],
    ["a boolean for int-or-string", { max: 1, amount: true }, "spec.amount"]
  ])("422 for the wrong type: %s", async (name, spec, field) => {
    const answer = await create(name.replaceAll(" ", "-"), spec)
    expect(answer.code).toBe(422)
    expect(answer.body.details.causes.map((cause: Json) => cause.field)).toContain(field)
  })

  it("generation moves with the spec, not with labels or status; the object's path leaves the status", async () => {
    await create("generation", { max: 2 })
    const one = `${path}/generation`
    expect((await cluster.call("PATCH", one, { metadata: { labels: { a: "1" } } }, merge)).body.metadata.generation)
      .toBe(1)
    expect((await cluster.call("PATCH", one, { spec: { max: 3 } }, merge)).body.metadata.generation).toBe(2)
    const viaObject = await cluster.call("PATCH", one, { status: { phase: "P" } }, merge)
    expect([viaObject.code, viaObject.body.status, viaObject.body.metadata.generation]).toEqual([200, undefined, 2])
    const viaStatus = await cluster.call("PATCH", `${one}/status`, {
      metadata: { labels: { b: "2" } },
      spec: { max: 9 },
      status: { phase: "P", junk: 1 }
    }, merge)
    expect(viaStatus.body).toMatchObject({ metadata: { generation: 2, labels: { a: "1" } }, spec: { max: 3 } })
    expect(viaStatus.body.metadata.labels.b).toBeUndefined()
    expect(viaStatus.body.status).toEqual({ phase: "P" })
    const wrong = await cluster.call("PATCH", `${one}/status`, { status: { replicas: "x" } }, merge)
    expect([wrong.code, wrong.body.details.causes[0].field]).toEqual([422, "status.replicas"])
  })

  it("an update needs its version; a default that is taken away comes back", async () => {
    const made = await create("update", { max: 2 })
    const one = `${path}/update`
    const blind = await cluster.call("PUT", one, widget("update", { max: 3 }))
    expect([blind.code, blind.body.details.causes[0].field]).toEqual([422, "metadata.resourceVersion"])
    const next = await cluster.call("PUT", one, { ...made.body, spec: { max: 3 } })
    expect([next.code, next.body.spec]).toEqual([200, { min: 1, max: 3, mode: "A" }])
    const stale = await cluster.call("PUT", one, { ...made.body, spec: { max: 4 } })
    expect([stale.code, stale.body.message]).toEqual([409, expect.stringContaining("widgets.test.dev \"update\"")])
    const same = await cluster.call("PATCH", one, { spec: { mode: null } }, merge)
    expect([same.body.spec.mode, same.body.metadata.resourceVersion]).toEqual(["A", next.body.metadata.resourceVersion])
    expect((await cluster.call("PATCH", one, [{ op: "replace", path: "/spec/max", value: 11 }], json)).code).toBe(422)
    expect((await cluster.call("PATCH", one, { spec: { max: 4 } }, strategic)).code).toBe(415)
  })

  it("scale reads and writes the replicas, with the object's version", async () => {
    await create("scaled", { max: 5 })
    const one = `${path}/scaled`
    await cluster.call("PATCH", `${one}/status`, { status: { replicas: 2, selector: "app=a" } }, merge)
    const scale = await cluster.call("GET", `${one}/scale`)
    expect(scale.body).toMatchObject({
      kind: "Scale",
      apiVersion: "autoscaling/v1",
      metadata: { name: "scaled", namespace },
      spec: { replicas: 1 },
      status: { replicas: 2, selector: "app=a" }
    })
    const patched = await cluster.call("PATCH", `${one}/scale`, { spec: { replicas: 4 } }, merge)
    expect([patched.code, patched.body.spec.replicas]).toEqual([200, 4])
    const object = await cluster.call("GET", one)
    expect([object.body.spec.min, object.body.metadata.generation]).toEqual([4, 2])
    const stale = await cluster.call("PUT", `${one}/scale`, scale.body)
    expect([stale.code, stale.body.reason]).toEqual([409, "Conflict"])
    expect((await cluster.call("PATCH", `${one}/scale`, { spec: { replicas: -1 } }, merge)).code).toBe(422)
  })

  it("a kind is served while its definition is there", async () => {
    await cluster.define(widgets("gone.dev", false))
    const own = `/apis/gone.dev/v1/namespaces/${namespace}/widgets`
    expect((await cluster.call("POST", own, widget("a", { max: 1 }, "gone.dev"))).code).toBe(201)
    expect((await cluster.call("GET", "/apis/gone.dev/v1")).body.resources.map((one: Json) => one.name)).toEqual(
      expect.arrayContaining(["widgets", "widgets/status", "widgets/scale"])
    )
    expect((await cluster.call("GET", `/apis/gone.dev/v2/namespaces/${namespace}/widgets`)).code).toBe(404)
    expect(
      (await cluster.call("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.gone.dev")).code
    ).toBe(200)
    const until = performance.now() + 90_000
    while ((await cluster.call("GET", own)).code !== 404) expect(performance.now()).toBeLessThan(until)
  }, 180_000)

  it("a definition that is none is 422", async () => {
    const { spec } = widgets("wrong.dev", false)
    const named = await cluster.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
      ...widgets("wrong.dev", false),
      metadata: { name: "other" }
    })
    expect([named.code, named.body.reason]).toEqual([422, "Invalid"])
    const bare = await cluster.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
      ...widgets("wrong.dev", false),
      spec: { ...spec, versions: [{ name: "v1", served: true, storage: true }] }
    })
    expect([bare.code, bare.body.reason]).toEqual([422, "Invalid"])
  })
})

/** `x-kubernetes-validations` came with 1.25 (by default), `reason` and `fieldPath` with 1.28. */
const hasRules = () => !cluster.isReal || cluster.version[1] >= 29

describe("CEL rules", () => {
  it("a rule that fails is a cause with its message, its field and its reason; transition rules look back", async ({ skip }) => {
    skip(!hasRules())
    await cluster.define(widgets("rules.dev", true))
    const own = `/apis/rules.dev/v1/namespaces/${namespace}/widgets`
    const wrong = await cluster.call("POST", own, widget("a", { min: 5, max: 2 }, "rules.dev"))
    expect([wrong.code, causes(wrong)]).toEqual([422, [["spec", "FieldValueInvalid"]]])
    expect(wrong.body.details.causes[0].message).toContain("min must not be above max")
    const forbidden = await cluster.call("POST", own, widget("a", { max: 2, class: "forbidden" }, "rules.dev"))
    expect([forbidden.code, causes(forbidden)]).toEqual([422, [["spec.class", "FieldValueForbidden"]]])
    expect((await cluster.call("POST", own, widget("a", { max: 5 }, "rules.dev"))).code).toBe(201)
    const lower = await cluster.call("PATCH", `${own}/a`, { spec: { max: 4 } }, merge)
    expect(lower.code).toBe(422)
    expect(lower.body.details.causes[0].message).toContain("max may not go below 5")
    expect((await cluster.call("PATCH", `${own}/a`, { spec: { max: 6 } }, merge)).code).toBe(200)
  })

  it("a rule that does not compile is told when the definition is written", async ({ skip }) => {
    skip(!hasRules())
    const broken = widgets("broken.dev", true)
    broken.spec.versions[0].schema.openAPIV3Schema.properties.spec["x-kubernetes-validations"] = [{
      rule: "self.min <= ("
    }]
    const answer = await cluster.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", broken)
    expect(answer.code).toBe(422)
    expect(answer.body.details.causes[0].field).toBe(
      "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    )
  })
})
