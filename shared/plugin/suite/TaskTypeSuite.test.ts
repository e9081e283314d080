import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { assert, describe, it } from "vitest"
import { definePlugin } from "../Plugin.ts"
import * as TaskType from "../TaskType.ts"
import * as Suite from "./Suite.ts"
import * as TaskTypeSuite from "./TaskTypeSuite.ts"

type Run = (context: TaskType.EffectContext<{ readonly how: string }>) => Effect.Effect<TaskType.TaskOutcome>

let isThere = false
const sound: Run = ({ log, with: { how } }) => {
  switch (how) {
    case "well":
      return Effect.sync(() => {
        log("stdout", new Uint8Array(10))
        return { _tag: "Succeeded", outputs: { a: 1 }, exitCode: 0 }
      })
    case "badly":
      return Effect.succeed({ _tag: "Failed", reason: "it went badly", exitCode: 3 })
    default:
      return Effect.acquireUseRelease(
        Effect.sync(() => {
          isThere = true
          log("stdout", new Uint8Array(1))
        }),
        () => Effect.never,
        () =>
          Effect.sync(() => {
            isThere = false
          })
      )
  }
}
const typeOf = (run: Run, description = "A double."): TaskType.TaskType =>
  TaskType.effectful({ type: "double", description, with: Schema.Struct({ how: Schema.String }), run })
/** Otherwise than the sound one where the arguments say `how`. */
const but = (how: string, otherwise: Run): TaskType.TaskType =>
  typeOf((context) => context.with.how === how ? otherwise(context) : sound(context))
const succeeding = (outcome: TaskType.TaskOutcome): Run => () => Effect.succeed(outcome)

const noticed = async (type: TaskType.TaskType) => {
  isThere = false
  const broken = await Suite.brokenOf(TaskTypeSuite.promises({
    type,
    wrong: [[{}, /with\.how/], [{ how: 3 }, /with\.how/]],
    cases: [
      { name: "well", with: { how: "well" }, outcome: "Succeeded", outputs: { a: 1 }, exitCode: 0, logged: 10 },
      { name: "badly", with: { how: "badly" }, outcome: "Failed", exitCode: 3, reason: /badly/ }
    ],
    endless: { with: { how: "for ever" }, isGone: Effect.sync(() => !isThere), graceMs: 0 }
  }))
  return broken.map(({ promise, seen }) => `${promise}: ${String(seen)}`)
}

/** A type that decodes its own arguments, and not as it should. */
const decoding = (run: (given: Record<string, unknown>) => TaskType.TaskOutcome): TaskType.TaskType => {
  const whole = typeOf(sound)
  return {
    ...whole,
    _tag: "Inline",
    run: (spec) => run(spec.with)
  }
}

describe("a task type that does not keep its promises is noticed", () => {
  it("one that keeps them is not, as its plugin contributes it", async () => {
    const plugin = definePlugin({
      name: "double",
      version: "1.0.0",
      api: "^1",
      contributes: { taskTypes: { double: () => typeOf(sound) } }
    })
    assert.deepStrictEqual(await noticed(TaskTypeSuite.typeOf(plugin, "double")), [])
    assert.throws(() => TaskTypeSuite.typeOf(plugin, "other"), /contributes no task type other/)
  })

  const doubles: Readonly<Record<string, readonly [type: TaskType.TaskType, seen: RegExp]>> = {
    "it does not say what it is": [typeOf(sound, ""), /it says what it is/],
    "it takes what is wrong": [decoding(() => ({ _tag: "Succeeded", outputs: {} })), /\{\} gives .*Succeeded/],
    "it retries what is wrong": [decoding(() => ({ _tag: "Failed", reason: "with.how" })), /\{\} gives .*Failed/],
    "it does not name what is wrong": [decoding(() => ({ _tag: "Fatal", reason: "no" })), /with\\\.how\/ is not in no/],
    "its reason has several lines": [
      decoding(() => ({ _tag: "Fatal", reason: "with.how:\nno" })),
      /the reason has several lines/
    ],
    "it ends otherwise than it says": [
      but("badly", succeeding({ _tag: "Fatal", reason: "it went badly" })),
      /badly: Failed.*Fatal/
    ],
    "it loses outputs": [but("well", succeeding({ _tag: "Succeeded", outputs: {} })), /its outputs are \{\}/],
    "its outputs are no JSON": [
      but("well", succeeding({ _tag: "Succeeded", outputs: { a: 1, when: new Date(0), none: undefined } })),
      /do not survive as JSON/
    ],
    "it loses the exit code": [but("badly", succeeding({ _tag: "Failed", reason: "badly" })), /exit code 3/],
    "it does not say why": [but("badly", succeeding({ _tag: "Failed", reason: "" })), /is not in ""/],
    "its reason has no end": [
      but("badly", succeeding({ _tag: "Failed", reason: "badly ".repeat(10_000), exitCode: 3 })),
      /its reason has 60000 characters/
    ],
    "it loses what is to be logged": [
      but("well", succeeding({ _tag: "Succeeded", outputs: { a: 1 }, exitCode: 0 })),
      /it has logged 0 bytes of 10/
    ],
    "it dies": [but("well", () => Effect.die(new Error("undefined is not a function"))), /is not a function/],
    "it ends before it is killed": [
      but("for ever", succeeding({ _tag: "Succeeded", outputs: {} })),
      /a kill .* it has ended by itself/
    ],
    "it leaves something": [
      but("for ever", ({ log }) =>
        Effect.suspend(() => {
          isThere = true
          log("stdout", new Uint8Array(1))
          return Effect.never
        })),
      /something of it is left/
    ],
    "it reaches for a sandbox's connection that it was not given": [
      but(
        "well",
        ({ messaging }) =>
          Effect.orDie(
            Effect.as(messaging.publish("a", "b", { headers: {} }), { _tag: "Succeeded", outputs: { a: 1 } } as const)
          )
      ),
      /the connection is used/
    ]
  }
  for (const [what, [type, seen]] of Object.entries(doubles)) {
    it(what, async () => {
      const found = (await noticed(type)).join("\n")
      assert.match(found, seen, found)
    })
  }
})
