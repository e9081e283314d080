/**
 * How far a reader of live events is: of each stream the message, and how many of the events made of it were given. docs/design/gateway.md "Live events".
 *
 * Kept true: what `format` writes `parse` reads as the same; of two readers with the same cursor both have got the same events, whoever gave them, since what is made of a message
 * depends on nothing but the message.
 */
import * as Result from "effect/Result"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"

/** The streams that live events are made of. */
export const sources = ["journal", "pools", "system"] as const
export type SourceName = typeof sources[number]

/** Sequence of the newest message seen, and the position of the newest event given that was made of it; without `index` all of them were. */
export interface Position {
  readonly seq: number
  readonly index?: number
}

/** A source that is not named begins with what comes from now on. */
export type Cursor = { readonly [_ in SourceName]?: Position }

const letters = { journal: "j", pools: "p", system: "s" } as const satisfies Record<SourceName, string>

const part = (name: SourceName, { index, seq }: Position): string =>
  index === undefined ? `${letters[name]}${seq}` : `${letters[name]}${seq}.${index}`

/** `j812.2-p40-s3`. */
export const format = (cursor: Cursor): string =>
  sources.flatMap((name) => {
    const position = cursor[name]
    return position === undefined ? [] : [part(name, position)]
  }).join("-")

const pattern = /^([jps])(\d{1,15})(?:\.(\d{1,9}))?$/

/** Errors: `InvalidMessage` for what is no cursor. A plain number is the journal's sequence. */
export const parse = (text: string): Result.Result<Cursor, ContractError> => {
  if (/^\d{1,15}$/.test(text)) return Result.succeed({ journal: { seq: Number(text) } })
  const found: { [_ in SourceName]?: Position } = {}
  for (const one of text.split("-")) {
    const match = pattern.exec(one)
    const name = sources.find((source) => letters[source] === match?.[1])
    if (match === null || name === undefined || found[name] !== undefined) {
      return Result.fail(
        new ContractError({
          code: "InvalidMessage",
          message: `"${text.slice(0, 80)}" is no cursor: send an \`id\` of the event stream, a \`seq\`, or none`,
          path: "after"
        })
      )
    }
    found[name] = { seq: Number(match[2]), ...(match[3] === undefined ? {} : { index: Number(match[3]) }) }
  }
  return Result.succeed(found)
}

/** Whether the event at `index` of message `seq` was given to a reader that is at `position`. */
export const isPast = (position: Position, seq: number, index: number): boolean =>
  seq < position.seq || seq === position.seq && (position.index === undefined || index <= position.index)

/** The first message that may hold something for a reader that is at `position`. */
export const nextSequence = ({ index, seq }: Position): number => index === undefined ? seq + 1 : seq
