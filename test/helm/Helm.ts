/**
 * The real Helm programs, and what they make of the chart, as objects.
 *
 * Keeps true: nothing of this machine's own Helm or kubeconfig is read; each version is there or said to be missing, never left out in silence.
 */
import { assert } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseAllDocuments } from "yaml"
import { findHelm3, findKubeTools, versions } from "../../infra/bootstrap/kube-tools.mjs"
import { root } from "../../infra/bootstrap/nats-server.mjs"

export interface Helm {
  readonly name: string
  readonly path: string
}

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** An object of Kubernetes, as it was rendered. */
// oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind, looked into by tests
export type Rendered = any

export const chart = join(root, "infra/helm/heddle")
const timeoutMs = 120_000

const found = async (name: string, path: Promise<string | undefined>): Promise<ReadonlyArray<Helm>> => {
  try {
    const there = await path
    if (there !== undefined) return [{ name, path: there }]
    process.stderr.write(`${name}: left out, since it is fetched for Linux on x64 only; HEDDLE_HELM(3) names another\n`)
  } catch (error) {
    process.stderr.write(`${name}: left out: ${error instanceof Error ? error.message : String(error)}\n`)
  }
  return []
}

/** Those that are there, Helm 4 first. Without Helm 4 on its platform there is something wrong: that is not left out. */
export const helms: ReadonlyArray<Helm> = [
  ...(await findKubeTools().then((tools) =>
    tools === undefined ? found(`Helm ${versions.helm}`, Promise.resolve(undefined)) : [{
      name: `Helm ${versions.helm}`,
      path: tools.helm
    }]
  )),
  ...(await found(`Helm ${versions.helm3}`, findHelm3()))
]

/** Values files of chart/ci, without the ending. */
export const scenarios: ReadonlyArray<string> = readdirSync(join(chart, "ci")).map((name) =>
  name.replace(/-values\.yaml$/, "")
).sort()
export const valuesOf = (scenario: string): string => join(chart, "ci", `${scenario}-values.yaml`)

/** In a home of its own. */
export const run = (
  helm: Helm,
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string>> = {}
): Promise<Ran> =>
  new Promise((resolve, reject) => {
    const home = mkdtempSync(join(tmpdir(), "heddle-helm-"))
    execFile(helm.path, args, {
      cwd: root,
      timeout: timeoutMs,
      maxBuffer: 64 * 1024 * 1024,
      env: {
        PATH: process.env["PATH"],
        HOME: home,
        HELM_CACHE_HOME: join(home, "cache"),
        HELM_CONFIG_HOME: join(home, "config"),
        HELM_DATA_HOME: join(home, "data"),
        ...env
      }
    }, (error, out, err) => {
      rmSync(home, { recursive: true, force: true })
      if (error !== null && typeof error.code !== "number") {
        reject(new Error(`${helm.name} ${args.join(" ")}`, { cause: error }))
      } else resolve({ code: error === null ? 0 : Number(error.code), out, err })
    })
  })

/** The documents of a stream. A document that is no YAML fails, with its text. */
export const parse = (text: string): ReadonlyArray<Rendered> =>
  parseAllDocuments(text).flatMap((document) => {
    assert.deepStrictEqual(document.errors, [], text)
    const value: Rendered = document.toJS()
    return value === null ? [] : [value]
  })

export const template = (helm: Helm, ...args: ReadonlyArray<string>): Promise<Ran> =>
  run(helm, ["template", "demo", chart, "--namespace", "engine", ...args])

const renderings = new Map<string, Promise<ReadonlyArray<Rendered>>>()
/** All objects; it has to go well. The same asked again is not rendered again: do not change what you get. */
export const render = (helm: Helm, ...args: ReadonlyArray<string>): Promise<ReadonlyArray<Rendered>> => {
  const key = JSON.stringify([helm.name, ...args])
  const known = renderings.get(key) ?? template(helm, ...args).then(({ code, err, out }) => {
    assert.strictEqual(code, 0, `${helm.name} template ${args.join(" ")}: ${err}`)
    return parse(out)
  })
  renderings.set(key, known)
  return known
}

/** `--set` goes before `--set-json`, whatever the order. */
const urlOf = (values: unknown): ReadonlyArray<string> =>
  /"url":/.test(JSON.stringify(values)) ? [] : ["--set", "nats.url=nats://nats:4222"]
/** The default values with these beside. */
export const withValues = (helm: Helm, values: unknown): Promise<ReadonlyArray<Rendered>> =>
  render(helm, ...urlOf(values), ...setOf(values))

/** What it complains of; it has to go badly. */
export const refused = async (helm: Helm, values: unknown, ...args: ReadonlyArray<string>): Promise<string> => {
  const { code, err } = await template(helm, ...urlOf(values), ...setOf(values), ...args)
  assert.notStrictEqual(code, 0, `${helm.name} takes ${JSON.stringify(values)}`)
  return err
}

const setOf = (values: unknown): ReadonlyArray<string> =>
  typeof values === "object" && values !== null
    ? Object.entries(values).flatMap(([key, value]) => ["--set-json", `${key}=${JSON.stringify(value)}`])
    : []

export const ofKind = (objects: ReadonlyArray<Rendered>, kind: string): ReadonlyArray<Rendered> =>
  objects.filter((one) => one.kind === kind)

/** The Deployment of a service. */
export const deployment = (objects: ReadonlyArray<Rendered>, service: string): Rendered => {
  const [one, ...others] = ofKind(objects, "Deployment").filter((each) =>
    each.metadata.labels["app.kubernetes.io/component"] === service
  )
  assert.isDefined(one, `a Deployment of ${service}`)
  assert.deepStrictEqual(others, [])
  return one
}

/** Variables of a container by name: the value, or where it comes from. */
export const envOf = (container: Rendered): ReadonlyMap<string, unknown> =>
  new Map((container.env ?? []).map((one: Rendered) => [one.name, one.value ?? one.valueFrom]))
