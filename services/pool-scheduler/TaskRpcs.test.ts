import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { DequeueAnswer, TaskAssignment } from "../../shared/protocol/Dispatch.ts"
import { SessionId } from "../../shared/protocol/Token.ts"
import * as TaskRpcs from "./TaskRpcs.ts"

it.prop(
  "an answer written by hand is the one that JSON.stringify writes",
  [SessionId, Schema.Array(TaskAssignment)],
  ([sessionId, assignments]) => {
    const text = TaskRpcs.answerText(sessionId, assignments)
    const answer = { sessionId, assignments }
    assert.deepStrictEqual(JSON.parse(text), JSON.parse(JSON.stringify(answer)))
    assert.deepStrictEqual(
      Schema.decodeUnknownSync(DequeueAnswer)(JSON.parse(text)),
      Schema.decodeUnknownSync(DequeueAnswer)(JSON.parse(JSON.stringify(answer)))
    )
  }
)
