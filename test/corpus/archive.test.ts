import { assert, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as InstanceLoader from "../../services/coordinator/InstanceLoader.ts"
import { HistoryMessage } from "../../shared/protocol/History.ts"
import * as Corpus from "./Corpus.ts"
import { sha256 } from "./Recorder.ts"

// Messages of one archived instance, one a line, as an earlier version wrote them (test/corpus/<same name>.jsonl is their journal). A file here is never changed.

const folder = join(Corpus.folder, "archive")

for (const file of readdirSync(folder)) {
  it(`archive/${file}: is read, each entry once, and holds what the journal holds`, () => {
    const lines = readFileSync(join(folder, file), "utf8").split("\n").filter((line) => line !== "")
    const byN = new Map<number, InstanceLoader.HistoryEntry>()
    for (const line of lines) {
      const message = Schema.decodeUnknownSync(HistoryMessage, { onExcessProperty: "error" })(JSON.parse(line))
      assert.deepStrictEqual<unknown>(Schema.encodeSync(HistoryMessage)(message), JSON.parse(line))
      for (const one of Result.getOrThrow(InstanceLoader.entriesOf(line))) byN.set(one.entry.n, one)
    }
    const found = [...byN.values()].toSorted((a, b) => a.entry.n - b.entry.n)
    assert.isUndefined(Chain.verifyChain(found.map(({ entry }) => entry), sha256))
    const journal = Corpus.instancesOf(Corpus.linesOf(readFileSync(join(Corpus.folder, file), "utf8")))
    const recorded = journal.get(found[0]?.entry.instance ?? "")
    assert.deepStrictEqual(found.map(({ entry }) => entry), recorded?.parsed)
    assert.deepStrictEqual(found.map(({ sequence }) => sequence), recorded?.sequences)
  })
}
