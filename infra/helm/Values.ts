/**
 * The values of the Helm chart as Schemas: what `values.schema.json` and the table of the chart's README are made from (`npm run chart`).
 *
 * Keeps true: each field has a doc comment, which is its description everywhere; what comes from the contract (names, durations, the spec of a pool) is the contract's own
 * Schema, so Helm refuses what a mesh would refuse; what belongs to Kubernetes is left to Kubernetes.
 */
import * as Schema from "effect/Schema"
import { SandboxEnvSpec } from "../../shared/protocol/SandboxEnv.ts"
import { SandboxPoolSpec } from "../../shared/protocol/SandboxPool.ts"
import { Token } from "../../shared/protocol/Token.ts"

const optional = Schema.optionalKey
const Text = Schema.String
const Texts = Schema.Array(Schema.String)
/** Labels, annotations. */
const Map = Schema.Record(Schema.String, Schema.String)
/** A type of Kubernetes: what it may hold is the API server's business. */
const Free = Schema.Record(Schema.String, Schema.Unknown)
const Frees = Schema.Array(Free)
const count = (minimum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum: 1_000_000 }))
const Port = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))
const IntOrText = Schema.Union([Schema.Int, Schema.String])
/** A duration, or nothing: the service's own default. */
const DurationText = Schema.String.check(
  Schema.isPattern(/^((\d+(?:\.\d+)?)(ms|s|m|h|d))?$/u, { message: "a duration such as 30s, 5m, 24h, or empty" })
)
const KubeName = Schema.String.check(
  Schema.isPattern(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/u, { message: "a name of Kubernetes" }),
  Schema.isMaxLength(63)
)
const NatsUrl = Schema.String.check(
  Schema.isPattern(/^((nats|tls):\/\/[^@\s,]+(,(nats|tls):\/\/[^@\s,]+)*)?$/u, {
    message: "nats://host:4222, or several with commas; without user and password, which belong into a Secret"
  })
)

/** Where the image comes from. */
export const Image = Schema.Struct({
  /** Host of the registry; `global.imageRegistry` goes first. */
  registry: optional(Text),
  /** Path of the image. */
  repository: optional(Schema.String.check(Schema.isMinLength(1))),
  /** The chart's appVersion when empty. `latest` is refused: pods of one release must run one version. */
  tag: optional(Text),
  /** `sha256:...`; used instead of the tag. */
  digest: optional(
    Schema.String.check(Schema.isPattern(/^(sha256:[a-f0-9]{64})?$/u, { message: "sha256: and 64 hex digits" }))
  ),
  /** As in a pod. */
  pullPolicy: optional(Schema.Literals(["Always", "IfNotPresent", "Never"]))
}).annotate({ identifier: "Image" })

/** Keys inside the Secret. */
export const NatsAuthKeys = Schema.Struct({
  /** Of `type: creds`: a `.creds` file. */
  creds: optional(Text),
  /** Of `type: user`. */
  user: optional(Text),
  /** Of `type: user`. */
  password: optional(Text),
  /** Of `type: token`. */
  token: optional(Text)
}).annotate({ identifier: "NatsAuthKeys" })

/** Who a process is at NATS. */
export const NatsAuth = Schema.Struct({
  /** `creds`: a file, read again at each reconnect; `user`: user and password; `token`; `none`. */
  type: optional(Schema.Literals(["none", "creds", "user", "token"])),
  /** Secret that holds it, in the release's namespace. */
  existingSecret: optional(Text),
  /** Keys inside that Secret. */
  keys: optional(NatsAuthKeys)
}).annotate({ identifier: "NatsAuth" })

/** A key of a Secret or ConfigMap. */
export const KeyOf = Schema.Struct({
  /** Name of the object; not used when empty. */
  name: optional(Text),
  /** Key inside it. */
  key: optional(Text)
}).annotate({ identifier: "KeyOf" })

/** For `tls://` URLs. */
export const NatsTls = Schema.Struct({
  /** Secret with the certificate of an authority that the system does not know. */
  caSecret: optional(KeyOf)
}).annotate({ identifier: "NatsTls" })

