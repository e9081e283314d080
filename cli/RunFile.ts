/**
 * A run as a file: JSON Lines, first what it is (instance, definition as it was stored, how many entries, the hash of the last), then its journal, an entry a line, as it was
 * written. `heddle workflows export` writes it; `replay`, `at`, `diff` and `workflows import` read it, without any server.
 *
 * Kept true here: nothing is read from a file that is not whole and unchanged: the hash chain begins at the first entry and ends at the last, the definition has the hash that
 * the journal names. Unknown fields of entries stay, since their hash covers them.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as Chain from "../services/coordinator/engine/Chain.ts"
import * as ContentHash from "../services/coordinator/engine/ContentHash.ts"
import { DefinitionRef } from "../shared/protocol/Definition.ts"
import { Entry } from "../shared/protocol/Journal.ts"
import { InstanceId } from "../shared/protocol/Token.ts"
import type { Recorded } from "./Journal.ts"

const Header = Schema.TaggedStruct("Run", {
  v: Schema.Literals([1]),
  instanceId: InstanceId,
  /** When and by which heddle it was written. */
  exportedAt: Schema.String,
  heddle: Schema.String,
  definition: Schema.Struct({ ref: DefinitionRef, source: Schema.Unknown }),
  entries: Schema.Int,
  hash: Schema.String
})
export type Header = typeof Header.Type
const Line = Schema.Struct({ seq: Schema.Int, ledger: Schema.String, entry: Schema.toEncoded(Entry) })

export interface RunFile {
  readonly header: Header
  /** Oldest first. */
  readonly entries: ReadonlyArray<Recorded>
}

export const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")

/** Something with a slash or a dot is a file; an instance's id has neither. `-`: standard input. */
export const isFile = (text: string): boolean => text === "-" || /[/\\.]/u.test(text)

export const encode = (
  header: Omit<Header, "_tag" | "v" | "entries" | "hash">,
  entries: ReadonlyArray<Recorded>
): string =>
  [
    { _tag: "Run", v: 1, ...header, entries: entries.length, hash: entries.at(-1)?.entry.hash ?? Chain.genesis },
    ...entries.map(({ entry, ledger, sequence }) => ({ seq: sequence, ledger, entry }))
  ].map((line) => `${JSON.stringify(line)}\n`).join("")

const decodeHeader = Schema.decodeUnknownResult(Header)
const isLine = Schema.is(Line)
const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The run, or what is wrong with the file. */
export const decode = (text: string): Result.Result<RunFile, string> => {
  const lines = text.split("\n")
  if (lines.at(-1) === "") lines.pop()
  const [first = "", ...rest] = lines
  const header = decodeHeader(parse(first))
  if (Result.isFailure(header)) {
    return Result.fail("its first line is not that of a run: it was not written by `heddle workflows export`")
  }
  const { definition, entries: count, hash, instanceId } = header.success
  const entries: Array<Recorded> = []
  for (const [at, line] of rest.entries()) {
    const value = parse(line)
    if (!isLine(value)) return Result.fail(`line ${at + 2} is no entry of a journal`)
    const entry = value.entry as Entry // the same JSON: only brands are missing
    if (entry.instance !== instanceId) {
      return Result.fail(`line ${at + 2} is of ${entry.instance}, not of ${instanceId}`)
    }
    entries.push({ sequence: value.seq, ledger: value.ledger, entry })
  }
  if (entries.length !== count || entries.length === 0) {
    return Result.fail(`it has ${entries.length} entries, its first line says ${count}: it is not whole`)
  }
  const broken = Chain.verifyChain(entries.map(({ entry }) => entry), sha256)
  if (broken !== undefined) return Result.fail(`it was changed: ${broken.message}`)
  if (entries.at(-1)?.entry.hash !== hash) {
    return Result.fail("it does not end with the entry that its first line names")
  }
  const start = entries[0]?.entry.cause.find((event) => event._tag === "WORKFLOW_START")
  if (start === undefined || start.start.definition.hash !== definition.ref.hash) {
    return Result.fail("its definition is not the one that the run was started with")
  }
  if (start.start.inline === undefined && ContentHash.contentHash(definition.source, sha256) !== definition.ref.hash) {
    return Result.fail("its definition was changed: it has not the hash that the journal names")
  }
  return Result.succeed({ header: header.success, entries })
}
