import { assert, describe, it } from "@effect/vitest"
import * as Expression from "./Expression.ts"
import * as Template from "./Template.ts"

const scope: Expression.Scope = {
  params: {
    n: 5,
    half: 0.5,
    text: "x",
    list: [1, 2, 3],
    "": 0,
    nested: { a: { b: "deep" } },
    many: Array.from({ length: 1_000 }, (_, i) => i),
    long: "a".repeat(100_000_000)
  },
  task: (name) => ({
    outputs: name === "a" ? { rows: "3", list: [1] } : {},
    state: name === "a" ? "SUCCEEDED" : "NONE"
  }),
  instance: { id: "wf-1", run: 1 },
  item: { id: 7 }
}
const compiled = (source: string) => {
  const expression = Expression.compile(source)
  if (expression instanceof Expression.ExpressionProblem) throw new Error(expression.message)
  return expression
}
const value = (source: string): unknown => {
  const result = Expression.evaluate(compiled(source), scope)
  return result instanceof Expression.ExpressionProblem ? result.message : result
}
const refusal = (source: string): string => {
  const expression = Expression.compile(source)
  return expression instanceof Expression.ExpressionProblem ? expression.message : "compiles"
}

describe("values", () => {
  const cases: ReadonlyArray<readonly [source: string, expected: unknown]> = [
    ["params.n + 1", 6],
    ["params.half * 2.0", 1],
    ["params.n > 3 && params.text == \"x\"", true],
    ["params.list.map(x, x * 2)", [2, 4, 6]],
    ["params.list.filter(item, item > 1)", [2, 3]],
    ["params.list.map(x, x > 1, x + params.n)", [7, 8]],
    ["params.list.exists(x, x == 2) && params.list.all(x, x > 0) && params.list.exists_one(x, x == 3)", true],
    ["params.nested.a.b", "deep"],
    ["params[\"text\"]", "x"],
    ["has(params.missing) ? 1 : 2", 2],
    ["int(tasks.a.outputs.rows) + 1", 4],
    ["tasks[\"a\"].state == \"SUCCEEDED\"", true],
    ["tasks.b.state", "NONE"],
    ["[params.list, [4]].map(l, l.map(x, x + 1))", [[2, 3, 4], [5]]],
    ["params.list.filter(x, x > 1).map(x, x + 1).exists(x, x == 4)", true],
    ["instance.id + \"!\"", "wf-1!"],
    ["item.id", 7],
    ["{\"a\": [1, null, true, 1.5], \"b\": {}}", { a: [1, null, true, 1.5], b: {} }],
    ["timestamp(\"2026-01-01T00:00:00Z\")", "2026-01-01T00:00:00.000Z"],
    ["duration(\"90s\")", "90s"],
    ["9007199254740993", "9007199254740993"]
  ]
  for (const [source, expected] of cases) it(source, () => assert.deepStrictEqual(value(source), expected))
})

it("an expression reads only what it names", () => {
  const { reads } = compiled(
    "params.a + tasks.t.outputs.x + (params.list.exists(item, item == instance.id) ? \"\" : \"\")"
  )
  assert.deepStrictEqual(reads, { params: ["a", "list"], tasks: ["t"], instance: true, item: false })
  assert.strictEqual(compiled("size(params)").reads.params, undefined)
})

describe("problems name the expression and the position", () => {
  const cases: ReadonlyArray<readonly [source: string, expected: string]> = [
    ["params.n +", "at position 11"],
    ["foo + 1", "at position 1: Unknown variable: foo"],
    ["1 + \"a\"", "no such overload: int + string"],
    ["", "is empty"],
    ["params.text.matches(\"(a+)+$\")", "matches() is not available"],
    ["cel.bind(x, 1, x)", "cel.bind() is not available"],
    ["tasks", "tasks is followed by a name"],
    ["tasks[params.text].state", "tasks is followed by a name"],
    [`1${" + 1".repeat(1_500)}`, "is longer than"],
    [`${"(".repeat(60)}1${")".repeat(60)}`, "position"],
    ["params.list.map(x, y)", "at position 20: Unknown variable: y"]
  ]
  for (const [source, expected] of cases) {
    it(source.length > 40 ? `${source.slice(0, 40)}...` : source, () => assert.include(refusal(source), expected))
  }
  it("at evaluation too, and behind a comprehension the position is that of the source", () => {
    assert.strictEqual(value("params.zz"), "expression \"params.zz\" at position 8: No such key: zz")
    assert.include(String(value("params.list.map(x, x + 1)[9] + 1")), "index out of bounds")
    assert.include(String(value("params.list.map(x, x + params.text)")), "at position 20")
    assert.include(String(value("params.list.map(x, x) == [] || params.zz")), "at position 39: No such key: zz")
  })
})

