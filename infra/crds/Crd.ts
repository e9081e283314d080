/**
 * Custom resource definitions made from the Effect Schemas of shared/protocol: what `npm run crds` writes and its test compares with.
 *
 * Keeps true: the schemas are structural (every field has a type, no `$ref`, nothing but value validation below `anyOf`), a duration is an int-or-string, what heddle does
 * not look into is preserved, and descriptions are the doc comments of the source. What a Schema cannot say (CEL rules, list keys, defaults) stands here by path.
 */
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Yaml from "yaml"
import * as SandboxEnv from "../../shared/protocol/SandboxEnv.ts"
import * as SandboxPool from "../../shared/protocol/SandboxPool.ts"
import * as Comments from "../docs/Comments.ts"
import { isJson, type Json } from "../docs/TypeText.ts"

const root = join(import.meta.dirname, "..", "..")
const generated = "# Made by `npm run crds` from shared/protocol. Do not edit.\n"

/** By path below `openAPIV3Schema`, `*` for the items of a list: what is added to the converted schema. */
type Overlay = Readonly<Record<string, Json>>

/** `at`: the field that the message is shown at, below the one that has the rule. Shown with `why`. */
const rule = (
  rule: string,
  message: string,
  at?: string,
  why: "Required" | "Forbidden" | "Invalid" = "Invalid"
): Json => ({
  rule,
  message,
  ...(at === undefined ? {} : { fieldPath: at, reason: `FieldValue${why}` })
})
const text = (description: string): Json => ({ description })
const defaultPattern = /^-?9007199254740991$/

