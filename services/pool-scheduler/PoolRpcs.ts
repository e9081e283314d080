/**
 * Pools as they are applied and listed: `heddle.rpc.pool.apply`, `.scale`, `.delete`, `.list`. Any replica answers; what is applied stands in `heddle_pools` under `spec.<ns>.<pool>`.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { PluginHost } from "../../shared/plugin/Plugin.ts"
import { Snapshot } from "../../shared/protocol/Claim.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { NoFields } from "../../shared/protocol/NoFields.ts"
import {
  isAutoscaled,
  namespaceDefault,
  PoolDelete,
  type PoolList,
  PoolScale,
  PoolSpec,
  type PoolView,
  sizeOf
} from "../../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import type { Deleted } from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { policyDefault as scalePolicyDefault } from "./Autoscaling.ts"
import type { PoolDirectory } from "./PoolDirectory.ts"
import { specKey } from "./PoolOwnership.ts"
import { noSuchPool } from "./PoolRouting.ts"

export const policyDefault = "fifo"
const casAttemptsMax = 10
const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: error.message })
/** How long the owner of a listed pool has to tell its counters. */
const snapshotTimeoutMs = 500

export const refOf = (spec: PoolSpec): PoolRef => ({ namespace: spec.namespace ?? namespaceDefault, name: spec.name })

const encode = Schema.encodeSync(PoolSpec)
/** The text under which a spec is stored. */
export const textOf = (spec: PoolSpec): string =>
  JSON.stringify(encode({ ...spec, namespace: spec.namespace ?? namespaceDefault }))

/** What is wrong with a spec beyond its structure. */
export const problemOf = (host: PluginHost["Service"], spec: PoolSpec): ContractError | undefined => {
  const provider = host.poolProviders.get(spec.provider)
  if (provider === undefined) {
    return new ContractError({
      code: "InvalidMessage",
      message: `there is no pool provider "${spec.provider}" here. Known: ${
        Array.from(host.poolProviders.keys()).join(", ")
      }`,
      path: "provider"
    })
  }
  const policy = spec.policy ?? policyDefault
  if (!host.placementPolicies.has(policy)) {
    return new ContractError({
      code: "InvalidMessage",
      message: `there is no placement policy "${policy}" here. Known: ${
        Array.from(host.placementPolicies.keys()).join(", ")
      }`,
      path: "policy"
    })
  }
  const size = sizeProblemOf(host, spec)
  if (size !== undefined) return new ContractError({ code: "InvalidMessage", ...size })
  const problems = provider.validate(spec.config)
  const first = problems[0]
  return first === undefined
    ? undefined
    : new ContractError({
      code: "InvalidMessage",
      message: `${first.path}: ${first.message}`,
      path: first.path,
      details: problems
    })
}

/** What is wrong with the numbers of a spec and its scale policies. */
const sizeProblemOf = (
  host: PluginHost["Service"],
  spec: PoolSpec
): { readonly message: string; readonly path: string; readonly details?: unknown } | undefined => {
  if (!isAutoscaled(spec)) {
    if (spec.size === undefined) {
      return { path: "size", message: "a pool names its size, or has autoscale: {} to follow its demand" }
    }
    for (const path of ["min", "max", "minIdle"] as const) {
      if (spec[path] !== undefined) {
        return {
          path,
          message: `${path} is for pools that follow their demand: add autoscale: {}, or leave ${path} out`
        }
      }
    }
    return undefined
  }
  if (spec.max !== undefined && (spec.min ?? 0) > spec.max) {
    return { path: "max", message: `max ${spec.max} is less than min ${spec.min ?? 0}` }
  }
  for (const [index, use] of (spec.autoscale?.policies ?? [{ policy: scalePolicyDefault }]).entries()) {
    const path = `autoscale.policies[${index}]`
    const policy = host.scalePolicies.get(use.policy)
    if (policy === undefined) {
      return {
        path: `${path}.policy`,
        message: `there is no scale policy "${use.policy}" here. Known: ${
          Array.from(host.scalePolicies.keys()).join(", ")
        }`
      }
    }
    const problems = policy.validate("config" in use ? use.config : undefined)
    const [first] = problems
    if (first !== undefined) {
      return { path: `${path}.${first.path}`, message: `${path}.${first.path}: ${first.message}`, details: problems }
    }
  }
  return undefined
}

export interface PoolRpcsOptions {
  readonly nats: Connection
  readonly directory: PoolDirectory
  readonly host: PluginHost["Service"]
}

