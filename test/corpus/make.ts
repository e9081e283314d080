/**
 * `node test/corpus/make.ts`: writes the journal of every feature in Features.ts that has none, and what it comes to (`<feature>.json`). It never changes a file: the corpus is
 * what earlier versions wrote.
 */
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Corpus from "./Corpus.ts"
import { features } from "./Features.ts"
import { Recorder } from "./Recorder.ts"

for (const [feature, script] of Object.entries(features)) {
  const file = join(Corpus.folder, `${feature}.jsonl`)
  if (existsSync(file)) continue
  const journal = new Recorder()
  script(journal)
  const text = journal.lines.map((line) => `${JSON.stringify(line)}\n`).join("")
  const instances = Object.fromEntries(
    [...Corpus.instancesOf(Corpus.linesOf(text))].map(([instance, recorded]) => [instance, Corpus.outcome(recorded)])
  )
  writeFileSync(file, text)
  writeFileSync(
    join(Corpus.folder, `${feature}.json`),
    `${JSON.stringify({ decidedOtherwise: [], instances }, undefined, 2)}\n`
  )
  process.stdout.write(`${feature}: ${journal.lines.length} messages, ${Object.keys(instances).join(", ")}\n`)
}
