/**
 * The pool source `kubernetes`: SandboxPool and SandboxEnv objects become pools and envs of the mesh, and say on their status whether the mesh takes them, which pools belong to an
 * env, and that a pool has nobody who serves it.
 *
 * Keeps true: level-triggered; one object at a time is brought in line, the latest state of it, with back-off for what the mesh cannot do now; an object that is gone takes its
 * pool with it, also if it went while no scheduler ran; one object's status is written at most every 3 s, and only when it shows something else. Follows `PoolSource` and docs/design/kubernetes.md, "Objects".
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { type PoolSink, type PoolSource, PoolSourceFailed, type PoolStanding } from "../../shared/plugin/PoolSource.ts"
import { EnvName } from "../../shared/protocol/Env.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { poolKey } from "../../shared/protocol/Sandbox.ts"
import { apiVersion } from "../../shared/protocol/SandboxPool.ts"
import { Namespace, PoolName, Token } from "../../shared/protocol/Token.ts"
import type { Api } from "./ApiClient.ts"
import type { Cluster } from "./Cluster.ts"
import { Informer } from "./Informer.ts"
import * as PoolObject from "./PoolObject.ts"
import { Standings } from "./Standings.ts"
import { StatusWriter } from "./StatusWriter.ts"

export interface PoolObjectsOptions {
  readonly cluster: Cluster
  /** Empty: all namespaces. `undefined`: no objects are read. */
  readonly namespaces: ReadonlyArray<string> | undefined
  readonly informer?: Partial<ConstructorParameters<typeof Informer>[0]>
  /** Between two writes of one object's status; 3 s when not given. */
  readonly statusEveryMs?: number
  /** How long a pool may be without an owner before that is shown; 10 s when not given. */
  readonly takeOverMs?: number
}

const kinds: ReadonlyArray<PoolObject.Kind> = ["SandboxPool", "SandboxEnv"]
const retryMinMs = 500
const retryMaxMs = 30_000
const objectsMax = 100_000
const statusEveryDefaultMs = 3_000
/** From a change in the mesh to the look at what the objects show: changes come in swarms. */
const changesMs = 250

const isToken = Schema.is(Token)

/** One object that may need something. */
interface Work {
  readonly kind: PoolObject.Kind
  readonly namespace: string
  readonly name: string
  readonly uid: string
  failures: number
}

export const make = (options: PoolObjectsOptions): PoolSource => ({
  name: "kubernetes",
  description: "SandboxPool and SandboxEnv objects of the cluster",
  run: (sink) => options.namespaces === undefined ? Effect.never : run(options, options.namespaces, sink)
})

