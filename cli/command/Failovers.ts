/** `heddle failovers`: the records of design/05 rule 7. */
import * as Effect from "effect/Effect"
import * as Subject from "../../shared/protocol/Subject.ts"
import { FailoverList } from "../../shared/protocol/SystemEvent.ts"
import * as Connection from "../Connection.ts"
import { duration, Output } from "../Output.ts"

export const run = Effect.gen(function*() {
  const output = yield* Output
  const page = yield* Connection.call(Subject.rpc.failoverList, FailoverList, {})
  yield* output.page(
    page,
    [
      { title: "AT", value: (record) => record.at },
      { title: "KIND", value: (record) => record.kind },
      { title: "OF", value: (record) => record.subject },
      { title: "STATE", value: (record) => record.state },
      { title: "SHARDS", value: (record) => String(record.shards), alignRight: true },
      { title: "WORKFLOWS", value: (record) => String(record.instances), alignRight: true },
      { title: "TASKS", value: (record) => String(record.tasks), alignRight: true },
      {
        title: "RECOVERED",
        value: (record) => record.recoveredMs === undefined ? "-" : duration(record.recoveredMs),
        alignRight: true
      },
      { title: "CAUSE", value: (record) => record.cause }
    ],
    "No failovers."
  )
}).pipe(Connection.provide)
