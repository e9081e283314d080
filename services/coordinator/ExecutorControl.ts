/**
 * Tells executors to kill or pause an attempt, or asks whether they still have it, until that is settled.
 *
 * A kill or pause that was not answered is sent again with back-off for as long as the state says so (a durable intent): the fact that ends it comes from the
 * executor, or from here when the executor says it does not know the attempt, is another incarnation, or has been gone from the registry for `goneMs`.
 * Follows design/03 section 4 ("intent"), design/05 rule 5.
 */
import * as Result from "effect/Result"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import { ControlAnswer, type ControlRequest } from "../../shared/protocol/Report.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { MemberId, StartupId } from "../../shared/protocol/Token.ts"
import type { Control } from "./engine/EngineEffect.ts"
import type { Timers } from "./Timers.ts"
import type { WorkflowEventBus } from "./WorkflowEventBus.ts"

const requestTimeoutMs = 2_000
const backoffMinMs = 500
const backoffMaxMs = 30_000
/** How long an executor that does not answer must be missing from the registry before its attempts count as lost. */
export const goneMs = 5_000

const decodeAnswer = Decode.decoder(ControlAnswer)
const kinds = { Kill: "kill", Pause: "pause", Ask: "ask" } as const

export interface ExecutorControlOptions {
  readonly nats: Connection
  readonly owner: MemberId
  readonly timers: Timers
  readonly now: () => number
  /** Whether the registry shows this life of the executor. */
  readonly isAlive: (executor: MemberId, startup: StartupId) => boolean
  /** The control effects that the state of `bus` still asks for; none when it is no longer ours. */
  readonly outstanding: (bus: WorkflowEventBus) => ReadonlyArray<Control>
  /** Whether the durable inbox holds anything of the instance that is not handled yet; also `true` when that can't be told now. */
  readonly hasMail: (bus: WorkflowEventBus, answer: (hasMail: boolean) => void) => void
  /** The attempt is not there any more: TASK_FAILOVER{lost}. */
  readonly lost: (bus: WorkflowEventBus, control: Control, reason: string) => void
}

export class ExecutorControl {
  readonly #options: ExecutorControlOptions

  constructor(options: ExecutorControlOptions) {
    this.#options = options
  }

  send(bus: WorkflowEventBus, control: Control): void {
    this.#attempt(bus, control, 0, this.#options.now())
  }

  /** The executor is known to be gone: its attempt fails over, unless its end is told in the inbox and only has to be handled. */
  gone(bus: WorkflowEventBus, control: Control, reason: string): void {
    this.#lost(bus, control, 0, reason)
  }

  #attempt(bus: WorkflowEventBus, control: Control, tries: number, seenAt: number): void {
    const { nats, now, owner } = this.#options
    const request: ControlRequest = {
      kind: kinds[control._tag],
      owner,
      tasks: [{ shard: bus.shard, instance: bus.instance, taskInstanceId: control.taskInstanceId }]
    }
    nats.requestUnsafe(Subject.member(control.executor, "control"), JSON.stringify(request), {
      timeoutMs: requestTimeoutMs
    }, (result) => {
      const answer = Result.isSuccess(result) ? decodeAnswer(result.success.text) : undefined
      if (answer !== undefined && Result.isSuccess(answer)) {
        if (answer.success.startup !== control.startup) {
          return this.#lost(bus, control, tries, `executor ${control.executor} was restarted`)
        }
        if (answer.success.tasks[0] === "Unknown") {
          return this.#lost(bus, control, tries, `executor ${control.executor} does not know the task`)
        }
        // it has the attempt: an ask is answered; a kill or pause waits for the fact, and is repeated should that not come
        if (control._tag !== "Ask") this.#again(bus, control, tries + 1, now())
        return
      }
      const isAlive = this.#options.isAlive(control.executor, control.startup)
      if (!isAlive && now() - seenAt >= goneMs) {
        return this.#lost(bus, control, tries, `executor ${control.executor} is gone`)
      }
      this.#again(bus, control, tries + 1, isAlive ? now() : seenAt)
    })
  }

  /**
   * Nobody has the attempt any more. It may have ended while no owner was there: then its final fact was stored in the durable inbox before the executor forgot it, and
   * is handled first; a second run of a task that has ended would lose its result.
   */
  #lost(bus: WorkflowEventBus, control: Control, tries: number, reason: string): void {
    this.#options.hasMail(
      bus,
      (hasMail) =>
        hasMail ? this.#again(bus, control, tries + 1, this.#options.now()) : this.#options.lost(bus, control, reason)
    )
  }

  #again(bus: WorkflowEventBus, control: Control, tries: number, seenAt: number): void {
    this.#options.timers.armIn({
      key: `control/${bus.instance}/${control.id}`,
      delayMs: Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(tries - 1, 10)),
      fire: () => {
        if (
          this.#options.outstanding(bus).some((open) =>
            open._tag === control._tag && open.taskInstanceId === control.taskInstanceId
          )
        ) {
          this.#attempt(bus, control, tries, seenAt)
        }
      }
    })
  }
}