/** A JSON Schema (draft 2020-12, as Effect writes it) as a structural schema of Kubernetes. Throws, at build time, on what has no such form. */
const structural = (schema: unknown, definitions: Json, path: string, seen: ReadonlyArray<string> = []): Json => {
  const fail = (why: string): never => {
    throw new Error(`${path}: ${why}`)
  }
  if (!isJson(schema)) return { "x-kubernetes-preserve-unknown-fields": true }
  const { $ref: ref, allOf, anyOf, const: constant, ...rest } = schema
  if (typeof ref === "string") {
    const name = ref.split("/").at(-1) ?? ""
    if (seen.includes(name)) return fail("a schema that contains itself has no structural form")
    return structural(definitions[name], definitions, path, [...seen, name])
  }
  const inner = (part: unknown, name: string) => structural(part, definitions, `${path}.${name}`, seen)
  if (Array.isArray(anyOf)) {
    const parts = anyOf.filter((part) => !(isJson(part) && part["type"] === "null"))
    const nullable = parts.length < anyOf.length ? { nullable: true } : {}
    const [first] = parts
    if (parts.length === 1) return { ...inner(first, "anyOf"), ...nullable }
    const types = parts.map((part) => isJson(part) ? part["type"] : undefined)
    if (types.every((type) => type === "string" || type === "number" || type === "integer")) {
      const text = parts.find((part) => isJson(part) && part["type"] === "string")
      const number = parts.find((part) => isJson(part) && part["type"] !== "string")
      return {
        "x-kubernetes-int-or-string": true,
        anyOf: [{ type: "integer" }, { type: "string" }],
        ...(isJson(text) && text["pattern"] !== undefined ? { pattern: text["pattern"] } : {}),
        ...(isJson(number) && number["minimum"] !== undefined ? { minimum: number["minimum"] } : {}),
        ...nullable
      }
    }
    if (!types.every((type) => type === "object")) return fail(`a union of ${types.join(", ")} has no structural form`)
    // A tagged union: the fields of all members, of which each member asks for its own.
    const members = parts.map((part, index) => inner(part, `anyOf[${index}]`))
    const properties: Record<string, Json> = {}
    for (const member of members) {
      for (const [name, part] of Object.entries(isJson(member["properties"]) ? member["properties"] : {})) {
        if (!isJson(part)) continue
        const other = properties[name]
        if (other === undefined) properties[name] = part
        else if (Array.isArray(other["enum"]) && Array.isArray(part["enum"])) {
          properties[name] = { ...other, enum: [...new Set([...other["enum"], ...part["enum"]])] }
        } else if (JSON.stringify(other) !== JSON.stringify(part)) fail(`the members of the union disagree on ${name}`)
      }
    }
    return {
      type: "object",
      properties,
      oneOf: members.map((member) => ({
        ...(member["required"] === undefined ? {} : { required: member["required"] }),
        properties: Object.fromEntries(
          Object.entries(isJson(member["properties"]) ? member["properties"] : {}).flatMap(([name, part]) =>
            isJson(part) && Array.isArray(part["enum"]) ? [[name, { enum: part["enum"] }]] : []
          )
        )
      })),
      ...nullable
    }
  }
  if (constant !== undefined) return { type: typeof constant, enum: [constant] }
  const isOpen = Array.isArray(allOf) &&
    allOf.every((part) => isJson(part) && isJson(part["additionalProperties"]) && part["type"] === "object")
  if (Array.isArray(allOf) && !isOpen) {
    return structural({ ...Object.assign({}, rest, ...allOf.filter(isJson)) }, definitions, path, seen)
  }
  const result: Record<string, unknown> = { ...rest }
  delete result["additionalProperties"]
  for (const bound of ["minimum", "maximum"] as const) {
    const exclusive = bound === "minimum" ? "exclusiveMinimum" : "exclusiveMaximum"
    if (typeof result[exclusive] === "number") {
      result[bound] = result[exclusive]
      result[exclusive] = true
    }
    // The limits of JavaScript's integers are no limits of the contract.
    if (defaultPattern.test(String(result[bound]))) delete result[bound]
  }
  if (rest["type"] === "integer") result["format"] = "int64"
  if (typeof rest["pattern"] === "string" && rest["pattern"].startsWith("^\\d{4}-")) {
    delete result["pattern"]
    result["format"] = "date-time"
  }
  if (rest["type"] === "array") result["items"] = inner(rest["items"], "*")
  if (rest["type"] === "object") {
    const { additionalProperties, properties } = rest
    if (isJson(properties)) {
      result["properties"] = Object.fromEntries(
        Object.entries(properties).map(([name, part]) => [name, inner(part, name)])
      )
      if (isOpen) result["x-kubernetes-preserve-unknown-fields"] = true
    } else if (isJson(additionalProperties) && Object.keys(additionalProperties).length > 0) {
      result["additionalProperties"] = inner(additionalProperties, "{}")
    } else result["x-kubernetes-preserve-unknown-fields"] = true
  } else if (rest["type"] === undefined) result["x-kubernetes-preserve-unknown-fields"] = true
  return result
}

const described = (schema: Json, comments: Comments.Comments, exports: ReadonlyArray<string>): Json => {
  const { properties } = schema
  if (!isJson(properties)) return schema
  return {
    ...schema,
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, part]) => {
        const text = exports.map((of) => comments.ofField.get(`${of}.${name}`)).find((one) => one !== undefined)
        const unit = isJson(part) && part["x-kubernetes-int-or-string"] === true ? " `30s`, `5m`, or milliseconds." : ""
        return [name, isJson(part) && text !== undefined ? { description: text + unit, ...part } : part]
      })
    )
  }
}

const overlaid = (schema: Json, overlay: Overlay, path: string): Json => {
  const added = overlay[path] ?? {}
  const { additionalProperties, items, properties } = schema
  return {
    ...schema,
    ...added,
    ...(isJson(properties)
      ? {
        properties: Object.fromEntries(
          Object.entries(properties).map(([name, part]) => [
            name,
            isJson(part) ? overlaid(part, overlay, path === "" ? name : `${path}.${name}`) : part
          ])
        )
      }
      : {}),
    ...(isJson(items) ? { items: overlaid(items, overlay, `${path}.*`) } : {}),
    ...(isJson(additionalProperties)
      ? { additionalProperties: overlaid(additionalProperties, overlay, `${path}.{}`) }
      : {})
  }
}

