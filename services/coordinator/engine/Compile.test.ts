import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Definition } from "../../../shared/protocol/Definition.ts"
import * as Compile from "./Compile.ts"
import { compile, graphOf, type Spec } from "./ScriptedRun.ts"

const decodeDefinition = Schema.decodeUnknownSync(Definition)

const problems = (spec: Spec): ReadonlyArray<string> => {
  const result = compile(spec)
  return Result.isFailure(result) ? result.failure.map((problem) => `${problem.path}: ${problem.message}`) : []
}
const shell = (name: string, dependsOn: ReadonlyArray<string> = [], more: object = {}): Spec["tasks"][number] => ({
  name,
  type: "shell",
  dependsOn,
  ...more
})

it("indices, edges and order", () => {
  const graph = graphOf({ tasks: [shell("c", ["a", "b"]), shell("a"), shell("b", ["a"])], onCommit: { type: "shell" } })
  assert.deepStrictEqual(graph.nodes.map((node) => node.name as string), ["c", "a", "b", "onCommit"])
  assert.deepStrictEqual(graph.order, [1, 2, 0])
  assert.deepStrictEqual(graph.startNodes, [1])
  assert.deepStrictEqual(graph.nodes[0]?.predecessors, [1, 2])
  assert.deepStrictEqual(graph.nodes[1]?.successors, [0, 2])
  assert.strictEqual(graph.commit?.lane, "commit")
})

describe("every problem is named", () => {
  const cases: ReadonlyArray<readonly [name: string, Spec, ReadonlyArray<string>]> = [
    ["A03 duplicate names, with both places", { tasks: [shell("a"), shell("b"), shell("a")] }, [
      "spec.tasks[2].name: the name a is used twice: spec.tasks[0].name and spec.tasks[2].name"
    ]],
    ["reserved name", { tasks: [shell("onCommit")] }, [
      "spec.tasks[0].name: the name onCommit is reserved for the hook spec.onCommit"
    ]],
    ["unknown, self, twice", { tasks: [shell("a", ["nowhere"]), shell("b", ["b"]), shell("c", ["a", "a"])] }, [
      "spec.tasks[0].dependsOn[0]: a depends on nowhere, which is no task of this workflow",
      "spec.tasks[1].dependsOn[0]: b depends on itself",
      "spec.tasks[2].dependsOn[1]: a is named twice in dependsOn of c"
    ]],
    ["cycles, each with its way", {
      tasks: [
        shell("a", ["c"]),
        shell("b", ["a"]),
        shell("c", ["b"]),
        shell("x", ["y"]),
        shell("y", ["x"]),
        shell("z", ["y"])
      ]
    }, [
      "spec.tasks[1].dependsOn: the dependencies form a cycle: b -> c -> a -> b",
      "spec.tasks[4].dependsOn: the dependencies form a cycle: y -> x -> y"
    ]],
    ["expressions", {
      tasks: [
        shell("a", [], { with: { run: "${{ params. }}" }, env: { X: "${{ item }}" } }),
        shell("b", [], { params: { p: ["${{ tasks.a.state }}"] } }),
        shell("c", [], { with: { x: "${{ tasks.zz.state }}" } })
      ]
    }, [
      "spec.tasks[0].with.run: expression \"params.\" at position 8: Expected IDENTIFIER, got EOF",
      "spec.tasks[0].env.X: expression \"item\": item is only known in a task with forEach",
      "spec.tasks[2].with.x: expression \"tasks.zz.state\": zz is no task of this workflow",
      "spec.tasks[1].params.p[0]: expression \"tasks.a.state\": a does not come before b"
    ]],
    ["switch", {
      tasks: [
        shell("s", [], {
          type: "switch",
          forEach: { items: "[1]" },
          with: { cases: [{ when: "1", next: "b" }, { when: "true", next: "nowhere" }, { next: "b" }], default: "c" }
        }),
        shell("b", ["s"]),
        shell("c")
      ]
    }, [
      "spec.tasks[0].forEach: the switch s can't be a fan-out",
      "spec.tasks[0].with.cases[0].when: expression \"1\" gives int, not true or false",
      "spec.tasks[0].with.cases[1].next: the switch s names \"nowhere\", which is no task of this workflow",
      "spec.tasks[0].with.cases[2]: a case is {when: <CEL>, next: <task>}",
      "spec.tasks[0].with.default: c does not depend on the switch s"
    ]],
    ["switch without cases", { tasks: [shell("s", [], { type: "switch" })] }, [
      "spec.tasks[0].with.cases: the switch s has no list of cases"
    ]],
    ["dependent tasks", {
      tasks: [
        shell("a", [], { type: "dependent" }),
        shell("b", [], { type: "dependent", with: { all: [] } }),
        shell("c", [], { type: "dependent", with: { any: [] } }),
        shell("d", [], { type: "dependent", with: { all: [{ workflow: "x" }], any: [{ workflow: "y" }] } }),
        shell("e", [], { type: "dependent", with: { any: [{ workflow: "x" }] } }),
        shell("f", [], { type: "dependent", with: { all: "${{ params.of }}" } })
      ]
    }, [
      "spec.tasks[0].with: the dependent task a names no workflow",
      "spec.tasks[1].with.all: the dependent task b names no workflow",
      "spec.tasks[2].with.any: the dependent task c names no workflow",
      "spec.tasks[3].with.any: the dependent task d has both all and any"
    ]],
    ["joins and fan-outs", {
      tasks: [
        shell("a", [], { join: "one_failed" }),
        shell("b", [], { forEach: { items: "1" } }),
        shell("c", [], { timeout: { after: 0 } })
      ]
    }, [
      "spec.tasks[0].join: a has no predecessor, so one_failed can never hold",
      "spec.tasks[1].forEach.items: expression \"1\" gives int, not a list",
      "spec.tasks[2].timeout.after: a time-out must be longer than 0"
    ]],
    ["what cannot be run is refused, not ignored", {
      onCleanup: { type: "switch" },
      tasks: [
        shell("a"),
        shell("b"),
        shell("c", [], { type: "workflow" }),
        shell("d", [], { type: "conditions" })
      ]
    }, [
      "spec.tasks[2].type: there is no task type workflow",
      "spec.tasks[3].type: there is no task type conditions",
      "spec.onCleanup.type: Unsupported: a hook of type switch is not possible"
    ]]
  ]
  for (const [name, spec, expected] of cases) it(name, () => assert.deepStrictEqual(problems(spec), expected))
  it("at most 200, and how many more", () => {
    const list = problems({ tasks: Array.from({ length: 300 }, (_, i) => shell(`t${i}`, ["nowhere"])) })
    assert.strictEqual(list.length, 201)
    assert.strictEqual(list.at(-1), "spec: and 100 more problems")
  })
  it("each has a fix", () => {
    const result = compile({ tasks: [shell("a", ["b"], { group: { name: "g" } }), shell("a")] })
    assert.isTrue(Result.isFailure(result) && result.failure.every((problem) => problem.fix !== undefined))
  })
})

