/**
 * Every scenario of the chart (infra/helm/heddle/ci) by every Helm: it renders, alike; no object has a field that its kind does not know; the policies hold.
 */
import { assert, describe, it } from "@effect/vitest"
import {
  chart,
  deployment,
  envOf,
  type Helm,
  helms,
  ofKind,
  parse,
  type Rendered,
  run,
  scenarios,
  template,
  valuesOf
} from "./Helm.ts"
import * as KnownFields from "./KnownFields.ts"
import * as Policy from "./Policy.ts"

/** Each rendered once. */
const outputs = new Map<string, Promise<string>>()
const output = (helm: Helm, scenario: string): Promise<string> => {
  const key = `${helm.name} ${scenario}`
  const done = outputs.get(key) ?? template(helm, "--values", valuesOf(scenario)).then(({ code, err, out }) => {
    assert.strictEqual(code, 0, `${key}: ${err}`)
    return out
  })
  outputs.set(key, done)
  return done
}
const parsed = new Map<string, ReadonlyArray<Rendered>>()
const rendered = async (helm: Helm, scenario: string): Promise<ReadonlyArray<Rendered>> => {
  const text = await output(helm, scenario)
  const objects = parsed.get(text) ?? parse(text)
  parsed.set(text, objects)
  return objects
}
const [newest] = helms

it.each(helms)("$name: lint --strict takes the defaults and every scenario", async (helm) => {
  const defaults = await run(helm, ["lint", "--strict", chart])
  assert.strictEqual(defaults.code, 0, defaults.out + defaults.err)
  for (const scenario of scenarios) {
    const { code, err, out } = await run(helm, ["lint", "--strict", chart, "--values", valuesOf(scenario)])
    assert.strictEqual(code, 0, `${scenario}: ${out}${err}`)
    assert.notMatch(out + err, /\[(WARNING|ERROR)\]|funcMap fail|\[INFO\] Fail/, scenario)
  }
})

it.skipIf(helms.length < 2)("both Helms make the same of every scenario", async () => {
  const [one, other] = helms
  assert.isDefined(one)
  assert.isDefined(other)
  for (const scenario of scenarios) {
    assert.strictEqual(await output(one, scenario), await output(other, scenario), scenario)
  }
})

describe.skipIf(newest === undefined).each(scenarios)("scenario %s", (scenario) => {
  const helm = newest as Helm // skipped without
  it("has no field that its kind does not know, and no value of another type", async () => {
    const objects = await rendered(helm, scenario)
    assert.isAtLeast(objects.length, 5)
    assert.deepStrictEqual(objects.flatMap(KnownFields.problems), [])
  })
  it("keeps to the Pod Security Standard restricted", async () => {
    assert.deepStrictEqual(Policy.restricted(await rendered(helm, scenario)), [])
  })
  it("names images by version, limits memory, keeps secrets in Secrets", async () => {
    assert.deepStrictEqual(Policy.operable(await rendered(helm, scenario)), [])
  })
  it("refers to nothing that is not there", async () => {
    assert.deepStrictEqual(Policy.connected(await rendered(helm, scenario)), [])
  })
  it("has each component with its three probes on the status port", async () => {
    const objects = await rendered(helm, scenario)
    const services = [
      "coordinator",
      "pool-scheduler",
      "task-executor",
      "failover",
      ...(scenario === "no-gateway" ? [] : ["gateway"])
    ]
    assert.strictEqual(ofKind(objects, "Deployment").length, services.length)
    for (const service of services) {
      const { containers } = deployment(objects, service).spec.template.spec
      const [container] = containers
      assert.deepStrictEqual(container.args.slice(0, 3), ["serve", service, "--member=$(POD_NAME)"])
      const port = container.ports.find((one: Rendered) => one.name === "status")?.containerPort
      assert.strictEqual(envOf(container).get("HEDDLE_STATUS_PORT"), String(port))
      for (
        const [probe, path] of [["startupProbe", "/livez"], ["readinessProbe", "/readyz"], [
          "livenessProbe",
          "/livez"
        ]] as const
      ) {
        assert.deepStrictEqual(container[probe].httpGet, { path, port: "status" }, `${service} ${probe}`)
      }
      // a service that starts slowly is not killed for it
      const { failureThreshold, periodSeconds } = container.startupProbe
      assert.isAtLeast(failureThreshold * periodSeconds, 60)
    }
  })
})

it.skipIf(newest === undefined)("the checks see what they are there for", async () => {
  assert.isDefined(newest)
  const objects = await rendered(newest, "minimal")
  const broken = (change: (deployment: Rendered) => void): ReadonlyArray<Rendered> => {
    const copy: ReadonlyArray<Rendered> = structuredClone(objects)
    change(deployment(copy, "coordinator"))
    return copy
  }
  const first = (of: Rendered) => of.spec.template.spec.containers[0]
  const fields = (change: (of: Rendered) => void) => broken(change).flatMap(KnownFields.problems)
  assert.match(fields((of) => (of.spec.replicaz = 1)).join(), /Deployment\.spec\.replicaz: unknown field/)
  assert.match(fields((of) => (of.spec.replicas = "2")).join(), /spec\.replicas: number is wanted/)
  assert.match(fields((of) => (first(of).env[0].valu = "x")).join(), /env\[0\]\.valu: unknown/)
  const policy = (change: (of: Rendered) => void) => {
    const copy = broken(change)
    return [...Policy.restricted(copy), ...Policy.operable(copy), ...Policy.connected(copy)].join()
  }
  assert.match(policy((of) => delete of.spec.template.spec.securityContext.runAsNonRoot), /runAsNonRoot/)
  assert.match(
    policy((of) => of.spec.template.spec.volumes.push({ name: "x", hostPath: { path: "/" } })),
    /volume x: hostPath/
  )
  assert.match(policy((of) => (first(of).image = "heddle")), /image heddle/)
  assert.match(
    policy((of) => first(of).env.push({ name: "HEDDLE_NATS_TOKEN", value: "x" })),
    /HEDDLE_NATS_TOKEN in plain text/
  )
  assert.match(policy((of) => (of.spec.template.spec.serviceAccountName = "gone")), /no service account gone/)
  assert.match(
    policy((of) => (of.spec.template.metadata.labels["app.kubernetes.io/component"] = "failover")),
    /fits other pods/
  )
  const [pool] = ofKind(await rendered(newest, "single-namespace"), "SandboxPool")
  assert.match(KnownFields.problems({ ...pool, spec: { ...pool.spec, sizes: 1 } }).join(), /spec\.sizes: unknown field/)
})
