import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import { type Connection, NoResponders } from "../../shared/jetstream/Nats.ts"
import { MemberId, StartupId, TaskInstanceId } from "../../shared/protocol/Token.ts"
import type { Control } from "./engine/EngineEffect.ts"
import { ExecutorControl, goneMs } from "./ExecutorControl.ts"
import { Timers } from "./Timers.ts"
import type { WorkflowEventBus } from "./WorkflowEventBus.ts"

const ask: Control = {
  _tag: "Ask",
  id: "ask:a:1:1",
  taskInstanceId: TaskInstanceId.make("a:1:1"),
  executor: MemberId.make("x1"),
  startup: StartupId.make("life1")
}
// Only its identity is used here.
const bus = { instance: "i", shard: 0 } as unknown as WorkflowEventBus

it.effect("an attempt of an executor that is gone waits for what the inbox holds of its instance, then fails over", () =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const timers = new Timers(clock)
    yield* Effect.forkScoped(timers.run)
    let hasMail = true
    const lost: Array<string> = []
    const nats = {
      requestUnsafe: (subject: string, _body: string, _options: unknown, done: (result: unknown) => void) =>
        done(Result.fail(new NoResponders({ subject })))
    } as unknown as Connection // nothing else of it is used
    const control = new ExecutorControl({
      nats,
      owner: MemberId.make("c1"),
      timers,
      now: () => clock.currentTimeMillisUnsafe(),
      isAlive: () => false,
      outstanding: () => [ask],
      hasMail: (_bus, answer) => answer(hasMail),
      lost: (_bus, { taskInstanceId }, reason) => void lost.push(`${taskInstanceId} ${reason}`)
    })
    control.gone(bus, ask, "killed")
    yield* TestClock.adjust(goneMs * 4)
    assert.deepStrictEqual(lost, [], "its end may be in the inbox")
    hasMail = false
    yield* TestClock.adjust(60_000)
    assert.deepStrictEqual(lost, ["a:1:1 executor x1 is gone"])
    control.gone(bus, ask, "killed")
    assert.deepStrictEqual(lost.at(-1), "a:1:1 killed", "nothing waits: at once")
  }))
