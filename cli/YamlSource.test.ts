import { assert, it } from "@effect/vitest"
import * as Problems from "../shared/authoring/Problems.ts"
import * as WorkflowFile from "./WorkflowFile.ts"
import * as YamlSource from "./YamlSource.ts"

const text = `apiVersion: heddle.dev/v1
metadata: { name: "bad name" }
spec:
  pool: default
  tasks:
    - name: extract
      type: shell
      retry: { times: many }
    - { name: load, type: shell, dependson: [extract] }
    - type: noop
`

it("paths are taken apart", () => {
  assert.deepStrictEqual(Problems.segments("spec.tasks[2].with[\"a b\"]"), ["spec", "tasks", 2, "with", "a b"])
  assert.deepStrictEqual(Problems.segments(""), [])
})

it("a path has the place of its value; a missing one that of the nearest part that is there", () => {
  const source = YamlSource.parse(text)
  assert.deepStrictEqual(source.place("metadata.name"), { line: 2, column: 19 })
  assert.deepStrictEqual(source.place("spec.tasks[0].retry.times"), { line: 8, column: 23 })
  assert.deepStrictEqual(source.place("spec.tasks[1].dependson[0]"), { line: 9, column: 46 })
  assert.deepStrictEqual(source.place("spec.tasks[2].name"), { line: 10, column: 7 })
  assert.deepStrictEqual(source.place("spec.tasks[2]"), { line: 10, column: 7 })
  assert.deepStrictEqual(source.place(""), { line: 1, column: 1 })
})

it("every problem of a file is found at once, with line and column, a misspelt field too", () => {
  const file = WorkflowFile.parse("f.yaml", text)
  const told = YamlSource.describe("f.yaml", file.problems)
  assert.deepStrictEqual(told.map((line) => line.split(": ").slice(0, 2).join(": ")), [
    "f.yaml:2:19: metadata.name",
    "f.yaml:8:23: spec.tasks[0].retry.times",
    "f.yaml:9:34: spec.tasks[1].dependson",
    "f.yaml:10:7: spec.tasks[2].name"
  ])
  assert.isUndefined(file.definition)
})

it("what is no YAML is told where", () => {
  const file = WorkflowFile.parse("f.yaml", "spec:\n  tasks: [\n")
  assert.isAbove(file.problems.length, 0)
  assert.match(YamlSource.describe("f.yaml", file.problems)[0] ?? "", /^f\.yaml:\d+:\d+: /)
  const twice = WorkflowFile.parse("f.yaml", "metadata: { name: a, name: b }\n")
  assert.match(YamlSource.describe("f.yaml", twice.problems)[0] ?? "", /unique/i)
})

it("a good file keeps durations as they were written", () => {
  const file = WorkflowFile.parse(
    "f.yaml",
    "metadata: { name: a }\nspec: { tasks: [ { name: t, type: noop, delay: 10s, timeout: { after: 500 } } ] }\n"
  )
  assert.deepStrictEqual(file.problems, [])
  assert.strictEqual(file.definition?.spec.tasks[0]?.delay, "10s")
})

it("files and stored names are told apart", () => {
  assert.isTrue(WorkflowFile.isFile("./x"))
  assert.isTrue(WorkflowFile.isFile("x.yml"))
  assert.isTrue(WorkflowFile.isFile("-"))
  assert.isFalse(WorkflowFile.isFile("nightly@3"))
})
