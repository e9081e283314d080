import { assert, it } from "@effect/vitest"
import * as JsonPath from "./JsonPath.ts"

const object = {
  spec: { size: 3, labels: { "a.b/c": "x" } },
  status: {
    conditions: [{ type: "Accepted", status: "True" }, { type: "Ready", status: "False", since: { s: 4 } }],
    members: [{ pool: "a" }, { pool: "b" }]
  }
}

it.each([
  [".spec.size", [3]],
  [".spec.none.deeper", []],
  [".spec.labels.a\\.b/c", ["x"]],
  [".spec.labels['a.b/c']", ["x"]],
  [".status.conditions[?(@.type==\"Ready\")].status", ["False"]],
  [".status.conditions[?(@.type=='Gone')].status", []],
  [".status.conditions[?(@.since.s==4)].type", ["Ready"]],
  [".status.members[*].pool", ["a", "b"]],
  [".status.members[1].pool", ["b"]],
  [".status.members[-1].pool", ["b"]],
  [".status.members[7].pool", []]
])("%s finds %j", (path, found) => {
  assert.deepEqual(JsonPath.compile(path)?.(object), found)
})

it("what it cannot read it does not guess", () => {
  for (const path of ["spec", "..size", ".a[?(@.b>1)]", ".a[1:2]"]) assert.isUndefined(JsonPath.compile(path), path)
})
