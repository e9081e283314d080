/**
 * An executor double that takes entries straight from the ready lanes (no pool-scheduler): registers, and reports what its script says. For tests of the coordinator.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Acknowledgements from "../../services/task-executor/Acknowledgements.ts"
import * as Later from "../../services/task-executor/Later.ts"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { LaneBatch } from "../../shared/protocol/Lane.ts"
import {
  type ControlAnswer,
  ControlRequest,
  FactAnswer,
  type FactReport,
  RegisterAnswer,
  type TaskFact,
  type TaskSpec
} from "../../shared/protocol/Report.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import {
  ClaimId,
  MemberId,
  Namespace,
  PoolName,
  SessionId,
  type Shard,
  StartupId
} from "../../shared/protocol/Token.ts"

const decodeLane = Decode.decoder(LaneBatch)
const decodeRegister = Decode.decoder(RegisterAnswer)
const decodeFacts = Decode.decoder(FactAnswer)
const decodeControl = Decode.decoder(ControlRequest)

export interface Ran {
  readonly spec: TaskSpec
}
/** What becomes of a task: its final fact, or `undefined`: it keeps running until it is told to end. */
export type Script = (spec: TaskSpec) => TaskFact | undefined

export interface ScriptedExecutor {
  readonly member: MemberId
  readonly startup: StartupId
  /** Specs in the order in which they were registered. */
  readonly ran: ReadonlyArray<TaskSpec>
  /** Everything else that registration answered. */
  readonly refused: ReadonlyArray<string>
  /** Subjects that answers to registrations waited for, since they came ahead of the append. */
  readonly early: ReadonlyArray<string>
  readonly report: (spec: TaskSpec, owner: MemberId, fact: TaskFact) => void
  readonly running: ReadonlyMap<string, { readonly spec: TaskSpec; readonly owner: MemberId }>
}

export const make = (
  nats: Connection,
  name: string,
  script: Script,
  options?: { readonly readsAcknowledgements?: boolean }
): Effect.Effect<ScriptedExecutor, Consume.ConsumeFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const member = MemberId.make(name)
    const startup = StartupId.make(`${name}-1`)
    const ran: Array<TaskSpec> = []
    const refused: Array<string> = []
    const running = new Map<string, { readonly spec: TaskSpec; readonly owner: MemberId }>()
    const keyOf = (spec: Pick<TaskSpec, "instance" | "taskInstanceId">) => `${spec.instance}/${spec.taskInstanceId}`
    let sequence = 0
    const early: Array<string> = []
    const acknowledgements = options?.readsAcknowledgements === true
      ? yield* Acknowledgements.make(nats, member, yield* Later.make((cause) => nats.fail("the double broke", cause)))
      : undefined
    const ackReader = acknowledgements === undefined ? {} : { ackReader: member }

    const report = (spec: TaskSpec, owner: MemberId, fact: TaskFact): void => {
      const one: FactReport = {
        shard: spec.shard,
        instance: spec.instance,
        taskInstanceId: spec.taskInstanceId,
        executor: member,
        startup,
        sequence: ++sequence,
        at: 0,
        fact
      }
      nats.requestUnsafe(Subject.member(owner, "facts"), JSON.stringify({ facts: [one] }), {}, (answer) => {
        const outcome = Result.isSuccess(answer) ? decodeFacts(answer.success.text) : undefined
        if (outcome === undefined || Result.isFailure(outcome) || outcome.success.outcomes[0]?._tag === "NotOwner") {
          // nobody there: the durable inbox takes it
          nats.publish(Subject.command(spec.shard, spec.instance), JSON.stringify({ _tag: "Fact", report: one }))
        }
        running.delete(keyOf(spec))
      })
    }
    const begin = (spec: TaskSpec, owner: MemberId): void => {
      ran.push(spec)
      running.set(keyOf(spec), { spec, owner })
      const fact = script(spec)
      if (fact !== undefined) report(spec, owner, fact)
    }
    yield* Consume.consume(
      nats,
      Streams.name.ready,
      { durable: "lanes", filter: "heddle.pool.>" },
      (delivery) => {
        const batch = decodeLane(delivery.text)
        if (Result.isFailure(batch)) return void delivery.term(batch.failure.message)
        const { groups, owner } = batch.success
        const registrations = groups.flatMap((
          group: {
            readonly shard: Shard
            readonly session: SessionId
            readonly entries: ReadonlyArray<
              { readonly instance: TaskSpec["instance"]; readonly taskInstanceId: TaskSpec["taskInstanceId"] }
            >
          }
        ) =>
          group.entries.map((entry) => ({
            shard: group.shard,
            session: group.session,
            instance: entry.instance,
            taskInstanceId: entry.taskInstanceId,
            placement: {
              executor: member,
              startup,
              pool: { namespace: Namespace.make("default"), name: PoolName.make("default") },
              poolSession: SessionId.make(1),
              claimId: ClaimId.make(`c-${sequence}`),
              sandbox: "s-1"
            }
          }))
        )
        delivery.ack()
        nats.requestUnsafe(
          Subject.member(owner, "register"),
          JSON.stringify({ registrations, ...ackReader }),
          {},
          (answer) => {
            const outcomes = Result.isSuccess(answer) ? decodeRegister(answer.success.text) : undefined
            if (outcomes === undefined || Result.isFailure(outcomes)) return void refused.push("no answer")
            const take = (): void => {
              for (const outcome of outcomes.success.outcomes) {
                if (outcome._tag === "Registered") begin(outcome.spec, owner)
                else refused.push(outcome._tag)
              }
            }
            const after = outcomes.success.onceAcknowledged
            if (after === undefined) return take()
            early.push(after)
            acknowledgements?.wait(after, (isStored) => isStored ? take() : void refused.push("not acknowledged"))
          }
        )
      }
    )
    yield* nats.subscribe(Subject.member(member, "control"), (message) => {
      const request = decodeControl(message.text)
      if (Result.isFailure(request)) return
      const answer: ControlAnswer = {
        startup,
        tasks: request.success.tasks.map((task) => running.has(keyOf(task)) ? "Running" : "Unknown")
      }
      message.respond(JSON.stringify(answer))
      if (request.success.kind !== "kill") return
      for (const task of request.success.tasks) {
        const known = running.get(keyOf(task))
        if (known !== undefined) report(known.spec, request.success.owner, { _tag: "KILLED" })
      }
    })
    return { member, startup, ran, refused, early, report, running }
  })
