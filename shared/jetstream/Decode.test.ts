import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { ClaimRequest } from "../protocol/Claim.ts"
import { Definition } from "../protocol/Definition.ts"
import type { Problem } from "../protocol/ErrorCode.ts"
import { ScheduleRef } from "../protocol/Schedule.ts"
import { StartRequest } from "../protocol/Workflow.ts"
import * as Decode from "./Decode.ts"

const problems = <A>(schema: Decode.Decodable<A>, value: unknown) => {
  const result = Decode.decoder(schema)(typeof value === "string" ? value : JSON.stringify(value))
  if (Result.isSuccess(result)) return { code: "none", path: undefined, list: [] }
  const list = result.failure.details as ReadonlyArray<Problem> | undefined // Decode puts its problems there
  return { code: result.failure.code, path: result.failure.path, list: list?.map((problem) => problem.path) ?? [] }
}

describe("Decode", () => {
  it("decodes, drops unknown fields, reads nothing as {}", () => {
    assert.deepStrictEqual(
      Decode.decoder(ClaimRequest)("{\"ttl\":\"1.5s\",\"future\":1}"),
      Result.succeed({ ttl: 1_500 })
    )
    assert.deepStrictEqual(Decode.decoder(ClaimRequest)(""), Result.succeed({}))
  })
  it("tells text that is not JSON from a wrong message", () => {
    assert.strictEqual(problems(ClaimRequest, "{").code, "InvalidJson")
    assert.strictEqual(problems(ClaimRequest, "7").code, "InvalidMessage")
    assert.strictEqual(problems(ClaimRequest, "null").code, "InvalidMessage")
  })
  it("lists every problem with its path", () => {
    assert.deepStrictEqual(problems(ClaimRequest, { count: 0, priority: 10, ttl: "soon", labels: { a: 1 } }), {
      code: "InvalidMessage",
      path: "priority",
      list: ["priority", "ttl", "labels.a", "count"]
    })
    const definition = {
      metadata: { name: "d" },
      spec: { tasks: [{ name: "a", type: "t" }, { name: "a b", type: "t", dependsOn: ["ok", "not ok"] }, {}] }
    }
    assert.deepStrictEqual(problems(Definition, definition).list, [
      "spec.tasks[1].name",
      "spec.tasks[1].dependsOn[1]",
      "spec.tasks[2].name",
      "spec.tasks[2].type"
    ])
  })
  it("a message in which nothing but names is wrong is InvalidName", () => {
    assert.strictEqual(problems(ClaimRequest, { claimId: "a.b", team: "x y" }).code, "InvalidName")
    assert.strictEqual(problems(ClaimRequest, { claimId: "a.b", count: 0 }).code, "InvalidMessage")
  })
  it("says what was found where a name or another plain value was expected", () => {
    const message = (value: unknown): string => {
      const result = Decode.decoder(ClaimRequest)(JSON.stringify(value))
      return Result.isFailure(result) ? result.failure.message : ""
    }
    assert.strictEqual(
      message({ claimId: "a.b" }),
      "claimId: a name of 1 to 63 letters, digits, '_' or '-', not \"a.b\""
    )
    assert.strictEqual(message({ priority: 12 }), "priority: Expected a value between 0 and 9, not 12")
    assert.strictEqual(message({ selector: [] }), "selector: Expected object")
    assert.isBelow(message({ claimId: "x".repeat(900) }).length, 200)
  })
  it("a reference made of names is one too", () => {
    assert.strictEqual(problems(StartRequest, { definition: "night.ly" }).code, "InvalidName")
    assert.strictEqual(problems(StartRequest, { definition: "nightly", pool: "a/b/c" }).code, "InvalidName")
    assert.strictEqual(problems(ScheduleRef, { name: "e.f" }).code, "InvalidName")
  })
  it("writes paths as people do", () => {
    assert.strictEqual(Decode.pathText(["spec", "tasks", 2, "name"]), "spec.tasks[2].name")
    assert.strictEqual(Decode.pathText([]), "")
    assert.strictEqual(Decode.pathText(["labels", "app.kubernetes.io/name"]), "labels[\"app.kubernetes.io/name\"]")
    assert.strictEqual(Decode.pathText([0, "run-task"]), "[0].run-task")
  })
  it("lists at most a hundred", () => {
    assert.strictEqual(
      problems(Schema.Array(Schema.String), Array.from({ length: 500 }, (_, n) => n)).list.length,
      Decode.problemsMax
    )
  })
})
