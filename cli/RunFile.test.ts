import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { StoredMessage } from "../shared/jetstream/Read.ts"
import { InstanceId } from "../shared/protocol/Token.ts"
import * as Journal from "./Journal.ts"
import * as RunFile from "./RunFile.ts"

// A journal of the corpus: hashes are the real ones.
const instance = "recover-1"
const entries = readFileSync(join(import.meta.dirname, "..", "test", "corpus", "recover.jsonl"), "utf8").trimEnd()
  .split("\n")
  .flatMap((line) => {
    const { message, sequence, subject } = JSON.parse(line) as Record<"message" | "sequence" | "subject", never>
    return Journal.entriesOf({ subject, sequence, text: JSON.stringify(message) } as unknown as StoredMessage, instance) // what it reads of one
  })
const start = entries[0]?.entry.cause.find((event) => event._tag === "WORKFLOW_START")
if (start === undefined) throw new Error("the corpus begins with a start")
const header = {
  instanceId: InstanceId.make(instance),
  exportedAt: "2026-11-21T10:00:00.000Z",
  heddle: "1.0.0",
  definition: { ref: start.start.definition, source: start.start.inline }
}
const text = RunFile.encode(header, entries)
const problem = (changed: string): string => {
  const decoded = RunFile.decode(changed)
  return Result.isFailure(decoded) ? decoded.failure : ""
}

describe("RunFile", () => {
  it("is read as it was written, fields of later versions included", () => {
    const decoded = RunFile.decode(text)
    if (Result.isFailure(decoded)) throw new Error(decoded.failure)
    assert.deepStrictEqual(decoded.success.entries, entries)
    assert.deepStrictEqual<unknown>(decoded.success.header.definition, header.definition)
    assert.strictEqual(problem(text.trimEnd()), "", "without the last line's end")
  })
  it("one that was cut, mixed, changed or is something else says what is wrong with it", () => {
    const lines = text.trimEnd().split("\n")
    assert.match(problem(lines.slice(0, -1).join("\n")), /not whole/u)
    assert.match(problem(""), /not written by/u)
    assert.match(problem("metadata: { name: a }\nspec: {}\n"), /not written by/u)
    assert.match(problem([...lines.slice(0, -1), lines.at(-1)?.slice(0, -20)].join("\n")), /is no entry/u)
    assert.match(problem(text.replaceAll(`"instance":"${instance}"`, "\"instance\":\"other-1\"")), /is of other-1/u)
    assert.match(
      problem([lines[0], lines[2], lines[1], ...lines.slice(3)].join("\n")),
      /was changed: entry 1 is missing/u
    )
    const [head = "", ...rest] = lines
    assert.match(
      problem([head, ...rest.map((line) => line.replace("\"FAILED\"", "\"SUCCEEDED\""))].join("\n")),
      /was changed/u
    )
    assert.match(
      problem(text.replace(`"hash":"${start.start.definition.hash}"`, "\"hash\":\"0\"")),
      /not the one that the run was started with/u
    )
  })
  it("every single change of a character of an entry is found", () => {
    const [head = "", ...rest] = text.trimEnd().split("\n")
    const [first = ""] = rest
    const from = first.indexOf("\"entry\"")
    for (let at = from + 9; at < first.length - 2; at += 7) {
      const other = first[at] === "7" ? "8" : "7"
      const changed = `${first.slice(0, at)}${other}${first.slice(at + 1)}`
      assert.notStrictEqual(problem([head, changed, ...rest.slice(1)].join("\n")), "", changed.slice(at - 10, at + 10))
    }
  })
  it("is told from the id of an instance", () => {
    for (const file of ["./run", "run.jsonl", "/tmp/run", "-"]) assert.isTrue(RunFile.isFile(file), file)
    for (const id of ["i-7", "nightly_20261121T010000", "a"]) assert.isFalse(RunFile.isFile(id), id)
  })
})
