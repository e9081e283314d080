/**
 * Output of one task as messages of `heddle.logs.<instance>.<task instance>`, in the order in which it was written.
 *
 * Keeps true: writing never waits and never fails; what waits, what is on its way and what a task may write at all are bounded, and every byte left out is
 * counted in the `dropped` of the next message. A message holds whole lines where it can: a line without end waits a moment, or until there is much of it.
 */
import type { LogLine } from "../../shared/protocol/Report.ts"
import type { Later } from "./Later.ts"
import type { Wire } from "./Wire.ts"

/** Text that waits for the broker. */
export const waitingCharactersMax = 256 * 1024
/** Of one message. */
export const messageCharactersMax = 16 * 1024
/** Messages without acknowledgement. */
const inFlightMax = 4
/** Over an attempt's whole life. */
export const taskCharactersMaxDefault = 16 * 1024 * 1024
/** How long output is collected before it is sent. */
const collectMs = 50

type StreamName = LogLine["stream"]

export interface LogStreamOptions {
  readonly subject: string
  readonly wire: Wire
  readonly later: Later
  readonly taskCharactersMax?: number
  /** Everything is sent or given up, after `close`. */
  readonly onDrained?: () => void
}

/** Text of one stream at one time, waiting. */
interface Piece {
  readonly at: number
  readonly stream: StreamName
  text: string
  /** Bytes left out before it. */
  dropped: number
}

export class LogStream {
  private readonly options: LogStreamOptions
  private readonly decoders = {
    stdout: new TextDecoder(),
    stderr: new TextDecoder(),
    system: new TextDecoder()
  }
  private readonly waiting: Array<Piece> = []
  private waitingCharacters = 0
  private total = 0
  private dropped = 0
  private inFlight = 0
  private isScheduled = false
  private isClosed = false
  private isDrained = false

  constructor(options: LogStreamOptions) {
    this.options = options
  }

  write(stream: StreamName, bytes: Uint8Array): void {
    if (this.isClosed) return
    this.add(stream, this.decoders[stream].decode(bytes, { stream: true }))
    if (this.waitingCharacters >= messageCharactersMax) this.send(false)
    else this.schedule()
  }

  /** Sends what is left; nothing is written after this. */
  close(): void {
    if (this.isClosed) return
    for (const stream of ["stdout", "stderr"] as const) this.add(stream, this.decoders[stream].decode())
    this.isClosed = true
    this.send(true)
  }

  private add(stream: StreamName, text: string): void {
    if (text === "") return
    const limit = this.options.taskCharactersMax ?? taskCharactersMaxDefault
    const room = Math.min(waitingCharactersMax - this.waitingCharacters, limit - this.total)
    const kept = room >= text.length ? text : text.slice(0, Math.max(room, 0))
    const before = this.dropped
    if (kept !== "") this.dropped = 0
    if (kept.length < text.length) this.dropped += Buffer.byteLength(text.slice(kept.length))
    if (kept === "") return
    this.total += kept.length
    this.waitingCharacters += kept.length
    const last = this.waiting.at(-1)
    const fits = last !== undefined && last.stream === stream && before === 0 &&
      last.text.length + kept.length <= messageCharactersMax
    if (fits) last.text += kept
    else this.waiting.push({ at: this.options.later.nowMs(), stream, text: kept, dropped: before })
  }

  private schedule(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    let seen = -1
    const tick = () => {
      this.isScheduled = false
      this.send(this.total === seen)
      if (this.waitingCharacters === 0 || this.isClosed) return
      // An unfinished line: sent as it is when nothing has come for a while.
      seen = this.total
      this.isScheduled = true
      this.options.later.after(collectMs * 4, tick)
    }
    this.options.later.after(collectMs, tick)
  }

  /** `isAll`: also a line that has no end yet. */
  private send(isAll: boolean): void {
    while (this.inFlight < inFlightMax) {
      const piece = this.waiting[0]
      if (piece === undefined) break
      const isLast = this.waiting.length === 1
      const end = piece.text.length > messageCharactersMax
        ? messageCharactersMax
        : isLast && !isAll && !this.isClosed && piece.text.length < messageCharactersMax
        ? piece.text.lastIndexOf("\n") + 1
        : piece.text.length
      if (end === 0) break
      const text = piece.text.slice(0, end)
      piece.text = piece.text.slice(end)
      if (piece.text === "") this.waiting.shift()
      this.waitingCharacters -= text.length
      this.publish(piece.at, piece.stream, text.endsWith("\n") ? text.slice(0, -1) : text, piece.dropped)
      piece.dropped = 0
    }
    if (!this.isClosed || this.isDrained || this.waiting.length > 0 || this.inFlight > 0) return
    const left = this.dropped
    this.dropped = 0
    if (left > 0) return this.publish(this.options.later.nowMs(), "system", "output was left out", left)
    this.isDrained = true
    this.options.onDrained?.()
  }

  private publish(at: number, stream: StreamName, text: string, dropped: number): void {
    const line: LogLine = { at, stream, text, ...(dropped === 0 ? {} : { dropped }) }
    this.inFlight++
    this.options.wire.store(this.options.subject, JSON.stringify(line), undefined, (isStored) => {
      this.inFlight--
      // Once closed, what cannot be stored is given up with its count: the last message would never end otherwise.
      if (!isStored && !this.isClosed) this.dropped += dropped + Buffer.byteLength(text)
      this.send(false)
    })
  }
}
