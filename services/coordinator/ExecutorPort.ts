/**
 * What executors ask of the shard's owner: registration of an attempt, and facts about it. Both are answered only after the journal has what they led to.
 *
 * Batches go through the buses item by item; the answer is sent when the last item is settled. Only the check here gives safety: sessions, attempts and placements are compared with
 * the state; what schedulers and executors check before saves work. Follows design/04 section 2 ("Executor", "Outcome reports"), design/05 rule 6.
 */
import * as Result from "effect/Result"
import type { Responder } from "../../shared/jetstream/RpcService.ts"
import type { JobState, JobStateRequest } from "../../shared/protocol/Lane.ts"
import type {
  FactAnswer,
  FactOutcome,
  FactReport,
  FactRequest,
  RegisterAnswer,
  RegisterOutcome,
  RegisterRequest,
  Registration,
  TaskSpec
} from "../../shared/protocol/Report.ts"
import type { InstanceId, MemberId, SessionId, Shard, TaskInstanceId } from "../../shared/protocol/Token.ts"
import { finalStatuses } from "../../shared/protocol/Workflow.ts"
import { AnswerBatch } from "./AnswerBatch.ts"
import * as Decide from "./engine/Decide.ts"
import * as Registrations from "./engine/Registration.ts"
import type { WorkflowState } from "./engine/WorkflowState.ts"
import type { WorkflowEventBus } from "./WorkflowEventBus.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

export interface ExecutorPortOptions {
  readonly buses: WorkflowEventBusCoordinator
  /** Its run goes on, but it is not in memory: nothing of it is with an executor (`PassiveInstances`). */
  readonly isPassive: (instance: InstanceId) => boolean
  /** Who owns a shard that is not ours, as far as is known. */
  readonly ownerOf: (shard: Shard) => MemberId | undefined
  /** Asks the executor that holds the attempt whether it has it; if not, it fails over. */
  readonly ask: (bus: WorkflowEventBus, taskInstanceId: TaskInstanceId) => void
}

/** Called with an outcome that holds once `subject` has the acknowledgement. */
interface Early<Outcome> {
  readonly reader: MemberId
  readonly expect: (outcome: Outcome, subject: string) => void
}

const answerOf = <Outcome>(outcomes: ReadonlyArray<Outcome>, onceAcknowledged: string | undefined) =>
  onceAcknowledged === undefined ? { outcomes } : { outcomes, onceAcknowledged }

const superseded: FactOutcome = { _tag: "Superseded" }
const accepted: FactOutcome = { _tag: "Accepted" }

export class ExecutorPort {
  readonly #options: ExecutorPortOptions

  constructor(options: ExecutorPortOptions) {
    this.#options = options
  }

