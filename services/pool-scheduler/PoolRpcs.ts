/**
 * Pools as they are applied and listed: `heddle.rpc.pool.apply`, `heddle.rpc.pool.list`. Any replica answers; what is applied stands in `heddle_pools` under `spec.<ns>.<pool>`.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { PluginHost } from "../../shared/plugin/Plugin.ts"
import { Snapshot } from "../../shared/protocol/Claim.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { namespaceDefault, type PoolList, PoolSpec, type PoolView, sizeOf } from "../../shared/protocol/Pool.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { PoolDirectory } from "./PoolDirectory.ts"
import { specKey } from "./PoolOwnership.ts"

export const policyDefault = "fifo"
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

export interface PoolRpcsOptions {
  readonly nats: Connection
  readonly directory: PoolDirectory
  readonly host: PluginHost["Service"]
}

export const endpoints = ({ directory, host, nats }: PoolRpcsOptions): ReadonlyArray<Rpc.Endpoint> => {
  const bucket = Kv.bucket(nats, Streams.bucketName.pools)
  return [
    Rpc.endpoint<PoolSpec, PoolView>({
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
            Effect.mapError((error) => new ContractError({ code: "Unavailable", message: error.message }))
          )
          directory.specPut(pool, { ...spec, namespace: pool.namespace }, text)
          return {
            ...pool,
            provider: spec.provider,
            size: sizeOf(spec),
            owner: directory.ownerOf(pool)?.owner ?? null,
            spec: { ...spec, namespace: pool.namespace }
          }
        })
    }),
    Rpc.endpoint<unknown, PoolList>({
      name: "list",
      subject: Subject.rpc.pools("list"),
      description: "All pools, with their owners and counters",
      request: Schema.Unknown,
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
                size: sizeOf(spec),
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
