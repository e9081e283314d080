/**
 * The names under which heddle keeps its part of a pod, and what Kubernetes takes as a name or a label. docs/design/kubernetes.md, "What stands on a pod".
 */

export const domain = "heddle.dev"

export const label = {
  /** The pool's name and its namespace in the mesh: what a watch selects by. */
  pool: `${domain}/pool`,
  namespace: `${domain}/namespace`,
  /** `Idle`, `Running` or `Stopping`: what the scheduler made of it. Whether an idle one has started is the kubelet's to say (Ready). */
  phase: `${domain}/phase`
} as const

export const annotation = {
  /** The name that the scheduler gave; the pod's own may differ where Kubernetes is stricter. */
  name: `${domain}/name`,
  claim: `${domain}/claim`,
  holder: `${domain}/holder`,
  ttlMs: `${domain}/ttl-ms`,
  /** Whose quota the claim counts against, for whom it was asked, and the batch that it is a part of. */
  team: `${domain}/team`,
  user: `${domain}/user`,
  batch: `${domain}/batch`,
  /** The pool session of the last write; an older session that sees a greater one here stops. */
  session: `${domain}/session`,
  /** JSON: environment that the claim asks for; processes started in the pod get it. */
  env: `${domain}/env`,
  /** JSON: what the claim changed and what stood there before. */
  undo: `${domain}/undo`,
  /** JSON: when the reset began and what it waits for. */
  reset: `${domain}/reset`,
  /** Written to find out that an earlier write can no longer happen. */
  fence: `${domain}/fence`,
  /** The subject of the pod's agent, and the public key that its tokens are made for. */
  agent: `${domain}/agent`,
  agentUser: `${domain}/agent-user`,
  /** How many claims it has served. */
  uses: `${domain}/uses`,
  /** `true`: an operator keeps the pod; it is neither claimed nor scaled down. */
  protected: `${domain}/protected`,
  /** The cluster autoscaler's: `false` on a pod that is claimed, and wherever else somebody put it. */
  safeToEvict: "cluster-autoscaler.kubernetes.io/safe-to-evict"
} as const

const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/
const qualifiedName = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const dnsLabel = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

export const isLabelValue = (text: string): boolean => labelValue.test(text)
export const isDnsLabel = (text: string): boolean => dnsLabel.test(text)

/** Of labels and annotations. */
export const isKey = (text: string): boolean => qualifiedName.test(text)

const isOurs = (key: string): boolean => key.startsWith(`${domain}/`) || key === annotation.safeToEvict

/** The first problem of labels that somebody asks for. */
export const labelsProblem = (labels: Readonly<Record<string, string>>): string | undefined => {
  for (const [key, value] of Object.entries(labels)) {
    if (isOurs(key)) return `the label ${key} is heddle's own`
    if (!isKey(key)) return `${JSON.stringify(key)} is no key of a label`
    if (!isLabelValue(value)) return `${JSON.stringify(value)} is no value of a label (${key})`
  }
  return undefined
}

export const annotationsProblem = (annotations: Readonly<Record<string, string>>): string | undefined => {
  for (const key of Object.keys(annotations)) {
    if (isOurs(key)) return `the annotation ${key} is heddle's own`
    if (!isKey(key)) return `${JSON.stringify(key)} is no key of an annotation`
  }
  return undefined
}

/** FNV-1a of 32 bits in base 36: tells names apart that become the same in lower case. */
const digest = (text: string): string => {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193) >>> 0
  return hash.toString(36).padStart(7, "0")
}

/** The pod's name for the scheduler's name: the same where Kubernetes takes it, otherwise a readable one that no other name becomes. */
export const podName = (name: string): string => {
  if (isDnsLabel(name)) return name
  const readable = name.toLowerCase().replaceAll(/[^a-z0-9-]+/g, "-").replaceAll(/^-+|-+$/g, "").slice(0, 54)
    .replaceAll(/-+$/g, "")
  return `${readable === "" ? "sandbox" : readable}-${digest(name)}`
}

export const selectorOf = (pool: { readonly namespace: string; readonly name: string }): string =>
  `${label.pool}=${pool.name},${label.namespace}=${pool.namespace}`
