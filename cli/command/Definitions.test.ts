import { assert, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "..", "..")
const validate = (file: string, input = "", ...more: ReadonlyArray<string>) =>
  spawnSync(
    process.execPath,
    [join(root, "bin", "heddle.mjs"), "definitions", "validate", "--local", file, ...more],
    { input, encoding: "utf8", cwd: root, env: { ...process.env, NO_COLOR: "1" } }
  )

const bad = `apiVersion: heddle.dev/v2
kind: Workflow
metadata: { name: "bad name" }
spec:
  failureStrategy: explode
  tasks:
    - name: extract
      type: shell
      retry: { times: many }
      timeout: { strategy: fail }
      delay: soon
    - name: load
      type: shell
      dependson: [extract]
      dependsOn: [extrat]
    - name: load
      type: noop
      join: all_sucess
    - name: one
      type: noop
      dependsOn: [two]
    - name: two
      type: noop
      dependsOn: [one]
    - name: how
      type: switch
      with: { cases: [{ when: "1 +", next: nowhere }] }
    - name: fan
      type: noop
      forEach: { items: "1", parallelism: 0 }
      with: { outputs: "\${{ tasks.ghost.outputs.x }}" }
    - name: gate
      type: condition
`

/** Place and path of each problem, and a word of what is said. */
const expected: ReadonlyArray<readonly [place: string, path: string, said: RegExp]> = [
  ["1:13", "apiVersion", /"heddle\.dev\/v1"/u],
  ["3:19", "metadata.name", /letters, digits/u],
  ["5:20", "spec.failureStrategy", /"continue" \| "end"/u],
  ["9:23", "spec.tasks[0].retry.times", /number/u],
  ["10:7", "spec.tasks[0].timeout.after", /Missing/u],
  ["11:14", "spec.tasks[0].delay", /a duration such as/u],
  ["14:7", "spec.tasks[1].dependson", /did you mean dependsOn\?/u],
  ["15:19", "spec.tasks[1].dependsOn[0]", /extrat, which is no task/u],
  ["16:13", "spec.tasks[2].name", /used twice/u],
  ["18:13", "spec.tasks[2].join", /all_success/u],
  ["24:7", "spec.tasks[4].dependsOn", /cycle: two -> one -> two/u],
  ["27:31", "spec.tasks[5].with.cases[0].when", /position 4/u],
  ["27:44", "spec.tasks[5].with.cases[0].next", /no task/u],
  ["30:25", "spec.tasks[6].forEach.items", /not a list/u],
  ["30:43", "spec.tasks[6].forEach.parallelism", /between 1 and 10000/u],
  ["31:24", "spec.tasks[6].with.outputs", /ghost is no task/u],
  ["32:7", "spec.tasks[7].dependsOn", /no predecessor/u],
  ["32:7", "spec.tasks[7].with", /leads nowhere/u]
]

it("validate: every problem of a file at once, of structure, graph and expressions, each with line and column", () => {
  const { status, stderr, stdout } = validate("-", bad)
  assert.deepStrictEqual([status, stdout], [2, ""])
  const [title = "", ...told] = stderr.trimEnd().split("\n").map((line) => line.trim())
  assert.strictEqual(title, `heddle: <stdin> has ${expected.length} problems.`)
  assert.deepStrictEqual(
    told.map((line) => line.split(": ").slice(0, 2).join(": ")),
    expected.map(([place, path]) => `<stdin>:${place}: ${path}`)
  )
  expected.forEach(([, , said], i) => assert.match(told[i] ?? "", said))
})

it("run and put list the same problems as validate, before any server is asked", () => {
  for (const command of [["run"], ["definitions", "put"]]) {
    const { status, stderr } = spawnSync(process.execPath, [join(root, "bin", "heddle.mjs"), ...command, "-"], {
      input: bad,
      encoding: "utf8",
      cwd: root,
      env: { ...process.env, NO_COLOR: "1", HEDDLE_NATS_URL: "nats://127.0.0.1:1" }
    })
    assert.strictEqual(status, 2, command.join(" "))
    assert.strictEqual(stderr, validate("-", bad).stderr, command.join(" "))
  }
})

it("validate: the same for programs", () => {
  const { status, stdout } = validate("-", bad, "-o", "json")
  assert.strictEqual(status, 2)
  const report: unknown = JSON.parse(stdout)
  assert.nestedPropertyVal(report, "valid", false)
  assert.nestedPropertyVal(report, "problems.length", expected.length)
})

