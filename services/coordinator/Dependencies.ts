/**
 * Answers dependent tasks: finds the newest run of a workflow in a window of time, waits until it rests, and tells the task how it ended.
 *
 * Kept true here: nothing is stored: whoever owns the instance asks again after a take-over (`Outstanding`). Waiting is a request that is held until the run
 * rests, not a poll. A run is found among those that coordinators hold or remember. Follows design/03 section 6, conformance A65.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { LifecycleEvent } from "../../shared/protocol/Journal.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { InstanceId, TaskInstanceId } from "../../shared/protocol/Token.ts"
import { WorkflowList, WorkflowResult } from "../../shared/protocol/Workflow.ts"
import type { Dependency, Question } from "./engine/EngineEffect.ts"
import type { Query } from "./engine/EngineEffect.ts"
import { activeUnits } from "./engine/Unit.ts"
import type { WorkflowEventBus } from "./WorkflowEventBus.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

/** One request for a result is held this long, then the task is looked at again. */
const holdMs = 30_000
const pageMax = 1_000

export interface DependenciesOptions {
  readonly nats: Connection
  readonly buses: () => WorkflowEventBusCoordinator
  readonly fork: (effect: Effect.Effect<void>) => void
}

interface Found {
  readonly holds: boolean
  readonly text: string
  readonly instance: InstanceId | undefined
}

export class Dependencies {
  readonly #options: DependenciesOptions
  readonly #asked = new WeakMap<WorkflowEventBus, Set<TaskInstanceId>>()

  constructor(options: DependenciesOptions) {
    this.#options = options
  }

  /** Answered once per attempt and owner, however often it is asked. */
  ask(bus: WorkflowEventBus, { question, taskInstanceId: id }: Query): void {
    const asked = this.#asked.get(bus) ?? new Set()
    if (asked.has(id)) return
    this.#asked.set(bus, asked.add(id))
    const answered = Effect.flatMap(
      this.#answer(question, () => this.#isWanted(bus, id)),
      (event) => event === undefined ? Effect.void : this.#tell(bus, event(id))
    ).pipe(
      Effect.retry({ while: isPassing, schedule: Schedule.spaced("1 second") }),
      Effect.catch((error) => this.#tell(bus, { _tag: "TASK_FAILED", id, reason: error.message })),
      Effect.ensuring(Effect.sync(() => asked.delete(id)))
    )
    this.#options.fork(answered)
  }

  #isWanted(bus: WorkflowEventBus, id: TaskInstanceId): boolean {
    return this.#options.buses().bus(bus.shard, bus.instance) === bus &&
      activeUnits(bus.state).some(({ execution }) => execution.attempt.id === id)
  }

  #tell(bus: WorkflowEventBus, event: LifecycleEvent): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.#options.buses().publish(bus, { event })
        ? Effect.void
        : Effect.andThen(Effect.sleep("100 millis"), this.#tell(bus, event))
    )
  }

  /** `undefined`: nobody wants to know any more. */
  #answer(
    question: Question,
    isWanted: () => boolean
  ): Effect.Effect<((id: TaskInstanceId) => LifecycleEvent) | undefined, ContractError> {
    return Effect.map(
      Effect.forEach(question.of, (one) => this.#look(one, question.instance, isWanted), { concurrency: 8 }),
      (found) => {
        if (!isWanted()) return undefined
        const held = found.filter(({ holds }) => holds)
        const holds = question.mode === "all" ? held.length === found.length : held.length > 0
        if (holds) {
          const outputs = Object.fromEntries(
            question.of.flatMap(({ name }, i) => {
              const instance = found[i]?.instance
              return instance === undefined ? [] : [[name, instance] as const]
            })
          )
          return (id) => ({ _tag: "TASK_SUCCEEDED", id, outputs: { runs: outputs } })
        }
        const reason = found.filter((one) => !one.holds).map(({ text }) => text).join("; ")
        return (id) => ({ _tag: "TASK_FAILED", id, reason })
      }
    )
  }

  #look(one: Dependency, self: InstanceId, isWanted: () => boolean): Effect.Effect<Found, ContractError> {
    const { nats } = this.#options
    return Effect.gen(function*() {
      const window = `from ${new Date(one.from).toISOString()} to ${new Date(one.to).toISOString()}`
      let next: string | undefined
      do {
        const page: typeof WorkflowList.Type = yield* Rpc.call(nats, Subject.rpc.workflow("list"), WorkflowList, {
          definition: one.workflow,
          namespace: one.namespace,
          limit: pageMax,
          ...(next === undefined ? {} : { next })
        })
        for (const { instanceId, startedAt } of page.items) {
          const at = Date.parse(startedAt)
          if (at < one.from) return { holds: false, text: `${one.name} has no run ${window}`, instance: undefined }
          if (at > one.to || instanceId === self) continue
          while (isWanted()) {
            const result = yield* Rpc.call(
              nats,
              Subject.rpc.workflow("result"),
              WorkflowResult,
              { instanceId, wait: holdMs },
              { timeoutMs: holdMs + 5_000 }
            ).pipe(Effect.catchIf((error) => error.code === "DeadlineExceeded", () => Effect.succeed(undefined)))
            if (result === undefined) continue
            return {
              holds: (result.state === "SUCCEEDED") === (one.is === "success"),
              text: `${instanceId} of ${one.name} is ${result.state}`,
              instance: instanceId
            }
          }
          return { holds: false, text: "", instance: undefined }
        }
        next = page.next
      } while (next !== undefined)
      return { holds: false, text: `${one.name} has no run ${window}`, instance: undefined }
    })
  }
}

const isPassing = (error: ContractError): boolean =>
  error.code === "NotOwner" || error.code === "Overloaded" || error.code === "Unavailable"
