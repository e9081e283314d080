import type * as Result from "effect/Result"
import type { Definition, DefinitionRef } from "../../../shared/protocol/Definition.ts"
import type { Problem } from "../../../shared/protocol/ErrorCode.ts"
export interface WorkflowGraph {
  readonly definition: DefinitionRef
  readonly names: ReadonlyArray<string>
}
/** Every problem of the definition at once; never throws. */
export const compile = (
  _definition: Definition,
  _ref: DefinitionRef
): Result.Result<WorkflowGraph, ReadonlyArray<Problem>> => {
  throw new Error("not written yet")
}