  readonly register = (request: typeof RegisterRequest.Type, respond: Responder<typeof RegisterAnswer.Type>): void => {
    const batch = new AnswerBatch<RegisterOutcome>(
      request.registrations.length,
      (outcomes, onceAcknowledged) => respond.answer(answerOf(outcomes, onceAcknowledged))
    )
    const reader = request.ackReader
    for (const [index, registration] of request.registrations.entries()) {
      this.#registerOne(
        registration,
        (outcome) => batch.settle(index, outcome),
        reader && { reader, expect: (outcome, subject) => batch.expect(index, outcome, subject) }
      )
    }
  }

  #registerOne(
    registration: Registration,
    answer: (outcome: RegisterOutcome) => void,
    early: Early<RegisterOutcome> | undefined
  ): void {
    const { buses } = this.#options
    const worker = buses.worker(registration.shard)
    if (worker === undefined) return answer(this.#notOwner(registration.shard))
    if (registration.session !== worker.session) return answer({ _tag: "StaleSession", current: worker.session })
    const bus = worker.buses.get(registration.instance)
    if (bus === undefined) {
      const isPassive = this.#options.isPassive(registration.instance)
      return answer({ _tag: "NoLongerRunnable", why: isPassive ? "the attempt has ended" : "the instance has ended" })
    }
    const { placement, taskInstanceId } = registration
    const before = Registrations.registrationOutcome(bus.state, taskInstanceId, placement)
    if (before._tag !== "Registered") {
      // whoever holds it may have given up waiting for the answer to its registration: let it say whether it has the task
      if (before._tag === "AlreadyAssigned") this.#options.ask(bus, taskInstanceId)
      return answer(before)
    }
    let outcome: RegisterOutcome = { _tag: "NoLongerRunnable", why: "the task was settled in the same turn" }
    const isTaken = buses.publish(bus, {
      event: { _tag: "TASK_DISPATCHED", id: taskInstanceId, placement },
      decided: (state) => {
        const after = Registrations.registrationOutcome(state, taskInstanceId, placement)
        if (after._tag !== "Registered") {
          outcome = after
          return
        }
        const spec = Registrations.taskSpec(state, taskInstanceId, worker.session)
        if (Result.isSuccess(spec)) outcome = { _tag: "Registered", spec: spec.success }
        else buses.publish(bus, { event: { _tag: "TASK_FATAL", id: taskInstanceId, reason: spec.failure } })
      },
      early: early && { reader: early.reader, send: (subject) => early.expect(outcome, subject) },
      settled: (settlement) => answer(settlement === "Recorded" ? outcome : this.#notOwner(registration.shard))
    })
    // a full bus: not now; the executor tries again or gives the assignment back
    if (!isTaken) answer({ _tag: "NotOwner", owner: null })
  }

  readonly facts = (request: typeof FactRequest.Type, respond: Responder<typeof FactAnswer.Type>): void => {
    const batch = new AnswerBatch<FactOutcome>(
      request.facts.length,
      (outcomes, onceAcknowledged) => respond.answer(answerOf(outcomes, onceAcknowledged))
    )
    const reader = request.ackReader
    for (const [index, report] of request.facts.entries()) {
      this.fact(
        report,
        (outcome) => batch.settle(index, outcome),
        reader && { reader, expect: (outcome, subject) => batch.expect(index, outcome, subject) }
      )
    }
  }

  /** One fact, from a request or from the shard's inbox. */
  fact(report: FactReport, answer: (outcome: FactOutcome) => void, early?: Early<FactOutcome>): void {
    const { buses } = this.#options
    const worker = buses.worker(report.shard)
    if (worker === undefined) return answer(this.#notOwner(report.shard))
    const bus = worker.buses.get(report.instance)
    // an instance that is not there has ended, or has no attempt that could report: nothing of that is of interest any more
    if (bus === undefined) return answer(superseded)
    let outcome: FactOutcome = accepted
    const isTaken = buses.publish(bus, {
      event: Decide.fromFact(report),
      decided: (state) => {
        outcome = this.#factOutcome(state, report, worker.session)
      },
      early: early && { reader: early.reader, send: (subject) => early.expect(outcome, subject) },
      settled: (settlement) => {
        if (settlement === "Lost") return answer(this.#notOwner(report.shard))
        // the answer that carried a task over may have been lost: a report without an offer shows that nothing waits for it any more
        if (report.offer === undefined) {
          for (const next of Registrations.handedTo(bus.state, report.taskInstanceId)) this.#options.ask(bus, next)
        }
        answer(outcome)
      }
    })
    if (!isTaken) answer({ _tag: "NotOwner", owner: null })
  }

  #factOutcome(state: WorkflowState, report: FactReport, session: SessionId): FactOutcome {
    if (!Registrations.isLive(state, report.taskInstanceId, report.executor, report.startup)) return superseded
    if (report.offer === undefined) return accepted
    const next: Array<TaskSpec> = []
    for (const id of Registrations.handedTo(state, report.taskInstanceId)) {
      const spec = Registrations.taskSpec(state, id, session)
      if (Result.isSuccess(spec)) next.push(spec.success)
    }
    return next.length === 0 ? accepted : { _tag: "Accepted", next }
  }

  readonly jobState = (request: typeof JobStateRequest.Type): { readonly states: ReadonlyArray<JobState> } => ({
    states: request.jobs.map(({ instance, shard }) => {
      const worker = this.#options.buses.worker(shard)
      if (worker === undefined) return "NotOwner"
      const bus = worker.buses.get(instance)
      // a passive one may be loaded and dispatch before this answer arrives
      if (bus === undefined) return this.#options.isPassive(instance) ? "Runnable" : "Dead"
      const { resolved, status } = bus.committed
      return finalStatuses.has(status)
        ? "Dead"
        : resolved !== undefined || status === "READY_STOP"
        ? "Finalizing"
        : "Runnable"
    })
  })

  #notOwner(shard: Shard): { readonly _tag: "NotOwner"; readonly owner: MemberId | null } {
    return { _tag: "NotOwner", owner: this.#options.ownerOf(shard) ?? null }
  }
}
