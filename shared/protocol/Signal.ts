/**
 * What one instance tells another, on the inbox of the other's shard: slots asked for and granted, and what parent and child workflows say to each other.
 *
 * At least once and in order per pair of instances; whoever gets one may get it again (engine/Semaphore.ts, engine/SubWorkflow.ts). Follows design/01 section 2,
 * design/03 section 2.
 */
import * as Schema from "effect/Schema"
import { DefinitionRefText, PoolText } from "./Definition.ts"
import { LifecycleEvent, Parent } from "./Journal.ts"
import { InboxMessage } from "./Report.ts"
import { InstanceId, Namespace, Priority, Token } from "./Token.ts"

/** Start this child, or go on with it; one that has begun for this attempt of the parent only answers. */
export const ChildStart = Schema.TaggedStruct("CHILD_START", {
  definition: DefinitionRefText,
  namespace: Namespace,
  params: Schema.Record(Schema.String, Schema.Unknown),
  parent: Parent,
  priority: Schema.optionalKey(Priority),
  pool: Schema.optionalKey(PoolText),
  team: Schema.optionalKey(Token),
  traceparent: Schema.optionalKey(Schema.String)
})
export type ChildStart = typeof ChildStart.Type

export const Signal = Schema.TaggedStruct("Signal", {
  from: InstanceId,
  event: Schema.Union([...LifecycleEvent.members, ChildStart])
})
export type Signal = typeof Signal.Type

/** Body of a message on `heddle.wf.<shard>.<instance>.cmd`. */
export const CommandMessage = Schema.Union([...InboxMessage.members, Signal])
export type CommandMessage = typeof CommandMessage.Type
