/**
 * What must hold for all objects of a release, whatever its values: as lists of problems, each with the object that has it.
 *
 * The Pod Security Standard "restricted" is that of kubernetes.io/docs/concepts/security/pod-security-standards; the rest is the chart's own promise (README, "What holds").
 */
import { type Rendered } from "./Helm.ts"

const nameOf = (object: Rendered): string => `${object.kind}/${object.metadata.name}`

/** Pods and pod templates, with what they belong to. */
export const podsOf = (
  objects: ReadonlyArray<Rendered>
): ReadonlyArray<{ readonly of: string; readonly spec: Rendered; readonly metadata: Rendered }> =>
  objects.flatMap((one) =>
    one.kind === "Pod"
      ? [{ of: nameOf(one), spec: one.spec, metadata: one.metadata }]
      : one.spec?.template?.spec?.containers !== undefined && !String(one.apiVersion).startsWith("heddle.dev/")
      ? [{ of: nameOf(one), spec: one.spec.template.spec, metadata: one.spec.template.metadata }]
      : []
  )

const volumeTypes = new Set([
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "persistentVolumeClaim",
  "projected",
  "secret"
])

/** Pod Security Standard "restricted", and a root file system that cannot be written to. */
export const restricted = (objects: ReadonlyArray<Rendered>): ReadonlyArray<string> =>
  podsOf(objects).flatMap(({ of, spec }) => {
    const found: Array<string> = []
    const tell = (isBad: boolean, what: string) => void (isBad && found.push(`${of}: ${what}`))
    const pod = spec.securityContext ?? {}
    tell(pod.runAsNonRoot !== true, "runAsNonRoot")
    tell(pod.runAsUser === 0, "runs as root")
    tell(!["RuntimeDefault", "Localhost"].includes(pod.seccompProfile?.type), "seccompProfile")
    for (const key of ["hostNetwork", "hostPID", "hostIPC", "hostUsers"]) tell(spec[key] === true, key)
    for (const volume of spec.volumes ?? []) {
      for (const type of Object.keys(volume)) {
        tell(type !== "name" && !volumeTypes.has(type), `volume ${volume.name}: ${type}`)
      }
    }
    for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
      const own = container.securityContext ?? {}
      tell(own.allowPrivilegeEscalation !== false, `${container.name}: allowPrivilegeEscalation`)
      tell(own.privileged === true, `${container.name}: privileged`)
      tell(!(own.capabilities?.drop ?? []).includes("ALL"), `${container.name}: capabilities`)
      tell((own.capabilities?.add ?? []).length > 0, `${container.name}: adds capabilities`)
      tell(own.readOnlyRootFilesystem !== true, `${container.name}: readOnlyRootFilesystem`)
      for (const port of container.ports ?? []) tell(port.hostPort !== undefined, `${container.name}: hostPort`)
    }
    return found
  })

/** What makes a pod a good neighbour. */
export const operable = (objects: ReadonlyArray<Rendered>): ReadonlyArray<string> =>
  podsOf(objects).flatMap(({ metadata, of, spec }) => {
    const found: Array<string> = []
    const tell = (isBad: boolean, what: string) => void (isBad && found.push(`${of}: ${what}`))
    tell(spec.enableServiceLinks !== false, "enableServiceLinks")
    tell(typeof spec.automountServiceAccountToken !== "boolean", "automountServiceAccountToken is not said")
    for (const label of ["name", "instance", "component", "version"]) {
      tell(metadata.labels?.[`app.kubernetes.io/${label}`] === undefined, `label ${label}`)
    }
    for (const container of spec.containers) {
      const { image, name, resources } = container
      tell(!/(:[^/:]+|@sha256:[0-9a-f]{64})$/.test(image) || image.endsWith(":latest"), `${name}: image ${image}`)
      tell(resources?.limits?.memory === undefined, `${name}: no memory limit`)
      for (
        const [key, { value }] of Object.entries<Rendered>(
          Object.fromEntries((container.env ?? []).map((one: Rendered) => [one.name, one]))
        )
      ) {
        tell(value !== undefined && typeof value !== "string", `${name}: ${key} is no text`)
        tell(
          value !== undefined && /PASSWORD|TOKEN|SEED|SECRET|WEBHOOK_URL|HEDDLE_NATS_USER$/.test(key),
          `${name}: ${key} in plain text`
        )
      }
      const names = (container.env ?? []).map((one: Rendered) => one.name)
      tell(new Set(names).size < names.length, `${name}: a variable twice`)
      const mounted = (container.volumeMounts ?? []).map((one: Rendered) => one.name)
      for (const volume of mounted) {
        tell(!(spec.volumes ?? []).some((one: Rendered) => one.name === volume), `${name}: no volume ${volume}`)
      }
      tell(!mounted.includes("tmp") && container.name !== "proxy", `${name}: nowhere to write`)
      for (const arg of container.args ?? []) {
        tell(/password|token|secret|creds|:\/\/[^/]*@/i.test(arg), `${name}: ${arg}`)
      }
    }
    return found
  })