it("an expression may read any task that comes before, however far", () => {
  const chain = Array.from(
    { length: 100 },
    (_, i) =>
      shell(`t${i}`, i === 0 ? [] : [`t${i - 1}`], {
        with: { run: Array.from({ length: i }, (_, k) => `\${{ tasks.t${k}.state }}`).join(" ") }
      })
  )
  assert.deepStrictEqual(problems({ tasks: chain }), [])
  assert.strictEqual(
    problems({ tasks: [...chain, shell("apart", [], { with: { run: "${{ tasks.t99.state }}" } })] }).length,
    1
  )
})

it("10,000 tasks and 20,000 dependencies compile in linear time", () => {
  const definition = (count: number): Definition =>
    decodeDefinition({
      metadata: { name: "test" },
      spec: {
        tasks: Array.from({ length: count }, (_, i) => shell(`t${i}`, i < 2 ? [] : [`t${i - 1}`, `t${i - 2}`]))
      }
    })
  const [small, large] = [definition(1_250), definition(10_000)]
  const ref = graphOf({ tasks: [] }).definition
  assert.strictEqual(Result.getOrThrow(Compile.compile(large, ref)).order.length, 10_000)
  // Of this process's CPU, not of the clock, and the least of several: it must hold on a machine that has other things to do.
  // How long it takes at all is measured by `npm run bench -- engine compile`.
  const cost = (of: Definition, times: number): number => {
    let least = Number.POSITIVE_INFINITY
    for (let round = 0; round < 15; round++) {
      const from = process.cpuUsage()
      for (let i = 0; i < times; i++) Compile.compile(of, ref)
      const { system, user } = process.cpuUsage(from)
      least = Math.min(least, (user + system) / times)
    }
    return least
  }
  cost(small, 8)
  const ratio = cost(large, 1) / cost(small, 8)
  // Eight times the tasks: about 8 when it is linear, 64 when a step looks at all others.
  assert.isBelow(ratio, 32, `8 times the tasks take ${ratio.toFixed(1)} times as long`)
})
