/**
 * Kinds made of CustomResourceDefinitions (apiextensions.k8s.io/v1): structural schema with defaults and pruning, validation, CEL rules, subresources, columns.
 * The version that is stored is the one that is served; conversion between versions is not done.
 */
import * as Apply from "./Apply.ts"
import { at, isObject, type Json, type KubeObject } from "./Json.ts"
import * as Refusal from "./Refusal.ts"
import { labelProblem, metadataField, metadataFields, type Resource, subdomainProblem } from "./Resource.ts"
import * as StructuralSchema from "./StructuralSchema.ts"

const served = new WeakMap<Resource, ReadonlySet<string>>()

export const isServed = (resource: Resource, version: string): boolean => served.get(resource)?.has(version) ?? false

/** Throws 422 for a definition that cannot be served. */
export const make = (definition: KubeObject): Resource => {
  const spec: Json = definition.spec
  const versions: ReadonlyArray<Json> = spec?.versions ?? []
  const version = versions.find((one) => one?.storage === true) ?? versions[0]
  const names: Json = spec?.names
  const schema: Json = version?.schema?.openAPIV3Schema
  if (!isObject(names) || version === undefined || schema === undefined) {
    throw Refusal.invalid(
      { group: "apiextensions.k8s.io", plural: "customresourcedefinitions", kind: "CustomResourceDefinition" },
      definition.metadata.name,
      [Refusal.cause.required("spec.versions[0].schema.openAPIV3Schema", "schemas are required")]
    )
  }
  const compiled = StructuralSchema.compile(schema)
  Apply.learnLists(names["kind"], schema)
  const scale: Json = version.subresources?.scale
  const hasStatus = version.subresources?.status !== undefined
  const selectable: ReadonlyArray<string> = (version.selectableFields ?? []).map((one: Json) =>
    String(one.jsonPath).replace(/^\./, "")
  )
  const resource: Resource = {
    group: spec.group,
    version: version.name,
    plural: names["plural"],
    singular: names["singular"] ?? String(names["kind"]).toLowerCase(),
    kind: names["kind"],
    listKind: names["listKind"] ?? `${String(names["kind"])}List`,
    isNamespaced: spec.scope !== "Cluster",
    shortNames: names["shortNames"] ?? [],
    isStrategicPatchSupported: false,
    isCustom: true,
    columns: version.additionalPrinterColumns,
    categories: names["categories"] ?? [],
    schema,
    ...(isObject(scale)
      ? {
        scale: {
          specReplicasPath: scale["specReplicasPath"],
          statusReplicasPath: scale["statusReplicasPath"],
          ...(scale["labelSelectorPath"] === undefined ? {} : { labelSelectorPath: scale["labelSelectorPath"] })
        }
      }
      : {}),
    strategy: {
      isCreatedByUpdate: false,
      isUnconditionalUpdateAllowed: false,
      hasGeneration: true,
      answersDeletedObject: false,
      hasStatus,
      fill: (object, previous) => StructuralSchema.fill(compiled, object, previous),
      unknownFields: (object) => StructuralSchema.unknownFields(compiled, object),
      validate: (object) => StructuralSchema.validate(compiled, object),
      validateUpdate: (next, previous) => StructuralSchema.validateTransition(compiled, next, previous),
      validateStatus: (next, previous) => [
        ...StructuralSchema.validate(compiled, next),
        ...StructuralSchema.validateTransition(compiled, next, previous)
      ],
      name: subdomainProblem,
      selectableFields: [...metadataFields, ...selectable],
      field: (
        object,
        name
      ) => (selectable.includes(name) ? String(at(object, name) ?? "") : metadataField(object, name))
    }
  }
  served.set(resource, new Set(versions.filter((one) => one?.served === true).map((one) => one.name)))
  return resource
}

/** What is wrong with the definition itself. */
export const validate = (definition: KubeObject): ReadonlyArray<Refusal.Cause> => {
  const spec: Json = definition.spec
  const causes: Array<Refusal.Cause> = []
  if (!isObject(spec)) return [Refusal.cause.required("spec")]
  const plural = spec["names"]?.plural
  if (definition.metadata.name !== `${String(plural)}.${String(spec["group"])}`) {
    causes.push(
      Refusal.cause.invalid("metadata.name", definition.metadata.name, "must be spec.names.plural+\".\"+spec.group")
    )
  }
  for (const name of ["plural", "singular", "kind", "listKind"]) {
    const value = spec["names"]?.[name]
    if (name === "plural" || name === "kind") {
      if (typeof value !== "string" || value === "") causes.push(Refusal.cause.required(`spec.names.${name}`))
      else if (labelProblem(value.toLowerCase()) !== undefined) {
        causes.push(Refusal.cause.invalid(`spec.names.${name}`, value, labelProblem(value.toLowerCase()) ?? ""))
      }
    }
  }
  if (spec["scope"] !== "Namespaced" && spec["scope"] !== "Cluster") {
    causes.push(Refusal.cause.notSupported("spec.scope", spec["scope"], ["Cluster", "Namespaced"]))
  }
  const versions: ReadonlyArray<Json> = spec["versions"] ?? []
  if (versions.filter((one) => one?.storage === true).length !== 1) {
    causes.push(Refusal.cause.invalid("spec.versions", "", "must have exactly one version marked as storage version"))
  }
  versions.forEach((version, index) => {
    const schema: Json = version?.schema?.openAPIV3Schema
    const path = `spec.versions[${index}].schema.openAPIV3Schema`
    if (!isObject(schema)) causes.push(Refusal.cause.required(path, "schemas are required"))
    else causes.push(...StructuralSchema.problems(schema, path))
  })
  return causes
}
