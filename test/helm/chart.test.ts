/**
 * The chart's files against what they are made of, and its default values against their Schema.
 */
import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { lstatSync, readdirSync, readFileSync, realpathSync } from "node:fs"
import { join } from "node:path"
import { parse } from "yaml"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import * as Chart from "../../infra/helm/Chart.ts"
import * as Values from "../../infra/helm/Values.ts"
import { chart, scenarios, valuesOf } from "./Helm.ts"

const read = (path: string): string => readFileSync(join(root, path), "utf8")
const decode = Schema.decodeUnknownSync(Values.Values, { onExcessProperty: "error", errors: "all" })

it.each([...Chart.files()].map(([path, text]) => ({ path, text })))("$path is what it is made of", ({ path, text }) => {
  assert.strictEqual(read(path), text, "npm run chart, and commit the result")
})

it("files/ are links to what they are: rights, definitions, dashboards, alerts", () => {
  const files = join(chart, "files")
  const own = (folder: string, pattern: RegExp) =>
    readdirSync(join(root, folder)).filter((name) => pattern.test(name)).map((name) => `${folder}/${name}`)
  const targets = [
    ...own("infra/crds", /^heddle\.dev_.*\.yaml$/),
    ...own("infra/grafana", /\.json$|^alerts\.yaml$/),
    "infra/crds/rbac.yaml"
  ]
  const links = Object.fromEntries(
    targets.map((target) => [target === "infra/crds/rbac.yaml" ? "rbac.yaml" : target.slice("infra/".length), target])
  )
  const there = readdirSync(files, { recursive: true, encoding: "utf8" }).filter((name) =>
    !lstatSync(join(files, name)).isDirectory()
  )
  assert.sameMembers(there, Object.keys(links), "link what was added (ln -s), remove what is gone")
  for (const [link, target] of Object.entries(links)) {
    assert.isTrue(lstatSync(join(files, link)).isSymbolicLink(), link)
    assert.strictEqual(realpathSync(join(files, link)), join(realpathSync(root), target))
  }
})

it("chart and application have the version of package.json", () => {
  const { appVersion, version } = parse(read(`${Chart.folder}/Chart.yaml`))
  const own = JSON.parse(read("package.json")).version
  assert.deepStrictEqual({ appVersion, version }, { appVersion: own, version: own })
})

it("the default values and those of each scenario are what the Schema takes", () => {
  for (const file of [join(chart, "values.yaml"), ...scenarios.map(valuesOf)]) {
    assert.doesNotThrow(() => decode(parse(readFileSync(file, "utf8"))), undefined, file)
  }
  assert.throws(() => decode({ coordinator: { replica: 1 } }), /replica/)
})

it("every value has a default in values.yaml, and a word on what it means", () => {
  const rows = Chart.rows()
  assert.isAbove(rows.length, 100)
  assert.deepStrictEqual(rows.filter(({ text }) => text === "").map(({ path }) => path), [])
  const given = rows.filter(({ initial, path }) => initial === undefined && !path.startsWith("global."))
  assert.deepStrictEqual(given.map(({ path }) => path), [])
})

it("the schema is draft-07 and closed: what Helm 3 enforces too", () => {
  const open: Array<string> = []
  const visit = (schema: unknown, path: string): void => {
    if (Array.isArray(schema)) return schema.forEach((one, at) => visit(one, `${path}[${at}]`))
    if (typeof schema !== "object" || schema === null) return
    for (const key of ["$defs", "unevaluatedProperties", "prefixItems", "dependentRequired"]) {
      assert.notProperty(schema, key, path)
    }
    if ("properties" in schema && !("additionalProperties" in schema && schema.additionalProperties === false)) {
      open.push(path)
    }
    for (const [key, part] of Object.entries(schema)) visit(part, `${path}.${key}`)
  }
  const schema = Chart.schema()
  visit(schema, "")
  assert.strictEqual(schema["$schema"], "http://json-schema.org/draft-07/schema#")
  // a parent chart may give more to all of its charts; a pod's spec is Kubernetes' own
  assert.deepStrictEqual(
    open.filter((path) => !/\.definitions\.(Global|Pool\.properties\.spec\.properties\.template)/.test(path)),
    []
  )
})
