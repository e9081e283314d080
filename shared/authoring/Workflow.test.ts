import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { parse } from "yaml"
import { With as ExecWith } from "../../plugins/exec/Exec.ts"
import { With as HttpWith } from "../../plugins/http/Http.ts"
import { With as NatsWith } from "../../plugins/nats/NatsTask.ts"
import { With as ScriptWith } from "../../plugins/script/Script.ts"
import { With as ShellWith } from "../../plugins/shell/Shell.ts"
import { Definition } from "../protocol/Definition.ts"
import { defineWorkflow, type Expression, taskType, type TaskTypes } from "./Workflow.ts"

const metadata = { name: "w" }

/** Compiles when both are the same. */
const same = <A, B>(_: [A] extends [B] ? [B] extends [A] ? true : never : never) => undefined

it("gives the object that YAML gives, and the Schema decodes it", () => {
  const fromTypeScript = defineWorkflow({
    metadata: { name: "nightly", labels: { team: "data" } },
    spec: {
      params: { day: "2026-11-21" },
      pool: "warm",
      onCleanup: { type: "shell", with: { run: "rm -rf work" } },
      tasks: [
        { name: "extract", type: "shell", with: { run: ["./extract", "--all"] }, retry: { times: 2, interval: "5s" } },
        {
          name: "load",
          type: "shell",
          dependsOn: ["extract"],
          with: { run: "load ${{ params.day }}", grace: "10s" },
          timeout: { after: "1h", strategy: "warn-fail" }
        }
      ]
    }
  })
  const fromYaml: unknown = parse(`
apiVersion: heddle.dev/v1
kind: Workflow
metadata: { name: nightly, labels: { team: data } }
spec:
  params: { day: "2026-11-21" }
  pool: warm
  onCleanup: { type: shell, with: { run: rm -rf work } }
  tasks:
    - { name: extract, type: shell, with: { run: [./extract, --all] }, retry: { times: 2, interval: 5s } }
    - name: load
      type: shell
      dependsOn: [extract]
      with: { run: "load \${{ params.day }}", grace: 10s }
      timeout: { after: 1h, strategy: warn-fail }
`)
  assert.deepStrictEqual<unknown>(fromTypeScript, fromYaml)
  const decode = Schema.decodeUnknownSync(Definition, { onExcessProperty: "error" })
  assert.deepStrictEqual(decode(fromTypeScript), decode(fromYaml))
})

// What follows is decided by the compiler: an unused @ts-expect-error is an error.

it("a predecessor must be a task of the workflow", () => {
  const found = defineWorkflow({
    metadata,
    spec: {
      tasks: [
        { name: "a", type: "noop" },
        // @ts-expect-error no task is called "aa"
        { name: "b", type: "noop", dependsOn: ["aa"] },
        { name: "c", type: "noop", dependsOn: ["a", "b"] }
      ]
    }
  })
  assert.strictEqual(found.spec.tasks.length, 3)
})

it("a branch of a switch or a condition must be a task of the workflow", () => {
  const found = defineWorkflow({
    metadata,
    spec: {
      tasks: [
        { name: "a", type: "noop" },
        { name: "s", type: "switch", dependsOn: ["a"], with: { cases: [{ when: "true", next: "x" }], default: "x" } },
        // @ts-expect-error no task is called "y"
        { name: "s1", type: "switch", dependsOn: ["a"], with: { cases: [{ when: "true", next: "y" }] } },
        // @ts-expect-error no task is called "y"
        { name: "s2", type: "switch", dependsOn: ["a"], with: { cases: [], default: "y" } },
        { name: "c", type: "condition", dependsOn: ["a"], with: { when: { task: "a", is: "failed" }, failed: ["x"] } },
        // @ts-expect-error no task is called "y"
        { name: "c1", type: "condition", dependsOn: ["a"], with: { success: ["y"] } },
        // @ts-expect-error no task is called "y"
        { name: "c2", type: "condition", dependsOn: ["a"], with: { when: { or: [{ task: "y" }] }, success: "x" } },
        // @ts-expect-error a switch has cases
        { name: "s3", type: "switch", dependsOn: ["a"] },
        { name: "x", type: "noop", dependsOn: ["s", "c"] }
      ]
    }
  })
  assert.strictEqual(found.spec.tasks.length, 9)
})

