/**
 * Writes to a stream: the fenced append that sessions rest on, and the plain acknowledged publish.
 *
 * Keeps true: an append has exactly three outcomes. `Acked`: stored at `sequence`. `Fenced` (10071, and only that): somebody else wrote after what the caller
 * knows; stop. `Unknown`: everything else, 10164 and time-outs included; stored or not, nobody knows until the subject's last message was read (`settleUnknown`).
 * Nothing here retries with another sequence. Follows design/01 section 3, guides nats.md section 2.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { errCode, type JetStreamFailed } from "./JetStreamApi.ts"
import type { Headers, Message } from "./Message.ts"
import type { Connection, RequestError } from "./Nats.ts"
import * as Read from "./Read.ts"

export type AppendOutcome =
  | { readonly _tag: "Acked"; readonly sequence: number }
  /** `lastSequence`: the subject's last sequence as the server named it; `undefined` when its text held none. */
  | { readonly _tag: "Fenced"; readonly lastSequence: number | undefined }
  | { readonly _tag: "Unknown"; readonly reason: string }

export const expectedLastSubjectSequence = "Nats-Expected-Last-Subject-Sequence"
const messageId = "Nats-Msg-Id"
const messageTtl = "Nats-TTL"

interface PubAck {
  readonly seq?: number
  readonly duplicate?: boolean
  readonly error?: { readonly code?: number; readonly err_code?: number; readonly description?: string }
}

const parseAck = (text: string): PubAck | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? value : undefined
  } catch {
    return undefined // no JetStream answered here; the caller reports the outcome as unknown
  }
}