/** The one thing that heddle needs. */
export const Nats = Schema.Struct({
  /** Required. `nats://nats.nats:4222`, several with commas, `tls://` for TLS. No user and password in it. */
  url: optional(NatsUrl),
  /** Identity of all components; a component's own `natsAuth` goes first (one user for each role: docs/design/permissions.md). */
  auth: optional(NatsAuth),
  /** TLS. */
  tls: optional(NatsTls),
  /** Replicas of each stream: 1, or 3 on a cluster of three servers. What an acknowledged write survives. */
  streamReplicas: optional(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 }))),
  /** The server's `sync_interval` (`always`, `2m`), so that the durability level can be told; empty: unknown. */
  sync: optional(Text),
  /** Address of the server's monitoring port (`http://nats-headless.nats:8222`); the same is then read from there. */
  monitorUrl: optional(Text),
  /** Bytes of task output kept in JetStream. */
  logsBytesMax: optional(Schema.Int.check(Schema.isBetween({ minimum: 1_048_576, maximum: 1_099_511_627_776 }))),
  /** Ports for NetworkPolicies; of the URLs when empty. */
  ports: optional(Schema.Array(Port))
}).annotate({ identifier: "Nats" })

/** Settings of the services (docs/reference/cli.md, "Environment"). Empty: the service's default. */
export const Config = Schema.Struct({
  /** How much is logged. */
  logLevel: optional(Schema.Literals(["trace", "debug", "info", "warn", "error", "none"])),
  /** The longest that a workflow may run, `24h`. */
  workflowMaxRunTime: optional(DurationText),
  /** An instance that waits longer leaves memory, `30s`. */
  passivateAfter: optional(DurationText),
  /** When the history of an ended instance moves to the archive: `30d`, `never`, `30d,batch=1d`. */
  archiveAfter: optional(Text),
  /** Alert sinks of workflows whose definition names none. */
  alerts: optional(Texts),
  /** Secret with the URL of the alert sink `webhook`. */
  alertWebhook: optional(KeyOf),
  /** Subject of the alert sink `nats`. */
  alertNatsSubject: optional(Text),
  /** Hosts that `http` tasks may ask; all when empty. */
  httpHosts: optional(Texts),
  /** Subjects of the mesh and the server that `nats` tasks may use all the same. */
  natsTaskSubjects: optional(Texts),
  /** Plugins of yours in all services: absolute paths of modules (`/plugins/kafka.js`, from `common.extraVolumes` or an image of yours). Without commas. */
  plugins: optional(
    Schema.Array(Schema.String.check(Schema.isPattern(/^[^,]+$/u, { message: "a module or package" })))
  ),
  /** Config of plugins by name, heddle's own among them. Everybody who may see pods sees it: what is secret belongs into a file of a Secret, named by `HEDDLE_PLUGIN_CONFIG` in `common.extraEnv`. */
  pluginConfig: optional(Schema.Record(Schema.String, Free)),
  /** Pools in agent mode: public key of the account. */
  agentAccount: optional(Text),
  /** Pools in agent mode: Secret with the seed of the account's signing key. */
  agentSeed: optional(KeyOf)
}).annotate({ identifier: "Config" })

/** Pools whose sandboxes are pods of this cluster. */
export const Kubernetes = Schema.Struct({
  /** Gives the pool scheduler and the executor rights and a token; false: neither has any. */
  enabled: optional(Schema.Boolean),
  /** Namespaces whose pods may be sandboxes; the release's when empty. A Role and a RoleBinding in each. */
  poolNamespaces: optional(Schema.Array(KubeName)),
  /** Every namespace: ClusterRoles instead. */
  clusterWide: optional(Schema.Boolean),
  /** SandboxPool and SandboxEnv objects of these namespaces are pools and envs of the mesh. */
  objects: optional(Schema.Boolean),
  /** Executors run processes in pods by `exec` of the API; false when all pools are in agent mode. */
  podExec: optional(Schema.Boolean),
  /** Pools with `reset.method: exec`: the pool scheduler may run their commands. */
  podReset: optional(Schema.Boolean)
}).annotate({ identifier: "Kubernetes" })

/** Roles. */
export const Rbac = Schema.Struct({
  /** Makes the Roles and their bindings. */
  create: optional(Schema.Boolean),
  /** Adds rights on SandboxPool and SandboxEnv to the cluster's roles view, edit and admin. Needs rights on ClusterRoles. */
  aggregate: optional(Schema.Boolean)
}).annotate({ identifier: "Rbac" })

/** The custom resource definitions. */
export const Crds = Schema.Struct({
  /** Installs and upgrades them. One release of a cluster does. */
  install: optional(Schema.Boolean),
  /** They stay when the release is uninstalled: with them go all SandboxPools and their pods. */
  keep: optional(Schema.Boolean)
}).annotate({ identifier: "Crds" })

/** A SandboxPool. */
export const Pool = Schema.Struct({
  /** Its name, and the pool's. */
  name: Token,
  /** Its namespace, and the pool's; the release's when empty. */
  namespace: optional(KubeName),
  /** More labels. */
  labels: optional(Map),
  /** More annotations. */
  annotations: optional(Map),
  /** As in a SandboxPool (`kubectl explain sandboxpool.spec`). */
  spec: SandboxPoolSpec
}).annotate({ identifier: "Pool" })

