import { assert, it } from "@effect/vitest"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import { Priority } from "../../../shared/protocol/Token.ts"
import type { EngineEffect } from "./EngineEffect.ts"
import * as Outstanding from "./Outstanding.ts"
import { ScriptedRun } from "./ScriptedRun.ts"

// Between the append and the effect the owner may die. What the next one does again must be what was asked for, word for word: same id, same message, same time.

/** A run whose effects are kept, the newest of each id. */
class Recorded extends ScriptedRun {
  readonly asked = new Map<string, EngineEffect>()

  override turn(...events: ReadonlyArray<LifecycleEvent>) {
    const decision = super.turn(...events)
    for (const effect of decision.effects) this.asked.set(effect.id, effect)
    return decision
  }
}

it("one task in each kind of waiting: the effects are those that were asked for", () => {
  const self = new Recorded({
    timeout: { after: "1h" },
    tasks: [
      { name: "lane", type: "shell", dispatchTimeout: "20s", priority: Priority.make(2) },
      { name: "pool", type: "shell", pool: "big" },
      { name: "delayed", type: "shell", delay: "30s" },
      { name: "slot", type: "shell", group: { name: "g", slots: 2, priority: Priority.make(1) } },
      { name: "retried", type: "shell", retry: { times: 2, interval: "5s" } },
      { name: "runs", type: "shell", timeout: { after: "10m" } },
      { name: "killed", type: "shell", timeout: { after: "1s" } },
      { name: "warned", type: "shell", timeout: { after: "1s", strategy: "warn" } },
      { name: "asks", type: "dependent", with: { all: [{ workflow: "nightly", within: "1h" }] } }
    ]
  })
  self.start({ team: "red", priority: Priority.make(1) })
  self.fail("retried")
  self.running("runs")
  for (const name of ["killed", "warned"]) self.register(name)
  self.pass(1_500)
  const again = Outstanding.outstanding(self.state)
  assert.deepStrictEqual(again.map(({ id }) => id), [
    "check:g",
    "arm:workflow:1@3601000",
    "dispatch:lane:1:1",
    "arm:dispatch:lane:1:1@21000",
    "dispatch:pool:1:1",
    "arm:delay:delayed:1:1@31000",
    "acquire:slot:1:1",
    "arm:retry:retried:1:1@6000",
    "ask:runs:1:1",
    "arm:timeout:runs:1:1@601000",
    "kill:killed:1:1",
    "ask:warned:1:1",
    "query:asks:1:1"
  ])
  for (const effect of again) {
    // That an executor is asked is the new owner's own wish.
    if (effect._tag !== "Ask" && !effect.id.startsWith("check:")) {
      assert.deepStrictEqual(self.asked.get(effect.id), effect, effect.id)
    }
  }
  assert.deepStrictEqual(
    again.flatMap((effect) => effect._tag === "Ask" ? [[effect.taskInstanceId, effect.executor, effect.startup]] : []),
    [["runs:1:1", "ex-1", "s1"], ["warned:1:1", "ex-1", "s1"]]
  )
})

it("a pause that was not confirmed is said again; a run that waits for its turn asks for it again; one that rests only says how it ended", () => {
  const pausing = new Recorded({ tasks: [{ name: "a", type: "shell" }] })
  pausing.start()
  pausing.running("a")
  pausing.turn({ _tag: "WORKFLOW_PAUSE" })
  assert.deepStrictEqual(Outstanding.outstanding(pausing.state), [pausing.asked.get("pause:a:1:1")] as never)
  const serial = new Recorded({ executionType: "serial-priority", tasks: [{ name: "a", type: "shell" }] })
  serial.start({ replyTo: "reply" })
  const asks = serial.sends.at(-1)
  assert.deepStrictEqual(asks?.event._tag === "SLOT_ACQUIRE" ? [asks.event.slots, asks.event.mode] : [], [1, "replace"])
  assert.deepStrictEqual(
    Outstanding.outstanding(serial.state).filter(({ id }) => id.startsWith("acquire:")),
    [asks] as never
  )
  serial.grant()
  serial.succeed("a")
  assert.strictEqual(serial.state.status, "SUCCEEDED")
  const ended = Outstanding.outstanding(serial.state)
  assert.deepStrictEqual(ended.at(-1), serial.finalized.at(-1))
  assert.strictEqual(serial.finalized.at(-1)?.replyTo, "reply")
  assert.deepStrictEqual(ended.map((effect) => effect._tag), ["Send", "Finalize"])
})

it("alerts are told again from the journal, with their own text; those of a turn that can't be decided any more with what their id says", () => {
  const self = new ScriptedRun({ tasks: [{ name: "a", type: "shell", timeout: { after: "10s", strategy: "warn" } }] })
  self.start()
  self.register("a")
  const before = self.state
  self.pass(10_000)
  const entry = self.entries.at(-1)
  assert.isDefined(entry)
  if (entry === undefined) return
  assert.deepStrictEqual(Outstanding.alerts(before, entry), self.alerts)
  assert.strictEqual(self.alerts[0]?.message, "task a takes longer than 10s")
  assert.deepStrictEqual(Outstanding.alerts(before, { ...entry, cause: [] }), [
    { _tag: "Alert", id: "alert:TaskTimeout:a:1:1", kind: "TaskTimeout", message: "see its journal" }
  ])
  assert.deepStrictEqual(Outstanding.alerts(before, { ...entry, effects: ["alert:Unheard:a", "dispatch:a:1:1"] }), [])
})
