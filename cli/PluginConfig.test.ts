import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as PluginConfig from "./PluginConfig.ts"

const inFolder = <A, E>(text: string, use: (folder: string) => Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "heddle-plugin-config-"))
      writeFileSync(join(folder, "plugins.yaml"), text)
      return folder
    }),
    use,
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

it.effect("from a file, or from the variable itself; a plugin without fields has none", () =>
  Effect.gen(function*() {
    const file = yield* inFolder("http:\n  hosts: [a]\nmine:\n", (folder) => PluginConfig.read("plugins.yaml", folder))
    assert.deepStrictEqual(file.configs, { http: { hosts: ["a"] }, mine: {} })
    const inline = yield* PluginConfig.read("{\"http\":{\"hosts\":[\"a\"]}}", "/")
    assert.deepStrictEqual(inline.configs, { http: { hosts: ["a"] } })
  }))

it.effect("a name that no plugin has is an error with its place, and with the one that was meant", () =>
  Effect.gen(function*() {
    const { unknown } = yield* PluginConfig.read("{\"http\":{},\n \"htpp\":{}}", "/")
    assert.strictEqual(unknown(["http", "htpp"]), undefined)
    assert.deepStrictEqual(unknown(["http", "nats"])?.problems, [
      "HEDDLE_PLUGIN_CONFIG:2:2: htpp: no plugin is called \"htpp\"; did you mean http?"
    ])
  }))

it.effect("what is no map, and what cannot be read, is told with its place", () =>
  inFolder("http: 3\n", (folder) =>
    Effect.gen(function*() {
      const file = join(folder, "plugins.yaml")
      const flat = yield* Effect.flip(PluginConfig.read(file, "/"))
      assert.deepStrictEqual([flat.exit, flat.problems], [
        2,
        [`${file}:1:7: http: the config of a plugin is a map of its fields`]
      ])
      const syntax = yield* Effect.flip(PluginConfig.read("{\"http\": [}", "/"))
      assert.match(syntax.problems?.[0] ?? "", /^HEDDLE_PLUGIN_CONFIG:1:\d+: /)
      const list = yield* Effect.flip(PluginConfig.read("{} []", "/"))
      assert.strictEqual(list.exit, 2)
      const gone = yield* Effect.flip(PluginConfig.read("gone.yaml", folder))
      assert.deepStrictEqual([gone.exit, gone.message], [2, `There is no file ${join(folder, "gone.yaml")}.`])
    })))

it("the nearer one goes first, field by field", () => {
  assert.deepStrictEqual(
    PluginConfig.merged({ http: { hosts: ["a"] }, mine: { a: 1, b: 1 } }, { mine: { b: 2 }, nats: { subjects: [] } }),
    { http: { hosts: ["a"] }, mine: { a: 1, b: 2 }, nats: { subjects: [] } }
  )
})