it("the arguments of a first-party type are checked, and its fields", () => {
  const found = defineWorkflow({
    metadata,
    spec: {
      // @ts-expect-error "rum" is no argument of shell
      onCommit: { type: "shell", with: { rum: "true" } },
      // @ts-expect-error a switch is no hook
      onCleanup: { type: "switch", with: { cases: [] } },
      tasks: [
        // @ts-expect-error shell needs `run`
        { name: "a", type: "shell" },
        // @ts-expect-error "cdw" is no argument of shell
        { name: "b", type: "shell", with: { run: "true", cdw: "/" } },
        // @ts-expect-error `run` is a text or a list
        { name: "c", type: "shell", with: { run: 1 } },
        // @ts-expect-error "ten seconds" is no duration
        { name: "d", type: "shell", with: { run: "true", grace: "ten seconds" } },
        { name: "e", type: "shell", with: { run: "true", grace: "${{ params.grace }}" } },
        // @ts-expect-error outputs is an object
        { name: "f", type: "noop", with: { outputs: 3 } },
        // @ts-expect-error a sub-workflow names its definition
        { name: "g", type: "sub-workflow", with: { params: {} } },
        { name: "g1", type: "dependent", with: { all: [{ workflow: "nightly", within: "24h" }, { workflow: "x" }] } },
        // @ts-expect-error either a duration or times
        {
          name: "g2",
          type: "dependent",
          with: { any: [{ workflow: "x", within: "1d", from: "2026-01-31T00:00:00Z" }] }
        },
        // @ts-expect-error all or any
        { name: "g3", type: "dependent", with: { all: [], any: [] } },
        // @ts-expect-error no task type is called "shel"
        { name: "h", type: "shel", with: { run: "true" } },
        // @ts-expect-error no field is called dependson
        { name: "i", type: "noop", dependson: ["a"] },
        // @ts-expect-error no join rule is called all_succes
        { name: "j", type: "noop", dependsOn: ["a"], join: "all_succes" },
        { name: "k", type: taskType("kafka"), with: { topic: "orders" } }
      ]
    }
  })
  assert.strictEqual(found.spec.tasks.length, 14)
})

it("tasks may be computed: then any text is a name", () => {
  const days = ["mon", "tue"]
  const found = defineWorkflow({
    metadata,
    spec: {
      tasks: [
        ...days.map((day) => ({ name: `load-${day}`, type: "noop" as const })),
        { name: "report", type: "noop", dependsOn: days.map((day) => `load-${day}`) }
      ]
    }
  })
  assert.deepStrictEqual(found.spec.tasks.map((task) => task.name), ["load-mon", "load-tue", "report"])
})

it("what a task type takes here is what its plugin takes", () => {
  type Shell = TaskTypes["shell"]
  type Encoded = typeof ShellWith.Encoded
  same<keyof Shell, keyof Encoded>(true)
  const accepts = (value: Omit<Shell, "grace"> & { readonly grace?: Exclude<Shell["grace"], Expression> }): Encoded =>
    value as Encoded // checked by the next line, which has no cast
  same<Shell["run"], Encoded["run"]>(true)
  same<Shell["shell"], Encoded["shell"]>(true)
  same<Shell["cwd"], Encoded["cwd"]>(true)
  const decode = Schema.decodeUnknownResult(ShellWith)
  assert.strictEqual(decode(accepts({ run: ["ls", "-l"], shell: "/bin/bash", cwd: "x", grace: "10s" }))._tag, "Success")
})

it("the arguments of exec, script, http and nats are those of their plugins, and what compiles is accepted by them", () => {
  same<keyof TaskTypes["exec"], keyof typeof ExecWith.Encoded>(true)
  same<keyof TaskTypes["script"], keyof typeof ScriptWith.Encoded>(true)
  same<keyof TaskTypes["http"], keyof typeof HttpWith.Encoded>(true)
  same<keyof TaskTypes["nats"], keyof typeof NatsWith.Encoded>(true)
  const accepted = (schema: Schema.Codec<unknown, unknown>, value: unknown) =>
    Schema.decodeUnknownResult(schema)(value)._tag === "Success"
  const exec: TaskTypes["exec"] = {
    command: ["ls"],
    args: ["-l"],
    env: { A: "b" },
    workdir: "x",
    exitCodes: [0, 1],
    grace: "1s"
  }
  const script: TaskTypes["script"] = {
    interpreter: ["python3", "-u"],
    source: "1",
    extension: "py",
    args: [],
    grace: 5
  }
  const http: TaskTypes["http"] = {
    url: "https://example.org",
    method: "PUT",
    query: { a: 1, b: true },
    headers: { a: "b" },
    json: [1],
    expect: ["2xx", 404],
    retryAfterMax: "1m",
    redirects: 3,
    answer: "text",
    answerHeaders: ["x-a"],
    idempotencyKey: "k"
  }
  const nats: TaskTypes["nats"] = { subject: "a.b", mode: "request", data: { a: 1 }, timeout: "1s", replies: 2 }
  assert.deepStrictEqual([
    accepted(ExecWith, exec),
    accepted(ScriptWith, script),
    accepted(HttpWith, http),
    accepted(NatsWith, nats)
  ], [true, true, true, true])
  const found = defineWorkflow({
    metadata,
    spec: {
      // @ts-expect-error nats needs a subject
      onCommit: { type: "nats", with: { mode: "publish" } },
      tasks: [
        { name: "a", type: "exec", with: { command: ["ls"], args: "${{ params.args }}" } },
        // @ts-expect-error a command is a list
        { name: "b", type: "exec", with: { command: "ls" } },
        // @ts-expect-error "get" is no method
        { name: "c", type: "http", with: { url: "https://x", method: "get" } }
      ]
    }
  })
  assert.strictEqual(found.spec.tasks.length, 3)
})
