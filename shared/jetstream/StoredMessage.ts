/**
 * A message as a stream holds it, and how it is read out of the two answers the server gives: the leader's JSON and the direct read's headers.
 */
import { Buffer } from "node:buffer"
import type { Headers, Message } from "./Message.ts"

/** `time`: RFC 3339, nanoseconds, as the broker stamped it. */
export interface StoredMessage {
  readonly sequence: number
  readonly subject: string
  readonly time: string
  readonly headers: Headers
  readonly text: string
}

/** The answer of `STREAM.MSG.GET`. */
export interface LeaderAnswer {
  readonly message: {
    readonly subject: string
    readonly seq: number
    readonly hdrs?: string
    readonly data?: string
    readonly time: string
  }
}

/** Of a header block `NATS/1.0\r\nName: value\r\n\r\n`; the first value of each name. */
export const parseHeaders = (block: string): Headers => {
  const headers: Record<string, string> = {}
  for (const line of block.split("\r\n").slice(1)) {
    const colon = line.indexOf(":")
    if (colon > 0) headers[line.slice(0, colon)] ??= line.slice(colon + 1).trim()
  }
  return headers
}

export const ofLeader = ({ message }: LeaderAnswer): StoredMessage => ({
  sequence: message.seq,
  subject: message.subject,
  time: message.time,
  headers: message.hdrs === undefined ? {} : parseHeaders(Buffer.from(message.hdrs, "base64").toString("utf8")),
  text: message.data === undefined ? "" : Buffer.from(message.data, "base64").toString("utf8")
})

/** A message of a direct read: the server adds where it stands as headers. */
export const ofDirect = (message: Message): StoredMessage => ({
  sequence: Number(message.header("Nats-Sequence") ?? 0),
  subject: message.header("Nats-Subject") ?? "",
  time: message.header("Nats-Time-Stamp") ?? "",
  headers: message.headers,
  text: message.text
})

/** What the reply subject of a delivery says (`$JS.ACK.…`, 9 tokens, or 12 with domain and account). `pending`: messages that still match after this one. */
export interface DeliveryInfo {
  readonly deliveryCount: number
  readonly sequence: number
  readonly timeMs: number
  readonly pending: number
}

/** `undefined`: not the reply of a delivery. */
export const parseAckReply = (reply: string): DeliveryInfo | undefined => {
  if (!reply.startsWith("$JS.ACK.")) return undefined
  const tokens = reply.split(".")
  const at = tokens.length === 9 ? 4 : tokens.length >= 11 ? 6 : -1
  if (at < 0) return undefined
  return {
    deliveryCount: Number(tokens[at]),
    sequence: Number(tokens[at + 1]),
    timeMs: Math.floor(Number(tokens[at + 3]) / 1_000_000),
    pending: Number(tokens[at + 4])
  }
}

/** A message of a consumer, for reading. */
export const ofDelivery = (message: Message, info: DeliveryInfo): StoredMessage => ({
  sequence: info.sequence,
  subject: message.subject,
  time: new Date(info.timeMs).toISOString(),
  headers: message.headers,
  text: message.text
})