export const endpoints = ({ directory, host, nats }: PoolRpcsOptions): ReadonlyArray<RpcService.Endpoint> => {
  const bucket = Kv.bucket(nats, Streams.bucketName.pools)
  const viewOf = (pool: PoolRef, spec: PoolSpec): PoolView => ({
    ...pool,
    provider: spec.provider,
    size: sizeOf(spec),
    owner: directory.ownerOf(pool)?.owner ?? null,
    spec: { ...spec, namespace: pool.namespace }
  })
  return [
    RpcService.endpoint<PoolSpec, PoolView>({
      name: "apply",
      subject: Subject.rpc.pools("apply"),
      description: "Makes or changes a pool",
      request: PoolSpec,
      handler: (spec) =>
        Effect.gen(function*() {
          const problem = problemOf(host, spec)
          if (problem !== undefined) return yield* problem
          const pool = refOf(spec)
          const text = textOf(spec)
          yield* bucket.put(specKey(pool), text).pipe(
            Effect.mapError(unavailable)
          )
          directory.specPut(pool, { ...spec, namespace: pool.namespace }, text)
          return viewOf(pool, spec)
        })
    }),
    RpcService.endpoint<PoolScale, PoolView>({
      name: "scale",
      subject: Subject.rpc.pools("scale"),
      description: "Changes how many sandboxes a pool keeps, or drains it",
      request: PoolScale,
      handler: ({ name, namespace, ...change }) =>
        Effect.gen(function*() {
          const pool: PoolRef = { namespace: namespace ?? namespaceDefault, name }
          for (let attempt = 0; attempt < casAttemptsMax; attempt++) {
            const entry = yield* bucket.get(specKey(pool)).pipe(Effect.mapError(unavailable))
            if (Option.isNone(entry)) return yield* noSuchPool(pool)
            const before = yield* Effect.fromResult(decodeSpec(entry.value.value))
            const spec: PoolSpec = { ...before, ...change }
            const problem = problemOf(host, spec)
            if (problem !== undefined) return yield* problem
            const text = textOf(spec)
            const outcome = yield* bucket.update(specKey(pool), text, entry.value.revision)
            if (outcome._tag === "Lost") continue
            // Setting the same again is no harm: an unknown outcome is told, and may be repeated.
            if (outcome._tag === "Unknown") return yield* unavailable({ message: outcome.reason })
            directory.specPut(pool, { ...spec, namespace: pool.namespace }, text)
            return viewOf(pool, spec)
          }
          return yield* new ContractError({
            code: "Conflict",
            message: `pool ${poolKey(pool)} is being changed by others: try again`
          })
        })
    }),
    RpcService.endpoint<PoolDelete, typeof Deleted.Type>({
      name: "delete",
      subject: Subject.rpc.pools("delete"),
      description: "Removes a pool; its waiting claims are answered, its scheduler ends",
      request: PoolDelete,
      handler: ({ name, namespace }) =>
        Effect.gen(function*() {
          const pool: PoolRef = { namespace: namespace ?? namespaceDefault, name }
          const entry = yield* bucket.get(specKey(pool)).pipe(Effect.mapError(unavailable))
          if (Option.isNone(entry)) return yield* noSuchPool(pool)
          yield* bucket.delete(specKey(pool))
          directory.specRemoved(pool)
          return { name, deleted: true }
        })
    }),
    RpcService.endpoint<NoFields, PoolList>({
      name: "list",
      subject: Subject.rpc.pools("list"),
      description: "All pools, with their owners and counters",
      request: NoFields,
      handler: () =>
        Effect.gen(function*() {
          const items = yield* Effect.forEach(directory.pools, ({ live, owner, pool, spec }) =>
            Effect.gen(function*() {
              const snapshot = live !== undefined
                ? live.snapshot()
                : owner === null
                ? undefined
                : yield* Rpc.call(nats, Subject.forwarded(owner, Subject.rpc.pool(pool, "snapshot")), Snapshot, {}, {
                  timeoutMs: snapshotTimeoutMs
                }).pipe(
                  // An owner that does not answer is listed without counters.
                  Effect.orElseSucceed(() => undefined)
                )
              return {
                ...pool,
                provider: spec.provider,
                size: snapshot?.target ?? sizeOf(spec),
                owner,
                spec,
                ...(snapshot === undefined ? {} : { snapshot })
              }
            }), { concurrency: 32 })
          return { items: items.sort((a, b) => `${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1) }
        })
    })
  ]
}

export const decodeSpec = Decode.decoder(PoolSpec)
