import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Alarms from "./Alarms.ts"

const Step = Schema.Struct({
  which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 19 })),
  at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 })),
  isCleared: Schema.Boolean
})

it.prop(
  "however alarms are set, moved and cleared, they ring in order of time and each once",
  [Schema.Array(Step)],
  ([steps]) => {
    const alarms = new Alarms.Alarms<number>()
    const all = Array.from({ length: 20 }, (_, i) => Alarms.make(i))
    const expected = new Map<number, number>()
    for (const { at, isCleared, which } of steps) {
      const alarm = all[which]
      if (alarm === undefined) continue
      if (isCleared) {
        alarms.clear(alarm)
        expected.delete(which)
      } else {
        alarms.set(alarm, at)
        expected.set(which, at)
      }
    }
    assert.strictEqual(alarms.earliest, Math.min(Infinity, ...expected.values()))
    const rung: Array<number> = []
    for (let alarm = alarms.due(100); alarm !== undefined; alarm = alarms.due(100)) rung.push(alarm.owner)
    assert.deepStrictEqual(rung.map((_) => expected.get(_)), Array.from(expected.values()).sort((a, b) => a - b))
    assert.strictEqual(new Set(rung).size, expected.size)
  }
)
