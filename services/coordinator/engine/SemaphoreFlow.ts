/**
 * What a semaphore does with the messages of those that want its slots, and what it tells them. design/03 section 6.
 *
 * Kept true here: every message is answered by what the semaphore holds, so one that comes again is answered the same; a slot that is free goes to the first that
 * waits in the turn that freed it; whatever is told can be told again from the state alone (`outstanding`).
 */
import type { SemaphoreLifecycleEvent, Transition } from "../../../shared/protocol/Journal.ts"
import type { Send } from "./EngineEffect.ts"
import * as Semaphore from "./Semaphore.ts"
import type { Turn } from "./Turn.ts"
import type { WorkflowState } from "./WorkflowState.ts"

// ---- messages, also for Outstanding

const send = (state: WorkflowState, { from, ticket }: Semaphore.Ticket, verb: string, event: Send["event"]): Send => ({
  _tag: "Send",
  id: `${verb}:${from}/${ticket}`,
  to: from,
  from: state.instance,
  event
})

const granted = (state: WorkflowState, ticket: Semaphore.Ticket): Send =>
  send(
    state,
    ticket,
    "grant",
    Semaphore.isOfRun(ticket)
      ? { _tag: "WORKFLOW_SLOT_GRANTED", ticket: ticket.ticket }
      // Tickets that are no run's are ids of attempts.
      : { _tag: "TASK_SLOT_GRANTED", id: ticket.ticket as Extract<Transition, { _tag: "SUBMITTED" }>["id"] }
  )
const refused = (state: WorkflowState, ticket: Semaphore.Ticket): Send =>
  send(state, ticket, "refuse", { _tag: "WORKFLOW_SLOT_REFUSED", ticket: ticket.ticket })
const makeWay = (state: WorkflowState, ticket: Semaphore.Ticket): Send =>
  send(state, ticket, "make-way", {
    _tag: "WORKFLOW_STOP",
    reason: "a newer run of the definition takes its place (serial-priority)"
  })

/** Everything an owner that takes over says again. */
export const outstanding = (state: WorkflowState, self: Semaphore.Semaphore): ReadonlyArray<Send> => [
  ...self.held.map((ticket) => granted(state, ticket)),
  ...self.refused.map((ticket) => refused(state, ticket)),
  ...(self.waiting.some((ticket) => ticket.replace === true) ? self.held.map((ticket) => makeWay(state, ticket)) : [])
]

// ---- decide

export const handle = (turn: Turn, event: SemaphoreLifecycleEvent): void => {
  const self = turn.state.semaphore
  if (self === undefined) return
  if (event._tag === "SLOT_LIMIT") {
    turn.apply({ _tag: "SLOT_LIMITED", of: turn.of })
    return give(turn)
  }
  const { from } = event
  if (event._tag === "SLOT_PRIORITY") {
    if (self.waiting.some(Semaphore.isOne(from, event.ticket))) turn.apply({ _tag: "SLOT_MOVED", of: turn.of })
    return
  }
  if (event._tag === "SLOT_CHECK") {
    for (const one of self.held) if (one.from === from) turn.emit(granted(turn.state, one))
    for (const one of self.refused) if (one.from === from) turn.emit(refused(turn.state, one))
    return
  }
  const { ticket } = event
  const is = Semaphore.isOne(from, ticket)
  if (event._tag === "SLOT_RELEASE") {
    if (!self.held.some(is) && !self.waiting.some(is) && !self.refused.some(is)) return
    turn.apply({ _tag: "SLOT_FREED", from, ticket })
    return give(turn)
  }
  const again = self.held.find(is)
  if (again !== undefined) return turn.emit(granted(turn.state, again))
  const known = self.refused.find(is)
  if (known !== undefined) return turn.emit(refused(turn.state, known))
  if (self.waiting.some(is)) return
  turn.apply({ _tag: "SLOT_QUEUED", of: turn.of })
  const isFree = self.held.length < Semaphore.slotsOf(turn.state.semaphore ?? self) && self.waiting.length === 0
  if (event.mode === "try" && !isFree) refuse(turn, { from, ticket, priority: event.priority })
  if (event.mode === "replace") {
    for (const other of self.waiting) refuse(turn, other)
    for (const other of self.held) turn.emit(makeWay(turn.state, other))
  }
  give(turn)
}

const refuse = (turn: Turn, ticket: Semaphore.Ticket): void => {
  turn.apply({ _tag: "SLOT_REFUSED", from: ticket.from, ticket: ticket.ticket })
  turn.emit(refused(turn.state, ticket))
}

const give = (turn: Turn): void => {
  for (let self = turn.state.semaphore; self !== undefined; self = turn.state.semaphore) {
    const next = self.waiting[0]
    if (next === undefined || self.held.length >= Semaphore.slotsOf(self)) return
    turn.apply({ _tag: "SLOT_GIVEN", from: next.from, ticket: next.ticket })
    turn.emit(granted(turn.state, next))
  }
}
