import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Arguments from "../shared/authoring/Arguments.ts"
import * as Plugins from "./Plugins.ts"

it.effect("everything that is installed by kind and name, with the config keys of its plugin and where services take them from", () =>
  Effect.gen(function*() {
    const all = yield* Plugins.offered
    const types = all.filter(({ kind }) => kind === "taskTypes").map(({ name }) => name)
    assert.sameMembers(types, [...Plugins.taskTypes, ...Arguments.engineTypes])
    const webhook = all.find(({ kind, name }) => kind === "alertSinks" && name === "webhook")
    assert.deepStrictEqual(webhook?.config, [
      { key: "url", isRequired: false, environment: "HEDDLE_ALERT_WEBHOOK_URL" },
      { key: "headers", isRequired: false },
      { key: "timeout", isRequired: false }
    ])
    const takes = (of: string) =>
      all.find(({ kind, name }) => kind !== "poolSources" && name === of)?.takes.map(({ isRequired, key }) =>
        `${key}${isRequired ? "*" : ""}`
      )
    assert.includeMembers(takes("shell") ?? [], ["run*", "cwd"])
    assert.includeMembers(takes("http") ?? [], ["url*", "json"])
    assert.includeMembers(takes("local") ?? [], ["directory", "passEnv"])
    assert.includeMembers(takes("kubernetes") ?? [], ["template*", "namespace"])
    for (const { api, name, plugin, version } of all) {
      assert.match(version, /^\d+\.\d+\.\d+/u, name)
      assert.strictEqual(api === "", plugin === "coordinator", name)
    }
    assert.deepStrictEqual(all.map(({ kind, name }) => `${kind} ${name}`), [
      ...new Set(all.map(({ kind, name }) => `${kind} ${name}`))
    ])
  }))