/** A SandboxEnv. */
export const Env = Schema.Struct({
  /** Its name, and the env's. */
  name: Token,
  /** Its namespace, and the env's; the release's when empty. */
  namespace: optional(KubeName),
  /** More labels. */
  labels: optional(Map),
  /** More annotations. */
  annotations: optional(Map),
  /** As in a SandboxEnv (`kubectl explain sandboxenv.spec`). */
  spec: SandboxEnvSpec
}).annotate({ identifier: "Env" })

/** A component's service account. */
export const ServiceAccount = Schema.Struct({
  /** Makes one; false: `name` is there. */
  create: optional(Schema.Boolean),
  /** Its name; made of the release's and the component's when empty. */
  name: optional(Text),
  /** More annotations. */
  annotations: optional(Map)
}).annotate({ identifier: "ServiceAccount" })

/** PodDisruptionBudget. */
export const Pdb = Schema.Struct({
  /** Makes one. */
  enabled: optional(Schema.Boolean),
  /** A number or a share. */
  maxUnavailable: optional(IntOrText)
}).annotate({ identifier: "Pdb" })

/** HorizontalPodAutoscaler (autoscaling/v2). */
export const Hpa = Schema.Struct({
  /** Makes one; `replicas` is then left to it. */
  enabled: optional(Schema.Boolean),
  /** Never fewer. */
  minReplicas: optional(count(1)),
  /** Never more. */
  maxReplicas: optional(count(1)),
  /** Of the CPU request, percent. */
  targetCPU: optional(count(1)),
  /** Instead of targetCPU: metrics as in an HPA. */
  metrics: optional(Frees),
  /** As in an HPA. */
  behavior: optional(Free)
}).annotate({ identifier: "Hpa" })

/** ScaledObject of KEDA. */
export const Keda = Schema.Struct({
  /** Makes one; `replicas` is then left to it. Not together with `hpa`. */
  enabled: optional(Schema.Boolean),
  /** Never fewer. */
  minReplicas: optional(count(0)),
  /** Never more. */
  maxReplicas: optional(count(1)),
  /** Seconds between two looks. */
  pollingInterval: optional(count(1)),
  /** Seconds before it goes down. */
  cooldownPeriod: optional(count(0)),
  /** As in a ScaledObject; templates are expanded. At least one. */
  triggers: optional(Frees),
  /** As in a ScaledObject. */
  advanced: optional(Free)
}).annotate({ identifier: "Keda" })

/** How pods are spread over zones and nodes. */
export const TopologySpread = Schema.Struct({
  /** Over zones and nodes, by two constraints. */
  enabled: optional(Schema.Boolean),
  /** When it cannot be. */
  whenUnsatisfiable: optional(Schema.Literals(["ScheduleAnyway", "DoNotSchedule"])),
  /** Instead of those two: as in a pod. */
  constraints: optional(Frees)
}).annotate({ identifier: "TopologySpread" })

/** When a pod counts as started, ready, alive. */
export const Probe = Schema.Struct({
  /** Has one. */
  enabled: optional(Schema.Boolean),
  /** Seconds before the first. */
  initialDelaySeconds: optional(count(0)),
  /** Seconds between two. */
  periodSeconds: optional(count(1)),
  /** Seconds for an answer. */
  timeoutSeconds: optional(count(1)),
  /** How many in a row. */
  failureThreshold: optional(count(1))
}).annotate({ identifier: "Probe" })

