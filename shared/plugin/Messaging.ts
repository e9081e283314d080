/**
 * What a task in the executor may do with NATS: publish, store in a stream, ask. The host gives it, with the connection that it has anyway; plugins know no client.
 *
 * Keeps true: every call ends, with its answer or with a reason; a reason says whether it may have been done all the same. Which subjects a task may use is the
 * task type's business, and the broker's.
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Not done, or not known to be. `isPermanent`: no further try would do better (too large a message); else it may be tried again. */
export class MessagingFailed extends Schema.TaggedError<MessagingFailed>()("MessagingFailed", {
  message: Schema.String,
  isPermanent: Schema.Boolean
}) {}

/** Names as they stand on the wire, one value each. */
export type Headers = Readonly<Record<string, string>>

export interface Reply {
  readonly data: Uint8Array
  readonly headers: Headers
}

export interface Messaging {
  /** At most once, to whoever listens now. Done when the server has it. */
  readonly publish: (subject: string, body: string, options: { readonly headers: Headers }) => Effect.Effect<
    void,
    MessagingFailed
  >
  /** Into the stream that takes the subject, acknowledged. The same `msgId` again within the stream's duplicate window is stored once. */
  readonly store: (
    subject: string,
    body: string,
    options: { readonly headers: Headers; readonly msgId: string; readonly timeoutMs: number }
  ) => Effect.Effect<{ readonly sequence: number; readonly duplicate: boolean }, MessagingFailed>
  /** The first `repliesMax` answers; when the time is over, those that came, at least one. */
  readonly request: (
    subject: string,
    body: string,
    options: { readonly headers: Headers; readonly timeoutMs: number; readonly repliesMax: number }
  ) => Effect.Effect<ReadonlyArray<Reply>, MessagingFailed>
}
