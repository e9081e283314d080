import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Comments from "./Comments.ts"
import * as Reference from "./Reference.ts"

it.effect("every command has a description and an example; every schema is one", () =>
  Effect.gen(function*() {
    const files = yield* Reference.files
    const cli = files.get("docs/reference/cli.md") ?? ""
    const sections = cli.split(/^#{2,4} (?=heddle )/m).slice(1)
    assert.isAbove(sections.length, 30)
    for (const section of sections) {
      const name = section.split("\n")[0]
      assert.isAbove((section.split("\n")[2] ?? "").length, 5, `${name} has no description`)
      const isGroup = /^- `/m.test(section)
      assert.isTrue(isGroup || section.includes("```sh"), `${name} has no example`)
    }
    const definition: unknown = JSON.parse(files.get("docs/reference/schemas/Definition.json") ?? "")
    assert.nestedPropertyVal(definition, "properties.metadata.properties.name.pattern", "^[A-Za-z0-9_-]{1,63}$")
    assert.nestedPropertyVal(definition, "properties.spec.additionalProperties", false)
    const claim: unknown = JSON.parse(files.get("docs/reference/schemas/ClaimRequest.json") ?? "")
    assert.nestedPropertyVal(claim, "additionalProperties", true)
  }))

it("comments are read for exports and for their fields", () => {
  const { ofExport, ofField } = Comments.read([
    "/** One\n * two. */\nexport const A = Schema.Struct({\n  /** A field. */\n  x: Schema.Int,\n  y: Schema.Int\n})\nexport const B = 1\n"
  ])
  assert.deepStrictEqual([...ofExport], [["A", "One two."]])
  assert.deepStrictEqual([...ofField], [["A.x", "A field."]])
})

it.effect("every argument of a task type is explained", () =>
  Effect.gen(function*() {
    const tasks = (yield* Reference.files).get("docs/reference/tasks.md") ?? ""
    const sections = tasks.split(/^## /m).slice(1)
    assert.includeMembers(sections.map((section) => section.split("\n")[0]), [
      "exec",
      "http",
      "nats",
      "script",
      "shell"
    ])
    for (const row of tasks.split("\n").filter((line) => /^\| `(?!with`)[a-zA-Z]+` \|.*\|.*\|.*\|$/.test(line))) {
      assert.isAbove((row.split(" | ").at(-1) ?? "").length, 10, row)
    }
  }))
