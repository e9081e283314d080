import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { acceptsApi, definePlugin, PluginHost } from "./Plugin.ts"
import * as TaskType from "./TaskType.ts"

const taskType = (type: string) =>
  TaskType.inline({
    type,
    description: "",
    with: Schema.Struct({ n: Schema.Finite, m: Schema.Finite }),
    run: ({ with: { m, n } }) => ({ _tag: "Succeeded", outputs: { sum: n + m } })
  })
const plugin = (name: string, api = "^1", onLoad: (greeting: string) => void = () => {}) =>
  definePlugin({
    name,
    version: "2.3.4",
    api,
    config: Schema.Struct({ greeting: Schema.String }),
    contributes: {
      taskTypes: {
        hello: ({ greeting }) => {
          onLoad(greeting)
          return taskType("hello")
        }
      }
    }
  })

it("the manifest is read without running the plugin; loading decodes the config first", () => {
  const loads: Array<string> = []
  const made = plugin("greeter", "^1", (_) => loads.push(_))
  assert.deepStrictEqual(made.manifest, {
    name: "greeter",
    version: "2.3.4",
    api: "^1",
    contributes: { taskTypes: ["hello"] }
  })
  const wrong = made.load({ greeting: 1 })
  assert.match(
    Result.isFailure(wrong) ? wrong.failure.message : "",
    /^the config of plugin greeter is wrong: greeter\.greeting: .*string/
  )
  const misspelt = made.load({ greetings: "hi" })
  assert.match(
    Result.isFailure(misspelt) ? misspelt.failure.message : "",
    /greeter\.greetings: [^;]+; greeter\.greeting: Missing key$/
  )
  assert.deepStrictEqual(loads, [])
  assert.isTrue(Result.isSuccess(made.load({ greeting: "hi" })))
  assert.deepStrictEqual(loads, ["hi"])
})

it("a plugin for another API is refused with both versions", () => {
  assert.isTrue(acceptsApi("^1", "1.0.0") && acceptsApi("^1.2", "1.2.5") && acceptsApi("^1.2.3", "1.2.3"))
  assert.isFalse(
    acceptsApi("^2", "1.0.0") || acceptsApi("^1.1", "1.0.0") || acceptsApi("^1", "2.0.0") || acceptsApi("*", "1.0.0")
  )
  const refused = plugin("greeter", "^2").load({ greeting: "hi" })
  assert.isTrue(Result.isFailure(refused) && /\^2.*1\.0\.0/.test(refused.failure.message))
})

it.effect("a host offers what its plugins contribute, and refuses the same name twice", () =>
  Effect.gen(function*() {
    const configs = { a: { greeting: "x" }, b: { greeting: "y" } }
    const host = yield* PluginHost.pipe(Effect.provide(PluginHost.layer([plugin("a")], configs)))
    assert.deepStrictEqual(Array.from(host.taskTypes.keys()), ["hello"])
    const both = yield* Effect.flip(Effect.scoped(Layer.build(PluginHost.layer([plugin("a"), plugin("b")], configs))))
    assert.include(both.message, "a and b both offer taskTypes \"hello\"")
  }))

it("an inline task type decodes its arguments and names every problem", () => {
  const type = taskType("sum")
  const spec = Object.assign(Object.create(null), { with: { n: 1, m: 2 } })
  assert.deepStrictEqual(type._tag === "Inline" && type.run(spec), { _tag: "Succeeded", outputs: { sum: 3 } })
  const wrong = type._tag === "Inline" && type.run({ ...spec, with: { n: "1" } })
  const reason = wrong !== false && wrong._tag === "Fatal" ? wrong.reason : ""
  assert.match(
    reason,
    /^the arguments of task type sum are wrong: with\.n: .*number.*; with\.m: Missing key\. Correct the task's `with`\.$/
  )
})
