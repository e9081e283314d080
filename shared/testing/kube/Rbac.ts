/**
 * Who may do what: bearer tokens, each with the rules of the Roles and ClusterRoles bound to it, in the shape Role objects have.
 */
import type { Named } from "./Refusal.ts"

export interface PolicyRule {
  readonly apiGroups: ReadonlyArray<string>
  /** `pods`, `pods/exec`, `*`, `*\/status`. */
  readonly resources: ReadonlyArray<string>
  readonly verbs: ReadonlyArray<string>
  readonly resourceNames?: ReadonlyArray<string>
}

export interface User {
  readonly name: string
  readonly groups?: ReadonlyArray<string>
  /** `namespace` undefined: in every namespace and for what has none (a ClusterRoleBinding). */
  readonly grants: ReadonlyArray<{ readonly namespace?: string | undefined; readonly rules: ReadonlyArray<PolicyRule> }>
}

export const admin: User = {
  name: "admin",
  groups: ["system:masters"],
  grants: [{ rules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }] }]
}

export interface Access {
  readonly verb: string
  readonly group: string
  /** The plural. */
  readonly resource: string
  readonly subresource?: string | undefined
  readonly namespace?: string | undefined
  readonly name?: string | undefined
}

const covers = (rule: PolicyRule, access: Access): boolean => {
  const resource = access.subresource === undefined ? access.resource : `${access.resource}/${access.subresource}`
  const has = (list: ReadonlyArray<string>, one: string) => list.includes("*") || list.includes(one)
  return has(rule.verbs, access.verb) && has(rule.apiGroups, access.group) &&
    (has(rule.resources, resource) ||
      (access.subresource !== undefined && rule.resources.includes(`*/${access.subresource}`))) &&
    (rule.resourceNames === undefined || rule.resourceNames.length === 0 ||
      (access.name !== undefined && rule.resourceNames.includes(access.name)))
}

export const isAllowed = (user: User, access: Access): boolean =>
  user.grants.some((grant) =>
    (grant.namespace === undefined || grant.namespace === access.namespace) &&
    grant.rules.some((rule) => covers(rule, access))
  )

/** The text after "is forbidden: ". */
export const denial = (user: User, access: Access): string => {
  const resource = access.subresource === undefined ? access.resource : `${access.resource}/${access.subresource}`
  const where = access.namespace === undefined || access.namespace === ""
    ? "at the cluster scope"
    : `in the namespace "${access.namespace}"`
  return `User "${user.name}" cannot ${access.verb} resource "${resource}" in API group "${access.group}" ${where}`
}

export const named = (access: Access): Named => ({
  group: access.group,
  plural: access.subresource === undefined ? access.resource : `${access.resource}/${access.subresource}`,
  kind: access.resource
})
