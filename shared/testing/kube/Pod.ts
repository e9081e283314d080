/**
 * Pods as the API server keeps them: the defaults of core/v1, the validation that a client of ours can meet, what of a running pod may change (images,
 * activeDeadlineSeconds, added tolerations, a shorter grace), and the grace of a deletion. The priority and toleration admission plug-ins of a stock server are in `fill`.
 */
import { equal, isObject, type Json, type KubeObject } from "./Json.ts"
import { type Cause, cause } from "./Refusal.ts"
import { labelProblem, metadataField, metadataFields, type Resource, subdomainProblem } from "./Resource.ts"

const pullPolicy = (image: Json): string =>
  typeof image === "string" && (image.endsWith(":latest") || !/[:@][^/]*$/.test(image)) ? "Always" : "IfNotPresent"

const fillEnv = (env: Json): Json =>
  Array.isArray(env) &&
    env.some((one) => one?.valueFrom?.fieldRef !== undefined && one.valueFrom.fieldRef.apiVersion === undefined)
    ? env.map((one) =>
      one?.valueFrom?.fieldRef === undefined
        ? one
        : { ...one, valueFrom: { ...one.valueFrom, fieldRef: { apiVersion: "v1", ...one.valueFrom.fieldRef } } }
    )
    : env

const fillContainer = (container: Json): Json => {
  if (!isObject(container)) return container
  const ports = container.ports
  const env = fillEnv(container.env)
  if (
    container.terminationMessagePath !== undefined && container.terminationMessagePolicy !== undefined &&
    container.imagePullPolicy !== undefined && container.resources !== undefined && env === container.env &&
    (ports === undefined || ports.every((port: Json) => port?.protocol !== undefined))
  ) return container
  const requests = container.resources?.requests
  const limits = container.resources?.limits
  return {
    ...container,
    ...(env === undefined ? {} : { env }),
    ...(ports === undefined ? {} : { ports: ports.map((port: Json) => ({ protocol: "TCP", ...port })) }),
    imagePullPolicy: container.imagePullPolicy ?? pullPolicy(container.image),
    // what is limited and not requested is requested up to its limit
    resources: limits === undefined
      ? container.resources ?? {}
      : { ...container.resources, requests: { ...limits, ...requests } },
    terminationMessagePath: container.terminationMessagePath ?? "/dev/termination-log",
    terminationMessagePolicy: container.terminationMessagePolicy ?? "File"
  }
}

const fillContainers = (list: Json): Json => {
  if (!Array.isArray(list)) return list
  let next: Array<Json> | undefined
  for (let index = 0; index < list.length; index++) {
    const filled = fillContainer(list[index])
    if (filled !== list[index]) (next ??= [...list])[index] = filled
  }
  return next ?? list
}

const nodeTaints = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]

const fillTolerations = (tolerations: Json): Json => {
  const list: ReadonlyArray<Json> = Array.isArray(tolerations) ? tolerations : []
  const tolerates = (key: string) =>
    list.some((one) =>
      (one?.key === key || one?.key === undefined || one?.key === "") &&
      (one?.effect === undefined || one?.effect === "" || one?.effect === "NoExecute")
    )
  const missing = nodeTaints.filter((key) => !tolerates(key))
  return missing.length === 0
    ? tolerations
    : [...list, ...missing.map((key) => ({ key, operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 }))]
}

const specDefaults = {
  restartPolicy: "Always",
  terminationGracePeriodSeconds: 30,
  dnsPolicy: "ClusterFirst",
  schedulerName: "default-scheduler",
  enableServiceLinks: true,
  priority: 0,
  preemptionPolicy: "PreemptLowerPriority"
}

/** What core/v1 has in a pod's spec; what it has not is dropped, as a server does that was not asked to be strict. */
const specFields = new Set(
  ("volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName serviceAccount " +
    "automountServiceAccountToken nodeName hostNetwork hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets hostname subdomain affinity schedulerName tolerations " +
    "hostAliases priorityClassName priority dnsConfig readinessGates runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os " +
    "hostUsers schedulingGates resourceClaims resources").split(" ")
)
const objectFields = new Set(["apiVersion", "kind", "metadata", "spec", "status"])

const pruned = (object: Record<string, Json>, known: ReadonlySet<string>): Record<string, Json> => {
  for (const key in object) {
    if (known.has(key)) continue
    const kept: Record<string, Json> = {}
    for (const name in object) if (known.has(name)) kept[name] = object[name]
    return kept
  }
  return object
}

