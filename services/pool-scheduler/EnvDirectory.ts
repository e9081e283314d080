/**
 * The envs of the mesh as this replica sees them: what they are, which pools are their members, and the members' latest counters.
 *
 * Fed by the watch of `heddle_pools` (keys `env.<ns>.<env>`), by the pools' own specs (a selector picks by labels) and by the owners' tidings; pools that run here are read
 * directly. Nothing is asked for a claim. Members are worked out anew only after a spec has changed. Plain and synchronous.
 */
import type { EnvSpec, EnvView } from "../../shared/protocol/Env.ts"
import type { PoolTidings } from "../../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import type { EpochMs } from "../../shared/protocol/Token.ts"
import * as EnvScheduler from "./EnvScheduler.ts"
import type { PoolDirectory } from "./PoolDirectory.ts"
import * as Selector from "./Selector.ts"

/** Counters that were told longer ago than this say nothing any more: three heartbeats. */
export const staleAfterMs = 15_000
export const saturationCooldownDefaultMs = 5_000

export const envKey = (env: { readonly namespace: string; readonly name: string }): string =>
  `${env.namespace}/${env.name}`

interface Env {
  readonly spec: EnvSpec & { readonly namespace: PoolRef["namespace"] }
  readonly weights: EnvScheduler.Weights
  members: ReadonlyArray<EnvScheduler.Member>
  /** Of the pools' specs, when `members` was worked out. */
  revision: number
}

export interface Candidates {
  readonly namespace: PoolRef["namespace"]
  readonly ranked: ReadonlyArray<EnvScheduler.Ranked>
}

export class EnvDirectory {
  private readonly pools: Pick<PoolDirectory, "pools" | "route" | "specsRevision">
  private readonly now: () => EpochMs
  private readonly envs = new Map<string, Env>()
  private readonly told = new Map<string, { readonly tidings: PoolTidings; readonly at: EpochMs }>()
  private memberKeys = new Set<string>()
  private memberKeysRevision = -1

  constructor(pools: Pick<PoolDirectory, "pools" | "route" | "specsRevision">, now: () => EpochMs) {
    this.pools = pools
    this.now = now
  }

  put(spec: EnvSpec & { readonly namespace: PoolRef["namespace"] }): void {
    this.envs.set(envKey(spec), { spec, weights: EnvScheduler.weightsOf(spec.weights), members: [], revision: -1 })
    this.memberKeysRevision = -1
  }

  remove(env: { readonly namespace: string; readonly name: string }): void {
    this.envs.delete(envKey(env))
    this.memberKeysRevision = -1
  }

  has(env: { readonly namespace: string; readonly name: string }): boolean {
    return this.envs.has(envKey(env))
  }

  /** Some env has this pool as a member. */
  isMember(pool: PoolRef): boolean {
    if (this.memberKeysRevision !== this.pools.specsRevision) {
      this.memberKeys = new Set()
      for (const env of this.envs.values()) {
        for (const one of this.membersOf(env)) this.memberKeys.add(`${env.spec.namespace}/${one.pool}`)
      }
      this.memberKeysRevision = this.pools.specsRevision
    }
    return this.memberKeys.has(poolKey(pool))
  }

  /** An owner tells of its pool. An older session's word does not count. */
  tidings(pool: PoolRef, tidings: PoolTidings): void {
    const key = poolKey(pool)
    const before = this.told.get(key)
    if (before !== undefined && before.tidings.sessionId > tidings.sessionId) return
    this.told.set(key, { tidings, at: this.now() })
  }

  poolRemoved(pool: PoolRef): void {
    this.told.delete(poolKey(pool))
  }

  /** The members for a claim of `count`, the best first. Undefined: no such env. */
  candidates(env: { readonly namespace: string; readonly name: string }, count: number): Candidates | undefined {
    const known = this.envs.get(envKey(env))
    if (known === undefined) return undefined
    const now = this.now()
    const members = this.membersOf(known)
    for (const one of members) one.counters = this.countersOf({ namespace: known.spec.namespace, name: one.pool }, now)
    return {
      namespace: known.spec.namespace,
      ranked: EnvScheduler.rank(members, known.weights, count, now)
    }
  }

  /** A claim was sent there: until its owner tells more, as many fewer are idle. */
  sent(pool: PoolRef, count: number): void {
    const key = poolKey(pool)
    const known = this.told.get(key)
    if (known === undefined) return
    const { idleReady, queueLen } = known.tidings
    const taken = Math.min(idleReady, count)
    this.told.set(key, {
      at: known.at,
      tidings: { ...known.tidings, idleReady: idleReady - taken, queueLen: queueLen + count - taken }
    })
  }

  /** A member was full. */
  saturated(env: { readonly namespace: string; readonly name: string }, member: EnvScheduler.Member): void {
    const cooldownMs = this.envs.get(envKey(env))?.spec.saturationCooldown ?? saturationCooldownDefaultMs
    member.saturatedUntil = this.now() + cooldownMs
  }

  get views(): ReadonlyArray<EnvView> {
    return Array.from(this.envs.values(), ({ spec }) => this.viewOf(spec)).flatMap((view) => view ?? [])
  }

  viewOf(env: { readonly namespace: string; readonly name: string }): EnvView | undefined {
    const spec = this.envs.get(envKey(env))?.spec
    const candidates = this.candidates(env, 1)
    if (spec === undefined || candidates === undefined) return undefined
    const owners = new Map(this.pools.pools.map(({ owner, pool }) => [poolKey(pool), owner]))
    const members = candidates.ranked.map(({ member: { counters, pool }, score, standing }) => ({
      pool,
      owner: owners.get(`${spec.namespace}/${pool}`) ?? null,
      score,
      standing,
      ...(counters === undefined
        ? {}
        : {
          idleReady: counters.idleReady,
          queueLen: counters.queueLen,
          claimed: counters.claimed,
          total: counters.total
        })
    }))
    return { namespace: spec.namespace, name: spec.name, spec, members }
  }

  private countersOf(pool: PoolRef, now: EpochMs): EnvScheduler.Counters | undefined {
    const route = this.pools.route(pool)
    if (route._tag === "Local") return route.live.counters()
    const known = this.told.get(poolKey(pool))
    return known === undefined || now - known.at > staleAfterMs ? undefined : known.tidings
  }

  /** Those of the list, and those that the selector finds; what is known of a member is kept. */
  private membersOf(env: Env): ReadonlyArray<EnvScheduler.Member> {
    if (env.revision === this.pools.specsRevision) return env.members
    const before = new Map(env.members.map((one) => [one.pool, one]))
    const members = new Map<string, EnvScheduler.Member>()
    const { members: listed = [], namespace, selector } = env.spec
    const add = (name: EnvScheduler.Member["pool"], priority: number): void => {
      if (members.has(name)) return
      const known = before.get(name)
      const fresh = EnvScheduler.member(name, priority)
      if (known !== undefined) fresh.saturatedUntil = known.saturatedUntil
      members.set(name, fresh)
    }
    const pools = this.pools.pools.filter(({ pool }) => pool.namespace === namespace)
    const names = new Set(pools.map(({ pool }) => pool.name))
    for (const { pool, priority } of listed) if (names.has(pool)) add(pool, priority ?? 0)
    if (selector !== undefined) {
      for (const { pool, spec } of pools) if (Selector.matches(selector, spec.labels ?? {})) add(pool.name, 0)
    }
    env.members = Array.from(members.values())
    env.revision = this.pools.specsRevision
    return env.members
  }
}
