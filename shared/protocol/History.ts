/**
 * The body of a message of HEDDLE_HISTORY and of HEDDLE_ARCHIVE: what the journal says of one instance, on a subject of its own. docs/reference/journal.md "History and archive".
 */
import * as Schema from "effect/Schema"
import { Entry } from "./Journal.ts"
import { Timestamp } from "./Time.ts"
import { InstanceId, Shard } from "./Token.ts"

/** `entries`: oldest first; one may stand in several messages and is known by its `n`. `seq`: of the journal's message that holds it. */
export const HistoryMessage = Schema.Struct({
  v: Schema.Literals([1]),
  instance: InstanceId,
  shard: Shard,
  entries: Schema.Array(Schema.Struct({ seq: Schema.Int, entry: Entry }))
})

/** Answer of `heddle.rpc.workflow.history`: a page, oldest first. `at`: the entry's time, as the contract writes times; within the entry it is as the hash has it. */
export const HistoryList = Schema.Struct({
  items: Schema.Array(Schema.Struct({ seq: Schema.Int, at: Timestamp, entry: Entry })),
  next: Schema.optionalKey(Schema.String)
})