it("validate: what was found, and what to write instead; a task with a name that is none hides nothing of the others", () => {
  const { status, stderr } = validate(
    "-",
    `metadata: { name: a }
spec:
  executionType: serial
  alerts: [{ sink: log, on: [Boom] }]
  tasks:
    - { name: a/b, type: noop, env: { A: 1 } }
    - { name: c, type: noop, dependsOn: a/b }
    - { name: d, type: sub-workflow, dependsOn: [a/b, gone] }
`
  )
  assert.strictEqual(status, 2)
  const told = stderr.trimEnd().split("\n").slice(1).map((line) => line.trim().replace(/^<stdin>:/u, ""))
  assert.deepStrictEqual(told.map((line) => line.split(": ").slice(0, 2).join(" ")), [
    "3:18 spec.executionType",
    "4:30 spec.alerts[0].on[0]",
    "6:15 spec.tasks[0].name",
    "6:42 spec.tasks[0].env.A",
    "7:41 spec.tasks[1].dependsOn",
    "8:7 spec.tasks[2].with.definition",
    "8:50 spec.tasks[2].dependsOn[0]",
    "8:55 spec.tasks[2].dependsOn[1]"
  ])
  assert.match(told[0] ?? "", /found "serial" \(did you mean serial-wait\?\)$/u)
  assert.match(told[1] ?? "", /found "Boom"$/u)
  assert.match(told[3] ?? "", /Expected string, found 1 \(write "1"\)$/u)
  assert.match(told[4] ?? "", /Expected array, found "a\/b" \(write \[a\/b\]\)$/u)
})

it("validate: where the structure leaves no graph, what is wrong with the structure", () => {
  const { status, stderr } = validate(
    "-",
    "metadata: { name: a }\nspec: { tasks: [{ type: noop }, { name: b, type: noop, dependsOn: [c] }] }\n"
  )
  assert.strictEqual(status, 2)
  assert.match(stderr, /<stdin>:2:\d+: spec\.tasks\[0\]\.name: Missing key/u)
})

const arguments_ = `metadata: { name: a }
spec:
  onCleanup: { type: shell, with: { run: [] } }
  tasks:
    - name: extract
      type: shell
      with: { cwd: data }
    - { name: b, type: shell, with: { run: 1, grace: soon } }
    - { name: c, type: shell, with: { run: "true", grace: "\${{ params.grace }}", cdw: / } }
    - { name: d, type: noop, with: { outputs: 3 } }
    - { name: e, type: shel, with: { run: "true" } }
    - { name: f, type: kafka, with: { topic: orders } }
    - { name: g, type: noop, dependsOn: [h] }
`

it("validate: arguments that a task type of heddle refuses, beside the problems of the graph; other types are warnings", () => {
  const { status, stderr } = validate("-", arguments_)
  assert.strictEqual(status, 2)
  const told = stderr.trimEnd().split("\n").map((line) => line.trim())
  const warnings = told.filter((line) => line.startsWith("heddle: warning: "))
  assert.deepStrictEqual(warnings, [
    "heddle: warning: <stdin>:9:87: spec.tasks[2].with.cdw: no field is called cdw; did you mean cwd? (shell ignores it)",
    "heddle: warning: <stdin>:11:24: spec.tasks[4].type: no task type of heddle is called \"shel\": a plugin of the executors must offer it (did you mean shell?)",
    "heddle: warning: <stdin>:12:24: spec.tasks[5].type: no task type of heddle is called \"kafka\": a plugin of the executors must offer it"
  ])
  const places = told.filter((line) => line.startsWith("<stdin>:")).map((line) =>
    line.split(": ").slice(0, 2).join(": ")
  )
  assert.deepStrictEqual(places, [
    "<stdin>:3:37: spec.onCleanup.with.run[0]",
    "<stdin>:7:7: spec.tasks[0].with.run",
    "<stdin>:8:44: spec.tasks[1].with.run",
    "<stdin>:8:54: spec.tasks[1].with.grace",
    "<stdin>:10:47: spec.tasks[3].with.outputs",
    "<stdin>:13:42: spec.tasks[6].dependsOn[0]"
  ])
})

