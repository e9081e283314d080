/**
 * A pool of the Kubernetes provider on an API server, for the tests of the provider: what it told by deltas, its writes as effects, and waits that end with a receipt.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Api } from "../../../plugins/kubernetes/ApiClient.ts"
import * as Cluster from "../../../plugins/kubernetes/Cluster.ts"
import type { KubernetesPool } from "../../../plugins/kubernetes/KubernetesPool.ts"
import * as Provider from "../../../plugins/kubernetes/Provider.ts"
import type {
  ClaimOutcome,
  CreateOutcome,
  DeleteOutcome,
  PoolProvider,
  ProviderError,
  ProviderPool,
  ReadBackOutcome,
  ReleaseOutcome,
  SandboxDelta,
  SandboxState
} from "../../../shared/plugin/PoolProvider.ts"
import { ClaimId, Namespace, PoolName, type SandboxUid, SessionId } from "../../../shared/protocol/Token.ts"

export interface WorldOptions {
  readonly url: string
  readonly token?: string
  /** Of a server with TLS. */
  readonly ca?: string | undefined
  readonly config?: Readonly<Record<string, unknown>>
  readonly session?: number
  readonly pool?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly informer?: Provider.ProviderOptions["informer"]
  readonly resetHook?: Provider.ProviderOptions["resetHook"]
  /** Between the provider and its client: to hold requests back, or to count them. */
  readonly between?: (api: Api) => Api
}

export const image = "registry.example/box:1"
export const alternate = "registry.example/box:1-b"
export const template = { spec: { containers: [{ name: "main", image }] } }

export class World {
  readonly pool: ProviderPool
  /** Of its owner. */
  readonly session: number
  readonly states = new Map<SandboxUid, SandboxState>()
  readonly deltas: Array<SandboxDelta> = []
  private readonly waiters = new Set<() => void>()

  constructor(pool: ProviderPool, session: number) {
    this.pool = pool
    this.session = session
  }

  /** To be handed to `watch`. */
  readonly observe = (delta: SandboxDelta): void => {
    this.deltas.push(delta)
    if (delta._tag === "Upsert") this.states.set(delta.state.sandbox.uid, delta.state)
    if (delta._tag === "Removed") this.states.delete(delta.uid)
    for (const look of this.waiters) look()
  }

  get internals(): KubernetesPool {
    return this.pool as KubernetesPool // the provider makes no other
  }

  /** Waits until a delta makes it true. */
  until<A>(what: string, find: () => A | undefined | false): Effect.Effect<A> {
    return Effect.callback<A>((resume) => {
      const look = (): void => {
        const found = find()
        if (found === undefined || found === false) return
        this.waiters.delete(look)
        resume(Effect.succeed(found))
      }
      this.waiters.add(look)
      look()
      return Effect.sync(() => this.waiters.delete(look))
    }).pipe(
      Effect.timeout(90_000),
      Effect.catch(() =>
        Effect.die(
          new Error(`not seen within 90 s: ${what}; ${JSON.stringify([...this.states.values()].map((_) => _.phase))}`)
        )
      )
    )
  }

  /** The sandboxes in this phase, once there are `count`. */
  inPhase(phase: SandboxState["phase"], count = 1): Effect.Effect<ReadonlyArray<SandboxState>> {
    return this.until(`${count} in ${phase}`, () => {
      const found = [...this.states.values()].filter((state) => state.phase === phase)
      return found.length >= count && found
    })
  }

  readonly create = (name: string, session = 1) =>
    Effect.callback<CreateOutcome>((resume) =>
      this.pool.create({ name, sessionId: SessionId.make(session) }, (outcome) => resume(Effect.succeed(outcome)))
    )

  readonly claim = (
    state: SandboxState,
    claimId: string,
    more: Partial<Parameters<ProviderPool["claim"]>[0]> = {},
    session = 1
  ) =>
    Effect.callback<ClaimOutcome>((resume) =>
      this.pool.claim({
        uid: state.sandbox.uid,
        version: state.version,
        mark: {
          claimId: ClaimId.make(claimId),
          holder: "somebody",
          sessionId: SessionId.make(session),
          ttlMs: 60_000
        },
        ...more
      }, (outcome) => resume(Effect.succeed(outcome)))
    )

  readonly readBack = (uid: SandboxUid, claimId: string) =>
    Effect.callback<ReadBackOutcome>((resume) =>
      this.pool.readBack(uid, ClaimId.make(claimId), (outcome) => resume(Effect.succeed(outcome)))
    )

  readonly release = (uid: SandboxUid, claimId: string, mode: "recycle" | "delete" = "recycle", session = 1) =>
    Effect.callback<ReleaseOutcome>((resume) =>
      this.pool.release(
        { uid, claimId: ClaimId.make(claimId), sessionId: SessionId.make(session), mode },
        (outcome) => resume(Effect.succeed(outcome))
      )
    )

  readonly delete = (state: SandboxState, session = 1) =>
    Effect.callback<DeleteOutcome>((resume) =>
      this.pool.delete(
        { uid: state.sandbox.uid, version: state.version, sessionId: SessionId.make(session) },
        (outcome) => resume(Effect.succeed(outcome))
      )
    )
}

/** The way to a cluster, with what a test puts between. */
export const reach = (options: WorldOptions): Cluster.Cluster => {
  const { between = (api: Api) => api } = options
  const cluster = Cluster.make(Effect.succeed({
    server: options.url,
    credentials: Effect.succeed({
      headers: options.token === undefined ? {} : { authorization: `Bearer ${options.token}` },
      tls: options.ca === undefined ? {} : { ca: options.ca },
      agent: undefined
    })
  }))
  return { client: Effect.map(cluster.client, between) }
}

/** As one process has it, for all of its pools. */
export const providerOf = (options: WorldOptions): PoolProvider =>
  Provider.make({
    cluster: reach(options),
    ...(options.informer === undefined ? {} : { informer: options.informer }),
    ...(options.resetHook === undefined ? {} : { resetHook: options.resetHook })
  })

/** An open pool, watched; not listed yet. `provider`: of a process that has other pools too. */
export const opened = (
  options: WorldOptions,
  provider: PoolProvider = providerOf(options)
): Effect.Effect<World, ProviderError, Scope.Scope> =>
  Effect.gen(function*() {
    const pool = yield* provider.open({
      pool: { namespace: Namespace.make("default"), name: PoolName.make(options.pool ?? "web") },
      sessionId: SessionId.make(options.session ?? 1),
      size: 1,
      labels: options.labels ?? {},
      startedAt: 0
    }, { template, ...options.config })
    const world = new World(pool, options.session ?? 1)
    yield* pool.watch(world.observe)
    return world
  })

/** The same, listed, as its owner has it. */
export const make = (
  options: WorldOptions,
  provider?: PoolProvider
): Effect.Effect<World, ProviderError, Scope.Scope> =>
  Effect.tap(opened(options, provider), (world) =>
    Effect.map(world.pool.list, (states) => {
      for (const state of states) world.observe({ _tag: "Upsert", state })
    }))
