import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as Replay from "../../services/coordinator/engine/Replay.ts"
import { JournalMessage, Transition } from "../../shared/protocol/Journal.ts"
import * as Corpus from "./Corpus.ts"
import { features } from "./Features.ts"
import { sha256 } from "./Recorder.ts"

// Journals that earlier versions wrote: this version must read all of them, for ever. A file here is never changed.

const files = readdirSync(Corpus.folder).filter((name) => name.endsWith(".jsonl")).map((name) => name.slice(0, -6))
const read = (name: string) => readFileSync(join(Corpus.folder, name), "utf8")

/** `decidedOtherwise`: entries for which a later version decides something else, on purpose; `why` says what changed. */
const Expected = Schema.Struct({
  decidedOtherwise: Schema.Array(
    Schema.Struct({ instance: Schema.String, n: Schema.Int, part: Schema.String, why: Schema.NonEmptyString })
  ),
  instances: Schema.Record(Schema.String, Schema.Unknown)
})
const expectedOf = (feature: string) => Schema.decodeSync(Schema.fromJsonString(Expected))(read(`${feature}.json`))

describe.each(files)("%s", (feature) => {
  const lines = Corpus.linesOf(read(`${feature}.jsonl`))
  const expected = expectedOf(feature)

  it("every message decodes, and encodes to what was written", () => {
    for (const [i, { message, sequence, subject }] of lines.entries()) {
      assert.strictEqual(sequence, i + 1)
      assert.match(subject, /^heddle\.journal\.[A-Za-z0-9_-]{1,63}$/u)
      const decoded = Schema.decodeUnknownSync(JournalMessage, { onExcessProperty: "error" })(message)
      assert.deepStrictEqual<unknown>(Schema.encodeSync(JournalMessage)(decoded), message)
    }
  })

  const instances = Corpus.instancesOf(lines)
  it("holds the instances that its outcome names", () => {
    assert.sameMembers([...instances.keys()], Object.keys(expected.instances))
  })

  for (const [instance, recorded] of instances) {
    it(`${instance}: the chain is whole, and each entry names the message before`, () => {
      assert.isUndefined(Chain.verifyChain(recorded.parsed, sha256))
      recorded.parsed.forEach((entry, i) => {
        assert.strictEqual(entry.prev, i === 0 ? 0 : recorded.sequences[i - 1], `entry ${entry.n}`)
      })
    })

    it(`${instance}: replays to what it came to`, () => {
      assert.deepStrictEqual(Corpus.lost(expected.instances[instance], Corpus.outcome(recorded)), [])
    })

    it(`${instance}: is decided again as it was written`, () => {
      const accepted = expected.decidedOtherwise.filter((one) => one.instance === instance)
      const found = Replay.verify(recorded.decoded, recorded.graph)
      assert.isFalse(found.some((difference) => difference.part === "fold"))
      assert.deepStrictEqual(
        found.map(({ n, part }) => `${n} ${part}`),
        accepted.map(({ n, part }) => `${n} ${part}`),
        `decide has changed: ${JSON.stringify(found.slice(0, 2), undefined, 1)}`
      )
    })

    it(`${instance}: one changed or missing entry is found`, () => {
      const { parsed } = recorded
      parsed.forEach((entry, i) => {
        const changed = parsed.with(i, { ...entry, at: entry.at + 1 })
        assert.strictEqual(Chain.verifyChain(changed, sha256)?.n, entry.n)
        // The last one is missed only by who knows that it was there.
        if (i < parsed.length - 1) assert.strictEqual(Chain.verifyChain(parsed.toSpliced(i, 1), sha256)?.n, entry.n)
      })
    })
  }
})

it("examples/verify-journal.mjs finds them whole, and one that was changed broken", () => {
  const program = join(Corpus.folder, "..", "..", "examples", "verify-journal.mjs")
  const check = (text: string) => spawnSync(process.execPath, [program], { input: text, encoding: "utf8" })
  const text = read("failover.jsonl")
  const whole = check(text)
  assert.deepStrictEqual([whole.status, whole.stdout], [0, "1 instances, 0 broken entries\n"])
  const broken = check(text.replace("the executor is gone", "the executor is slow"))
  assert.strictEqual(broken.status, 1)
  assert.match(broken.stdout, /^failover-1: broken at entry \d+, message \d+\n/u)
})

it("every feature has its journal", () => {
  assert.deepStrictEqual(
    Object.keys(features).filter((feature) => !files.includes(feature)),
    [],
    "What to do: node test/corpus/make.ts, and commit the files."
  )
})

it("every transition that the engine can write is in a journal", () => {
  const found = new Set<string>(
    files.flatMap((feature) =>
      [...Corpus.instancesOf(Corpus.linesOf(read(`${feature}.jsonl`))).values()].flatMap(({ decoded }) =>
        decoded.flatMap((entry) => entry.transitions.map((transition) => transition._tag))
      )
    )
  )
  assert.deepStrictEqual(
    Transition.members.map((member) => member.fields._tag.schema.literal).filter((tag) => !found.has(tag)),
    [],
    "What to do: a feature in test/corpus/Features.ts that writes it, then node test/corpus/make.ts."
  )
})

it("what is lost is found, what is more is not", () => {
  assert.deepStrictEqual(Corpus.lost({ a: [1, { b: 2 }] }, { a: [1, { b: 2, c: 3 }], d: 4 }), [])
  assert.deepStrictEqual(Corpus.lost({ a: [1, { b: 2 }] }, { a: [1, { b: 3 }] }), ["/a/1/b: was 2, is 3"])
  assert.deepStrictEqual(Corpus.lost({ a: [1] }, { a: [1, 2] }), ["/a: had 1 elements, has 2"])
  assert.deepStrictEqual(Corpus.lost({ a: 1 }, {}), ["/a: was 1, is undefined"])
})
