/**
 * Concurrency groups: the messages of `heddle.rpc.group.*`. design/02 "Workflows", design/03 section 6.
 *
 * A group is made by the first task that asks it for a slot, or by `set`; nobody has to declare it. Groups of one name in two namespaces are two.
 */
import * as Schema from "effect/Schema"
import { InstanceId, Namespace, Priority, TaskInstanceId, TaskName, Token } from "./Token.ts"

const ref = { namespace: Schema.optionalKey(Namespace), name: Token }
const slots = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000 }))

/** `namespace`: `default` when not given. */
export const GroupQuery = Schema.Struct(ref)
export type GroupQuery = typeof GroupQuery.Type

/** How many hold a slot at once, whatever definitions say: 0 lets nobody begin, `null` gives the say back to them. What holds a slot keeps it. */
export const GroupSet = Schema.Struct({ ...ref, slots: Schema.NullOr(slots) })
export type GroupSet = typeof GroupSet.Type

/** Another priority for what waits: of one task of an instance, each item of a `forEach` included. */
export const GroupPrioritize = Schema.Struct({ ...ref, instanceId: InstanceId, task: TaskName, priority: Priority })
export type GroupPrioritize = typeof GroupPrioritize.Type

export const GroupListQuery = Schema.Struct({
  namespace: Schema.optionalKey(Namespace),
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))),
  next: Schema.optionalKey(Schema.String)
})

/** `slots`: how many hold a slot at most now. `set`: somebody has set it; absent: it is what the definition said that asked last. `held`, `waiting`: how many. */
export const GroupSummary = Schema.Struct({
  namespace: Namespace,
  name: Token,
  slots: Schema.Int,
  set: Schema.optionalKey(Schema.Literals([true])),
  held: Schema.Int,
  waiting: Schema.Int
})
export type GroupSummary = typeof GroupSummary.Type
export const GroupList = Schema.Struct({ items: Schema.Array(GroupSummary), next: Schema.optionalKey(Schema.String) })

/** An attempt that holds a slot or waits for one. */
export const GroupTicket = Schema.Struct({
  instanceId: InstanceId,
  task: TaskName,
  taskInstanceId: TaskInstanceId,
  priority: Priority
})
export type GroupTicket = typeof GroupTicket.Type
/** `waiting`: in the order in which they are let in. */
export const GroupView = Schema.Struct({
  ...GroupSummary.fields,
  held: Schema.Array(GroupTicket),
  waiting: Schema.Array(GroupTicket)
})
export type GroupView = typeof GroupView.Type
