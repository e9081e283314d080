/**
 * Makes assignments this executor's own: registers them with the owners of their shards, in batches, and says what came of each.
 *
 * Keeps true: a task runs only after `Registered`; an assignment of a session older than one seen of its shard costs no call; a question without answer is
 * asked again (the owner answers the same placement the same way), of the next owner under its session, and in the end the assignment is returned. If an
 * unanswered question may have been acted on, giving up is also reported as a lost attempt, so that no task stays with an executor that does not have it.
 * Follows design/04 section 2.
 */
import * as Result from "effect/Result"
import type { TaskAssignment } from "../../shared/protocol/Dispatch.ts"
import { RegisterAnswer, type RegisterOutcome, type TaskSpec } from "../../shared/protocol/Report.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { MemberId, SessionId, Shard } from "../../shared/protocol/Token.ts"
import { Attempt, type Attempts, type Identity } from "./Attempt.ts"
import type { Later } from "./Later.ts"
import * as Wire from "./Wire.ts"

const timeoutMs = 5_000
export const triesMax = 6
const backoffFirstMs = 50
const backoffMaxMs = 2_000

const register = Wire.questionOfOwner(RegisterAnswer)

export interface RegistrarOptions {
  readonly identity: Identity
  readonly attempts: Attempts
  readonly wire: Wire.Wire
  readonly later: Later
  /** Routing hint: who owns the shard now. */
  readonly ownerOf: (shard: Shard) => MemberId | undefined
  readonly onRegistered: (attempt: Attempt, spec: TaskSpec) => void
  /** Stale or not wanted any more; not in the table any longer. */
  readonly onDropped: (attempt: Attempt) => void
  /** No answer. `isOpen`: it may be registered all the same. Not in the table any longer unless open. */
  readonly onReturned: (attempt: Attempt, isOpen: boolean) => void
}

/** One attempt's registration: how often it was tried, and whether a question about it went unanswered. */
interface Pending {
  readonly attempt: Attempt
  tries: number
  isOpen: boolean
}

/** `Registration` as JSON. Names and ids hold nothing that JSON would escape (`Token.ts`). */
export const registrationText = (attempt: Attempt): string => {
  const { claimId, identity, instance, pool, poolSession, sandbox, session, shard, taskInstanceId } = attempt
  return `{"shard":${shard},"session":${session},"instance":"${instance}","taskInstanceId":"${taskInstanceId}",`
    + `"placement":{"executor":"${identity.member}","startup":"${identity.startup}",`
    + `"pool":{"namespace":"${pool.namespace}","name":"${pool.name}"},"poolSession":${poolSession},`
    + `"claimId":"${claimId}","sandbox":"${sandbox.uid}"}}`
}

export class Registrar {
  private readonly options: RegistrarOptions
  private readonly latest = new Map<Shard, SessionId>()

  constructor(options: RegistrarOptions) {
    this.options = options
  }

  receive(pool: PoolRef, poolSession: SessionId, assignments: ReadonlyArray<TaskAssignment>): void {
    const { attempts, identity, onDropped } = this.options
    const wanted: Array<Pending> = []
    for (const assignment of assignments) {
      const attempt = new Attempt(identity, pool, poolSession, assignment)
      const latest = this.latest.get(assignment.shard) ?? 0
      if (assignment.session > latest) this.latest.set(assignment.shard, assignment.session)
      const known = attempts.sameAs(attempt)
      // One that is registered here already: a repeated entry under another claim. One whose registration is open is asked for again: only the owner knows which
      // of the two claims counts.
      if (assignment.session < latest || known?.spec !== undefined) {
        onDropped(attempt)
        continue
      }
      if (known?.stop === "kill") attempt.stop = "kill"
      attempts.put(attempt)
      wanted.push({ attempt, tries: 0, isOpen: false })
    }
    this.ask(wanted)
  }