/** Fields of every component. */
export const component = {
  /** Pods. Each is a member of the mesh of its own; two or more take over from one another. */
  replicas: optional(count(0)),
  /** As in a pod. */
  resources: optional(Free),
  /** As in a Deployment. */
  strategy: optional(Free),
  /** Old ReplicaSets that are kept. */
  revisionHistoryLimit: optional(count(0)),
  /** More labels of pods. */
  podLabels: optional(Map),
  /** More annotations of pods. */
  podAnnotations: optional(Map),
  /** More annotations of the Deployment. */
  annotations: optional(Map),
  /** As in a pod. */
  nodeSelector: optional(Map),
  /** As in a pod. */
  tolerations: optional(Frees),
  /** As in a pod; templates are expanded. */
  affinity: optional(Free),
  /** Spread over zones and nodes. */
  topologySpread: optional(TopologySpread),
  /** As in a pod. */
  priorityClassName: optional(Text),
  /** As in a pod; PSS restricted when not changed. */
  podSecurityContext: optional(Free),
  /** As in a container; PSS restricted when not changed. */
  securityContext: optional(Free),
  /** From SIGTERM to SIGKILL; more than the service takes to hand over. */
  terminationGracePeriodSeconds: optional(count(1)),
  /** Seconds between the beginning of the end and SIGTERM, so that nobody sends to it any more. */
  preStopSleepSeconds: optional(count(0)),
  /** On /livez. */
  startupProbe: optional(Probe),
  /** On /readyz. */
  readinessProbe: optional(Probe),
  /** On /livez. */
  livenessProbe: optional(Probe),
  /** PodDisruptionBudget. */
  pdb: optional(Pdb),
  /** HorizontalPodAutoscaler. */
  hpa: optional(Hpa),
  /** ScaledObject of KEDA. */
  keda: optional(Keda),
  /** Service account. */
  serviceAccount: optional(ServiceAccount),
  /** Identity at NATS instead of `nats.auth`. */
  natsAuth: optional(NatsAuth),
  /** More arguments of `heddle serve`. */
  extraArgs: optional(Texts),
  /** More variables, as in a container; templates are expanded. */
  extraEnv: optional(Frees),
  /** More sources of variables, as in a container. */
  extraEnvFrom: optional(Frees),
  /** More volumes, as in a pod; templates are expanded. */
  extraVolumes: optional(Frees),
  /** Where they are mounted. */
  extraVolumeMounts: optional(Frees),
  /** More containers beside it; templates are expanded. */
  extraContainers: optional(Frees),
  /** More rules `egress` of its NetworkPolicy. */
  extraEgress: optional(Frees)
}

/** What all components have; each may say it differently. */
export const Common = Schema.Struct(component).annotate({ identifier: "Common" })

/** coordinator: decides and records each step of workflows. */
export const Coordinator = Schema.Struct(component).annotate({ identifier: "Coordinator" })

/** pool-scheduler: gives sandboxes out. */
export const PoolScheduler = Schema.Struct(component).annotate({ identifier: "PoolScheduler" })

/** task-executor: runs tasks in sandboxes. */
export const TaskExecutor = Schema.Struct({
  ...component,
  /** Tasks at the same time in one pod; the service's default (256) when 0. */
  slots: optional(count(0)),
  /** Draws from these pools only (`namespace/name`); from all when empty. */
  pools: optional(Texts)
}).annotate({ identifier: "TaskExecutor" })

/** failover: finds members that are gone, says so. */
export const Failover = Schema.Struct({
  ...component,
  /** From suspicion to event; the service's default (10s) when empty. */
  grace: optional(DurationText)
}).annotate({ identifier: "Failover" })

/** Of the gateway. */
export const Service = Schema.Struct({
  /** As in a Service. */
  type: optional(Schema.Literals(["ClusterIP", "NodePort", "LoadBalancer"])),
  /** Port that clients use. */
  port: optional(Port),
  /** More annotations. */
  annotations: optional(Map)
}).annotate({ identifier: "Service" })

/** Of the gateway. */
export const Ingress = Schema.Struct({
  /** Makes one. */
  enabled: optional(Schema.Boolean),
  /** Its class. */
  className: optional(Text),
  /** More annotations. */
  annotations: optional(Map),
  /** Host names; all paths of each. */
  hosts: optional(Texts),
  /** As in an Ingress. */
  tls: optional(Frees)
}).annotate({ identifier: "Ingress" })

/** gateway: HTTP API and console. */
export const Gateway = Schema.Struct({
  ...component,
  /** Runs one. */
  enabled: optional(Schema.Boolean),
  /** Secret with the token that callers of the API show; open to everybody who reaches it when empty. */
  token: optional(KeyOf),
  /** Origins of web sites that may ask beside its own (`https://heddle.example.com`): of a proxy that changes the name of the host. */
  origins: optional(Texts),
  /** Its Service. */
  service: optional(Service),
  /** Its Ingress. */
  ingress: optional(Ingress)
}).annotate({ identifier: "Gateway" })

/** NetworkPolicies: nothing but what each component needs. */
export const NetworkPolicy = Schema.Struct({
  /** Makes one for each component. */
  enabled: optional(Schema.Boolean),
  /** Peers that may read metrics (`from` of a rule); everybody when empty. */
  metricsFrom: optional(Frees),
  /** Peers that may reach the gateway; everybody when empty. */
  gatewayFrom: optional(Frees),
  /** Peers that NATS is at (`to` of a rule); any address at its port when empty. */
  natsTo: optional(Frees),
  /** Peers that the API server is at; any address at its ports when empty. */
  apiServerTo: optional(Frees),
  /** Ports of the API server. */
  apiServerPorts: optional(Schema.Array(Port))
}).annotate({ identifier: "NetworkPolicy" })

