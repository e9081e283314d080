/**
 * docs/reference/journal.md: the format of the journal, from shared/protocol/Journal.ts and its comments, with a journal of the corpus as the worked example.
 */
import * as Schema from "effect/Schema"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Placement } from "../../shared/protocol/Dispatch.ts"
import * as Journal from "../../shared/protocol/Journal.ts"
import type * as Comments from "./Comments.ts"
import { cell, code, isJson, type Json, typeText } from "./TypeText.ts"

const root = join(import.meta.dirname, "..", "..")
const read = (path: string) => readFileSync(join(root, path), "utf8")

/** Fields with a section of their own. */
const named: Readonly<Record<string, string>> = {
  start: "[StartData](#startdata)",
  by: "[FactSource](#factsource)",
  placement: "[Placement](#placement)",
  cause: "list of [events](#events)",
  transitions: "list of [transitions](#transitions)"
}

const jsonSchema = (schema: Schema.Constraint): Json => {
  const { definitions, schema: found } = Schema.toJsonSchemaDocument(schema, { onExcessProperty: "ignore" })
  const ref = typeof found["$ref"] === "string" ? found["$ref"].split("/").at(-1) : undefined
  const target: unknown = ref === undefined ? found : definitions[ref]
  return isJson(target) ? target : {}
}

interface Field {
  readonly name: string
  readonly type: string
  readonly isRequired: boolean
}

