/**
 * What a case of a crash runs in: a coordinator that is cut off from the broker, whoever takes its shards over, and the leak assertion on whoever serves at the end.
 *
 * A crash cuts the coordinator off between two of its messages; the next one is told by MASTER_FAILOVER, as the failover service does.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import type * as Script from "./Script.ts"
import type { Passing } from "./Severable.ts"
import { SkippingClock } from "./SkippingClock.ts"
import { coordinator, leaksNothing, Mesh, type Running, until } from "./World.ts"

export class Site extends Context.Service<Site, { readonly mesh: Mesh }>()("heddle/conformance/Site") {
  static readonly layer = Layer.effect(Site, Effect.map(Mesh.make("ex-1"), (mesh) => ({ mesh }))).pipe(
    Layer.provideMerge(Broker.layer()),
    Layer.orDie
  )
}
/** Of the mesh of every case. */
export const shards = 4
let names = 0
/** No coordinator of a case has the name of another. */
export const nextName = (): string => `co-${++names}`
/** What `nextName` gives next. */
export const upcomingName = (): string => `co-${names + 1}`

export const publish = (mesh: Mesh, event: SystemEvent) =>
  Append.publish(mesh.nats, Subject.system(event._tag), JSON.stringify(event), { msgId: event.id })

/** The registry has forgotten `dead`, and the failover service says so. */
export const declareDead = (mesh: Mesh, dead: Running) =>
  Effect.gen(function*() {
    const members = yield* Registry.members(mesh.nats)
    const member = members.find((one) => one.member === dead.name)
    if (member?.ledger === undefined) return yield* Effect.die(new Error(`${dead.name} is not registered`))
    // what the registry's TTL does, before anybody is declared dead
    const bucket = Kv.bucket(mesh.nats, Streams.bucketName.registry)
    const entry = yield* bucket.get(Registry.keyOf(member))
    if (Option.isSome(entry)) yield* bucket.delete(Registry.keyOf(member), entry.value.revision)
    yield* publish(mesh, {
      _tag: "MASTER_FAILOVER",
      id: `master/${member.startup}`,
      at: 0,
      member: member.member,
      startup: member.startup,
      ledger: member.ledger,
      cause: "test"
    })
  })

/** `dead` is cut off now; another coordinator takes everything over, under the same clock. */
export const takeOver = (mesh: Mesh, dead: Running, onMessage?: (passing: Passing) => boolean) =>
  Effect.gen(function*() {
    dead.cut()
    yield* dead.settled
    mesh.executor.isGone(dead.name)
    const next = yield* coordinator(nextName(), {
      clock: dead.clock,
      ...(onMessage === undefined ? {} : { onMessage })
    })
    yield* declareDead(mesh, dead)
    yield* until(`${next.name} serves all shards`, Effect.sync(() => next.stats().shards === shards))
    return next
  })

/** Coordinators of earlier cases are gone; what one that was cut off has left in the registry goes as by its TTL, so that cases do not touch each other. */
export const nobodyIsRegistered = (mesh: Mesh) =>
  Effect.gen(function*() {
    const bucket = Kv.bucket(mesh.nats, Streams.bucketName.registry)
    for (const member of yield* Registry.members(mesh.nats)) yield* bucket.delete(Registry.keyOf(member))
  })

export interface Scene {
  readonly mesh: Mesh
  readonly executor: Script.Script
  readonly start: Mesh["start"]
  readonly clock: SkippingClock
  readonly first: Running
  /** The first is dead, another has everything. */
  readonly crash: Effect.Effect<Running, unknown, Broker | Scope.Scope>
}

/** A case: a coordinator of its own, maybe a crash, and the leak assertion on whoever serves at the end. */
export const survive = <E>(body: (scene: Scene) => Effect.fn.Return<void, E, Broker | Scope.Scope>) =>
  Effect.gen(function*() {
    const { mesh } = yield* Site
    const clock = new SkippingClock(yield* Clock.Clock)
    yield* nobodyIsRegistered(mesh)
    const first = yield* coordinator(nextName(), { clock })
    yield* until("the first serves all shards", Effect.sync(() => first.stats().shards === shards))
    let serving = first
    mesh.executor.now = () => clock.currentTimeMillisUnsafe()
    mesh.executor.isReachable = true
    const crash = Effect.suspend(() => takeOver(mesh, serving)).pipe(
      Effect.tap((next) =>
        Effect.sync(() => {
          serving = next
        })
      )
    )
    yield* Effect.gen(() => body({ mesh, executor: mesh.executor, start: mesh.start.bind(mesh), clock, first, crash }))
    yield* leaksNothing(serving)
    yield* mesh.streamsAreEmpty
  })
