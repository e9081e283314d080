/**
 * The way to one Kubernetes cluster: where it is and who we are, from a kubeconfig or the service account, kept fresh while somebody uses it.
 *
 * Keeps true: one client for all pools of the process; tokens and certificates are read again every half minute and after a 401, so a rotated one is used in time; when
 * the last user has gone, its connections are closed. `@kubernetes/client-node` reads the configuration; it is loaded when the first pool is opened.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as Https from "node:https"
import { ProviderError } from "../../shared/plugin/PoolProvider.ts"
import { type Api, ApiClient, type Credentials, type Dialer } from "./ApiClient.ts"
import type { PluginConfig } from "./Config.ts"

const refreshMs = 30_000
/** Between two readings that 401 asks for. */
const refreshPauseMs = 1_000
const requestTimeoutMs = 10_000
const bodyBytesMax = 256 * 1024 * 1024

/** Where a cluster is and how a request is signed; tests give their own. */
export interface Access {
  readonly server: string
  readonly credentials: Effect.Effect<Credentials, ProviderError>
}

export const failed = (message: string, cause?: unknown): ProviderError =>
  new ProviderError({ provider: "kubernetes", message, ...(cause === undefined ? {} : { cause }) })

/** This one module of the client, not its 900 generated models; it takes half a second of CPU the first time. */
const loadClient = Effect.tryPromise({
  try: () => import("@kubernetes/client-node/dist/config.js"),
  catch: (cause) => failed("@kubernetes/client-node cannot be loaded", cause)
})

/** Loads the client's code, so that whoever opens a pool next does not wait for it. A failure is told when one is opened. */
export const prepare: Effect.Effect<void> = Effect.ignore(loadClient)

/** As kubectl finds it, or as the plugin's config says. */
export const access = (config: PluginConfig): Effect.Effect<Access, ProviderError> =>
  Effect.gen(function*() {
    const { KubeConfig } = yield* loadClient
    return yield* Effect.try({
      try: (): Access => {
        const kube = new KubeConfig()
        if (config.kubeconfig === undefined) kube.loadFromDefault()
        else kube.loadFromFile(config.kubeconfig)
        if (config.context !== undefined) kube.setCurrentContext(config.context)
        const cluster = kube.getCurrentCluster()
        if (cluster === null) {
          throw new Error(
            `there is no cluster behind the context ${
              JSON.stringify(kube.getCurrentContext())
            }: kubectl config get-contexts lists them`
          )
        }
        const isBehindProxy = cluster.proxyUrl !== undefined && cluster.proxyUrl !== ""
        let last: Credentials | undefined
        const credentials = Effect.tryPromise({
          try: async () => {
            const options: Https.RequestOptions = {}
            await kube.applyToHTTPSOptions(options)
            last = credentialsOf(options, isBehindProxy, last)
            return last
          },
          catch: (cause) => failed(`the credentials for ${cluster.server} cannot be read: ${String(cause)}`, cause)
        })
        return { server: cluster.server, credentials }
      },
      catch: (cause) => failed(`the cluster's configuration cannot be read: ${String(cause)}`, cause)
    })
  })

const tlsKeys = ["ca", "cert", "key", "servername", "rejectUnauthorized", "pfx", "passphrase"] as const

const credentialsOf = (
  options: Https.RequestOptions,
  isBehindProxy: boolean,
  last: Credentials | undefined
): Credentials => {
  const tls: Https.AgentOptions = {}
  for (const key of tlsKeys) if (options[key] !== undefined) Object.assign(tls, { [key]: options[key] })
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    if (typeof value === "string") headers[name] = value
  }
  if (typeof options.auth === "string") {
    headers["Authorization"] = `Basic ${Buffer.from(options.auth).toString("base64")}`
  }
  const isSame = last !== undefined && tlsKeys.every((key) => String(last.tls[key]) === String(tls[key]))
  return {
    headers,
    tls: isSame ? last.tls : tls,
    agent: isBehindProxy && typeof options.agent === "object" ? options.agent : undefined
  }
}

/** A client whose credentials are kept fresh for as long as the scope lives. */
const open = (
  access: Effect.Effect<Access, ProviderError>,
  died: Deferred.Deferred<never>
): Effect.Effect<ApiClient, ProviderError, Scope.Scope> =>
  Effect.gen(function*() {
    const { credentials, server } = yield* access
    let current = yield* credentials
    const unauthorized = yield* Latch.make(false)
    const refresh = Effect.gen(function*() {
      yield* Effect.timeoutOption(unauthorized.await, Duration.millis(refreshMs))
      unauthorized.closeUnsafe()
      current = yield* credentials
      yield* Effect.sleep(refreshPauseMs)
    }).pipe(
      Effect.catch((error) => Effect.andThen(Effect.logWarning(error.message), Effect.sleep(refreshPauseMs)))
    )
    const client = new ApiClient({
      server,
      userAgent: "heddle",
      credentials: () => current,
      unauthorized: () => unauthorized.openUnsafe(),
      timeoutMs: requestTimeoutMs,
      bodyBytesMax
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => client.close()))
    yield* Effect.forever(refresh).pipe(
      // Its credentials would never be fresh again.
      Effect.tapCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : Deferred.failCause(died, cause)),
      Effect.forkScoped
    )
    return client
  })

/** Shared by all pools of a process: opened by the first user, closed after the last. */
export interface Cluster {
  readonly client: Effect.Effect<Api, ProviderError, Scope.Scope>
  /** Never succeeds; dies with the defect of what keeps the client's credentials fresh. */
  readonly failure?: Effect.Effect<never>
}

/** A cluster in whose pods processes can be run. */
export interface ReachableCluster extends Cluster {
  readonly client: Effect.Effect<Api & Dialer, ProviderError, Scope.Scope>
}

export const make = (access: Effect.Effect<Access, ProviderError>): ReachableCluster => {
  const lock = Semaphore.makeUnsafe(1)
  const died = Deferred.makeUnsafe<never>()
  let users = 0
  let held: { readonly client: ApiClient; readonly scope: Scope.Closeable } | undefined
  const acquire = lock.withPermits(1)(Effect.gen(function*() {
    if (held === undefined) {
      const scope = yield* Scope.make()
      const client = yield* open(access, died).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
      held = { client, scope }
    }
    users++
    return held.client
  }))
  const release = lock.withPermits(1)(Effect.suspend(() => {
    users--
    if (users > 0 || held === undefined) return Effect.void
    const { scope } = held
    held = undefined
    return Scope.close(scope, Exit.void)
  }))
  return { client: Effect.acquireRelease(acquire, () => release), failure: Deferred.await(died) }
}