/** A PodMonitor or ServiceMonitor. */
export const Monitor = Schema.Struct({
  /** Makes it. */
  enabled: optional(Schema.Boolean),
  /** More labels, which Prometheus selects by. */
  labels: optional(Map),
  /** Between two scrapes; Prometheus' default when empty. */
  interval: optional(DurationText),
  /** As in the object. */
  relabelings: optional(Frees),
  /** As in the object. */
  metricRelabelings: optional(Frees)
}).annotate({ identifier: "Monitor" })

/** Objects that Grafana or Prometheus pick up. */
export const Picked = Schema.Struct({
  /** Makes them. */
  enabled: optional(Schema.Boolean),
  /** Labels that they are picked up by. */
  labels: optional(Map)
}).annotate({ identifier: "Picked" })

/** For the Prometheus operator and Grafana. */
export const Monitoring = Schema.Struct({
  /** One PodMonitor for all components. */
  podMonitor: optional(Monitor),
  /** A headless Service and a ServiceMonitor for each component. */
  serviceMonitor: optional(Monitor),
  /** Dashboards as ConfigMaps. */
  dashboards: optional(Picked),
  /** Alerts as a PrometheusRule. */
  rules: optional(Picked)
}).annotate({ identifier: "Monitoring" })

/** `helm test`. */
export const Tests = Schema.Struct({
  /** Has its pods. */
  enabled: optional(Schema.Boolean),
  /** Pool to claim from and to run in (`namespace/name`); empty: the first of `pools`, else a pool of slots that the test makes and deletes. */
  pool: optional(Text),
  /** Identity at NATS instead of `nats.auth`: that of a client. */
  natsAuth: optional(NatsAuth),
  /** As in a pod. */
  resources: optional(Free)
}).annotate({ identifier: "Tests" })

/** Fields of `Global` that mean something here. */
export const globalFields = {
  /** Registry of all images. */
  imageRegistry: optional(Text),
  /** Secrets for all images: names, or `name: ...`. */
  imagePullSecrets: optional(Schema.Array(Schema.Union([Schema.String, Free])))
}
/** What charts around this one give to all of theirs. */
export const Global = Schema.StructWithRest(Schema.Struct(globalFields), [Free]).annotate({ identifier: "Global" })

/** All of them. */
export const Values = Schema.Struct({
  /** From charts around this one. */
  global: optional(Global),
  /** Instead of the chart's name in the names of objects. */
  nameOverride: optional(Text),
  /** Instead of release and chart in the names of objects. */
  fullnameOverride: optional(Text),
  /** Instead of the release's namespace. */
  namespaceOverride: optional(Text),
  /** More labels of all objects. */
  commonLabels: optional(Map),
  /** More annotations of all objects. */
  commonAnnotations: optional(Map),
  /** The image of all components. */
  image: optional(Image),
  /** Secrets that it is pulled with: names, or `name: ...`. */
  imagePullSecrets: optional(Schema.Array(Schema.Union([Schema.String, Free]))),
  /** The server. */
  nats: optional(Nats),
  /** Settings of the services. */
  config: optional(Config),
  /** Pods as sandboxes. */
  kubernetes: optional(Kubernetes),
  /** Rights. */
  rbac: optional(Rbac),
  /** Definitions of SandboxPool and SandboxEnv. */
  crds: optional(Crds),
  /** Pools, as SandboxPool objects. */
  pools: optional(Schema.Array(Pool)),
  /** Envs, as SandboxEnv objects. */
  envs: optional(Schema.Array(Env)),
  /** Port of /livez, /readyz and /metrics in every pod. */
  statusPort: optional(Port),
  /** What all components have. */
  common: optional(Common),
  /** Decides and records each step of workflows. */
  coordinator: optional(Coordinator),
  /** Gives sandboxes out. */
  poolScheduler: optional(PoolScheduler),
  /** Runs tasks in sandboxes. */
  taskExecutor: optional(TaskExecutor),
  /** Finds members that are gone. */
  failover: optional(Failover),
  /** HTTP API and console. */
  gateway: optional(Gateway),
  /** NetworkPolicies. */
  networkPolicy: optional(NetworkPolicy),
  /** Prometheus and Grafana. */
  monitoring: optional(Monitoring),
  /** `helm test`. */
  tests: optional(Tests),
  /** More objects, as maps or as texts; templates are expanded. */
  extraObjects: optional(Schema.Array(Schema.Union([Schema.String, Free])))
}).annotate({ identifier: "Values" })
