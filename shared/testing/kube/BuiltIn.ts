/**
 * The built-in kinds beside pods, each as far as a client of ours meets it: leases, events, nodes, namespaces and what controllers next to us read.
 */
import * as CustomResource from "./CustomResource.ts"
import { at, type Json, type KubeObject } from "./Json.ts"
import { type Cause, cause } from "./Refusal.ts"
import {
  labelProblem,
  metadataField,
  metadataFields,
  type Resource,
  type Strategy,
  subdomainProblem
} from "./Resource.ts"

const plain: Strategy = {
  isCreatedByUpdate: false,
  isUnconditionalUpdateAllowed: true,
  hasGeneration: false,
  answersDeletedObject: false,
  hasStatus: false,
  name: subdomainProblem,
  selectableFields: metadataFields,
  field: metadataField
}

const define = (
  group: string,
  version: string,
  plural: string,
  kind: string,
  strategy: Partial<Strategy> = {},
  more: Partial<Resource> = {}
): Resource => ({
  group,
  version,
  plural,
  singular: kind.toLowerCase(),
  kind,
  listKind: `${kind}List`,
  isNamespaced: true,
  shortNames: [],
  isStrategicPatchSupported: true,
  strategy: { ...plain, ...strategy },
  ...more
})

const validateLease = (object: KubeObject): ReadonlyArray<Cause> => {
  const spec: Json = object.spec ?? {}
  const causes: Array<Cause> = []
  if (
    spec.leaseDurationSeconds !== undefined && spec.leaseDurationSeconds !== null && !(spec.leaseDurationSeconds > 0)
  ) {
    causes.push(cause.invalid("spec.leaseDurationSeconds", spec.leaseDurationSeconds, "must be greater than 0"))
  }
  if (spec.leaseTransitions !== undefined && spec.leaseTransitions !== null && spec.leaseTransitions < 0) {
    causes.push(cause.invalid("spec.leaseTransitions", spec.leaseTransitions, "must be greater than or equal to 0"))
  }
  return causes
}

export const lease = define("coordination.k8s.io", "v1", "leases", "Lease", {
  isCreatedByUpdate: true,
  isUnconditionalUpdateAllowed: false,
  validate: validateLease,
  bookmark: { spec: {} }
})

const eventFields = [
  ...metadataFields,
  "involvedObject.kind",
  "involvedObject.namespace",
  "involvedObject.name",
  "involvedObject.uid",
  "involvedObject.apiVersion",
  "involvedObject.resourceVersion",
  "involvedObject.fieldPath",
  "reason",
  "reportingComponent",
  "source",
  "type"
]

const validateEvent = (object: KubeObject): ReadonlyArray<Cause> => {
  const of = object.involvedObject?.namespace ?? ""
  const own = object.metadata.namespace ?? ""
  return of === own || (of === "" && own === "default")
    ? []
    : [cause.invalid("involvedObject.namespace", of, "does not match event.namespace")]
}

export const event = define("", "v1", "events", "Event", {
  isCreatedByUpdate: true,
  validate: validateEvent,
  fill: (object) => ("involvedObject" in object ? object : { ...object, involvedObject: {} }),
  selectableFields: eventFields,
  field: (object, name) =>
    name.startsWith("metadata.")
      ? metadataField(object, name)
      : name === "source"
      ? object["source"]?.component ?? object["reportingComponent"] ?? ""
      : String(at(object, name) ?? ""),
  bookmark: { involvedObject: {} }
}, { shortNames: ["ev"] })

export const node = define("", "v1", "nodes", "Node", {
  hasStatus: true,
  // a node arrives with the status its kubelet gives it
  initialStatus: (object) => object.status ?? {},
  selectableFields: [...metadataFields, "spec.unschedulable"],
  field: (object, name) =>
    name === "spec.unschedulable" ? String(object.spec?.unschedulable ?? false) : metadataField(object, name),
  fill: (object) => (object.spec === undefined ? { ...object, spec: {} } : object),
  bookmark: { spec: {}, status: {} }
}, { isNamespaced: false, shortNames: ["no"] })

export const namespace = define("", "v1", "namespaces", "Namespace", {
  hasStatus: true,
  initialStatus: () => ({ phase: "Active" }),
  name: labelProblem,
  fill: (object) => {
    const labels = object.metadata.labels
    const isNamed = labels?.["kubernetes.io/metadata.name"] === object.metadata.name
    const filled = object.spec?.finalizers === undefined
      ? { ...object, spec: { ...object.spec, finalizers: ["kubernetes"] } }
      : object
    return isNamed || object.metadata.name === undefined
      ? filled
      : {
        ...filled,
        metadata: { ...object.metadata, labels: { ...labels, "kubernetes.io/metadata.name": object.metadata.name } }
      }
  },
  selectableFields: ["metadata.name", "status.phase"],
  field: (object, name) => (name === "status.phase" ? object.status?.phase ?? "" : metadataField(object, name)),
  bookmark: { spec: {}, status: {} }
}, { isNamespaced: false, shortNames: ["ns"] })

export const configMap = define("", "v1", "configmaps", "ConfigMap", {}, { shortNames: ["cm"] })
export const secret = define("", "v1", "secrets", "Secret", {
  fill: (object) => (object["type"] === undefined ? { ...object, type: "Opaque" } : object)
})
export const serviceAccount = define("", "v1", "serviceaccounts", "ServiceAccount", {}, { shortNames: ["sa"] })

export const customResourceDefinition = define(
  "apiextensions.k8s.io",
  "v1",
  "customresourcedefinitions",
  "CustomResourceDefinition",
  {
    validate: CustomResource.validate,
    hasStatus: true,
    hasGeneration: true,
    initialStatus: (object) => {
      const names = object.spec?.names
      return {
        acceptedNames: names,
        conditions: [
          { type: "NamesAccepted", status: "True", reason: "NoConflicts", message: "no conflicts found" },
          {
            type: "Established",
            status: "True",
            reason: "InitialNamesAccepted",
            message: "the initial names have been accepted"
          }
        ],
        storedVersions: (object.spec?.versions ?? []).filter((one: Json) => one?.storage === true).map((one: Json) =>
          one.name
        )
      }
    }
  },
  { isNamespaced: false, shortNames: ["crd", "crds"] }
)

export const resources: ReadonlyArray<Resource> = [
  lease,
  event,
  node,
  namespace,
  configMap,
  secret,
  serviceAccount,
  customResourceDefinition
]