/** `wrong last sequence: 12` gives 12. */
export const lastSequenceOf = (description: string): number | undefined => {
  const digits = /wrong last sequence: (\d+)/.exec(description)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** What an answer to a guarded publish means. Pure. */
export const outcomeOf = (result: Result.Result<Message, RequestError>): AppendOutcome => {
  if (Result.isFailure(result)) return { _tag: "Unknown", reason: result.failure.message }
  const ack = parseAck(result.success.text)
  if (ack === undefined) return { _tag: "Unknown", reason: "the answer is no acknowledgement of JetStream" }
  const error = ack.error
  if (error === undefined) {
    return typeof ack.seq === "number"
      ? { _tag: "Acked", sequence: ack.seq }
      : { _tag: "Unknown", reason: "an acknowledgement without sequence" }
  }
  return error.err_code === errCode.wrongLastSequence
    ? { _tag: "Fenced", lastSequence: lastSequenceOf(error.description ?? "") }
    : { _tag: "Unknown", reason: `${error.err_code ?? 0} ${error.description ?? ""}` }
}

/** Whether this message, seen on a `reply` that several read, says that an append is stored. */
export const isStored = (message: Message): boolean => outcomeOf(Result.succeed(message))._tag === "Acked"

/**
 * Appends `body` to the literal `subject` if its last sequence is `expectedSequence` (0: the subject is empty). `done` is called exactly once, without a fiber.
 * One append in flight per subject is the caller's duty.
 */
export const appendUnsafe = (
  nats: Connection,
  subject: string,
  body: string | Uint8Array,
  expectedSequence: number,
  timeoutMs: number,
  done: (outcome: AppendOutcome) => void,
  options?: {
    readonly headers?: Headers
    /** Where the acknowledgement goes, when others read it too (`Connection.readReplies`). */
    readonly reply?: string
  }
): void => {
  const guard = { [expectedLastSubjectSequence]: String(expectedSequence) }
  nats.requestUnsafe(
    subject,
    body,
    {
      timeoutMs,
      headers: options?.headers === undefined ? guard : { ...options.headers, ...guard },
      ...(options?.reply === undefined ? {} : { reply: options.reply })
    },
    (result) => done(outcomeOf(result))
  )
}

/** `appendUnsafe` as an Effect; default time-out 5 s. */
export const append = (
  nats: Connection,
  subject: string,
  body: string | Uint8Array,
  expectedSequence: number,
  options?: { readonly timeoutMs?: number; readonly headers?: Headers }
): Effect.Effect<AppendOutcome> =>
  Effect.callback<AppendOutcome>((resume) => {
    appendUnsafe(nats, subject, body, expectedSequence, options?.timeoutMs ?? 5_000, (outcome) =>
      resume(Effect.succeed(outcome)), options?.headers === undefined ? undefined : { headers: options.headers })
  })

/** What became of an append whose outcome was unknown. */
export type Settled =
  /** It is the subject's last message: go on from `sequence`. */
  | { readonly _tag: "Ours"; readonly sequence: number }
  /** The last message is still the one expected before: it is not stored now. Append the same again. */
  | { readonly _tag: "NotStored" }
  /** Somebody else wrote: fenced. `last` is what stands there. */
  | { readonly _tag: "Fenced"; readonly last: Option.Option<Read.StoredMessage> }

/**
 * Decides an unknown outcome by the subject's last message, read from the stream's leader. `expectedSequence`: what the append named. `isOurs`: compares what was
 * to be written (session and entry ids in the body), never the sequence alone. Keeps asking while the broker is away; interrupt it to give up.
 *
 * `NotStored` is a statement about now: the lost message may still arrive (it waits in a socket). Append the same body again with the same expected sequence: of the
 * two only one can be stored. If that second append is `Fenced`, settle once more: the first one may have arrived.
 */
export const settleUnknown = (
  nats: Connection,
  stream: string,
  subject: string,
  expectedSequence: number,
  isOurs: (last: Read.StoredMessage) => boolean
): Effect.Effect<Settled, JetStreamFailed> =>
  Read.lastMessage(nats, stream, subject).pipe(
    Effect.tapError((error) => error.isTransient ? Effect.sleep(100) : Effect.void),
    Effect.retry({ while: (error) => error.isTransient }),
    Effect.map((last): Settled => {
      const sequence = Option.isSome(last) ? last.value.sequence : 0
      if (Option.isSome(last) && sequence > expectedSequence && isOurs(last.value)) return { _tag: "Ours", sequence }
      return sequence === expectedSequence ? { _tag: "NotStored" } : { _tag: "Fenced", last }
    })
  )

/** A publish was not acknowledged. `isStored` is `false` only when the server or the client said so; else it may be stored: publish again with the same `msgId`. */
export class PublishFailed extends Schema.TaggedError<PublishFailed>()("PublishFailed", {
  subject: Schema.String,
  reason: Schema.String,
  errCode: Schema.Int,
  mayBeStored: Schema.Boolean
}) {
  override get message(): string {
    return `publish to ${this.subject}: ${this.reason}${this.errCode === 0 ? "" : ` (${this.errCode})`}`
  }
}

export interface Published {
  readonly sequence: number
  /** A message with this `msgId` is stored already (within the stream's duplicate window). */
  readonly duplicate: boolean
}
export interface PublishOptions {
  readonly headers?: Headers
  /** Idempotency key within the stream's duplicate window. */
  readonly msgId?: string
  /** The message's own life, whole seconds, 1 at least; only on streams with message TTL. */
  readonly ttlSeconds?: number
  /** Default 5 s. */
  readonly timeoutMs?: number
}

const publishedOf = (
  subject: string,
  result: Result.Result<Message, RequestError>
): Result.Result<Published, PublishFailed> => {
  const failed = (reason: string, code: number, mayBeStored: boolean) =>
    Result.fail(new PublishFailed({ subject, reason, errCode: code, mayBeStored }))
  if (Result.isFailure(result)) {
    const error = result.failure
    return failed(error.message, 0, error._tag === "RequestTimeout" || (error._tag === "ConnectionLost" && error.sent))
  }
  const ack = parseAck(result.success.text)
  if (ack === undefined) {
    return failed("the answer is no acknowledgement of JetStream: does a stream take this subject?", 0, true)
  }
  if (ack.error !== undefined) {
    return failed(ack.error.description ?? "", ack.error.err_code ?? 0, (ack.error.code ?? 0) >= 500)
  }
  return typeof ack.seq === "number"
    ? Result.succeed({ sequence: ack.seq, duplicate: ack.duplicate === true })
    : failed("an acknowledgement without sequence", 0, true)
}

/** An acknowledged publish without a guard. `done` is called exactly once, without a fiber. */
export const publishUnsafe = (
  nats: Connection,
  subject: string,
  body: string | Uint8Array,
  options: PublishOptions,
  done: (result: Result.Result<Published, PublishFailed>) => void
): void => {
  const isPlain = options.msgId === undefined && options.ttlSeconds === undefined
  const headers = isPlain ? options.headers : {
    ...options.headers,
    ...(options.msgId === undefined ? {} : { [messageId]: options.msgId }),
    ...(options.ttlSeconds === undefined ? {} : { [messageTtl]: `${options.ttlSeconds}s` })
  }
  nats.requestUnsafe(
    subject,
    body,
    { timeoutMs: options.timeoutMs ?? 5_000, ...(headers === undefined ? {} : { headers }) },
    (result) => done(publishedOf(subject, result))
  )
}

export const publish = (
  nats: Connection,
  subject: string,
  body: string | Uint8Array,
  options?: PublishOptions
): Effect.Effect<Published, PublishFailed> =>
  Effect.callback<Published, PublishFailed>((resume) => {
    publishUnsafe(nats, subject, body, options ?? {}, (result) => resume(Effect.fromResult(result)))
  })
