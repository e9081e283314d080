/**
 * What the failover service counts (shared/telemetry/Catalog): who is registered, what it decided on, and how long after the first sign.
 *
 * The first sign of a failover is the input after which the Detector suspects the member; one that is decided on at once took no time. Each replica counts its own decisions.
 */
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import type * as Scope from "effect/Scope"
import { MemberRole } from "../../shared/protocol/Member.ts"
import type { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import type { Meters } from "../../shared/telemetry/Meters.ts"
import type * as Detector from "./Detector.ts"

const kinds: Readonly<Record<string, typeof Catalog.failoverKinds[number] | undefined>> = Object.fromEntries(
  Catalog.failoverKinds.map((kind) => [kind, kind])
)

export class FailoverMeters {
  readonly #meters: Meters
  /** By the id of the event to come: when its member was suspected, in milliseconds since the epoch. */
  #since: ReadonlyMap<string, number> = new Map()

  constructor(meters: Meters) {
    this.#meters = meters
    // all of them from the start: a failover is rare, and its first should be seen as an increase
    for (const kind of Catalog.failoverKinds) meters.counter(Catalog.failovers, { kind })
    meters.histogram(Catalog.failoverDetection, {})
  }

  /** A step of the Detector at `now` has led to this state and these events. */
  stepped(detector: Detector.Detector, events: ReadonlyArray<SystemEvent>, now: number): void {
    for (const event of events) {
      const kind = kinds[event._tag]
      if (kind === undefined) continue
      this.#meters.counter(Catalog.failovers, { kind }).total++
      if (kind === "GLOBAL_MASTER_FAILOVER") continue // nobody was suspected: the mesh has begun anew
      this.#meters.histogram(Catalog.failoverDetection, {}).observe((now - (this.#since.get(event.id) ?? now)) / 1_000)
    }
    if (this.#since.size === 0 && HashMap.size(detector.suspects) === 0) return
    const since = new Map<string, number>()
    for (const { id } of HashMap.values(detector.suspects)) since.set(id, this.#since.get(id) ?? now)
    this.#since = since
  }

  /** Shows while the scope is open. */
  show(
    detector: () => Detector.Detector,
    isActive: () => boolean
  ): Effect.Effect<void, never, Scope.Scope> {
    return Effect.all([
      ...MemberRole.literals.map((role) =>
        this.#meters.gaugeScoped(Catalog.members, { role }, () => {
          let count = 0
          for (const member of HashMap.values(detector().live)) if (member.role === role) count++
          return count
        })
      ),
      this.#meters.gaugeScoped(Catalog.failoverActive, {}, () => isActive() ? 1 : 0)
    ], { discard: true })
  }
}
