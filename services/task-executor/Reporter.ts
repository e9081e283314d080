/**
 * Brings facts to the owners of their shards and keeps each until it is acknowledged.
 *
 * Keeps true: facts of one attempt arrive in order, at most one of them in flight; what waits for one owner goes as one batch; a RUNNING that has not been sent
 * when the final fact comes is left out. A fact that no owner takes goes into the instance's durable inbox under an id of its own, so that a repetition is
 * one message; only an unanswered offer of the sandbox is asked again a few times first, since only that answer tells of a task handed over. Nothing is ever
 * given up. Follows design/01 section 4, design/04 section 2, design/05 rule 6.
 */
import * as Result from "effect/Result"
import {
  FactAnswer,
  type FactOutcome,
  type FactReport,
  type TaskFact,
  type TaskSpec
} from "../../shared/protocol/Report.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { MemberId, Shard } from "../../shared/protocol/Token.ts"
import { type Attempt, isFinal, type Outgoing } from "./Attempt.ts"
import type { Later } from "./Later.ts"
import * as Wire from "./Wire.ts"

const timeoutMs = 5_000
/** Facts in one batch, and its size: under the 1 MiB of a request. */
export const batchMax = 256
const batchCharactersMax = 300_000
/** A fact whose text is longer is replaced by a FATAL that says so: escaped for JSON and in UTF-8 it might not fit into a request. */
export const factCharactersMax = 300_000
/** Batches on their way to one owner. An answer waits for the journal, so more than one. */
export const batchesInFlightMax = 4
/** How often a fact with an unanswered offer is sent to an owner before the durable inbox gets it. */
export const offerTriesMax = 5
/** How often another owner is followed at once. */
const redirectsMax = 3
const backoffFirstMs = 100
const backoffMaxMs = 5_000

const facts = Wire.questionOfOwner(FactAnswer)

export interface ReporterOptions {
  /** This executor. */
  readonly member: MemberId
  readonly wire: Wire.Wire
  readonly later: Later
  readonly ownerOf: (shard: Shard) => MemberId | undefined
  /** The final fact is acknowledged. `next`: tasks handed over, to be run in the same sandbox in this order. */
  readonly onAcknowledged: (attempt: Attempt, next: ReadonlyArray<TaskSpec> | undefined) => void
  /** This attempt is not the live one any more. */
  readonly onSuperseded: (attempt: Attempt) => void
}

interface Lane {
  readonly waiting: Array<Attempt>
  inFlight: number
  isScheduled: boolean
}

/** `FactReport` as JSON. Names and ids hold nothing that JSON would escape (`Token.ts`). */
export const reportText = (report: FactReport): string => {
  const { at, executor, fact, instance, offer, sequence, shard, startup, taskInstanceId, together } = report
  return `{"shard":${shard},"instance":"${instance}","taskInstanceId":"${taskInstanceId}","executor":"${executor}","startup":"${startup}",`
    + `"sequence":${sequence},"at":${at},"fact":${JSON.stringify(fact)}${
      offer === undefined ? "" : `,"offer":${offer}`
    }${together === undefined ? "" : `,"together":${together}`}}`
}

export class Reporter {
  private readonly options: ReporterOptions
  private readonly lanes = new Map<MemberId, Lane>()
  private open = 0
  private isClosing = false

  constructor(options: ReporterOptions) {
    this.options = options
  }

  /** Attempts with something not acknowledged. */
  get pending(): number {
    return this.open
  }

  get isIdle(): boolean {
    return this.open === 0
  }

  /** From now on nothing is offered, and what no owner takes at once goes to the durable inbox. */
  close(): void {
    this.isClosing = true
  }

  report(attempt: Attempt, fact: TaskFact): void {
    if (attempt.stop === "superseded") return
    const last = isFinal(fact)
    if (last) this.dropRunning(attempt)
    const offer: number | undefined =
      last && attempt.handOff > 0 && !this.isClosing && !attempt.isLost && attempt.stop === undefined
        ? attempt.handOff
        : undefined
    if (attempt.outbox.length === 0) this.open++
    attempt.outbox.push(this.outgoing(attempt, fact, offer))
    this.queue(attempt)
  }

  /** A RUNNING that the end has overtaken before it was ever sent: its number is free again. */
  private dropRunning(attempt: Attempt): void {
    const { failures, isInFlight, outbox } = attempt
    while (outbox.length > (isInFlight || failures > 0 ? 1 : 0) && outbox.at(-1)?.report.fact._tag === "RUNNING") {
      outbox.pop()
      attempt.sequence--
      if (outbox.length === 0) this.open--
    }
  }

  private outgoing(attempt: Attempt, fact: TaskFact, offer: number | undefined): Outgoing {
    const report: FactReport = {
      shard: attempt.shard,
      instance: attempt.instance,
      taskInstanceId: attempt.taskInstanceId,
      executor: attempt.identity.member,
      startup: attempt.identity.startup,
      sequence: ++attempt.sequence,
      at: this.options.later.nowMs(),
      fact,
      ...(offer === undefined ? {} : attempt.isInline ? { offer, together: true } : { offer })
    }
    const text = reportText(report)
    if (text.length <= factCharactersMax) return { report, text, isFinal: isFinal(fact) }
    attempt.sequence--
    return this.outgoing(attempt, {
      _tag: "FATAL",
      reason:
        `the task's outputs make a report of ${text.length} characters, more than ${factCharactersMax}: put large values into a store and their names here`,
      ...(attempt.startedAt === undefined ? {} : { startedAt: attempt.startedAt })
    }, offer)
  }

