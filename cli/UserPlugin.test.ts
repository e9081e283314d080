import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as UserPlugin from "./UserPlugin.ts"

let folder = ""
const write = (name: string, text: string) => {
  mkdirSync(join(folder, name, ".."), { recursive: true })
  writeFileSync(join(folder, name), text)
}
/** By their paths: under Vitest it is Vite that looks for modules. That a plugin finds them by their names is shown by test/e2e/plugin.test.ts. */
const module = (path: string) => JSON.stringify(join(import.meta.dirname, "..", path))
const plugin = (options: string) => `
import { definePlugin } from ${module("shared/plugin/Plugin.ts")}
import * as TaskType from ${module("shared/plugin/TaskType.ts")}
import * as Schema from ${module("node_modules/effect/dist/Schema.js")}
const type = (name) => () => TaskType.inline({ type: name, description: "", with: Schema.Struct({}), run: () => ({ _tag: "Succeeded", outputs: {} }) })
export default definePlugin({ name: "mine", version: "1.2.3", api: "^1", contributes: { taskTypes: { mine: type("mine") } }, ${options} })
`

beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "heddle-plugins-")))
  write("good.mjs", plugin(""))
  write("typed.ts", `interface Unused { readonly a: string }${plugin("")}`)
  write("folder/plugin.mjs", plugin(""))
  write("none.mjs", "export const plugin = 1\n")
  write("object.mjs", "export default { name: 'mine' }\n")
  write("promise.mjs", "export default Promise.resolve(1)\n")
  write("throws.mjs", "const a = 1\nthrow new TypeError('no such thing')\n")
  write("gone.mjs", "import './not-there.mjs'\nexport default 1\n")
  write("hangs.mjs", "await new Promise(() => {})\nexport default 1\n")
  write("api.mjs", plugin("api: '^7'"))
  write("name.mjs", plugin("name: 'no name', version: 'first'"))
  write("kind.mjs", plugin("contributes: { taskType: { mine: type('mine') } }"))
  write("nothing.mjs", plugin("contributes: {}"))
  write(
    "broken.mjs",
    plugin("contributes: { taskTypes: { mine: type('yours') }, alertSinks: { pager: () => ({ sink: 'pager' }) } }")
  )
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const said = (named: string) =>
  Effect.map(Effect.flip(UserPlugin.load(named, folder)), (error) => {
    assert.strictEqual(error.exit, 2)
    assert.isString(error.fix)
    return error.message.replaceAll(folder, "FOLDER")
  })

describe("a plugin of the user's own", () => {
  for (
    const [named, origin, file] of [
      ["./good.mjs", "path", "good.mjs"],
      ["good.mjs", "path", "good.mjs"],
      ["typed.ts", "path", "typed.ts"],
      ["folder/plugin.mjs", "path", "folder/plugin.mjs"]
    ] as const
  ) {
    it.effect(`${named}: a ${origin}`, () =>
      Effect.gen(function*() {
        const found = yield* UserPlugin.load(named, folder)
        assert.deepInclude(found, { named, origin, file: join(folder, file) })
        assert.deepInclude(found.plugin.manifest, { name: "mine", version: "1.2.3" })
        const held = yield* Effect.fromResult(found.plugin.load())
        assert.deepStrictEqual([...held.taskTypes.keys()], ["mine"])
      }))
  }

  for (
    const [named, message] of [
      ["./not-there.mjs", /^The plugin \.\/not-there\.mjs is not there: there is no file FOLDER\/not-there\.mjs\.$/],
      ["not-there.ts", /there is no file FOLDER\/not-there\.ts\.$/],
      ["not-there", /^The plugin not-there is not there: no package not-there is installed for FOLDER\.$/],
      ["folder", /no package folder is installed for FOLDER, and the folder of this name is no module\.$/],
      ["./folder", /^The plugin \.\/folder is a folder\.$/],
      ["none.mjs", /^The plugin none\.mjs has no default export, only plugin\.$/],
      [
        "object.mjs",
        /^The plugin object\.mjs is wrong: its default export is no plugin but an object without manifest/
      ],
      ["promise.mjs", /no plugin but a promise \(write `export default await \.\.\.`\)/],
      [
        "throws.mjs",
        /^The plugin throws\.mjs cannot be loaded: TypeError: no such thing \(FOLDER\/throws\.mjs:2:7\)\.$/
      ],
      ["gone.mjs", /^The plugin gone\.mjs cannot be loaded: .*not-there\.mjs/],
      ["api.mjs", /is wrong: api: it wants plugin API "\^7", this is 1\.\d+\.\d+: write "\^1"/],
      ["name.mjs", /is wrong: name: .*; version: .*a version such as 1\.0\.0/],
      ["kind.mjs", /is wrong: contributes\.taskType: there is no such kind; kinds are taskTypes, /],
      ["nothing.mjs", /is wrong: contributes: it offers nothing/]
    ] as const
  ) {
    it.effect(`${named}: ${message.source.slice(0, 60)}`, () =>
      Effect.map(said(named), (text) => assert.match(text, message)))
  }

  it.effect("one whose module does not come to its end is given up on", () =>
    Effect.gen(function*() {
      const loading = yield* Effect.forkChild(said("hangs.mjs"))
      yield* TestClock.adjust(UserPlugin.loadMs)
      assert.match(yield* Fiber.join(loading), /^The plugin hangs\.mjs was not loaded after 10 s: its module, /)
    }))

  it.effect("one that holds something else than it offers is found when it is loaded, before it is used", () =>
    Effect.gen(function*() {
      const { plugin } = yield* UserPlugin.load("broken.mjs", folder)
      const { message } = yield* Effect.flip(Effect.fromResult(plugin.load()))
      assert.match(
        message,
        /taskTypes\.mine\.type: "yours", but it is offered as "mine"; alertSinks\.pager\.deliver: a function is missing/
      )
    }))

  it.effect("a name that another has is refused with both", () =>
    Effect.gen(function*() {
      const mine = yield* UserPlugin.load("good.mjs", folder)
      const other = (
        name: string,
        type: string
      ) => [{ from: "the plugin x", manifest: { name, contributes: { taskTypes: [type] } } }]
      assert.strictEqual(UserPlugin.clash(mine, other("other", "other")), undefined)
      assert.match(
        UserPlugin.clash(mine, other("mine", "other"))?.message ?? "",
        /good\.mjs calls itself mine, as the plugin x does/
      )
      assert.match(
        UserPlugin.clash(mine, other("other", "mine"))?.message ?? "",
        /good\.mjs offers taskTypes "mine", which the plugin x offers/
      )
    }))
})
