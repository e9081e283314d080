import { assert, it } from "@effect/vitest"
import { PoolName } from "../../shared/protocol/Token.ts"
import { annotationsProblem, isDnsLabel, labelsProblem, podName } from "./Names.ts"
import * as ResourceVersion from "./ResourceVersion.ts"

it.prop("every name of a pool gives a name that a pod may have, and keeps one that it may", [PoolName], ([name]) => {
  const made = podName(`${name}-1z-0`)
  assert.isTrue(isDnsLabel(made), made)
  if (isDnsLabel(`${name}-1z-0`)) assert.strictEqual(made, `${name}-1z-0`)
})

it("names that differ only where Kubernetes does not look stay apart", () => {
  const names = ["Web-1", "web_1", "WEB-1", "_web-1", "web-1"].map(podName)
  assert.strictEqual(new Set(names).size, names.length)
})

it("labels of others are checked as the API server would", () => {
  assert.isUndefined(labelsProblem({ "example.com/a": "b", c: "", "D_1": "x.y-z" }))
  for (
    const labels of [{ "heddle.dev/x": "" }, { "a b": "" }, { a: "-b" }, { a: "b".repeat(64) }, { "A.com/x/y": "" }]
  ) {
    assert.isString(labelsProblem(labels), JSON.stringify(labels))
  }
  assert.isUndefined(annotationsProblem({ "example.com/a": "any text at all\n" }))
  assert.isString(annotationsProblem({ "cluster-autoscaler.kubernetes.io/safe-to-evict": "true" }))
})

it("a version is a plain number or none", () => {
  assert.strictEqual(ResourceVersion.parse("9007199254740991"), 9_007_199_254_740_991)
  for (const text of ["", "0", "-1", "1.5", "0x1", "abc", "9007199254740993", 7, undefined]) {
    assert.isUndefined(ResourceVersion.parse(text))
  }
})