it("run and put refuse the same arguments, and for programs with the same paths, before any server is asked", () => {
  const validated = validate("-", arguments_)
  const report = JSON.parse(validate("-", arguments_, "-o", "json").stdout) as {
    readonly problems: ReadonlyArray<{ readonly path: string; readonly line: number }>
  }
  assert.strictEqual(report.problems.length, 6)
  for (const command of [["run", "-"], ["definitions", "put", "-"]]) {
    const ask = (...more: ReadonlyArray<string>) =>
      spawnSync(process.execPath, [join(root, "bin", "heddle.mjs"), ...command, ...more], {
        input: arguments_,
        encoding: "utf8",
        cwd: root,
        env: { ...process.env, NO_COLOR: "1", HEDDLE_NATS_URL: "nats://127.0.0.1:1" }
      })
    const { status, stderr } = ask()
    assert.strictEqual(status, 2, command.join(" "))
    assert.strictEqual(stderr, validated.stderr, command.join(" "))
    const told = ask("-o", "json").stderr.split("\n").find((line) => line.startsWith("{")) ?? ""
    const { error } = JSON.parse(told) as { readonly error: { readonly code: string; readonly details: unknown } }
    assert.strictEqual(error.code, "InvalidDefinition")
    assert.deepStrictEqual<unknown>(error.details, report.problems)
  }
})

it("validate: with warnings alone a file is valid, and programs get them too", () => {
  const file = "metadata: { name: a }\nspec: { tasks: [{ name: f, type: kafka, with: { topic: x } }] }\n"
  assert.strictEqual(validate("-", file).status, 0)
  const { status, stdout } = validate("-", file, "-o", "json")
  assert.strictEqual(status, 0)
  assert.deepNestedInclude(JSON.parse(stdout), {
    valid: true,
    "warnings[0].path": "spec.tasks[0].type",
    "warnings[0].line": 2
  })
})

const examples = readdirSync(join(root, "examples")).filter((name) =>
  name.endsWith(".yaml") && readFileSync(join(root, "examples", name), "utf8").includes("kind: Workflow")
)

it("examples are valid, in YAML and in TypeScript", () => {
  for (const name of [...examples, "nightly.ts"]) {
    const { status, stderr } = validate(join("examples", name))
    assert.strictEqual(status, 0, `${name}: ${stderr}`)
  }
})

it("examples say their schema in the first line, for editors", () => {
  for (const name of examples) {
    assert.strictEqual(
      readFileSync(join(root, "examples", name), "utf8").split("\n")[0],
      "# yaml-language-server: $schema=../docs/reference/schemas/Definition.json",
      name
    )
  }
})

it("validate: what the types exec, script, http and nats refuse, with line and column", () => {
  const { status, stderr } = validate(
    "-",
    `metadata: { name: a }
spec:
  tasks:
    - { name: a, type: exec, with: { command: ls, exitCodes: [256], cwd: / } }
    - { name: b, type: script, with: { interpreter: python3 } }
    - { name: c, type: http, with: { url: "https://user:secret@x", method: get, expect: [2XX] } }
    - { name: d, type: http, with: { url: "https://x", method: GET, json: {} } }
    - { name: e, type: nats, with: { subject: heddle.rpc.pool.list, mode: ask } }
    - { name: f, type: nats, with: { subject: "orders.\${{ params.region }}", mode: request, replies: 0 } }
`
  )
  assert.strictEqual(status, 2)
  const told = stderr.trimEnd().split("\n").map((line) => line.trim())
  const problems = told.filter((line) => line.startsWith("<stdin>:"))
  assert.deepStrictEqual(problems.map((line) => line.split(": ").slice(0, 2).join(": ")), [
    "<stdin>:4:47: spec.tasks[0].with.command",
    "<stdin>:4:63: spec.tasks[0].with.exitCodes[0]",
    "<stdin>:5:32: spec.tasks[1].with.source",
    "<stdin>:6:43: spec.tasks[2].with.url",
    "<stdin>:6:76: spec.tasks[2].with.method",
    "<stdin>:6:90: spec.tasks[2].with.expect[0]",
    "<stdin>:7:30: spec.tasks[3].with",
    "<stdin>:8:47: spec.tasks[4].with.subject",
    "<stdin>:8:75: spec.tasks[4].with.mode",
    "<stdin>:9:102: spec.tasks[5].with.replies"
  ])
  const saidOf = (path: string) => problems.find((line) => line.includes(`${path}: `)) ?? ""
  assert.match(saidOf("with.command"), /write \[ls\]/)
  assert.match(saidOf("[2].with.method"), /did you mean GET\?/)
  assert.match(saidOf("[3].with"), /GET has no body/)
  assert.match(saidOf("with.subject"), /belong to the mesh and the server/)
  assert.match(told.find((line) => line.includes("with.cwd")) ?? "", /no field is called cwd.*exec ignores it/)
})