interface Kind {
  readonly kind: string
  readonly plural: string
  readonly shortName: string
  readonly description: string
  readonly specText: string
  readonly spec: Schema.Constraint
  readonly status: Schema.Constraint
  readonly overlay: Overlay
  /** Exports whose fields' comments describe the fields, by path. */
  readonly comments: Readonly<Record<string, ReadonlyArray<string>>>
  readonly columns: ReadonlyArray<Json>
  readonly scale: Json | undefined
}

const conditions = { "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] }
const nameRule = rule(
  "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
  "a name of at most 63 of a-z 0-9 -, beginning and ending with a letter or digit: it is part of subjects and labels",
  ".metadata.name"
)
const column = (name: string, type: string, jsonPath: string, description: string, priority = 0): Json => ({
  name,
  type,
  jsonPath,
  description,
  ...(priority === 0 ? {} : { priority })
})
const readyReason = ".status.conditions[?(@.type=='Ready')].reason"
const age = column("Age", "date", ".metadata.creationTimestamp", "Since when it exists")

export const kinds: ReadonlyArray<Kind> = [
  {
    kind: "SandboxPool",
    plural: "sandboxpools",
    shortName: "sbp",
    description: "A pool of warm sandboxes that programs claim over NATS and tasks of workflows run in.",
    specText: "What the pool is to be.",
    spec: SandboxPool.SandboxPoolSpec,
    status: SandboxPool.SandboxPoolStatus,
    comments: {
      spec: ["SandboxPoolSpec", "PoolSpec"],
      "spec.reset": ["PodReset"],
      "spec.template": ["PodTemplate"],
      "spec.agent": ["AgentSettings"],
      "spec.autoscale": ["Autoscale"],
      "spec.recycle": ["Recycle"],
      "spec.quotas": ["Quotas"],
      "spec.autoscale.policies.*": ["ScalePolicyUse"],
      status: ["SandboxPoolStatus"],
      "status.conditions.*": ["Condition"]
    },
    overlay: {
      "": { "x-kubernetes-validations": [nameRule] },
      spec: {
        "x-kubernetes-validations": [
          rule(
            "self.provider != 'kubernetes' || has(self.template)",
            "a pool of provider kubernetes needs a template",
            ".template",
            "Required"
          ),
          rule(
            "self.provider == oldSelf.provider",
            "the provider of a pool stays: make another pool",
            ".provider",
            "Forbidden"
          ),
          rule(
            "self.provider == 'kubernetes' || (!has(self.template) && !has(self.reset))",
            "template and reset are for the provider kubernetes; config is for the others"
          ),
          rule(
            "self.provider == 'kubernetes' || (!has(self.exec) && !has(self.agent))",
            "exec and agent are for the provider kubernetes"
          ),
          rule(
            "!has(self.exec) || self.exec != 'agent' || has(self.agent)",
            "exec: agent needs agent.natsUrl: where pods reach NATS",
            ".agent",
            "Required"
          ),
          rule(
            "!has(self.agent) || (has(self.exec) && self.exec == 'agent')",
            "agent is for exec: agent only: write exec: agent, or leave agent out",
            ".agent",
            "Forbidden"
          ),
          rule(
            "has(self.size) || has(self.autoscale)",
            "a pool names its size, or has autoscale: {} to follow its demand",
            ".size",
            "Required"
          ),
          rule(
            "has(self.autoscale) || (!has(self.min) && !has(self.max) && !has(self.minIdle))",
            "min, max and minIdle are for pools that follow their demand: add autoscale: {}, or leave them out",
            ".autoscale",
            "Required"
          ),
          rule("!has(self.min) || !has(self.max) || self.min <= self.max", "min is greater than max", ".min"),
          rule(
            "!has(self.minIdle) || !has(self.max) || self.minIdle <= self.max",
            "minIdle is greater than max",
            ".minIdle"
          )
        ]
      },
      "spec.provider": { default: "kubernetes" },
      "spec.template.metadata": text("Labels and annotations that each pod is given besides heddle's own."),
      "spec.config": text("For other providers than `kubernetes`: what they take."),
      "spec.labels": { maxProperties: 64 },
      "spec.template.metadata.labels": {
        ...text("Not under heddle.dev/."),
        maxProperties: 64,
        "x-kubernetes-validations": [
          rule("self.all(key, !key.startsWith('heddle.dev/'))", "labels under heddle.dev/ are heddle's own")
        ]
      },
      "spec.template.metadata.annotations": {
        ...text("Not under heddle.dev/, but for heddle.dev/protected."),
        maxProperties: 64,
        "x-kubernetes-validations": [
          rule(
            "self.all(key, !key.startsWith('heddle.dev/') || key == 'heddle.dev/protected')",
            "annotations under heddle.dev/ are heddle's own, but for heddle.dev/protected"
          )
        ]
      },
      "spec.template.spec.containers": {
        ...text("At least one; fields beyond name and image are checked when a pod is made."),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"]
      },
      "spec.reset": {
        "x-kubernetes-validations": [
          rule("self.method != 'exec' || has(self.command)", "the method exec needs a command", ".command", "Required"),
          rule(
            "self.method == 'restart' || !has(self.alternates)",
            "alternates are for the method restart",
            ".alternates",
            "Forbidden"
          )
        ]
      },
      "spec.template.spec.containers.*.name": text("Unique in the pod."),
      "spec.template.spec.containers.*.image": text("What it runs."),
      "status.phases.starting": text("Not ready yet."),
      "status.phases.idle": text("A claim would get one at once."),
      "status.phases.running": text("Claimed: somebody holds them."),
      "status.phases.stopping": text("Given back, and not idle again yet."),
      "spec.reset.alternates": { maxProperties: 64 },
      "status.conditions": conditions
    },
    columns: [
      column("Status", "string", readyReason, "Serving, or why not"),
      column("Ready", "string", ".status.ready", "Sandboxes that are idle or claimed, of all"),
      column("Idle", "integer", ".status.phases.idle", "Sandboxes that a claim would get at once"),
      column("Claimed", "integer", ".status.phases.running", "Sandboxes that somebody holds"),
      column("Waiting", "integer", ".status.pendingRequests", "Claims that wait for a sandbox"),
      column("Provider", "string", ".spec.provider", "Where the sandboxes come from", 1),
      column("Team", "string", ".spec.team", "Whose pool it is", 1),
      column("Env", "string", ".spec.env", "The env that it belongs to", 1),
      column("Owner", "string", ".status.owner", "The pool scheduler that serves the pool", 1),
      column("Session", "integer", ".status.session", "Grows with each change of owner", 1),
      column("Heard", "date", ".status.lastHeartbeatTime", "When its owner last wrote", 1),
      age
    ],
    scale: {
      specReplicasPath: ".spec.size",
      statusReplicasPath: ".status.replicas",
      labelSelectorPath: ".status.selector"
    }
  },
  {
    kind: "SandboxEnv",
    plural: "sandboxenvs",
    shortName: "sbe",
    description: "A group of pools; a claim to it goes to the member that is best at that moment.",
    specText: "Which pools belong to it.",
    spec: SandboxEnv.SandboxEnvSpec,
    status: SandboxEnv.SandboxEnvStatus,
    comments: {
      spec: ["SandboxEnvSpec", "EnvSpec"],
      "spec.members.*": ["EnvMember"],
      "spec.weights": ["EnvWeights"],
      status: ["SandboxEnvStatus"],
      "status.members.*": ["SandboxEnvMember"],
      "status.conditions.*": ["Condition"]
    },
    overlay: {
      "": { "x-kubernetes-validations": [nameRule] },
      spec: {
        "x-kubernetes-validations": [
          rule(
            "(has(self.members) && size(self.members) > 0) || (has(self.selector) && size(self.selector) > 0)",
            "an env without members and selector would hold no pool",
            ".members",
            "Required"
          )
        ]
      },
      "spec.members": { maxItems: 100, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["pool"] },
      "spec.selector": { maxProperties: 64 },
      "status.conditions": conditions
    },
    columns: [
      column("Status", "string", readyReason, "Serving, or why not"),
      column("Ready", "string", ".status.ready", "Pools that take claims, of all that belong to it"),
      column("Selector", "string", ".spec.selector", "Labels of the pools that belong to it", 1),
      age
    ],
    scale: undefined
  }
]

const structuralOf = (schema: Schema.Constraint, path: string): Json => {
  const document = Schema.toJsonSchemaDocument(schema)
  return structural(document.schema, document.definitions as Json, path) // a JSON Schema document is JSON
}

const commented = (schema: Json, kind: Kind, comments: Comments.Comments, path: string): Json => {
  const exports = kind.comments[path]
  const one = exports === undefined ? schema : described(schema, comments, exports)
  const { items, properties } = one
  return {
    ...one,
    ...(isJson(properties)
      ? {
        properties: Object.fromEntries(
          Object.entries(properties).map((
            [name, part]
          ) => [name, isJson(part) ? commented(part, kind, comments, `${path}.${name}`) : part])
        )
      }
      : {}),
    ...(isJson(items) ? { items: commented(items, kind, comments, `${path}.*`) } : {})
  }
}

const has = (schema: unknown, path: ReadonlyArray<string>): boolean => {
  const [name, ...rest] = path
  if (name === undefined) return true
  if (!isJson(schema)) return false
  const { additionalProperties, items, properties } = schema
  if (name === "*") return has(items, rest)
  if (name === "{}") return has(additionalProperties, rest)
  return isJson(properties) && properties[name] !== undefined && has(properties[name], rest)
}

/** One definition, as the API server takes it. */
export const definition = (kind: Kind, comments: Comments.Comments) => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `${kind.plural}.${SandboxPool.group}` },
  spec: {
    group: SandboxPool.group,
    scope: "Namespaced",
    names: {
      kind: kind.kind,
      listKind: `${kind.kind}List`,
      plural: kind.plural,
      singular: kind.kind.toLowerCase(),
      shortNames: [kind.shortName],
      categories: ["heddle"]
    },
    versions: [{
      name: SandboxPool.version,
      served: true,
      storage: true,
      subresources: { status: {}, ...(kind.scale === undefined ? {} : { scale: kind.scale }) },
      additionalPrinterColumns: kind.columns,
      schema: {
        openAPIV3Schema: withOverlay(
          {
            type: "object",
            description: kind.description,
            required: ["spec"],
            properties: {
              apiVersion: { description: `\`${SandboxPool.apiVersion}\`.`, type: "string" },
              kind: { description: `\`${kind.kind}\`.`, type: "string" },
              // Nothing but names may be said of it here; the server knows the rest.
              metadata: { type: "object", properties: { name: { type: "string" } } },
              spec: {
                description: kind.specText,
                ...commented(structuralOf(kind.spec, "spec"), kind, comments, "spec")
              },
              status: {
                description: "What heddle tells of it. Only heddle writes it.",
                ...commented(structuralOf(kind.status, "status"), kind, comments, "status")
              }
            }
          },
          kind.overlay,
          ""
        )
      }
    }]
  }
})

/** A rule for a field that is not there would be lost without a word. */
function withOverlay(schema: Json, overlay: Overlay, path: string): Json {
  const lost = Object.keys(overlay).find((at) => at !== "" && !has(schema, at.split(".")))
  if (lost !== undefined) throw new Error(`the overlay is for a field that does not exist: ${lost}`)
  return overlaid(schema, overlay, path)
}

const sources = ["Env", "Pool", "SandboxPool", "SandboxEnv"]

/** Text by path from the top of the checkout. */
export const files = (): ReadonlyMap<string, string> => {
  const comments = Comments.read(
    sources.map((name) => readFileSync(join(root, "shared/protocol", `${name}.ts`), "utf8"))
  )
  return new Map(kinds.map((kind) => [
    `infra/crds/${SandboxPool.group}_${kind.plural}.yaml`,
    generated + Yaml.stringify(definition(kind, comments), { lineWidth: 120, aliasDuplicateObjects: false })
  ]))
}
