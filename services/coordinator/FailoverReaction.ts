/**
 * What a coordinator does about system events: takes the shards of coordinators that are gone, fails over the attempts of executors that are gone, and
 * says so with a FAILOVER_PROGRESS that carries the event's id and its own, so that it counts once however often the event comes.
 *
 * Follows design/05: the failover service only detects and tracks; each coordinator changes only what it owns.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import type { MemberId, StartupId } from "../../shared/protocol/Token.ts"
import { controls } from "./EffectRunner.ts"
import * as Outstanding from "./engine/Outstanding.ts"
import type { ExecutorControl } from "./ExecutorControl.ts"
import type { ShardOwnership } from "./ShardOwnership.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

/** Instances looked at between two yields: a failover of very many never holds up the rest (design/05 rule 3). */
const pageSize = 512

interface Counts {
  readonly shards: number
  readonly instances: number
  readonly tasks: number
}

export interface FailoverReactionOptions {
  readonly nats: Connection
  readonly member: MemberId
  readonly startup: StartupId
  readonly now: () => number
  readonly buses: WorkflowEventBusCoordinator
  readonly ownership: ShardOwnership
  readonly control: ExecutorControl
}

export class FailoverReaction {
  readonly #options: FailoverReactionOptions

  constructor(options: FailoverReactionOptions) {
    this.#options = options
  }

  /** `undefined`: nothing of a coordinator's. */
  to(event: SystemEvent): Effect.Effect<unknown, { readonly message: string }> | undefined {
    const { ownership } = this.#options
    switch (event._tag) {
      case "GLOBAL_MASTER_FAILOVER":
        return Effect.suspend(() => {
          ownership.declareUnregisteredDead()
          return this.#claimAndTell(event.id)
        })
      case "MASTER_FAILOVER":
        return Effect.suspend(() => {
          ownership.declareDead(event.startup)
          return this.#claimAndTell(event.id)
        })
      case "WORKER_FAILOVER":
        return Effect.flatMap(
          this.#executorLost(event.member, event.startup, event.cause),
          (counts) => this.#tell(event.id, counts)
        )
      default:
        return undefined
    }
  }

  #claimAndTell(of: string) {
    return Effect.flatMap(this.#options.ownership.claim, (adoption) => {
      const shards = Option.isSome(adoption) ? adoption.value.shards : []
      let instances = 0
      let tasks = 0
      for (const { buses, passive } of shards) {
        instances += buses.size + passive.length
        for (const bus of buses.values()) tasks += bus.committed.active
      }
      return this.#tell(of, { shards: shards.length, instances, tasks })
    })
  }

  /** The attempts that this life of the executor held fail over. */
  #executorLost(executor: MemberId, startup: StartupId, reason: string): Effect.Effect<Counts> {
    const { buses, control } = this.#options
    return Effect.gen(function*() {
      let tasks = 0
      let instances = 0
      let looked = 0
      for (const worker of buses.workers) {
        for (const bus of worker.buses.values()) {
          if (++looked % pageSize === 0) yield* Effect.yieldNow
          const held = controls(Outstanding.outstanding(bus.state)).filter((one) =>
            one.executor === executor && one.startup === startup
          )
          if (held.length > 0) instances += 1
          tasks += held.length
          for (const one of held) control.gone(bus, one, reason)
        }
      }
      return { shards: 0, instances, tasks }
    })
  }

  #tell(of: string, counts: Counts) {
    return Effect.suspend(() => {
      const { member, nats, now, startup } = this.#options
      const id = `${of}/${member}/${startup}`
      const event: SystemEvent = { _tag: "FAILOVER_PROGRESS", id, at: now(), by: member, of, ...counts, done: true }
      return Append.publish(nats, Subject.system(event._tag), JSON.stringify(event), { msgId: id })
    })
  }
}