  private queue(attempt: Attempt): void {
    if (attempt.isQueued || attempt.isInFlight || attempt.outbox.length === 0) return
    attempt.isQueued = true
    let lane = this.lanes.get(attempt.owner)
    if (lane === undefined) {
      lane = { waiting: [], inFlight: 0, isScheduled: false }
      this.lanes.set(attempt.owner, lane)
    }
    lane.waiting.push(attempt)
    this.schedule(attempt.owner, lane)
  }

  private schedule(owner: MemberId, lane: Lane): void {
    if (lane.isScheduled || lane.inFlight >= batchesInFlightMax) return
    lane.isScheduled = true
    // After this turn of the event loop's callback: everything that ends in it goes together.
    queueMicrotask(() => {
      lane.isScheduled = false
      while (lane.inFlight < batchesInFlightMax && lane.waiting.length > 0) this.send(owner, lane)
      if (lane.inFlight === 0 && lane.waiting.length === 0) this.lanes.delete(owner)
    })
  }

  private send(owner: MemberId, lane: Lane): void {
    const batch: Array<Attempt> = []
    let body = "{\"facts\":["
    let taken = 0
    for (const attempt of lane.waiting) {
      const head = attempt.outbox[0]
      if (head !== undefined && batch.length > 0) {
        if (batch.length >= batchMax || body.length + head.text.length > batchCharactersMax) break
      }
      taken++
      attempt.isQueued = false
      if (head === undefined) continue
      body += batch.length === 0 ? head.text : `,${head.text}`
      attempt.isInFlight = true
      batch.push(attempt)
    }
    if (taken === lane.waiting.length) lane.waiting.length = 0
    else lane.waiting.splice(0, taken)
    if (batch.length === 0) return
    lane.inFlight++
    body += `],"ackReader":"${this.options.member}"}`
    this.options.wire.ask(facts, Subject.member(owner, "facts"), body, timeoutMs, (result) => {
      lane.inFlight--
      for (const attempt of batch) attempt.isInFlight = false
      if (Result.isFailure(result)) { for (const attempt of batch) this.failed(attempt, result.failure, owner) }
      else {
        const { outcomes } = result.success
        for (const [index, attempt] of batch.entries()) {
          const outcome = outcomes[index]
          if (outcome === undefined) this.failed(attempt, { _tag: "Unknown", reason: "its outcome is missing" }, owner)
          else this.settle(attempt, outcome)
        }
      }
      this.schedule(owner, lane)
    })
  }

  private settle(attempt: Attempt, outcome: FactOutcome): void {
    if (attempt.outbox.length === 0) return
    switch (outcome._tag) {
      case "Accepted":
        return this.accepted(attempt, outcome.next)
      case "Superseded":
        attempt.outbox.length = 0
        this.open--
        return this.options.onSuperseded(attempt)
      case "NotOwner": {
        const owner = outcome.owner ?? this.options.ownerOf(attempt.shard)
        attempt.failures++
        if (owner === undefined || owner === attempt.owner || attempt.failures > redirectsMax) {
          return this.elsewhere(attempt)
        }
        attempt.owner = owner
        return this.queue(attempt)
      }
    }
  }

  private accepted(attempt: Attempt, next: ReadonlyArray<TaskSpec> | undefined): void {
    const done = attempt.outbox.shift()
    attempt.failures = 0
    attempt.isOfferOpen = false
    if (attempt.outbox.length > 0) return this.queue(attempt)
    this.open--
    if (done?.isFinal === true) this.options.onAcknowledged(attempt, next)
  }

  private failed(attempt: Attempt, failure: Wire.AskFailure, asked: MemberId): void {
    const head = attempt.outbox[0]
    if (head === undefined) return
    attempt.failures++
    if (failure._tag !== "Nobody" && head.report.offer !== undefined) attempt.isOfferOpen = true
    const owner = this.options.ownerOf(attempt.shard)
    if (owner !== undefined && owner !== asked && attempt.failures <= redirectsMax) {
      attempt.owner = owner
      return this.queue(attempt)
    }
    this.elsewhere(attempt)
  }

  /** No owner takes it now: into the durable inbox, or once more after a while. */
  private elsewhere(attempt: Attempt): void {
    const head = attempt.outbox[0]
    if (head === undefined) return
    if (attempt.isOfferOpen && attempt.failures < offerTriesMax && !this.isClosing) return this.later(attempt)
    const { offer: _, together: __, ...report } = head.report
    attempt.isInFlight = true
    this.options.wire.store(
      Subject.command(attempt.shard, attempt.instance),
      JSON.stringify({ _tag: "Fact", report }),
      `fact-${attempt.instance}-${attempt.taskInstanceId}-${attempt.identity.startup}-${report.sequence}`,
      (isStored) => {
        attempt.isInFlight = false
        if (isStored) return this.accepted(attempt, undefined)
        attempt.failures++
        this.later(attempt)
      }
    )
  }

  private later(attempt: Attempt): void {
    const { later, ownerOf } = this.options
    attempt.isInFlight = true
    later.after(later.backoffMs(attempt.failures, backoffFirstMs, backoffMaxMs), () => {
      attempt.isInFlight = false
      attempt.owner = ownerOf(attempt.shard) ?? attempt.owner
      this.queue(attempt)
    })
  }
}