const lists = ["containers", "initContainers", "volumes", "tolerations", "imagePullSecrets"]

const typeProblem = (body: Json): string | undefined => {
  const spec = body?.spec
  if (spec === undefined || spec === null) return undefined
  if (!isObject(spec)) return "Pod in version \"v1\" cannot be handled as a Pod: v1.Pod.Spec: expected an object"
  for (const name of lists) {
    const list = spec[name]
    if (list === undefined || list === null) continue
    if (!Array.isArray(list) || list.some((item) => !isObject(item))) {
      return `Pod in version "v1" cannot be handled as a Pod: v1.Pod.Spec.${name}: expected a list of objects`
    }
    if (!name.endsWith("ontainers")) continue
    for (const container of list) {
      for (const inner of ["env", "ports", "volumeMounts", "command", "args"]) {
        if (container[inner] !== undefined && container[inner] !== null && !Array.isArray(container[inner])) {
          return `Pod in version "v1" cannot be handled as a Pod: v1.Pod.Spec.${name}.${inner}: expected a list`
        }
      }
      if (container.image !== undefined && typeof container.image !== "string") {
        return `Pod in version "v1" cannot be handled as a Pod: v1.Pod.Spec.${name}.image: expected a string`
      }
      for (const env of container.env ?? []) {
        if (env?.value !== undefined && env.value !== null && typeof env.value !== "string") {
          return `Pod in version "v1" cannot be handled as a Pod: v1.EnvVar.Value: ReadString: expects " or n`
        }
      }
    }
  }
  return undefined
}

const fill = (sent: KubeObject, previous?: KubeObject): KubeObject => {
  const object = pruned(sent, objectFields) as KubeObject // what every object has is known
  if (!isObject(object.spec) || object.spec === previous?.spec) return object
  const spec = pruned(object.spec, specFields)
  const containers = fillContainers(spec.containers)
  const initContainers = fillContainers(spec.initContainers)
  const tolerations = fillTolerations(spec.tolerations)
  const isWhole = containers === spec.containers && initContainers === spec.initContainers &&
    tolerations === spec.tolerations && spec.securityContext !== undefined &&
    spec.serviceAccount === spec.serviceAccountName &&
    Object.keys(specDefaults).every((key) => spec[key] !== undefined)
  if (isWhole) return spec === object.spec ? object : { ...object, spec }
  const account = spec.serviceAccountName ?? spec.serviceAccount
  return {
    ...object,
    spec: {
      ...specDefaults,
      securityContext: {},
      ...spec,
      ...(account === undefined ? {} : { serviceAccountName: account, serviceAccount: account }),
      containers,
      ...(initContainers === undefined ? {} : { initContainers }),
      ...(tolerations === undefined ? {} : { tolerations })
    }
  }
}

const qosClass = (spec: Json): string => {
  const containers: ReadonlyArray<Json> = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]
  const compute = (list: Json) => Object.entries(list ?? {}).filter(([name]) => name === "cpu" || name === "memory")
  const isNothing = containers.every((one) =>
    compute(one?.resources?.requests).length === 0 && compute(one?.resources?.limits).length === 0
  )
  if (isNothing) return "BestEffort"
  const isGuaranteed = containers.every((one) => {
    const limits = one?.resources?.limits
    return limits?.cpu !== undefined && limits?.memory !== undefined &&
      compute(one.resources.requests).every(([name, amount]) => equal(limits[name], amount))
  })
  return isGuaranteed ? "Guaranteed" : "Burstable"
}

