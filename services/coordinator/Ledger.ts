/**
 * The ledger: this process's one subject of the journal, written by group commit.
 *
 * While an append is in flight, turns collect; the next append carries them all. At most one append is in flight, each with the expected last sequence of
 * the subject, so a ledger that someone has sealed refuses every further append at the broker. The three outcomes of an append are settled here: acknowledged
 * -> the turns are told; fenced -> the ledger ends; unknown -> the last message is read, and the same append (same id, same expected sequence) is repeated
 * only when it is not there. Follows design/01 section 3 ("Group commit", "Append outcomes are three").
 *
 * Plain synchronous code around one callback: this is the hottest path of the process.
 */
import * as Subject from "../../shared/protocol/Subject.ts"
import type { MemberId, StartupId } from "../../shared/protocol/Token.ts"
import type { JournalAppend } from "./JournalAppend.ts"

/**
 * One message's worth of records, collected in one go. `sent` runs when its append has gone out for the first time: for what may start while the broker writes.
 * `acked` runs in order, once, after the broker has the message.
 */
export interface Turn {
  /** JSON text of each record. */
  readonly records: ReadonlyArray<string>
  /** Answers that may go ahead of the append: they hold once `reader` has seen its acknowledgement (docs/design/session-protocol.md). */
  readonly early?: {
    readonly reader: MemberId
    /** Sends them; `subject` is where the acknowledgement will come. */
    readonly send: (subject: string) => void
  }
  readonly sent?: () => void
  readonly acked: (sequence: number) => void
  /** The ledger ended before the broker had it, as far as is known. */
  readonly lost: () => void
}

/** Where turns come from: asked whenever an append may start. `undefined`: nothing waits. */
export interface TurnSource {
  readonly collect: (limits: { readonly recordsMax: number; readonly bytesMax: number }) => Turn | undefined
}

/** Why a ledger takes no more appends. */
export type LedgerEnd =
  | { readonly _tag: "Fenced"; readonly lastSequence: number }
  | { readonly _tag: "Closed" }

/** Limits of one append. The broker takes 8 MiB; a smaller message keeps the others' latency low. */
export const appendRecordsMax = 1_024
export const appendBytesMax = 512 * 1024
/** How long one append may stay unanswered before its outcome is settled by reading. */
export const appendTimeoutMs = 5_000

export class Ledger {
  readonly #journal: JournalAppend
  readonly #source: TurnSource
  readonly #onEnd: (end: LedgerEnd) => void
  readonly #startup: StartupId
  /** Records of ownership changes (ADOPTED, RELEASED): they go before the next turns. */
  readonly #control: Array<Turn> = []
  #lastSequence: number
  /** Of the newest acknowledged message; `undefined`: that is the ledger's OPENED. */
  #lastId: string | undefined
  #isPaused = false
  /** An append whose outcome is to be settled, held back while paused. */
  #unsettled: (() => void) | undefined
  #appends = 0
  #state: "Idle" | "Scheduled" | "InFlight" | "Ended" = "Idle"
  #idleWaiters: Array<() => void> = []
  #quiet: Array<() => void> = []

  constructor(options: {
    readonly journal: JournalAppend
    readonly source: TurnSource
    readonly startup: StartupId
    /** Sequence of this ledger's OPENED. */
    readonly openedAt: number
    readonly onEnd: (end: LedgerEnd) => void
  }) {
    this.#journal = options.journal
    this.#source = options.source
    this.#startup = options.startup
    this.#lastSequence = options.openedAt
    this.#onEnd = options.onEnd
  }

  /** Sequence of the newest acknowledged message. */
  get lastSequence(): number {
    return this.#lastSequence
  }

  get appends(): number {
    return this.#appends
  }

  get ended(): boolean {
    return this.#state === "Ended"
  }

