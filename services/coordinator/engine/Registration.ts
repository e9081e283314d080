/**
 * What an executor asks before it runs an attempt, and what its reports are checked against. design/04 section 2 ("Registration is answered by the owner of the
 * workflow's shard"), design/05 rule 6.
 *
 * Kept true here: an attempt has one placement at most. So the shell publishes TASK_DISPATCHED for a registration first and asks `registrationOutcome` with the
 * state after that turn: of two that register the same attempt in one turn exactly one is told `Registered`, and one that asks again (its answer was lost)
 * is told the same again.
 */
import * as Result from "effect/Result"
import type { Placement } from "../../../shared/protocol/Dispatch.ts"
import type { TaskSpec } from "../../../shared/protocol/Report.ts"
import type { MemberId, SessionId, StartupId, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import * as AttemptId from "./AttemptId.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Expression from "./Expression.ts"
import * as Rendering from "./Rendering.ts"
import { activeUnits, executionOf, type Unit } from "./Unit.ts"
import { nodeAt } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

export type RegistrationOutcome =
  | { readonly _tag: "Registered" }
  | { readonly _tag: "AlreadyAssigned" }
  | { readonly _tag: "NoLongerRunnable"; readonly why: string }

const registered: RegistrationOutcome = { _tag: "Registered" }
const alreadyAssigned: RegistrationOutcome = { _tag: "AlreadyAssigned" }

const unitOf = (state: WorkflowState, id: TaskInstanceId): Unit | undefined => {
  const index = AttemptId.indexOf(state.graph, id)
  if (index < 0) return undefined
  const node = nodeAt(state.graph, index)
  const item = AttemptId.itemOf(node, id)
  const execution = executionOf(ChunkedVector.get(state.tasks, index), item)
  return execution === undefined ? undefined : { node, item, execution }
}

/** Before the turn with TASK_DISPATCHED: whether it would be taken. After it: the answer. Same incarnation and same claim: the same registration. */
export const registrationOutcome = (
  state: WorkflowState,
  id: TaskInstanceId,
  placement: Placement
): RegistrationOutcome => {
  const unit = unitOf(state, id)
  if (unit === undefined) return { _tag: "NoLongerRunnable", why: `instance ${state.instance} has no attempt ${id}` }
  const { attempt, intent, status } = unit.execution
  if (attempt.id !== id) return { _tag: "NoLongerRunnable", why: `${id} was superseded by ${attempt.id}` }
  switch (status) {
    case "SUBMITTED":
      return attempt.slot === "waiting"
        ? { _tag: "NoLongerRunnable", why: "it waits for a slot of its group" }
        : registered
    case "DELAY_EXECUTION":
      return registered
    case "DISPATCHED":
    case "RUNNING": {
      if (attempt.executor !== placement.executor || attempt.startup !== placement.startup) return alreadyAssigned
      if (attempt.placement !== undefined && attempt.placement.claimId !== placement.claimId) return alreadyAssigned
      // Registered in the answer that was lost, and stopped since: it need not begin.
      return status === "DISPATCHED" && intent === "kill"
        ? { _tag: "NoLongerRunnable", why: "it is being killed" }
        : registered
    }
    default:
      return { _tag: "NoLongerRunnable", why: `it is ${status}` }
  }
}

/**
 * What the executor runs, from the state after the turn that registered it. Rendering was tried when the task was dispatched, on the same values: the failure
 * text can't happen; should it, publish it as TASK_FATAL.
 */
export const taskSpec = (
  state: WorkflowState,
  id: TaskInstanceId,
  session: SessionId
): Result.Result<TaskSpec, string> => {
  const unit = unitOf(state, id)
  if (unit === undefined || unit.execution.attempt.id !== id) {
    return Result.fail(`instance ${state.instance} has no attempt ${id} that may run`)
  }
  const spec = Rendering.spec(state, unit, session)
  return spec instanceof Expression.ExpressionProblem ? Result.fail(spec.message) : Result.succeed(spec)
}

/**
 * Whether the attempt is its task's newest and this incarnation holds it, or held it when it ended (a repeated final report is Accepted). False: answer
 * `Superseded`. Right before and after the turn that handles the report.
 */
export const isLive = (state: WorkflowState, id: TaskInstanceId, executor: MemberId, startup: StartupId): boolean => {
  const execution = unitOf(state, id)?.execution
  if (execution === undefined) return false
  // A retry or a resume makes a new attempt right after an attempt that ended properly: its repeated report is Accepted as well.
  const attempt = execution.attempt.id === id ? execution.attempt : execution.past.findLast((past) => past.id === id)
  if (attempt === undefined || attempt.status === "FAILOVER") return false
  return attempt.executor === undefined
    ? attempt === execution.attempt
    : attempt.executor === executor && attempt.startup === startup
}

/** The attempts that were handed the sandbox of `id` (also for a repeated final fact) and still run or wait there: `Accepted.next`. */
export const handedTo = (state: WorkflowState, id: TaskInstanceId): ReadonlyArray<TaskInstanceId> => {
  const execution = unitOf(state, id)?.execution
  const attempt = execution?.attempt.id === id ? execution.attempt : execution?.past.findLast((past) => past.id === id)
  return attempt?.next === undefined ? none : attempt.next.filter((next) => {
    const handed = unitOf(state, next)?.execution
    return handed !== undefined && handed.attempt.id === next &&
      (handed.status === "DISPATCHED" || handed.status === "RUNNING")
  })
}
const none: ReadonlyArray<TaskInstanceId> = []

/** Attempts that this incarnation of an executor holds: the targets of a WORKER_FAILOVER. */
export const heldBy = (state: WorkflowState, executor: MemberId, startup: StartupId): ReadonlyArray<TaskInstanceId> =>
  held(state, ({ attempt }) => attempt.executor === executor && attempt.startup === startup)

/** The attempts that run in this sandbox: the targets of a SANDBOX_LOST. */
export const inSandbox = (state: WorkflowState, sandbox: string): ReadonlyArray<TaskInstanceId> =>
  held(state, ({ attempt }) => attempt.placement?.sandbox === sandbox)

const held = (
  state: WorkflowState,
  matches: (execution: Unit["execution"]) => boolean
): ReadonlyArray<TaskInstanceId> => {
  const ids: Array<TaskInstanceId> = []
  for (const { execution } of activeUnits(state)) {
    if ((execution.status === "DISPATCHED" || execution.status === "RUNNING") && matches(execution)) {
      ids.push(execution.attempt.id)
    }
  }
  return ids
}
