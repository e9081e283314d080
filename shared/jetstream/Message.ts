/**
 * A message as the rest of heddle sees it: subject, headers, text. Keeps the client library's own message type inside this folder.
 *
 * Everything is read lazily, since most messages of a hot path are looked at once. Follows docs/design/modules.md "shared/jetstream".
 */
import type { Msg, MsgHdrs } from "@nats-io/transport-node"
import { Buffer } from "node:buffer"

/** Headers to send: names as they stand on the wire, one value each. CR and LF in a value become spaces. */
export type Headers = Readonly<Record<string, string>>

const lineBreak = /[\r\n]+/g

/** The header block of the wire. The library only ever calls `encode()` on what it is given, and its own map is slower. */
class HeaderBlock {
  readonly headers: Headers
  constructor(headers: Headers) {
    this.headers = headers
  }
  encode(): Uint8Array {
    let text = "NATS/1.0\r\n"
    for (const name in this.headers) {
      const value = this.headers[name]
      if (value === undefined) continue
      text += `${name}: ${value.includes("\n") || value.includes("\r") ? value.replace(lineBreak, " ") : value}\r\n`
    }
    return Buffer.from(`${text}\r\n`, "utf8")
  }
}

/** For the library's `publish`. Only this folder calls it. */
export const encodeHeaders = (headers: Headers): MsgHdrs => new HeaderBlock(headers) as unknown as MsgHdrs // publish() uses encode() only

/** UTF-8 text of `data`; about three times as fast as a TextDecoder on short messages. */
export const textOf = (data: Uint8Array): string =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("utf8")

/** What a subscription delivers. Valid as long as it is held; nothing in it changes. */
export class Message {
  private readonly raw: Msg
  private readonly publish: (
    subject: string,
    body: string | Uint8Array,
    options?: { readonly headers?: Headers }
  ) => boolean
  private readonly answerTo: string | undefined

  constructor(
    raw: Msg,
    publish: (subject: string, body: string | Uint8Array, options?: { readonly headers?: Headers }) => boolean,
    answerTo?: string
  ) {
    this.raw = raw
    this.publish = publish
    this.answerTo = answerTo
  }

  /** The same message, whose answer goes to another subject: of a request that somebody passed on. */
  answeredTo(subject: string): Message {
    return new Message(this.raw, this.publish, subject)
  }

  get subject(): string {
    return this.raw.subject
  }
  /** Where an answer goes; `undefined` when the sender wants none. */
  get reply(): string | undefined {
    return this.answerTo ?? (this.raw.reply || undefined)
  }
  get data(): Uint8Array {
    return this.raw.data
  }
  get text(): string {
    return textOf(this.raw.data)
  }
  /** The header's first value. Names are matched exactly, as NATS does. */
  header(name: string): string | undefined {
    return this.raw.headers?.get(name) || undefined
  }
  /** Every header with its first value. */
  get headers(): Headers {
    const headers: Record<string, string> = {}
    for (const name of this.raw.headers?.keys() ?? []) headers[name] = this.raw.headers?.get(name) ?? ""
    return headers
  }
  /** The status line's code (100, 404, 503, ...), 0 on a message that is not a status of the server. */
  get status(): number {
    return this.raw.headers?.code ?? 0
  }
  get statusText(): string {
    return this.raw.headers?.description ?? ""
  }
  /** Answers the sender. `false`: the sender wants no answer, or it was dropped because the connection is down. */
  respond(body: string | Uint8Array, headers?: Headers): boolean {
    const reply = this.reply
    return reply ? this.publish(reply, body, headers === undefined ? undefined : { headers }) : false
  }
}