const includes = (labels: Rendered, wanted: Rendered): boolean =>
  Object.entries(wanted ?? {}).every(([key, value]) => labels?.[key] === value)

/** Whatever names something names something that is there. */
export const connected = (objects: ReadonlyArray<Rendered>): ReadonlyArray<string> => {
  const found: Array<string> = []
  const named = (kind: string, name: string, namespace: string | undefined) =>
    objects.some((one) =>
      one.kind === kind && one.metadata.name === name &&
      (namespace === undefined || one.metadata.namespace === namespace)
    )
  const keys = objects.map((one) =>
    `${one.apiVersion} ${one.kind} ${one.metadata.namespace ?? ""}/${one.metadata.name}`
  )
  for (const [at, key] of keys.entries()) if (keys.indexOf(key) !== at) found.push(`twice: ${key}`)
  const deployments = objects.filter((one) => one.kind === "Deployment")
  const reaches = (selector: Rendered, namespace: string) =>
    deployments.filter((one) =>
      one.metadata.namespace === namespace && includes(one.spec.template.metadata.labels, selector)
    )
  for (const one of objects) {
    const { kind, metadata, spec } = one
    const tell = (isBad: boolean, what: string) => void (isBad && found.push(`${nameOf(one)}: ${what}`))
    const isOurs = metadata.labels?.["helm.sh/chart"] !== undefined
    tell(isOurs && metadata.labels["app.kubernetes.io/managed-by"] !== "Helm", "managed-by")
    switch (kind) {
      case "Deployment": {
        tell(reaches(spec.selector.matchLabels, metadata.namespace).length !== 1, "its selector fits other pods too")
        const account = spec.template.spec.serviceAccountName
        tell(
          account !== "shared" && !named("ServiceAccount", account, metadata.namespace),
          `no service account ${account}`
        )
        for (const { labelSelector } of spec.template.spec.topologySpreadConstraints ?? []) {
          tell(reaches(labelSelector.matchLabels, metadata.namespace)[0] !== one, "spreads others")
        }
        const scaled = objects.filter((each) =>
          (each.kind === "HorizontalPodAutoscaler" || each.kind === "ScaledObject") &&
          each.spec.scaleTargetRef.name === metadata.name
        )
        tell(scaled.length > 1, "scaled by two")
        tell((scaled.length === 1) === (spec.replicas !== undefined), "replicas and an autoscaler, or neither")
        break
      }
      case "PodDisruptionBudget":
        tell(reaches(spec.selector.matchLabels, metadata.namespace).length !== 1, "covers not one Deployment")
        break
      case "NetworkPolicy":
        tell(reaches(spec.podSelector.matchLabels, metadata.namespace).length !== 1, "covers not one Deployment")
        break
      case "HorizontalPodAutoscaler":
      case "ScaledObject":
        tell(!named("Deployment", spec.scaleTargetRef.name, metadata.namespace), "scales nothing")
        break
      case "Service": {
        const [target, ...others] = reaches(spec.selector, metadata.namespace)
        tell(target === undefined || others.length > 0, "leads not to one Deployment")
        for (const { targetPort } of spec.ports) {
          const ports = target?.spec.template.spec.containers.flatMap((each: Rendered) => each.ports ?? []) ?? []
          tell(!ports.some((port: Rendered) => port.name === targetPort), `no port ${targetPort}`)
        }
        break
      }
      case "Ingress":
        for (const rule of spec.rules) {
          const { service } = rule.http.paths[0].backend
          tell(!named("Service", service.name, metadata.namespace), `no service ${service.name}`)
        }
        break
      case "ServiceMonitor":
        tell(
          !objects.some((each) => each.kind === "Service" && includes(each.metadata.labels, spec.selector.matchLabels)),
          "selects no Service"
        )
        break
      case "PodMonitor":
        tell(
          reaches(spec.selector.matchLabels, metadata.namespace).length !== deployments.length,
          "does not select all"
        )
        break
      case "RoleBinding":
      case "ClusterRoleBinding":
        tell(
          !named(one.roleRef.kind, one.roleRef.name, metadata.namespace),
          `no ${one.roleRef.kind} ${one.roleRef.name}`
        )
        for (const subject of one.subjects) {
          const account = deployments.find((each) => each.spec.template.spec.serviceAccountName === subject.name)
          tell(
            account === undefined || account.metadata.namespace !== subject.namespace,
            `nobody runs as ${subject.name}`
          )
          tell(
            account?.spec.template.spec.automountServiceAccountToken === false,
            `${subject.name} has rights and no token`
          )
        }
        break
      default:
    }
  }
  return found
}
