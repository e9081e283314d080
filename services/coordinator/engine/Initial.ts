/**
 * The state of an instance before its first event: what the fold of its journal begins with. design/03 section 2.
 */
import type { InstanceId, Shard } from "../../../shared/protocol/Token.ts"
import * as Semaphore from "./Semaphore.ts"
import type { WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** Before the first event: WAIT_TO_RUN, run 0. Feed it `WORKFLOW_START`. */
export const initial = (graph: WorkflowGraph, instance: InstanceId, shard: Shard): WorkflowState => ({
  graph,
  instance,
  shard,
  status: "WAIT_TO_RUN",
  run: 0,
  start: undefined,
  params: graph.params,
  pool: graph.pool,
  startedAt: 0,
  endedAt: undefined,
  reason: undefined,
  timeoutAt: undefined,
  limitAt: undefined,
  timedOut: false,
  ending: false,
  resolved: undefined,
  poisoned: false,
  partial: undefined,
  parent: undefined,
  serial: undefined,
  semaphore: graph.isSemaphore ? Semaphore.empty : undefined,
  requests: [],
  tasks: graph.fresh,
  active: 0,
  failedChains: 0,
  pausedChains: 0,
  killedChains: 0,
  withOutputs: 0
})