const run = (
  options: PoolObjectsOptions,
  namespaces: ReadonlyArray<string>,
  sink: PoolSink
): Effect.Effect<never, PoolSourceFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const client: Api = yield* options.cluster.client.pipe(
      Effect.mapError((error) => new PoolSourceFailed({ source: "kubernetes", message: error.message }))
    )
    const clock = yield* Clock.Clock
    const fibers = yield* FiberSet.make<void, never>()
    const fork = yield* FiberSet.runtime(fibers)<never>()
    const later = (afterMs: number, then: () => void): void => {
      fork(Effect.andThen(Effect.sleep(afterMs), Effect.sync(then)))
    }
    const warn = (message: string, details: Readonly<Record<string, unknown>>): void => {
      fork(Effect.logWarning(message, details))
    }
    const queue = yield* Queue.bounded<Work>(objectsMax)
    const waiting = new Set<string>()
    const want = (work: Work): void => {
      const key = `${work.kind} ${work.uid}`
      if (waiting.has(key)) return
      waiting.add(key)
      if (!Queue.offerUnsafe(queue, work)) waiting.delete(key)
    }
    const informers: Array<{ readonly kind: PoolObject.Kind; readonly informer: Informer<PoolObject.DeclaredObject> }> =
      []
    const find = (kind: PoolObject.Kind, uid: string): PoolObject.DeclaredObject | undefined => {
      for (const one of informers) {
        const object = one.kind === kind ? one.informer.cache.get(uid) : undefined
        if (object !== undefined) return object
      }
      return undefined
    }
    const told = (object: PoolObject.DeclaredObject): void => {
      const { kind, name, namespace, uid } = object
      want({ kind, name, namespace, uid, failures: 0 })
    }
    for (const kind of kinds) {
      for (const namespace of namespaces.length === 0 ? [undefined] : namespaces) {
        informers.push({
          kind,
          informer: new Informer<PoolObject.DeclaredObject>({
            ...options.informer,
            client,
            path: `/apis/${apiVersion}${namespace === undefined ? "" : `/namespaces/${namespace}`}/${
              PoolObject.plural[kind]
            }`,
            read: PoolObject.read(kind),
            changed: told,
            removed: told,
            gap: () => {},
            damaged: () => warn("an object cannot be read and is left alone", { kind })
          })
        })
      }
    }
    for (const { informer } of informers) {
      yield* FiberSet.run(fibers, Effect.scoped(informer.run))
    }

    /** What became of the spec of an object: applied or refused by this process, so that a change of the status alone applies nothing. */
    const judged = new Map<string, { readonly text: string; readonly problem: string | undefined }>()
    /** What is said on an object, and when that was written. */
    const tellers = new Map<string, { readonly writer: StatusWriter; text: string; at: number }>()
    const { statusEveryMs = statusEveryDefaultMs } = options
    const standings = new Standings(sink.standing, options.takeOverMs)

    // ---------------------------------------------------------------- what the objects show
    let passAt = Infinity
    /** Looks at the status of every object then, or earlier if that is wanted already. */
    const passBy = (at: number): void => {
      if (at >= passAt) return
      passAt = at
      later(Math.max(at - clock.currentTimeMillisUnsafe(), 0), () => {
        if (passAt !== at) return
        passAt = Infinity
        const asked = new Set<string>()
        for (const { informer } of informers) for (const object of informer.cache.values()) show(object, asked, true)
        standings.keep(asked)
      })
    }
    const show = (object: PoolObject.DeclaredObject, asked: Set<string>, isPass: boolean): void => {
      const verdict = judged.get(object.uid)
      if (verdict === undefined || object.isDeleting) return
      const now = clock.currentTimeMillisUnsafe()
      const namespace = Namespace.make(object.namespace)
      const found = object.kind === "SandboxEnv" && isToken(object.name)
        ? sink.members({ namespace, name: EnvName.make(object.name) })
        : undefined
      // The mesh has just taken it, and this replica hears of it in a moment: then all can be said at once.
      if (object.kind === "SandboxEnv" && verdict.problem === undefined && found === undefined && !isPass) {
        return passBy(now + changesMs)
      }
      const standingOf = (name: string): PoolStanding | undefined => {
        if (!isToken(name)) return { _tag: "Absent" }
        const pool = { namespace, name: PoolName.make(name) }
        asked.add(poolKey(pool))
        const { again, standing } = standings.of(pool, now)
        if (again !== undefined) passBy(again)
        return standing
      }
      const { isShown, status, text } = PoolObject.sourceStatus(
        object,
        object.kind === "SandboxPool"
          ? { problem: verdict.problem, standing: standingOf(object.name) }
          : {
            problem: verdict.problem,
            members: PoolObject.membersOf(object, found)?.map((pool) => ({
              pool,
              standing: standingOf(pool) ?? { _tag: "NoOwner" }
            }))
          },
        now
      )
      let told = tellers.get(object.uid)
      if (told === undefined) {
        const collection = `/apis/${apiVersion}/namespaces/${object.namespace}/${PoolObject.plural[object.kind]}`
        const target = {
          apiVersion,
          kind: object.kind,
          path: `${collection}/${object.name}`,
          name: object.name,
          uid: object.uid
        }
        told = { writer: new StatusWriter(client, target, "heddle-source", { later, warn }), text: "", at: -Infinity }
        tellers.set(object.uid, told)
      }
      // What was said once is not said again when another one has written over it: two of different minds would go on for ever.
      if (text === told.text) return
      if (!isShown) {
        if (now < told.at + statusEveryMs) return passBy(told.at + statusEveryMs)
        told.at = now
        told.writer.write(status)
      }
      told.text = text
    }
    yield* sink.changes(() => passBy(clock.currentTimeMillisUnsafe() + changesMs))

    // ---------------------------------------------------------------- what the objects ask for
    const apply = (object: PoolObject.DeclaredObject): Effect.Effect<void, ContractError> =>
      Effect.suspend(() => {
        const text = JSON.stringify(object.spec)
        const judge = (problem: string | undefined): Effect.Effect<void> =>
          Effect.sync(() => {
            judged.set(object.uid, { text, problem })
            show(object, new Set(), false)
          })
        const before = judged.get(object.uid)
        // The status, or somebody's label: what is shown may be another's word now.
        if (before?.text === text) return judge(before.problem)
        const spec = object.kind === "SandboxPool"
          ? Result.map(PoolObject.poolSpec(object), sink.applyPool)
          : Result.map(PoolObject.envSpec(object), sink.applyEnv)
        if (Result.isFailure(spec)) return judge(spec.failure)
        return spec.success.pipe(
          Effect.andThen(judge(undefined)),
          // The mesh will not take it, however often it is told; anything else is tried again.
          Effect.catchIf(isRefusal, (error) => judge(error.message))
        )
      })
    /** What the mesh could not name was never in it. */
    const remove = (kind: PoolObject.Kind, namespace: string, name: string): Effect.Effect<void, ContractError> =>
      !isToken(name)
        ? Effect.void
        : kind === "SandboxPool"
        ? sink.removePool({ namespace: Namespace.make(namespace), name: PoolName.make(name) })
        : sink.removeEnv({ namespace: Namespace.make(namespace), name: EnvName.make(name) })

    /** A newer object may have the name of one that is gone. */
    const replacedBy = (work: Work): PoolObject.DeclaredObject | undefined => {
      for (const one of informers) {
        if (one.kind !== work.kind) continue
        for (const object of one.informer.cache.values()) {
          if (object.namespace === work.namespace && object.name === work.name && !object.isDeleting) return object
        }
      }
      return undefined
    }
    const settle = (work: Work): Effect.Effect<void, ContractError> =>
      Effect.suspend(() => {
        const object = find(work.kind, work.uid)
        if (object !== undefined && !object.isDeleting) return apply(object)
        judged.delete(work.uid)
        tellers.delete(work.uid)
        return replacedBy(work) === undefined ? remove(work.kind, work.namespace, work.name) : Effect.void
      })
    const step = Effect.gen(function*() {
      const work = yield* Queue.take(queue)
      waiting.delete(`${work.kind} ${work.uid}`)
      yield* settle(work).pipe(
        Effect.catch((error) =>
          Effect.sync(() => {
            warn("an object is not brought in line yet", {
              object: `${work.kind} ${work.namespace}/${work.name}`,
              reason: error.message
            })
            const again = { ...work, failures: work.failures + 1 }
            later(Math.min(retryMinMs * 2 ** Math.min(work.failures, 10), retryMaxMs), () => want(again))
          })
        )
      )
    })

    // What this source made once and is declared no more went while nobody watched.
    const sweep = Effect.gen(function*() {
      for (const { informer } of informers) {
        yield* Effect.retry(informer.current, { while: () => true, schedule: pause })
      }
      const live = new Set<string>()
      for (const { informer } of informers) {
        for (const object of informer.cache.values()) if (!object.isDeleting) live.add(PoolObject.sourceOf(object))
      }
      const isWatched = (namespace: string | undefined): boolean =>
        namespaces.length === 0 || namespaces.includes(namespace ?? "")
      for (const spec of yield* sink.pools) {
        if (PoolObject.isOurs(spec.source) && isWatched(spec.namespace) && !live.has(spec.source)) {
          want({ kind: "SandboxPool", namespace: spec.namespace ?? "", name: spec.name, uid: spec.source, failures: 0 })
        }
      }
      for (const spec of yield* sink.envs) {
        if (PoolObject.isOurs(spec.source) && isWatched(spec.namespace) && !live.has(spec.source)) {
          want({ kind: "SandboxEnv", namespace: spec.namespace ?? "", name: spec.name, uid: spec.source, failures: 0 })
        }
      }
    })
    yield* FiberSet.run(
      fibers,
      Effect.retry(sweep, { while: () => true, schedule: pause }).pipe(
        Effect.catch((error) =>
          Effect.logWarning(`the pools of the cluster's objects cannot be compared: ${error.message}`)
        )
      )
    )
    // A defect of any of them ends the source, and the service with it.
    return yield* Effect.raceAllFirst([
      Effect.forever(step),
      Effect.andThen(FiberSet.join(fibers), Effect.never),
      options.cluster.failure ?? Effect.never
    ])
  })

const pause = Schedule.min([Schedule.exponential("500 millis"), Schedule.spaced("30 seconds")])

const isRefusal = (error: ContractError): boolean =>
  error.code === "InvalidMessage" || error.code === "InvalidName" || error.code === "Unsupported"
