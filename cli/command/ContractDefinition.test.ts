import { assert, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { parse } from "yaml"

const root = join(import.meta.dirname, "..", "..")

/** As the wire contract has it, letter for letter ("Definition, in full"). `with: {...}` and the missing `with` of load are what its readers fill in. */
const contract = `apiVersion: heddle.dev/v1
kind: Workflow
metadata: { name: nightly, namespace: default, labels: {} }
spec:
  params: { day: "2026-11-21" }
  pool: default                      # for tasks that name none; a bare name is in the workflow's namespace
  failureStrategy: continue          # or end
  executionType: parallel            # serial-wait, serial-discard, serial-priority
  priority: 5                        # 0 lowest .. 9 highest
  timeout: { after: 2h, strategy: warn }
  onCommit: { type: nats, with: {...} }
  onCleanup: { type: shell, with: { run: "..." } }
  tasks:
    - { name: extract, type: shell, with: { run: "./extract \${{ params.day }}" }, retry: { times: 3, interval: 5s, backoff: exponential, jitter: true }, timeout: { after: 10m, strategy: fail } }
    - { name: gate, type: switch, dependsOn: [extract], with: { cases: [ { when: "int(tasks.extract.outputs.rows) > 0", next: load } ], default: skip } }
    - { name: load, type: exec, pool: gpu, dependsOn: [gate], join: all_success, delay: 10s, group: { name: warehouse, slots: 1, priority: 7 }, forbidden: false, env: {}, forEach: { items: "params.tables", parallelism: 5 } }
    - { name: skip, type: noop, dependsOn: [gate] }
`

const heddle = (...args: ReadonlyArray<string>) =>
  spawnSync(process.execPath, [join(root, "bin", "heddle.mjs"), ...args], {
    input: contract,
    encoding: "utf8",
    cwd: root,
    env: { ...process.env, NO_COLOR: "1", HEDDLE_NATS_URL: "nats://127.0.0.1:1" }
  })

it("the contract's full definition is valid as it stands; what is still to be filled in is said", () => {
  const { status, stderr, stdout } = heddle("definitions", "validate", "--local", "-", "-o", "json")
  assert.strictEqual(status, 0, stderr)
  const report = JSON.parse(stdout) as {
    readonly valid: boolean
    readonly warnings: ReadonlyArray<{ readonly path: string; readonly message: string }>
  }
  assert.isTrue(report.valid)
  assert.deepStrictEqual(report.warnings.map(({ path }) => path), [
    "spec.onCommit.with.subject",
    "spec.tasks[2].with.command"
  ])
  assert.match(report.warnings[1]?.message ?? "", /exec cannot run without/)
})

it("it is not run before it is filled in", () => {
  const { status, stderr } = heddle("run", "-")
  assert.strictEqual(status, 2)
  assert.match(stderr, /<stdin>:11:\d+: spec\.onCommit\.with\.subject: /)
  assert.match(stderr, /<stdin>:16:\d+: spec\.tasks\[2\]\.with\.command: /)
})

it("the example that is run differs from it in what was filled in, and in nothing else", () => {
  const withoutArguments = (text: string): unknown =>
    JSON.parse(
      JSON.stringify(parse(text), (key, value: unknown) => ["with", "tables"].includes(key) ? undefined : value)
    )
  const example = readFileSync(join(root, "examples", "full.yaml"), "utf8").replace("name: full,", "name: nightly,")
  assert.deepStrictEqual(withoutArguments(example), withoutArguments(contract))
})