  /** Something waits: an append starts after the messages at hand have all been taken in, unless one is in flight. */
  wake(): void {
    if (this.#state !== "Idle") return
    this.#state = "Scheduled"
    queueMicrotask(this.#flush)
  }

  /** Appends ownership records ahead of the waiting turns. `false` when the ledger has ended. */
  append(turn: Turn): boolean {
    if (this.#state === "Ended") return false
    this.#control.push(turn)
    this.wake()
    return true
  }

  /** Runs `look` at a moment when everything decided is also recorded: now, or right after the append in flight. Not at all when the ledger has ended. */
  whenQuiet(look: () => void): void {
    if (this.#state === "InFlight") this.#quiet.push(look)
    else if (this.#state !== "Ended") look()
  }

  /** Ends the ledger once the append in flight is settled; nothing is collected any more. */
  close(done: () => void): void {
    if (this.#state === "InFlight") {
      this.#idleWaiters.push(() => this.#end({ _tag: "Closed" }), done)
      return
    }
    this.#end({ _tag: "Closed" })
    done()
  }

  /** The connection is down: nothing is appended until `resume` has found the ledger as it was left. */
  pause(): void {
    this.#isPaused = true
  }

  /** After a reconnect. A broker that lost power may have lost acknowledged messages: then this ledger is not what was answered for, and ends. */
  resume(): void {
    if (!this.#isPaused || this.#state === "Ended") return
    if (this.#state === "InFlight") {
      // settling its outcome is the same reading
      this.#isPaused = false
      const settle = this.#unsettled
      this.#unsettled = undefined
      settle?.()
      return
    }
    this.#journal.last((last) => {
      if (this.#state === "Ended") return
      if (last.sequence !== this.#lastSequence || last.id !== this.#lastId) {
        return this.#end({ _tag: "Fenced", lastSequence: last.sequence })
      }
      this.#isPaused = false
      if (this.#state === "Scheduled") this.#flush()
    })
  }

  readonly #flush = (): void => {
    if (this.#state === "Ended" || this.#isPaused) return
    const turn = this.#control.shift() ??
      this.#source.collect({ recordsMax: appendRecordsMax, bytesMax: appendBytesMax })
    if (turn === undefined) {
      this.#state = "Idle"
      return
    }
    this.#state = "InFlight"
    const id = `${this.#startup}:${++this.#appends}`
    const reply = turn.early && Subject.acknowledgement(turn.early.reader, this.#startup, this.#appends)
    if (reply !== undefined) turn.early?.send(reply)
    this.#send(turn, id, `{"v":1,"id":"${id}","records":[${turn.records.join(",")}]}`, reply)
    turn.sent?.()
  }

  #send(turn: Turn, id: string, body: string, reply?: string): void {
    this.#journal.append(body, this.#lastSequence, appendTimeoutMs, (outcome) => {
      switch (outcome._tag) {
        case "Acked":
          return this.#acknowledged(turn, outcome.sequence, id)
        case "Fenced":
        case "Unknown":
          // Fenced too: our own append may have been stored under an answer that was lost, and its repetition refused.
          return this.#settle(turn, id, body)
      }
    }, reply)
  }

  /** Reads the ledger's last message until it is known whether `id` is in it. The reader waits and retries by itself; it only ends with an answer. */
  #settle(turn: Turn, id: string, body: string): void {
    if (this.#isPaused) {
      // what was repeated now could be stored before it is known whether this ledger and its shards are still ours
      this.#unsettled = () => this.#settle(turn, id, body)
      return
    }
    this.#journal.last((last) => {
      if (this.#isPaused) return this.#settle(turn, id, body)
      if (last.id === id) return this.#acknowledged(turn, last.sequence, id)
      if (last.sequence === this.#lastSequence && last.id === this.#lastId) return this.#send(turn, id, body)
      this.#end({ _tag: "Fenced", lastSequence: last.sequence })
      turn.lost()
    })
  }

  #acknowledged(turn: Turn, sequence: number, id: string): void {
    this.#lastSequence = sequence
    this.#lastId = id
    this.#state = "Scheduled"
    turn.acked(sequence)
    for (const look of this.#quiet.splice(0)) look()
    if (this.#idleWaiters.length > 0) {
      for (const waiter of this.#idleWaiters.splice(0)) waiter()
      return
    }
    this.#flush()
  }

  #end(end: LedgerEnd): void {
    if (this.#state === "Ended") return
    this.#state = "Ended"
    this.#unsettled = undefined
    this.#onEnd(end)
    for (const turn of this.#control.splice(0)) turn.lost()
    for (const waiter of this.#idleWaiters.splice(0)) waiter()
  }
}