const validateContainers = (list: Json, path: string, names: Set<string>): Array<Cause> => {
  const causes: Array<Cause> = []
  if (!Array.isArray(list)) return causes
  list.forEach((container, index) => {
    const at = `${path}[${index}]`
    const name = container?.name
    if (typeof name !== "string" || name === "") causes.push(cause.required(`${at}.name`))
    else {
      const problem = labelProblem(name)
      if (problem !== undefined) causes.push(cause.invalid(`${at}.name`, name, problem))
      if (names.has(name)) causes.push(cause.duplicate(`${at}.name`, name))
      names.add(name)
    }
    const image = container?.image
    if (typeof image !== "string" || image === "") causes.push(cause.required(`${at}.image`))
    else if (image.trim() !== image) {
      causes.push(cause.invalid(`${at}.image`, image, "must not have leading or trailing whitespace"))
    }
    if (!["Always", "IfNotPresent", "Never"].includes(container?.imagePullPolicy)) {
      causes.push(
        cause.notSupported(`${at}.imagePullPolicy`, container?.imagePullPolicy, ["Always", "IfNotPresent", "Never"])
      )
    }
    for (const [number, env] of (container?.env ?? []).entries()) {
      if (typeof env?.name !== "string" || env.name === "") causes.push(cause.required(`${at}.env[${number}].name`))
      else if (!/^[-._a-zA-Z][-._a-zA-Z0-9]*$/.test(env.name)) {
        causes.push(
          cause.invalid(
            `${at}.env[${number}].name`,
            env.name,
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')"
          )
        )
      }
      if (env?.valueFrom !== undefined && env?.value !== undefined && env.value !== "") {
        causes.push(
          cause.invalid(`${at}.env[${number}].valueFrom`, "", "may not be specified when `value` is not empty")
        )
      }
    }
    for (const [number, port] of (container?.ports ?? []).entries()) {
      const value = port?.containerPort
      if (value === undefined || value === 0) causes.push(cause.required(`${at}.ports[${number}].containerPort`))
      else if (!Number.isInteger(value) || value < 1 || value > 65_535) {
        causes.push(
          cause.invalid(`${at}.ports[${number}].containerPort`, value, "must be between 1 and 65535, inclusive")
        )
      }
    }
  })
  return causes
}

/** Those that need no domain. */
const standardFinalizers = new Set(["kubernetes", "orphan", "foregroundDeletion"])

