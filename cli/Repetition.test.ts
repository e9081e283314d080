import { assert, describe, it } from "@effect/vitest"
import * as Subject from "../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../shared/protocol/Token.ts"
import * as Repetition from "./Repetition.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("pause") }
const repeats = (subject: string, body: unknown = {}, id?: string) => Repetition.isRepeatable(subject, body, id)

describe("Repetition", () => {
  it("every request about workflows repeats, given its id", () => {
    for (const verb of Subject.workflowVerbs) {
      assert.isTrue(repeats(Subject.rpc.workflow(verb), { instanceId: "i" }, "r"), verb)
    }
  })
  it("without an id: what only reads does, a command and a start do not", () => {
    for (const verb of ["get", "list", "result", "history"] as const) {
      assert.isTrue(repeats(Subject.rpc.workflow(verb)), verb)
    }
    for (const verb of ["rerun", "recover", "resume", "run-task", "force-start", "pause"] as const) {
      assert.isFalse(repeats(Subject.rpc.workflow(verb), { instanceId: "i" }), verb)
      assert.isTrue(Repetition.takesId(Subject.rpc.workflow(verb)), verb)
    }
    assert.isFalse(repeats(Subject.rpc.workflow("start"), { definition: "d" }))
    assert.isFalse(repeats(Subject.rpc.schedule("trigger"), { name: "s" }))
    assert.isTrue(repeats(Subject.rpc.schedule("trigger"), { name: "s", scheduledAt: "2026-11-21T01:00:00Z" }))
  })
  it("a pool's name is no verb, and a claim needs its own id", () => {
    assert.isFalse(repeats(Subject.rpc.pool(pool, "claim"), {}, "r"))
    assert.isTrue(repeats(Subject.rpc.pool(pool, "claim"), { claimId: "c" }))
    assert.isTrue(repeats(Subject.rpc.pool(pool, "pause"), { claimId: "c" }))
    assert.isFalse(Repetition.takesId(Subject.rpc.pool(pool, "resume")))
    assert.isFalse(repeats("heddle.rpc.unheard.of"))
  })
})
