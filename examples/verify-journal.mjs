// Checks the hash chain of every instance in a journal, with nothing but Node: node examples/verify-journal.mjs test/corpus/retry.jsonl
// One JSON object a line: {sequence, subject, message}, message being the body of one message of the stream HEDDLE_JOURNAL.
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"

const last = new Map() // instance -> {n, hash, sequence} of its newest entry so far
let broken = 0
for (const line of readFileSync(process.argv[2] ?? 0, "utf8").split("\n").filter(Boolean)) {
  const { message, sequence } = JSON.parse(line)
  for (const record of message.records) {
    if (record._tag !== "Entry") continue
    const before = last.get(record.instance) ?? { n: 0, hash: "0".repeat(64), sequence: 0 }
    const { hash, ...rest } = record // the key order of the text is kept
    const expected = createHash("sha256").update(`${before.hash}\n${JSON.stringify(rest)}`).digest("hex")
    if (hash !== expected || record.n !== before.n + 1 || record.prev !== before.sequence) {
      console.log(`${record.instance}: broken at entry ${record.n}, message ${sequence}`)
      broken += 1
    }
    last.set(record.instance, { n: record.n, hash, sequence })
  }
}
console.log(`${last.size} instances, ${broken} broken entries`)
process.exitCode = broken === 0 ? 0 : 1
