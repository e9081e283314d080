/**
 * What single values do: those that are wrong are refused with their name and what to do; the others change what they are for, and nothing else.
 */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { parse, parseAllDocuments } from "yaml"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import {
  chart,
  deployment,
  envOf,
  type Helm,
  helms,
  ofKind,
  refused,
  render,
  type Rendered,
  run,
  template,
  valuesOf,
  withValues
} from "./Helm.ts"

const read = (path: string): string => readFileSync(join(root, path), "utf8")
const sandboxPool = (more: object = {}, spec: object = {}) => ({
  name: "web",
  spec: { size: 1, template: { spec: { containers: [{ name: "main", image: "x:1" }] } }, ...spec },
  ...more
})

/** Values that the schema refuses, and what the refusal has to say. */
const misspelt: ReadonlyArray<readonly [object, ReadonlyArray<RegExp>]> = [
  [{ coordinator: { replicas: "two" } }, [/coordinator/, /replicas/, /integer/i]],
  [{ coordinator: { replica: 1 } }, [/coordinator/, /replica\b/, /not allowed/]],
  [{ statusPort: 70_000 }, [/statusPort/]],
  [{ nats: { url: "nats://user:secret@nats:4222" } }, [/nats.url/]],
  [{ nats: { url: "http://nats:4222" } }, [/nats.url/]],
  [{ nats: { streamReplicas: 7 } }, [/nats.streamReplicas/]],
  [{ config: { passivateAfter: "5 minutes" } }, [/config.passivateAfter/]],
  [{ pools: [sandboxPool({}, { sizes: 1 })] }, [/pools.0.spec/, /sizes/]],
  [{ pools: [sandboxPool({}, { ttl: "soon" })] }, [/pools.0.spec.ttl/]],
  [{ pools: [sandboxPool({ name: "a.b" })] }, [/pools.0.name/]],
  [{ envs: [{ name: "any", spec: { member: [] } }] }, [/envs.0.spec/, /member/]],
  [{ image: { digest: "sha256:12" } }, [/image.digest/]]
]
/** Values that do not go together. */
const contradicting: ReadonlyArray<readonly [object, ReadonlyArray<RegExp>]> = [
  [{ image: { tag: "latest" } }, [/image\.tag: latest/, /name a version/]],
  [{ nats: { auth: { type: "creds" } } }, [/nats\.auth\.existingSecret is empty/]],
  [{ nats: { auth: { existingSecret: "x" } } }, [/nats\.auth\.type is none/]],
  [{ nats: { tls: { caSecret: { name: "x" } } } }, [/nats\.tls\.caSecret is for tls:\/\/ URLs/]],
  [{ taskExecutor: { natsAuth: { type: "user" } } }, [/taskExecutor\.natsAuth\.existingSecret is empty/]],
  [{ tests: { natsAuth: { existingSecret: "x" } } }, [/tests\.natsAuth\.type is none/]],
  [{ taskExecutor: { hpa: { enabled: true }, keda: { enabled: true } } }, [/taskExecutor\.hpa and taskExecutor\.keda/]],
  [{ taskExecutor: { keda: { enabled: true } } }, [/taskExecutor\.keda\.triggers is empty/]],
  [{ coordinator: { hpa: { enabled: true, minReplicas: 20 } } }, [/coordinator\.hpa\.minReplicas is greater/]],
  [{ gateway: { ingress: { enabled: true } } }, [/gateway\.ingress\.hosts is empty/]],
  [{ gateway: { enabled: false, ingress: { enabled: true } } }, [/gateway\.ingress\.enabled without gateway\.enabled/]],
  [{ config: { alerts: ["webhook"] } }, [/config\.alertWebhook\.name/]],
  [{ pools: [sandboxPool({ namespace: "other" })] }, [
    /pools\[0\]\.namespace: other is not one of kubernetes\.poolNamespaces/
  ]],
  [{ pools: [sandboxPool()], kubernetes: { objects: false } }, [/kubernetes\.objects must be true/]]
]