const fieldsOf = (schema: Schema.Constraint): ReadonlyArray<Field> => {
  const { properties, required } = jsonSchema(schema)
  return Object.entries(isJson(properties) ? properties : {}).flatMap(([name, part]) => {
    if (name === "_tag") return []
    const type = typeText(part)
    const isComposite = /^\[?\{/.test(type)
    return [{
      name,
      type: isComposite ? named[name] ?? type : type,
      isRequired: Array.isArray(required) && required.includes(name)
    }]
  })
}

/** `name`: type, with `?` after what may be missing. */
const fieldList = (schema: Schema.Constraint): string =>
  fieldsOf(schema).map(({ isRequired, name, type }) => `${code(isRequired ? name : `${name}?`)} ${cell(type)}`).join(
    ", "
  )

const fieldTable = (title: string, schema: Schema.Constraint, comments: Comments.Comments): ReadonlyArray<string> => {
  const text = comments.ofExport.get(title)
  return [
    `### ${title}`,
    "",
    ...(text === undefined ? [] : [text, ""]),
    "| field | type | required | |",
    "|---|---|---|---|",
    ...fieldsOf(schema).map(({ isRequired, name, type }) =>
      `| ${code(name)} | ${cell(type)} | ${isRequired ? "yes" : ""} | ${
        cell(comments.ofField.get(`${title}.${name}`) ?? "")
      } |`
    )
  ]
}

/** The comment over each member of the unions, by tag: `/** ... *\/` on the lines before `Schema.TaggedStruct("TAG"`. */
export const tagComments = (source: string): ReadonlyMap<string, string> =>
  new Map(
    [...source.matchAll(/\/\*\*((?:[^*]|\*(?!\/))*)\*\/\s*(?:export const \w+ = )?Schema\.TaggedStruct\("(\w+)"/g)].map(
      (
        [, text = "", tag = ""]
      ) => [tag, text.split("\n").map((line) => line.replace(/^\s*\* ?/, "").trim()).join(" ").trim()]
    )
  )

type Member = Schema.Constraint & {
  readonly fields: { readonly _tag: { readonly schema: { readonly literal: string } } }
}
const memberTable = (members: ReadonlyArray<Member>, texts: ReadonlyMap<string, string>): ReadonlyArray<string> => [
  "| tag | fields | |",
  "|---|---|---|",
  ...members.map((member) => {
    const tag = member.fields._tag.schema.literal
    return `| ${code(tag)} | ${fieldList(member)} | ${cell(texts.get(tag) ?? "")} |`
  })
]

// ---- the worked example

const Line = Schema.Struct({
  sequence: Schema.Int,
  subject: Schema.String,
  message: Schema.toEncoded(Journal.JournalMessage)
})
const example = "failure-end"

const tags = (list: ReadonlyArray<{ readonly _tag: string; readonly id?: string; readonly task?: string }>): string =>
  list.map((one) =>
    `${code(one._tag)}${one.id === undefined ? one.task === undefined ? "" : ` ${one.task}` : ` ${one.id}`}`
  )
    .join("<br>")

/** The message as it was stored, which is more than a reader decodes of it. */
const bodyOf = (line: string): string => {
  const parsed: unknown = JSON.parse(line)
  return JSON.stringify(isJson(parsed) ? parsed["message"] : undefined, undefined, 2)
}

const worked = (): ReadonlyArray<string> => {
  const texts = read(`test/corpus/${example}.jsonl`).trimEnd().split("\n")
  const lines = texts.map((line) => Schema.decodeSync(Schema.fromJsonString(Line))(line))
  const records = lines.flatMap(({ message, sequence }) => message.records.map((record) => ({ sequence, record })))
  const shown = records.find(({ record }) =>
    record._tag === "Entry" && record.transitions.some((transition) => transition._tag === "ENDING")
  )
  return [
    `The journal \`test/corpus/${example}.jsonl\`: four tasks with \`failureStrategy: end\`; \`bad\` fails while \`long\` runs, \`queued\` is on its lane and \`behind\` waits.`,
    "",
    "| message | `n` | `prev` | cause | transitions | effects |",
    "|---|---|---|---|---|---|",
    ...records.map(({ record, sequence }) =>
      record._tag === "Entry"
        ? `| ${sequence} | ${record.n} | ${record.prev} | ${tags(record.cause)} | ${tags(record.transitions)} | ${
          record.effects.map(code).join("<br>")
        } |`
        : `| ${sequence} | | | ${code(record._tag)} | | |`
    ),
    "",
    `Message ${shown?.sequence ?? ""} as it is stored:`,
    "",
    "```json",
    bodyOf(texts[(shown?.sequence ?? 0) - 1] ?? ""),
    "```",
    "",
    "`of: 0` says that the transition takes its payload (the reason, the time) from the first cause; what the engine itself concludes names its own reason. The state after",
    "this entry is that of the entry before with the transitions applied in order."
  ]
}

export const page = (comments: Comments.Comments): string => {
  const source = read("shared/protocol/Journal.ts")
  const texts = tagComments(source)
  const features = readdirSync(join(root, "test/corpus")).filter((name) => name.endsWith(".jsonl")).toSorted()
  return [
    "<!-- Made by `npm run docs` from shared/protocol/Journal.ts and test/corpus. Do not edit. -->",
    "",
    "# Journal format, v1",
    "",
    "The journal is the truth of every workflow instance: what is not in it has not happened. It is the JetStream stream `HEDDLE_JOURNAL`; each coordinator process appends to a subject of its own,",
    "`heddle.journal.<ledger>`, where the ledger is `<member>-<startup>`. An append is fenced by the sequence of the subject's last message, so only the process that opened a ledger can write to it,",
    "and nobody can once another has sealed it. Everything else (history, views, checkpoints) is derived. `heddle replay INSTANCE --verify` reads it without any service.",
    "",
    "## A message",
    "",
    "The body of a message is JSON: `{\"v\": 1, \"id\": \"...\", \"records\": [...]}`. Its records are in the order in which they happened; one message may hold entries of many instances, and at most one of",
    "each. `id` names the append (`<startup>:<number>`): its writer tells by it whether an append whose answer was lost was stored. Readers need it for nothing.",
    "",
    "- `Opened` is the first record of a ledger, `Sealed` the last: whoever takes over writes it, and what would be appended later is refused.",
    "- `Adopted` and `Released` say which coordinator owned which shard from where to where. The message's sequence is the session id of that ownership.",
    "- `Entry` is one turn of one instance: the events that waited for it, and what came of them.",
    "",
    ...memberTable(Journal.JournalRecord.members, texts),
    "",
    ...fieldTable("Entry", Journal.Entry, comments),
    "",
    "## State is a fold",
    "",
    "An instance begins WAIT_TO_RUN with every task untouched. Its state is the fold of `transitions` over its entries, in the order of `n`. Reading a journal never decides anything: whether a task was",
    "retried, skipped or blocked stands in a transition. `cause` is kept for payloads (a transition names the cause it takes its payload from, `of`) and for `verify`, which decides each cause again and",
    "reports every difference. `effects` are ids of what was to be done after the append; what they are follows from the state, so an owner that takes over does again whatever is outstanding.",
    "An event of no interest leaves no trace, not even as a cause. What the events do in each state stands in [state-machines.md](state-machines.md).",
    "",
    "## Versions",
    "",
    "- A record, once written, is read for ever. Fields may be added, and they are optional; tags may be added; nothing is renamed, removed or given another meaning.",
    "- What cannot be said that way gets a higher `v`; a reader of `v` 2 still reads `v` 1. Only `v` 1 exists.",
    "- A reader ignores fields that it does not know (they are part of what is hashed all the same). A message with a tag that it does not know cannot be read: a fold without it would be",
    "  another state. So in a rolling upgrade the readers come first.",
    "- The rules are kept by the corpus, [below](#corpus).",
    "",
    "## Hash chain",
    "",
    "Each instance has its own chain. `hash` is the last key of an entry: sha256, in hex, over the hash of the instance's entry before (64 zeros for the first), a line feed, and the entry's own JSON text",
    "without `hash`. So check entries as `JSON.parse` gave them, before anything drops a field. `n` counts 1, 2, ... per instance, and `prev` is the stream sequence of the message that holds the entry before,",
    "0 for the first: an instance is read backwards from its newest entry without reading the rest. A changed, missing, repeated or exchanged entry breaks the chain from there on. A chain that was cut at its",
    "end is whole: that nothing is missing there is known only from who was told of it (a client, the history, a checkpoint).",
    "",
    "A check of its own, `examples/verify-journal.mjs`:",
    "",
    "```js",
    read("examples/verify-journal.mjs").trimEnd(),
    "```",
    "",
    "## History and archive",
    "",
    "What the journal says of one instance is derived into `HEDDLE_HISTORY`, subject `heddle.wf.<shard>.<instance>.history`, and goes from there to `HEDDLE_ARCHIVE`, subject `heddle.archive.<shard>.<instance>`,",
    "when the run has ended longer ago than `HEDDLE_ARCHIVE_AFTER` of the coordinators says: `30d` when not given, `never`, or with other ages for single namespaces, `30d,batch=1d,audit=never`. PAUSED runs stay.",
    "The body of a message is the same in both: `{\"v\": 1, \"instance\": \"...\", \"shard\": 3, \"entries\": [{\"seq\": 12, \"entry\": {...}}]}`, oldest entry first, `seq` being the journal message that holds the entry,",
    "and the entry's text that of the journal, so its hash chain is the journal's. The messages of a subject, one after the other, hold every entry from `n` 1 on (together with the history, when the instance was run again).",
    "An entry may stand in them twice: it is known by its `n`. Readers take the history first, then the archive.",
    "",
    "An instance leaves the history only when the archive has acknowledged all of it. `workflow.get`, `.result`, `.history`, the commands on ended runs and `heddle replay` read archived instances as all others.",
    "The archive has no limit of its own: `nats stream edit HEDDLE_ARCHIVE` sets an age or a size, `nats stream backup` keeps it elsewhere. Journal and history are kept for 365 days;",
    "archiving takes nothing from the journal. After that time the archive is the only source, and what `heddle replay --verify` checks.",
    "",
    "## Worked example",
    "",
    ...worked(),
    "",
    "## Events",
    "",
    "What `cause` may hold: what came from outside, from clients, executors, timers, failover and other instances. `id` names an attempt: `<task>:<run>:<attempt>`, with `:<item>` in a fan-out.",
    "",
    "### Of a workflow",
    "",
    ...memberTable(Journal.WorkflowLifecycleEvent.members, texts),
    "",
    "### Of a task",
    "",
    ...memberTable(Journal.TaskLifecycleEvent.members, texts),
    "",
    "### Of a semaphore",
    "",
    "Concurrency groups and serial definitions are instances too; their ids begin with `__slots_`.",
    "",
    ...memberTable(Journal.SemaphoreLifecycleEvent.members, texts),
    "",
    ...fieldTable("StartData", Journal.StartData, comments),
    "",
    ...fieldTable("FactSource", Journal.FactSource, comments),
    "",
    ...fieldTable("Placement", Placement, comments),
    "",
    "## Transitions",
    "",
    "What changed. `of`: position of the cause whose payload it takes over.",
    "",
    ...memberTable(Journal.Transition.members, texts),
    "",
    "## Corpus",
    "",
    "`test/corpus/<feature>.jsonl` is a journal as some version wrote it, one message a line: `{\"sequence\", \"subject\", \"message\"}`. `<feature>.json` says what its instances came to. Every later version must read",
    "all of them: each message decodes and encodes to the same, each chain is whole, the fold gives the same view (a field more is allowed), and `verify` decides the same. Where a later version",
    "decides otherwise on purpose, `decidedOtherwise` in `<feature>.json` names the entries and why. A journal that is there is never changed; a new feature, or a new way to write an old one, gets a",
    "journal of its own: a script in `test/corpus/Features.ts`, then `node test/corpus/make.ts`.",
    "",
    features.map((name) => code(name.replace(".jsonl", ""))).join(", "),
    ""
  ].join("\n")
}
