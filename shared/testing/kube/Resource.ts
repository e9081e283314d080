/**
 * What the store needs to know of a kind: its names and scope, and the strategy by which its objects are defaulted, validated and deleted (the word is the API server's own).
 * The built-in kinds stand in Pod.ts and BuiltIn.ts, those of CRDs are made by CustomResource.ts.
 */
import type { Json, JsonObject, KubeObject } from "./Json.ts"
import type { Cause } from "./Refusal.ts"

export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection"

export interface Scale {
  readonly specReplicasPath: string
  readonly statusReplicasPath: string
  readonly labelSelectorPath?: string
}

export interface Strategy {
  /** PUT of a name that is not there creates it. */
  readonly isCreatedByUpdate: boolean
  /** PUT without a resourceVersion overwrites whatever is there. */
  readonly isUnconditionalUpdateAllowed: boolean
  readonly hasGeneration: boolean
  /** DELETE answers with the object, not with a `Status`. */
  readonly answersDeletedObject: boolean
  /** Whether the writable part (`spec`) and `status` are written apart. */
  readonly hasStatus: boolean
  /** `status` of a new object, when `hasStatus`; undefined drops what the client sent. */
  readonly initialStatus?: (object: KubeObject) => Json
  /** Fills in what the client left out; shares what it leaves alone. `previous` on an update. */
  readonly fill?: (object: KubeObject, previous?: KubeObject) => KubeObject
  /** What cannot be decoded at all (a list that is a string), or undefined. Of a body as it was sent. */
  readonly typeProblem?: (body: Json) => string | undefined
  /** Paths of fields that the kind does not know, as they stand in an object before they are dropped. */
  readonly unknownFields?: (object: KubeObject) => ReadonlyArray<string>
  readonly validate?: (object: KubeObject) => ReadonlyArray<Cause>
  /** Only what an update may not do; `validate` is called as well. */
  readonly validateUpdate?: (next: KubeObject, previous: KubeObject) => ReadonlyArray<Cause>
  readonly validateStatus?: (next: KubeObject, previous: KubeObject) => ReadonlyArray<Cause>
  /** Seconds a plain DELETE waits for the kubelet; 0 removes at once. */
  readonly graceSeconds?: (object: KubeObject, asked: number | undefined) => number
  /** Whether the object's name follows the rules of its kind. */
  readonly name?: (name: string) => string | undefined
  readonly selectableFields: ReadonlyArray<string>
  readonly field: (object: KubeObject, name: string) => string | undefined
  /** The fields that a bookmark's otherwise empty object carries. */
  readonly bookmark?: Json
}

export interface Resource {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly singular: string
  readonly kind: string
  readonly listKind: string
  readonly isNamespaced: boolean
  readonly shortNames: ReadonlyArray<string>
  readonly scale?: Scale
  readonly isStrategicPatchSupported: boolean
  readonly strategy: Strategy
  /** Made of a definition. Its `managedFields` are kept from its creation on. */
  readonly isCustom?: true
  /** Of a definition: columns that `kubectl get` shows. */
  readonly columns?: ReadonlyArray<Json>
  /** Of a definition: names of groups of kinds (`all`), and the schema as it was written. */
  readonly categories?: ReadonlyArray<string>
  readonly schema?: JsonObject
}

export const apiVersion = (resource: Resource): string =>
  resource.group === "" ? resource.version : `${resource.group}/${resource.version}`

/** The key under which a kind's objects are kept: one for all its versions. */
export const resourceKey = (group: string, plural: string): string => (group === "" ? plural : `${plural}.${group}`)

export const metadataFields = ["metadata.name", "metadata.namespace"]
export const metadataField = (object: KubeObject, name: string): string | undefined =>
  name === "metadata.name"
    ? object.metadata.name
    : name === "metadata.namespace"
    ? object.metadata.namespace ?? ""
    : undefined

const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/

/** What is wrong with a name of up to 253 characters, or undefined. */
export const subdomainProblem = (name: string): string | undefined =>
  name.length > 253
    ? "must be no more than 253 characters"
    : subdomain.test(name)
    ? undefined
    : "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"

/** What is wrong with a name of up to 63 characters, or undefined. */
export const labelProblem = (name: string): string | undefined =>
  name.length > 63
    ? "must be no more than 63 characters"
    : label.test(name)
    ? undefined
    : "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