describe("cost is bounded", () => {
  it("steps, also where errors are swallowed", () => {
    // Of this process's CPU, the least of several: it must hold on a machine that is slow, or has other things to do.
    const cost = (run: () => void): number => {
      let least = Number.POSITIVE_INFINITY
      for (let round = 0; round < 5; round++) {
        const from = process.cpuUsage()
        run()
        const { system, user } = process.cpuUsage(from)
        least = Math.min(least, user + system)
      }
      return least
    }
    const sixty = Array.from({ length: 60 }, (_, i) => i).join()
    const allowed = cost(() => assert.strictEqual(value(`params.many.all(x, [${sixty}].all(y, y >= 0))`), true))
    const refused = cost(() => {
      assert.include(
        String(value("params.many.all(x, params.many.all(y, params.many.all(z, z >= 0)))")),
        "needs more than 100000 steps"
      )
      assert.include(
        String(value("params.many.exists(x, params.many.exists(y, params.many.exists(z, z < 0))) || true")),
        "needs more than"
      )
      assert.include(String(value("params.many.map(x, params.many.map(y, \"a\")).size()")), "needs more than")
      assert.include(String(value("params.list.map(x, params.long.contains(\"b\"))")), "needs more than")
    })
    // The four take some 6 times as long as 61,000 steps; without a bound it would be more than 10,000 times.
    assert.isBelow(refused / allowed, 60, `${refused} us, and 61,000 steps ${allowed} us`)
    assert.strictEqual(value("params.many.map(x, x + 1).size()"), 1_000)
  })
  it("size of the result", () =>
    assert.include(String(value("params.many.map(x, params.many)")), "gives more than 262144 characters"))
})

it("names such as __proto__ are only names", () => {
  assert.include(String(value("params.__proto__")), "No such key")
  assert.include(String(value("params.constructor")), "No such key")
  value("{\"__proto__\": {\"polluted\": 1}}")
  assert.isFalse("polluted" in {})
})

describe("templates", () => {
  const problems: Array<string> = []
  const compile = (input: unknown): Template.Template => {
    problems.length = 0
    return Template.compile(input, "with", {
      expression: () => undefined,
      problem: (path, problem) => problems.push(`${path}: ${problem.message}`)
    })
  }
  const render = (input: unknown) => Template.render(compile(input), scope)
  it("a text that is one expression keeps its type, others are written out", () => {
    assert.deepStrictEqual(
      render({ a: "${{ params.list }}", b: ["n=${{params.n}}, ${{ params.list }}${{ null }}"], c: 1 }),
      { a: [1, 2, 3], b: ["n=5, [1,2,3]"], c: 1 }
    )
    assert.strictEqual(render("${{ {\"a\": {\"b\": \"}}\"}}.a.b }}"), "}}")
    assert.strictEqual(render("$HOME ${HOME} {{ x }}"), "$HOME ${HOME} {{ x }}")
  })
  it("what holds no expression is passed on uncopied", () => {
    const input = { deep: [{ a: 1 }] }
    assert.strictEqual(render(input), input)
  })
  it("problems name the path", () => {
    compile({ list: [{ run: "echo ${{ params.n + }}" }], open: "${{ params.n" })
    assert.strictEqual(problems.length, 2)
    assert.include(problems[0] ?? "", "with.list[0].run: expression \"params.n +\"")
    assert.include(problems[1] ?? "", "with.open: expression \"${{ params.n\": has no closing }}")
    const failed = render("x ${{ params.zz }}")
    assert.isTrue(failed instanceof Expression.ExpressionProblem)
  })
})
