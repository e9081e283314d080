/**
 * Tasks whose sandboxes an earlier owner of the pool claimed: whether an executor still has them is known by the executors alone, so they are asked.
 *
 * What it keeps true: such a sandbox is kept while an executor says that it has the task, or may yet say so, and given back when all executors that live have said
 * that they do not. An executor that does not answer may have it.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { ControlAnswer, type ControlRequest } from "../../shared/protocol/Report.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"
import type { Claim } from "./Claim.ts"
import type { CorePorts, SchedulerCore } from "./SchedulerCore.ts"
import { type Custody, TaskEntry, taskOf } from "./TaskEntry.ts"

/** How long executors have to say that they hold a task's sandbox after a take-over. */
const adoptGraceMs = 15_000
const askTimeoutMs = 3_000

const readControl = Rpc.answerReader(ControlAnswer)

/** Asks one executor whether it has a task; also for assignments that are overdue. */
export const asker = (nats: Connection): CorePorts["ask"] => (entry, executor, done) => {
  const request: ControlRequest = {
    kind: "ask",
    owner: entry.owner,
    tasks: [{ shard: entry.shard, instance: entry.instance, taskInstanceId: entry.taskInstanceId }]
  }
  nats.requestUnsafe(
    Subject.member(executor, "control"),
    JSON.stringify(request),
    { timeoutMs: askTimeoutMs },
    (result) => {
      const answer = Result.isSuccess(result) ? readControl(result.success) : undefined
      if (answer === undefined || Result.isFailure(answer)) return done("NoAnswer")
      done(answer.success.tasks[0] === "Unknown" ? "Unknown" : "Held")
    }
  )
}

/** Gives the sandboxes of `claims` back as it is learnt that nobody has their tasks; ends when none is open. */
export const settle = (
  core: SchedulerCore,
  claims: ReadonlyArray<Claim>,
  liveExecutors: () => ReadonlyArray<MemberId>,
  ask: CorePorts["ask"]
): Effect.Effect<void> =>
  Effect.gen(function*() {
    let open: ReadonlyArray<TaskEntry> = claims.flatMap((claim) => {
      const task = taskOf(claim.spec.holder)
      if (task === undefined) return []
      const entry = TaskEntry.adopted(task.shard, task.instance, task.task)
      core.adopt(claim, entry)
      return [entry]
    })
    while (open.length > 0) {
      yield* Effect.sleep(adoptGraceMs)
      const executors = liveExecutors()
      const still: Array<TaskEntry> = []
      for (const entry of open) {
        if (entry.startup !== undefined || entry.state !== "Registered") continue // told `registered` again, or ended
        const answers = yield* Effect.forEach(
          executors,
          (executor) =>
            Effect.callback<Custody>((resume) => ask(entry, executor, (custody) => resume(Effect.succeed(custody)))),
          { concurrency: 16 }
        )
        if (answers.every((answer) => answer === "Unknown")) core.releaseAdopted(entry)
        else still.push(entry)
      }
      open = still
    }
  })