const validate = (object: KubeObject): ReadonlyArray<Cause> => {
  const spec = object.spec
  if (!isObject(spec)) return [cause.required("spec.containers")]
  const names = new Set<string>()
  const causes: Array<Cause> = []
  if (!Array.isArray(spec.containers) || spec.containers.length === 0) causes.push(cause.required("spec.containers"))
  causes.push(...validateContainers(spec.containers, "spec.containers", names))
  causes.push(...validateContainers(spec.initContainers, "spec.initContainers", names))
  if (!["Always", "OnFailure", "Never"].includes(spec.restartPolicy)) {
    causes.push(cause.notSupported("spec.restartPolicy", spec.restartPolicy, ["Always", "OnFailure", "Never"]))
  }
  for (const [index, name] of (object.metadata.finalizers ?? []).entries()) {
    if (name.includes("/") || standardFinalizers.has(name)) continue
    causes.push(
      cause.invalid(
        `metadata.finalizers[${index}]`,
        name,
        "name is neither a standard finalizer name nor is it fully qualified"
      )
    )
  }
  if (Array.isArray(spec.tolerations)) {
    for (const [index, one] of spec.tolerations.entries()) {
      if (["Equal", "Exists", "", undefined].includes(one?.operator)) continue
      causes.push(
        cause.notSupported(`spec.tolerations[${index}].operator`, one.operator, ["Equal", "Exists"])
      )
    }
  }
  const grace = spec.terminationGracePeriodSeconds
  if (typeof grace === "number" && grace < 0) {
    causes.push(cause.invalid("spec.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0"))
  }
  const deadline = spec.activeDeadlineSeconds
  if (deadline !== undefined && (!Number.isInteger(deadline) || deadline < 1)) {
    causes.push(cause.invalid("spec.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
  }
  if (spec.nodeName !== undefined && subdomainProblem(spec.nodeName) !== undefined) {
    causes.push(cause.invalid("spec.nodeName", spec.nodeName, subdomainProblem(spec.nodeName) ?? ""))
  }
  const volumes = new Set((spec.volumes ?? []).map((volume: Json) => volume?.name))
  for (const [index, container] of (spec.containers ?? []).entries()) {
    for (const [number, mount] of (container?.volumeMounts ?? []).entries()) {
      if (!volumes.has(mount?.name)) {
        causes.push({
          reason: "FieldValueNotFound",
          field: `spec.containers[${index}].volumeMounts[${number}].name`,
          message: `Not found: ${JSON.stringify(mount?.name)}`
        })
      }
    }
  }
  return causes
}

const mutable =
  "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)"

/** The container's own fields that a running pod keeps. */
const sameBesidesImage = (next: Json, previous: Json): boolean => {
  if (next === previous) return true
  if (!Array.isArray(next) || !Array.isArray(previous)) return next === previous
  return next.length === previous.length && next.every((one, index) => {
    const other = previous[index]
    return one === other || equal(one?.image === other?.image ? one : { ...one, image: other?.image }, other)
  })
}

const validateUpdate = (next: KubeObject, previous: KubeObject): ReadonlyArray<Cause> => {
  const spec = next.spec
  const before = previous.spec
  if (spec === before) return []
  if ((spec?.containers?.length ?? 0) !== (before?.containers?.length ?? 0)) {
    return [cause.forbidden("spec.containers", "pod updates may not add or remove containers")]
  }
  if ((spec?.initContainers?.length ?? 0) !== (before?.initContainers?.length ?? 0)) {
    return [cause.forbidden("spec.initContainers", "pod updates may not add or remove containers")]
  }
  const causes: Array<Cause> = []
  const deadline = spec.activeDeadlineSeconds
  const deadlineBefore = before.activeDeadlineSeconds
  if (deadlineBefore !== undefined && deadline === undefined) {
    causes.push(
      cause.invalid("spec.activeDeadlineSeconds", null, "must not update from a positive integer to nil value")
    )
  } else if (deadlineBefore !== undefined && deadline > deadlineBefore) {
    causes.push(cause.invalid("spec.activeDeadlineSeconds", deadline, "must be less than or equal to previous value"))
  }
  const tolerations: ReadonlyArray<Json> = spec.tolerations ?? []
  const isExtended = (before.tolerations ?? []).every((old: Json) =>
    tolerations.some((one) => equal(one, old) || equal({ ...one, tolerationSeconds: old?.tolerationSeconds }, old))
  )
  if (!isExtended) {
    causes.push(
      cause.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    )
  }
  const grace = spec.terminationGracePeriodSeconds === 1 && before.terminationGracePeriodSeconds < 0
    ? before.terminationGracePeriodSeconds
    : spec.terminationGracePeriodSeconds
  const isRest = sameBesidesImage(spec.containers, before.containers) &&
    sameBesidesImage(spec.initContainers, before.initContainers) &&
    equal({
      ...spec,
      containers: before.containers,
      initContainers: before.initContainers,
      activeDeadlineSeconds: before.activeDeadlineSeconds,
      tolerations: before.tolerations,
      terminationGracePeriodSeconds: grace
    }, before)
  if (!isRest) causes.push(cause.forbidden("spec", mutable))
  return causes
}

const graceSeconds = (object: KubeObject, asked: number | undefined): number => {
  // A pod that no kubelet has, or that has ended, waits for nobody.
  const phase = object.status?.phase
  if (
    object.spec?.nodeName === undefined || object.spec.nodeName === "" || phase === "Succeeded" || phase === "Failed"
  ) return 0
  const seconds = asked ?? object.spec?.terminationGracePeriodSeconds ?? 30
  return seconds < 0 ? 1 : seconds
}

const selectableFields = [
  ...metadataFields,
  "spec.nodeName",
  "spec.restartPolicy",
  "spec.schedulerName",
  "spec.serviceAccountName",
  "status.phase",
  "status.podIP",
  "status.nominatedNodeName"
]

const field = (object: KubeObject, name: string): string | undefined => {
  switch (name) {
    case "spec.nodeName":
      return object.spec?.nodeName ?? ""
    case "status.phase":
      return object.status?.phase ?? ""
    case "status.podIP":
      return object.status?.podIP ?? ""
    case "status.nominatedNodeName":
      return object.status?.nominatedNodeName ?? ""
    case "spec.restartPolicy":
    case "spec.schedulerName":
    case "spec.serviceAccountName":
      return object.spec?.[name.slice("spec.".length)] ?? ""
    default:
      return metadataField(object, name)
  }
}

export const resource: Resource = {
  group: "",
  version: "v1",
  plural: "pods",
  singular: "pod",
  kind: "Pod",
  listKind: "PodList",
  isNamespaced: true,
  shortNames: ["po"],
  isStrategicPatchSupported: true,
  strategy: {
    isCreatedByUpdate: false,
    isUnconditionalUpdateAllowed: true,
    hasGeneration: false,
    answersDeletedObject: true,
    hasStatus: true,
    initialStatus: (object) => ({ phase: "Pending", qosClass: qosClass(object.spec) }),
    fill,
    typeProblem,
    validate,
    validateUpdate,
    graceSeconds,
    name: subdomainProblem,
    selectableFields,
    field,
    bookmark: { spec: { containers: null }, status: {} }
  }
}