  private ask(pendings: ReadonlyArray<Pending>): void {
    const first = pendings[0]
    if (first === undefined) return
    // Nearly always all are of one owner.
    if (pendings.every((_) => _.attempt.owner === first.attempt.owner)) return this.send(first.attempt.owner, pendings)
    const byOwner = new Map<MemberId, Array<Pending>>()
    for (const pending of pendings) {
      const group = byOwner.get(pending.attempt.owner)
      if (group === undefined) byOwner.set(pending.attempt.owner, [pending])
      else group.push(pending)
    }
    for (const [owner, group] of byOwner) this.send(owner, group)
  }

  private send(owner: MemberId, pendings: ReadonlyArray<Pending>): void {
    let registrations = ""
    for (const { attempt } of pendings) {
      registrations += `${registrations === "" ? "" : ","}${registrationText(attempt)}`
    }
    const subject = Subject.member(owner, "register")
    const body = `{"registrations":[${registrations}],"ackReader":"${this.options.identity.member}"}`
    this.options.wire.ask(register, subject, body, timeoutMs, (result) => {
      if (Result.isFailure(result)) return this.again(pendings, result.failure._tag !== "Nobody")
      const { outcomes } = result.success
      const elsewhere: Array<Pending> = []
      const unanswered: Array<Pending> = []
      for (const [index, pending] of pendings.entries()) {
        const outcome = outcomes[index]
        const verdict = outcome === undefined ? "Nowhere" : this.settle(pending, outcome)
        if (verdict === "Nowhere") unanswered.push(pending)
        else if (verdict === "Elsewhere") elsewhere.push(pending)
      }
      if (elsewhere.length > 0) this.ask(elsewhere)
      if (unanswered.length > 0) this.again(unanswered, false)
    })
  }

  /** `Elsewhere`: another owner or session is known, ask at once. `Nowhere`: ask again later. */
  private settle(pending: Pending, outcome: RegisterOutcome): "Settled" | "Elsewhere" | "Nowhere" {
    const { attempts, onDropped, onRegistered } = this.options
    const { attempt } = pending
    switch (outcome._tag) {
      case "Registered":
        attempt.spec = outcome.spec
        attempts.put(attempt)
        onRegistered(attempt, outcome.spec)
        return "Settled"
      case "StaleSession":
        if (outcome.current > (this.latest.get(attempt.shard) ?? 0)) this.latest.set(attempt.shard, outcome.current)
        if (pending.isOpen && outcome.current > attempt.session) {
          // The owner that did not answer may have recorded it, and its successor has been told that this executor has it.
          attempt.session = outcome.current
          pending.tries++
          return pending.tries < triesMax ? "Elsewhere" : "Nowhere"
        }
        attempts.remove(attempt)
        onDropped(attempt)
        return "Settled"
      case "AlreadyAssigned":
      case "NoLongerRunnable":
        attempts.remove(attempt)
        onDropped(attempt)
        return "Settled"
      case "NotOwner": {
        const owner = outcome.owner ?? this.options.ownerOf(attempt.shard)
        if (owner === undefined || owner === attempt.owner) return "Nowhere"
        attempt.owner = owner
        pending.tries++
        return pending.tries < triesMax ? "Elsewhere" : "Nowhere"
      }
    }
  }

  private again(pendings: ReadonlyArray<Pending>, isOpen: boolean): void {
    const { attempts, later, onReturned, ownerOf } = this.options
    const next: Array<Pending> = []
    for (const pending of pendings) {
      const { attempt } = pending
      pending.tries++
      if (isOpen) pending.isOpen = true
      if (pending.tries < triesMax && (attempt.stop === undefined || attempt.stop === "kill")) {
        next.push(pending)
        continue
      }
      if (!pending.isOpen) attempts.remove(attempt)
      onReturned(attempt, pending.isOpen)
    }
    const first = next[0]
    if (first === undefined) return
    later.after(later.backoffMs(first.tries, backoffFirstMs, backoffMaxMs), () => {
      for (const { attempt } of next) attempt.owner = ownerOf(attempt.shard) ?? attempt.owner
      this.ask(next)
    })
  }
}
