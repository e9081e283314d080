/**
 * What one instance tells another, on the inbox of the other's shard: slots asked for and granted, and what parent and child workflows say to each other.
 *
 * At least once and in order per pair of instances; whoever gets one may get it again (engine/Semaphore.ts). Follows design/01 section 2, design/03 section 2.
 */
import * as Schema from "effect/Schema"
import { LifecycleEvent } from "./Journal.ts"
import { InboxMessage } from "./Report.ts"
import { InstanceId } from "./Token.ts"

export const Signal = Schema.TaggedStruct("Signal", { from: InstanceId, event: LifecycleEvent })
export type Signal = typeof Signal.Type

/** Body of a message on `heddle.wf.<shard>.<instance>.cmd`. */
export const CommandMessage = Schema.Union([...InboxMessage.members, Signal])
export type CommandMessage = typeof CommandMessage.Type
