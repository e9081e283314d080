import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Arguments from "./Arguments.ts"

const shell = Schema.Struct({ run: Schema.String, cwd: Schema.optionalKey(Schema.String) }) as Schema.Codec<
  unknown,
  unknown
>
const schemaOf = (type: string) => type === "shell" ? shell : undefined

it("arguments that do not fit, those that are still to be given, fields that are ignored, types that are not known; nothing of expressions and of the engine's own types", () => {
  const { ignored, problems, unfilled, unknown } = Arguments.findings(
    {
      onCommit: { type: "shell" },
      onCleanup: { type: "http" },
      tasks: [
        { name: "good", type: "shell", with: { run: "true" } },
        { name: "bad", type: "shell", with: { run: 1 } },
        { name: "later", type: "shell", with: { run: "${{ params.x }}", cwd: "${{ params.y }}" } },
        { name: "more", type: "shell", with: { run: "true", cdw: "/" } },
        { name: "draft", type: "shell", with: { "...": null } },
        { name: "misspelt", type: "shell", with: { rum: "true" } },
        { name: "gate", type: "switch", with: { cases: 3 } }
      ]
    } as unknown as Parameters<typeof Arguments.findings>[0],
    schemaOf
  ) // names without their brand
  assert.deepStrictEqual(problems.map(({ path }) => path), ["spec.tasks[1].with.run", "spec.tasks[5].with.run"])
  assert.deepStrictEqual(unfilled.map(({ path, type }) => [path, type]), [
    ["spec.tasks[4].with.run", "shell"],
    ["spec.onCommit.with.run", "shell"]
  ])
  assert.deepStrictEqual(ignored.map(({ path, type }) => [path, type]), [
    ["spec.tasks[3].with.cdw", "shell"],
    ["spec.tasks[5].with.rum", "shell"]
  ])
  assert.deepStrictEqual(unknown, [{ path: "spec.onCleanup.type", type: "http" }])
})
