import { assert, it } from "@effect/vitest"
import { ContractError, type ErrorCode, errorCodes } from "../shared/protocol/ErrorCode.ts"
import * as ExitCode from "./ExitCode.ts"

const contract = (code: ErrorCode, more: Partial<{ message: string; path: string; details: unknown }> = {}) =>
  new ContractError({ code, message: "it went wrong", ...more })

it("every error code has an exit code of the contract", () => {
  const of = Object.fromEntries(
    (Object.keys(errorCodes) as Array<ErrorCode>).map((code) => [code, ExitCode.ofError(contract(code))]) // keys of the table
  )
  assert.strictEqual(of["InvalidDefinition"], 2)
  assert.strictEqual(of["NoSuchInstance"], 3)
  assert.strictEqual(of["Conflict"], 4)
  assert.strictEqual(of["DeadlineExceeded"], 5)
  assert.strictEqual(of["Unavailable"], 6)
  assert.strictEqual(of["QueueFull"], 1)
  for (const exit of Object.values(of)) assert.property(ExitCode.exitCodes, String(exit))
})

it("all problems are told, each with its path, and what to do", () => {
  const lines = ExitCode.lines(contract("InvalidMessage", {
    path: "ttl",
    details: [{ path: "ttl", message: "a duration" }, { path: "count", message: "too many" }]
  }))
  assert.strictEqual(lines[0], "InvalidMessage: it went wrong (at ttl)")
  assert.deepStrictEqual(lines.slice(1, 3), ["  ttl: a duration", "  count: too many"])
  assert.match(lines.at(-1) ?? "", /^What to do: /)
})

it("a message that names the fix already does not get it twice", () => {
  assert.lengthOf(ExitCode.lines(contract("Unavailable", { message: "no server; `heddle doctor` shows more" })), 1)
  assert.lengthOf(ExitCode.lines(contract("Conflict", { message: "the run is SUCCEEDED: it can't be stopped" })), 1)
  assert.lengthOf(ExitCode.lines(contract("Conflict")), 2)
})

it("a fix that speaks of a path and of details is left out where there are none", () => {
  assert.lengthOf(ExitCode.lines(contract("InvalidMessage")), 1)
  assert.lengthOf(ExitCode.lines(contract("InvalidMessage", { path: "ttl" })), 2)
})

it("for programs the error has the contract's shape", () => {
  assert.deepStrictEqual(JSON.parse(ExitCode.json(contract("NoSuchPool"))), {
    error: { code: "NoSuchPool", message: "it went wrong" }
  })
  assert.deepStrictEqual(
    JSON.parse(ExitCode.json(new ExitCode.CliFailure({ exit: 2, message: "no", problems: ["a"] }))),
    { error: { code: "Usage", message: "no", details: ["a"] } }
  )
  // What the command found to be missing has the code that a service would have answered.
  assert.deepStrictEqual(
    JSON.parse(ExitCode.json(new ExitCode.CliFailure({ exit: 3, code: "NoSuchPool", message: "no" }))),
    { error: { code: "NoSuchPool", message: "no" } }
  )
})
