import { assert, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { MemberId, StartupId } from "../../../shared/protocol/Token.ts"
import * as Registration from "./Registration.ts"
import { id, ScriptedRun, session } from "./ScriptedRun.ts"

// What an executor is told that asks for a task, reports on it, or is lost. design/05: one live attempt, held by one incarnation of one executor.

const [ex1, ex2] = [MemberId.make("ex-1"), MemberId.make("ex-2")]
const [s1, s2] = [StartupId.make("s1"), StartupId.make("s2")]
const one = (more: object = {}) => new ScriptedRun({ tasks: [{ name: "a", type: "shell", ...more }] }).start()
const why = (outcome: Registration.RegistrationOutcome) =>
  outcome._tag === "NoLongerRunnable" ? outcome.why : outcome._tag

it("who asks for a task learns whether it is his, and if not why", () => {
  const self = one({ retry: { times: 1, interval: "5s" } })
  const [mine, his] = [self.placement(), self.placement("ex-2")]
  const ask = (placement = mine, attempt = "a:1:1") =>
    why(Registration.registrationOutcome(self.state, id(attempt), placement))
  assert.strictEqual(ask(), "Registered")
  assert.strictEqual(ask(mine, "b:1:1"), "instance wf-1 has no attempt b:1:1")
  self.register("a", mine)
  assert.strictEqual(ask(mine), "Registered")
  assert.strictEqual(ask(his), "AlreadyAssigned")
  // The same executor after a restart, and the same one for another claim: others.
  assert.strictEqual(ask({ ...mine, startup: s2 }), "AlreadyAssigned")
  assert.strictEqual(ask({ ...mine, claimId: his.claimId }), "AlreadyAssigned")
  self.running("a")
  assert.strictEqual(ask(mine), "Registered")
  self.fail("a")
  assert.strictEqual(ask(mine), "it is FAILED")
  self.pass(5_000)
  assert.strictEqual(ask(mine), "a:1:1 was superseded by a:1:2")
  assert.strictEqual(ask(mine, "a:1:2"), "Registered")
})

it("a task that waits for a slot is not given away; one that is being killed need not begin, one that began goes on", () => {
  const waiting = one({ group: { name: "g" } })
  const ask = (self: ScriptedRun) => why(Registration.registrationOutcome(self.state, id("a:1:1"), mine))
  const mine = waiting.placement()
  assert.strictEqual(ask(waiting), "it waits for a slot of its group")
  waiting.grant("a")
  assert.strictEqual(ask(waiting), "Registered")
  assert.strictEqual(ask(one({ delay: "5s" })), "Registered")
  waiting.register("a", mine)
  waiting.turn({ _tag: "WORKFLOW_STOP" })
  assert.strictEqual(ask(waiting), "it is being killed")
  const begun = one()
  begun.register("a", mine)
  begun.running("a")
  begun.turn({ _tag: "WORKFLOW_STOP" })
  assert.strictEqual(ask(begun), "Registered")
  const pausing = one()
  pausing.register("a", mine)
  pausing.turn({ _tag: "WORKFLOW_PAUSE" })
  assert.strictEqual(ask(pausing), "Registered")
})

it("only the newest attempt has a specification", () => {
  const self = one()
  const spec = (attempt: string) => Registration.taskSpec(self.state, id(attempt), session)
  assert.isTrue(Result.isSuccess(spec("a:1:1")))
  for (const attempt of ["a:1:2", "b:1:1"]) {
    const refused = spec(attempt)
    assert.strictEqual(
      Result.isFailure(refused) ? refused.failure : "",
      `instance wf-1 has no attempt ${attempt} that may run`
    )
  }
})

it("a report counts from who holds the attempt, also when it is repeated after the end; never from who lost it", () => {
  const self = one({ retry: { times: 1, interval: "5s" } })
  const live = (attempt: string, executor = ex1, startup = s1) =>
    Registration.isLive(self.state, id(attempt), executor, startup)
  // Nobody is known to hold it: a fact may overtake the registration.
  assert.isTrue(live("a:1:1"))
  assert.isFalse(live("a:1:2"))
  assert.isFalse(live("b:1:1"))
  self.register("a")
  assert.deepStrictEqual([live("a:1:1"), live("a:1:1", ex2), live("a:1:1", ex1, s2)], [true, false, false])
  self.fail("a")
  self.pass(5_000)
  // The second attempt waits for an executor; the first one's failure is told again.
  assert.deepStrictEqual([live("a:1:1"), live("a:1:1", ex2), live("a:1:2", ex2)], [true, false, true])
  self.register("a", self.placement("ex-2"))
  self.turn({ _tag: "TASK_FAILOVER", id: id("a:1:2"), lost: true, reason: "gone" })
  assert.deepStrictEqual([live("a:1:2", ex2), live("a:1:3", ex1)], [false, true])
})

it("who is lost with an executor or a sandbox: the attempts that it holds, no others", () => {
  const self = new ScriptedRun({ tasks: ["a", "b", "c", "d", "e"].map((name) => ({ name, type: "shell" })) }).start()
  const place = self.placement()
  self.register("a", place)
  self.register("b", self.placement("ex-2"))
  self.register("c", { ...self.placement(), startup: s2 })
  self.register("d")
  self.running("d")
  assert.deepStrictEqual(Registration.heldBy(self.state, ex1, s1), [id("a:1:1"), id("d:1:1")])
  assert.deepStrictEqual(Registration.heldBy(self.state, ex1, s2), [id("c:1:1")])
  assert.deepStrictEqual(Registration.heldBy(self.state, ex2, s2), [])
  assert.deepStrictEqual(Registration.inSandbox(self.state, place.sandbox), [id("a:1:1")])
  assert.deepStrictEqual(Registration.inSandbox(self.state, "sandbox-of-nobody"), [])
  self.succeed("a")
  assert.deepStrictEqual(Registration.inSandbox(self.state, place.sandbox), [])
})
