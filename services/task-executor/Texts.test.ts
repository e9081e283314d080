import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { TaskAssignment } from "../../shared/protocol/Dispatch.ts"
import { FactReport, Registration } from "../../shared/protocol/Report.ts"
import { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { MemberId, SessionId, StartupId } from "../../shared/protocol/Token.ts"
import { Attempt } from "./Attempt.ts"
import { registrationText } from "./Registrar.ts"
import { reportText } from "./Reporter.ts"

it.prop("a report written by hand is the one that JSON.stringify writes", [FactReport], ([report]) => {
  assert.strictEqual(reportText(report), JSON.stringify(ordered(report)))
})

it.prop(
  "a registration written by hand names the attempt and its placement",
  [MemberId, StartupId, PoolRef, SessionId, TaskAssignment],
  ([member, startup, pool, poolSession, assignment]) => {
    const text = registrationText(new Attempt({ member, startup }, pool, poolSession, assignment))
    const { claimId, instance, sandbox, session, shard, taskInstanceId } = assignment
    const placement = { executor: member, startup, pool, poolSession, claimId, sandbox: sandbox.uid }
    const expected: Registration = { shard, session, instance, taskInstanceId, placement }
    assert.deepStrictEqual(Schema.decodeUnknownSync(Registration)(JSON.parse(text)), expected)
  }
)

/** With its keys in the order of the schema, and without those that are undefined. */
const ordered = (report: FactReport): FactReport => {
  const { at, executor, fact, instance, offer, sequence, shard, startup, taskInstanceId, together } = report
  return {
    shard,
    instance,
    taskInstanceId,
    executor,
    startup,
    sequence,
    at,
    fact,
    ...(offer === undefined ? {} : { offer }),
    ...(together === undefined ? {} : { together })
  }
}
