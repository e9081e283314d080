import { assert, it } from "@effect/vitest"
import * as LedgerMessage from "./LedgerMessage.ts"

const fenced = { "Nats-Expected-Last-Subject-Sequence": "7" }
const judge = (text: string, headers: Record<string, string> = fenced) => LedgerMessage.judge({ text, headers })
const sealed = { _tag: "Sealed", by: "a", at: 1 }

it("what can be read is an append; what cannot is nobody's without a fence, and else concerns what it names or everything", () => {
  const append = judge(JSON.stringify({ v: 1, records: [sealed] }))
  assert.deepStrictEqual<unknown>(append, { _tag: "Append", records: [sealed] })
  const newer = (...records: ReadonlyArray<unknown>) => JSON.stringify({ v: 1, records })
  for (const text of ["", "{", "null", "[]", "\u0000", newer({ _tag: "New", shard: 1 }), `{"v":2,"records":[]}`]) {
    assert.strictEqual(judge(text, {})._tag, "Foreign", text)
    assert.strictEqual(judge(text)._tag, "Unreadable", text)
  }
  const shards = (text: string) => {
    const judged = judge(text)
    return judged._tag === "Unreadable" ? judged.shards && [...judged.shards] : "readable"
  }
  assert.deepStrictEqual<unknown>(shards(newer({ _tag: "New", shard: 1 }, { _tag: "New", shard: 3 }, { shard: 1 })), [
    1,
    3
  ])
  // one that names no shard may concern any, and so may a version whose shape is not known
  assert.isUndefined(shards(newer({ _tag: "New", shard: 1 }, sealed, { _tag: "New" })))
  assert.isUndefined(shards(newer({ _tag: "New", shard: -1 })))
  assert.isUndefined(shards(`{"v":2,"records":[{"shard":1}]}`))
  assert.isUndefined(shards("{"))
})