it.each(helms)("$name refuses what is wrong, names the value and says what to do", async (helm) => {
  // the template's own refusals are the same text in each Helm: the older one is asked for one of them
  const wrong = [...misspelt, ...(helm === helms[0] ? contradicting : contradicting.slice(0, 1))]
  const check = async ([values, messages]: typeof wrong[number]) => {
    // Helm 4 writes /nats/url, Helm 3 nats.url
    const told = (await refused(helm, values)).replaceAll(/['"]/g, "").replaceAll(/(?<![/:])\/(?!\/)/g, ".")
    for (const message of messages) assert.match(told, message, JSON.stringify(values))
  }
  for (let at = 0; at < wrong.length; at += 4) await Promise.all(wrong.slice(at, at + 4).map(check))
  const nothing = await template(helm)
  assert.notStrictEqual(nothing.code, 0)
  assert.match(
    nothing.err,
    /nats\.url is required: where NATS is, such as nats:\/\/nats\.nats:4222 \(--set nats\.url=\.\.\.\)/
  )
})

describe.skipIf(helms.length === 0)("with the newest Helm", () => {
  const helm = helms[0] as Helm // skipped without
  const pod = (objects: ReadonlyArray<Rendered>, service: string): Rendered =>
    deployment(objects, service).spec.template.spec
  const container = (objects: ReadonlyArray<Rendered>, service: string): Rendered => pod(objects, service).containers[0]

  it("rights are those of infra/crds/rbac.yaml, in the pools' namespaces or the whole cluster, and no others", async () => {
    const source = new Map<string, unknown>(
      parseAllDocuments(read("infra/crds/rbac.yaml")).map((one) => one.toJS()).map((
        one
      ) => [one.metadata.name, one.rules])
    )
    assert.sameMembers([...source.keys()], [
      "heddle-pool-scheduler",
      "heddle-pool-objects",
      "heddle-task-executor",
      "heddle-pool-reset"
    ])
    const rights = (objects: ReadonlyArray<Rendered>, prefix: string) =>
      objects.filter((one) => /^(Cluster)?Role$/.test(one.kind)).map((one) => {
        const role = one.metadata.name.replace(prefix, "heddle")
        assert.deepStrictEqual(one.rules, source.get(role), one.metadata.name)
        return `${one.kind} ${one.metadata.namespace ?? "*"} ${role}`
      }).sort()
    assert.deepStrictEqual(rights(await withValues(helm, {}), "demo-heddle"), [
      "Role engine heddle-pool-objects",
      "Role engine heddle-pool-scheduler",
      "Role engine heddle-task-executor"
    ])
    assert.deepStrictEqual(
      rights(
        await withValues(helm, {
          kubernetes: { poolNamespaces: ["a", "b"], objects: false, podExec: false, podReset: true }
        }),
        "demo-heddle"
      ),
      [
        "Role a heddle-pool-reset",
        "Role a heddle-pool-scheduler",
        "Role b heddle-pool-reset",
        "Role b heddle-pool-scheduler"
      ]
    )
    assert.deepStrictEqual(
      rights(await withValues(helm, { kubernetes: { clusterWide: true } }), "engine-demo-heddle"),
      [
        "ClusterRole * heddle-pool-objects",
        "ClusterRole * heddle-pool-scheduler",
        "ClusterRole * heddle-task-executor"
      ]
    )
    for (const values of [{ rbac: { create: false } }, { kubernetes: { enabled: false } }]) {
      assert.deepStrictEqual(rights(await withValues(helm, values), ""), [])
    }
    const aggregated = ofKind(await withValues(helm, { rbac: { aggregate: true } }), "ClusterRole")
    assert.deepStrictEqual(
      aggregated.flatMap((one) => Object.keys(one.metadata.labels).filter((label) => label.includes("aggregate-to")))
        .sort(),
      ["admin", "edit", "view"].map((level) => `rbac.authorization.k8s.io/aggregate-to-${level}`)
    )
  })

  it("only who needs the cluster's API has a token for it", async () => {
    const tokens = (objects: ReadonlyArray<Rendered>) =>
      ofKind(objects, "Deployment").filter((one) => one.spec.template.spec.automountServiceAccountToken).map((one) =>
        one.metadata.labels["app.kubernetes.io/component"]
      ).sort()
    assert.deepStrictEqual(tokens(await withValues(helm, {})), ["pool-scheduler", "task-executor"])
    assert.deepStrictEqual(tokens(await withValues(helm, { kubernetes: { podExec: false } })), ["pool-scheduler"])
    assert.deepStrictEqual(tokens(await withValues(helm, { kubernetes: { enabled: false } })), [])
    const objects = await withValues(helm, {})
    for (const one of ofKind(objects, "ServiceAccount")) assert.isFalse(one.automountServiceAccountToken)
    const accounts = ofKind(objects, "Deployment").map((one) => one.spec.template.spec.serviceAccountName)
    assert.strictEqual(new Set(accounts).size, 5)
  })

  it("definitions are those of infra/crds; kept at an uninstall unless said otherwise", async () => {
    const sources = readdirSync(join(root, "infra/crds")).filter((name) => name.startsWith("heddle.dev_")).map((name) =>
      parse(read(`infra/crds/${name}`))
    )
    const definitions = (objects: ReadonlyArray<Rendered>) => ofKind(objects, "CustomResourceDefinition")
    const kept = definitions(await withValues(helm, { commonAnnotations: { "example.com/a": "b" } }))
    assert.strictEqual(kept.length, 2)
    for (const one of kept) {
      const source = sources.find(({ metadata }) => metadata.name === one.metadata.name)
      assert.deepStrictEqual(one.spec, source.spec)
      assert.deepStrictEqual(one.metadata.annotations, { "example.com/a": "b", "helm.sh/resource-policy": "keep" })
      assert.strictEqual(one.metadata.labels["app.kubernetes.io/managed-by"], "Helm")
    }
    const [loose] = definitions(await withValues(helm, { crds: { keep: false } }))
    assert.isUndefined(loose.metadata.annotations)
    assert.deepStrictEqual(definitions(await withValues(helm, { crds: { install: false } })), [])
  })

  it("pools and envs are objects with the spec as it was written", async () => {
    const objects = await render(helm, "--values", valuesOf("single-namespace"))
    const given = parse(readFileSync(valuesOf("single-namespace"), "utf8"))
    const pools = ofKind(objects, "SandboxPool")
    assert.deepStrictEqual(
      pools.map((one) => [one.metadata.name, one.metadata.namespace, one.spec]),
      given.pools.map((one: Rendered) => [
        one.name,
        "engine",
        one.spec
      ])
    )
    assert.strictEqual(pools[0].metadata.labels["example.com/tier"], "gold")
    assert.deepStrictEqual(
      ofKind(objects, "SandboxEnv").map((one) => one.spec),
      given.envs.map((one: Rendered) => one.spec)
    )
    // Helm reads a million as 1e+06
    const { out } = await template(helm, "--values", valuesOf("single-namespace"))
    assert.match(out, /"queueLengthMax": 1000000,/)
    const [elsewhere] = ofKind(await render(helm, "--values", valuesOf("cluster-wide")), "SandboxPool")
    assert.strictEqual(elsewhere.metadata.namespace, "tenant-a")
  })

  it("objects of the pools' namespaces are read, of all of them cluster-wide, of none without", async () => {
    const asked = async (kubernetes: object) =>
      envOf(container(await withValues(helm, { kubernetes }), "pool-scheduler")).get("HEDDLE_KUBERNETES_OBJECTS")
    assert.strictEqual(await asked({}), "engine")
    assert.strictEqual(await asked({ poolNamespaces: ["a", "b"] }), "a,b")
    assert.strictEqual(await asked({ clusterWide: true }), "*")
    assert.isUndefined(await asked({ objects: false }))
    assert.isUndefined(await asked({ enabled: false }))
  })

  it("each role has its own identity, from Secrets alone", async () => {
    const objects = await render(helm, "--values", valuesOf("existing-secret"))
    const secret = (name: string, key: string) => ({ secretKeyRef: { name, key } })
    const env = (service: string) => envOf(container(objects, service))
    assert.deepStrictEqual(env("coordinator").get("HEDDLE_NATS_USER"), secret("heddle-coordinator", "user"))
    assert.deepStrictEqual(env("coordinator").get("HEDDLE_ALERT_WEBHOOK_URL"), secret("heddle-alerts", "url"))
    assert.deepStrictEqual(
      env("pool-scheduler").get("HEDDLE_NATS_PASSWORD"),
      secret("heddle-pool-scheduler", "password")
    )
    assert.deepStrictEqual(env("pool-scheduler").get("HEDDLE_AGENT_SEED"), secret("heddle-agents", "seed"))
    assert.deepStrictEqual(env("gateway").get("HEDDLE_NATS_TOKEN"), secret("heddle-gateway-nats", "token"))
    assert.deepStrictEqual(env("gateway").get("HEDDLE_HTTP_TOKEN"), secret("heddle-gateway", "http"))
    assert.isUndefined(env("gateway").get("HEDDLE_NATS_USER"))
    // a file, so that a renewed one is read at the next reconnect: mounted as a folder, which follows its Secret
    assert.strictEqual(env("failover").get("HEDDLE_NATS_CREDS"), "/etc/heddle/nats/nats.creds")
    const { volumes } = pod(objects, "failover")
    assert.deepStrictEqual(volumes.find((one: Rendered) => one.name === "nats-creds").secret, {
      secretName: "heddle-failover",
      defaultMode: 0o440,
      items: [{ key: "failover.creds", path: "nats.creds" }]
    })
    const mount = container(objects, "failover").volumeMounts.find((one: Rendered) => one.name === "nats-creds")
    assert.deepStrictEqual(mount, { name: "nats-creds", mountPath: "/etc/heddle/nats", readOnly: true })
    for (const one of ofKind(objects, "Pod")) {
      assert.deepStrictEqual(envOf(one.spec.containers[0]).get("HEDDLE_NATS_USER"), secret("heddle-client", "user"))
    }
  })

  it("an authority of one's own for TLS", async () => {
    const objects = await render(helm, "--values", valuesOf("ha"))
    assert.strictEqual(
      envOf(container(objects, "coordinator")).get("NODE_EXTRA_CA_CERTS"),
      "/etc/heddle/nats-ca/ca.crt"
    )
    assert.include(
      container(objects, "coordinator").volumeMounts.map((one: Rendered) => one.mountPath),
      "/etc/heddle/nats-ca"
    )
  })

  it("no alerts to anybody is not the same as the default", async () => {
    const alerts = async (given: ReadonlyArray<string>) =>
      envOf(container(await withValues(helm, { config: { alerts: given } }), "coordinator")).get("HEDDLE_ALERTS")
    assert.strictEqual(await alerts(["log", "nats"]), "log,nats")
    // the command takes an empty variable for none
    assert.strictEqual(await alerts([]), ",")
  })

  it("plugins of one's own and their config reach every service, as they were written", async () => {
    const pluginConfig = { kafka: { brokers: ["a:1", "b:1"], note: "a \"quoted\" <text>" } }
    const rendered = await withValues(helm, { config: { plugins: ["/plugins/kafka.js", "acme"], pluginConfig } })
    const services = ["coordinator", "pool-scheduler", "task-executor", "failover", "gateway"]
    for (const service of services) {
      const env = envOf(container(rendered, service))
      assert.strictEqual(env.get("HEDDLE_PLUGINS"), "/plugins/kafka.js,acme", service)
      assert.deepStrictEqual(JSON.parse(String(env.get("HEDDLE_PLUGIN_CONFIG"))), pluginConfig, service)
    }
    const none = envOf(container(await withValues(helm, {}), "coordinator"))
    assert.isFalse(none.has("HEDDLE_PLUGINS") || none.has("HEDDLE_PLUGIN_CONFIG"))
  })

  it("who ends has longer than its service takes to hand over", async () => {
    const ms = (file: string, name: string): number => {
      const text = new RegExp(`const ${name} = ([\\d_]+)`).exec(read(file))?.[1]
      assert.isDefined(text, `${file} has ${name}`)
      return Number(text.replaceAll("_", ""))
    }
    const objects = await withValues(helm, {})
    const graceMs = (service: string) => {
      const { containers, terminationGracePeriodSeconds } = pod(objects, service)
      return 1_000 * (terminationGracePeriodSeconds - (containers[0].lifecycle?.preStop.sleep.seconds ?? 0))
    }
    const executor = "services/task-executor/main.ts"
    assert.isAbove(graceMs("task-executor"), ms(executor, "finishMsDefault") + ms(executor, "settleMsDefault") + 5_000)
    assert.isAbove(graceMs("coordinator"), ms("services/coordinator/CoordinatorLife.ts", "leaveMs") + 5_000)
    assert.isAbove(graceMs("gateway"), 10_000)
  })

  it("a component's own values go before those of all, also when they say no", async () => {
    const objects = await withValues(helm, {
      common: { nodeSelector: { pool: "infra" }, replicas: 3, podAnnotations: { a: "1" } },
      coordinator: {
        pdb: { enabled: false },
        replicas: 5,
        resources: { limits: { memory: "4Gi" } },
        podAnnotations: { b: "2" }
      },
      failover: { topologySpread: { enabled: false }, livenessProbe: { enabled: false }, preStopSleepSeconds: 3 },
      gateway: { preStopSleepSeconds: 0 }
    })
    assert.strictEqual(deployment(objects, "coordinator").spec.replicas, 5)
    assert.strictEqual(deployment(objects, "failover").spec.replicas, 3)
    assert.notInclude(ofKind(objects, "PodDisruptionBudget").map((one) => one.metadata.name), "demo-heddle-coordinator")
    assert.strictEqual(ofKind(objects, "PodDisruptionBudget").length, 4)
    assert.deepStrictEqual(pod(objects, "coordinator").nodeSelector, { pool: "infra" })
    assert.include(deployment(objects, "coordinator").spec.template.metadata.annotations, { a: "1", b: "2" })
    assert.deepStrictEqual(container(objects, "coordinator").resources.limits, { memory: "4Gi" })
    assert.isUndefined(pod(objects, "failover").topologySpreadConstraints)
    assert.isUndefined(container(objects, "failover").livenessProbe)
    assert.deepStrictEqual(container(objects, "failover").lifecycle, { preStop: { sleep: { seconds: 3 } } })
    assert.isUndefined(container(objects, "gateway").lifecycle)
    assert.strictEqual(pod(await withValues(helm, {}), "coordinator").topologySpreadConstraints.length, 2)
  })

  it("network policies let through what a component needs, and nothing else", async () => {
    const objects = await render(helm, "--values", valuesOf("netpol"))
    const policies = ofKind(objects, "NetworkPolicy")
    assert.strictEqual(policies.length, 5)
    const of = (service: string): Rendered =>
      policies.find((one) => one.metadata.name === `demo-heddle-${service}`)?.spec
    const ports = (rules: ReadonlyArray<Rendered>) => rules.map((rule) => rule.ports.map((one: Rendered) => one.port))
    for (const { spec } of policies) assert.sameMembers(spec.policyTypes, ["Ingress", "Egress"])
    const usual = [[53, 53], [4222, 4333], [8222]]
    assert.deepStrictEqual(ports(of("coordinator").egress), usual)
    assert.deepStrictEqual(ports(of("pool-scheduler").egress), [...usual, [443, 6443]])
    assert.deepStrictEqual(ports(of("task-executor").egress), [...usual, [443, 6443], [443]])
    assert.deepStrictEqual(ports(of("coordinator").ingress), [["status"]])
    assert.deepStrictEqual(ports(of("gateway").ingress), [["status"], ["http"]])
    assert.strictEqual(
      of("coordinator").egress[1].to[0].namespaceSelector.matchLabels["kubernetes.io/metadata.name"],
      "nats"
    )
    assert.deepStrictEqual(of("task-executor").egress[3].to, [{ ipBlock: { cidr: "10.0.0.1/32" } }])
    assert.deepStrictEqual(ofKind(await withValues(helm, {}), "NetworkPolicy"), [])
  })

  it("autoscalers ask for metrics that are told", async () => {
    const [scaled] = ofKind(await render(helm, "--values", valuesOf("keda")), "ScaledObject")
    const metric = /heddle_\w+/.exec(scaled.spec.triggers[0].metadata.query)?.[0]
    assert.include(read("shared/telemetry/Catalog.ts"), `"${metric}"`)
    const [hpa] = ofKind(await render(helm, "--values", valuesOf("ha")), "HorizontalPodAutoscaler")
    assert.deepStrictEqual([hpa.spec.minReplicas, hpa.spec.maxReplicas], [3, 20])
    assert.strictEqual(hpa.spec.metrics[0].resource.target.averageUtilization, 70)
  })

  it("dashboards and alerts are those of infra/grafana, for who picks them up", async () => {
    const folder = join(root, "infra/grafana")
    const objects = await render(helm, "--values", valuesOf("monitoring"))
    const dashboards = readdirSync(folder).filter((name) => name.endsWith(".json"))
    assert.isAbove(dashboards.length, 0)
    const shown = ofKind(objects, "ConfigMap").flatMap((one) => {
      assert.strictEqual(one.metadata.labels["grafana_dashboard"], "1")
      return Object.entries<string>(one.data)
    })
    assert.sameMembers(shown.map(([name]) => name), dashboards)
    for (const [name, text] of shown) {
      assert.deepStrictEqual(JSON.parse(text), JSON.parse(readFileSync(join(folder, name), "utf8")))
    }
    const rules = readdirSync(folder).filter((name) => name.endsWith("alerts.yaml"))
    const told = ofKind(objects, "PrometheusRule")
    assert.deepStrictEqual(
      told.map((one) => one.spec),
      rules.map((name) => parse(readFileSync(join(folder, name), "utf8")).spec)
    )
    for (const one of told) assert.strictEqual(one.metadata.labels["release"], "prometheus")
    const none = await withValues(helm, {})
    for (const kind of ["ConfigMap", "PrometheusRule", "PodMonitor", "ServiceMonitor"]) {
      assert.deepStrictEqual(ofKind(none, kind), [], kind)
    }
  })

  it("what is added is there, with its templates expanded", async () => {
    const objects = await render(helm, "--values", valuesOf("keda"))
    const own = container(objects, "task-executor")
    assert.strictEqual(own.args.at(-1), "--ttl=15s")
    assert.strictEqual(envOf(own).get("TZ"), "UTC")
    assert.deepStrictEqual(own.envFrom, [{ configMapRef: { name: "proxy" } }])
    assert.strictEqual(pod(objects, "task-executor").volumes.at(-1).configMap.name, "demo-scripts")
    assert.strictEqual(pod(objects, "task-executor").containers[1].name, "proxy")
    assert.deepStrictEqual(ofKind(objects, "ConfigMap").map((one) => one.metadata.name), ["demo-scripts", "demo-text"])
    assert.strictEqual(pod(objects, "coordinator").containers.length, 1)
  })

  it("images by tag or digest, from a registry of one's own or of all charts", async () => {
    const image = async (values: object) => container(await withValues(helm, values), "failover").image
    const { appVersion } = parse(readFileSync(join(chart, "Chart.yaml"), "utf8"))
    assert.strictEqual(await image({}), `heddle/heddle:${appVersion}`)
    assert.strictEqual(
      await image({ image: { registry: "r.example.com", repository: "a/b", tag: "1" } }),
      "r.example.com/a/b:1"
    )
    assert.strictEqual(
      await image({
        global: { imageRegistry: "all.example.com", other: { chart: 1 } },
        image: { registry: "r.example.com", tag: "1" }
      }),
      "all.example.com/heddle/heddle:1"
    )
    const secrets = await withValues(helm, { global: { imagePullSecrets: ["a"] }, imagePullSecrets: [{ name: "b" }] })
    assert.deepStrictEqual(pod(secrets, "failover").imagePullSecrets, [{ name: "a" }, { name: "b" }])
  })

  it("names fit whatever the release is called, and everything is where it was asked for", async () => {
    const long = `a.${"very-".repeat(9)}long`
    const { code, err, out } = await run(helm, [
      "template",
      long,
      chart,
      "-n",
      "engine",
      "--set",
      "nats.url=nats://n:4222"
    ])
    assert.strictEqual(code, 0, err)
    const names = parseAllDocuments(out).map((one) => one.toJS()).filter((one) => one?.kind === "Deployment").map((
      one
    ) => one.metadata.name)
    assert.strictEqual(names.length, 5)
    // a pod's name, which is its member's, is this, a hyphen, ten characters, a hyphen and five characters, cut to 63
    for (const name of names) assert.match(name, /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/)
    const elsewhere = await render(helm, "--values", valuesOf("no-gateway"))
    for (const one of elsewhere) {
      assert.strictEqual(one.metadata.namespace, "elsewhere", `${one.kind} ${one.metadata.name}`)
      assert.match(one.metadata.name, /^(mesh-|own$)/)
    }
    const { metadata } = deployment(await render(helm, "--values", valuesOf("ha")), "coordinator")
    assert.strictEqual(metadata.labels.team, "platform")
    assert.strictEqual(metadata.annotations["example.com/owner"], "platform")
  })

  it("helm test: pods that clean up after themselves, with the pool that was asked for", async () => {
    const scripts = (objects: ReadonlyArray<Rendered>) =>
      Object.fromEntries(
        ofKind(objects, "Pod").map((one) => {
          assert.strictEqual(one.metadata.annotations["helm.sh/hook"], "test")
          assert.strictEqual(
            one.metadata.annotations["helm.sh/hook-delete-policy"],
            "before-hook-creation,hook-succeeded"
          )
          assert.isFalse(one.spec.automountServiceAccountToken)
          return [one.spec.containers[0].name, one.spec.containers[0].args[0]]
        })
      )
    const own = scripts(await withValues(helm, {}))
    assert.sameMembers(Object.keys(own), ["doctor", "claim", "workflow"])
    assert.match(own["claim"], /pools apply "\$pool" --provider inline/)
    const first = scripts(await withValues(helm, { pools: [sandboxPool()] }))
    assert.match(first["claim"], /^pool=engine\/web$/m)
    assert.notMatch(first["claim"], /pools apply/)
    assert.match(scripts(await withValues(helm, { tests: { pool: "a/b" } }))["workflow"], /^pool=a\/b$/m)
    assert.deepStrictEqual(scripts(await withValues(helm, { tests: { enabled: false } })), {})
  })

  it("notes: what to do next, and what is not safe", async () => {
    const notes = async (...args: ReadonlyArray<string>) => {
      const { code, err, out } = await run(helm, [
        "install",
        "demo",
        chart,
        "-n",
        "engine",
        "--dry-run=client",
        ...args
      ])
      assert.strictEqual(code, 0, err)
      return out.slice(out.indexOf("\nNOTES:"))
    }
    const minimal = await notes("--values", valuesOf("minimal"))
    assert.match(minimal, /helm test demo -n engine/)
    assert.match(minimal, /kind: SandboxPool/)
    assert.match(minimal, /port-forward service\/demo-heddle-gateway 8080:80/)
    assert.match(
      minimal,
      /WARNING\n {2}- nats\.streamReplicas is 1.*\n {2}- nats\.sync is not `always`.*\n {2}- nats\.auth\.type is none.*\n {2}- gateway\.token is not set.*\n/
    )
    const safe = await notes("--values", valuesOf("ha"))
    assert.notMatch(safe, /WARNING/)
    assert.match(await notes("--values", valuesOf("no-gateway")), /failover\.replicas is 1/)
    assert.match(await notes("--values", valuesOf("single-namespace")), /kubectl get heddle/)
  })
})
