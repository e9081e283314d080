/**
 * The one timer behind `Alarms`: sleeps until the earliest time it was given, then calls back. Time is Effect's Clock, so tests move it.
 *
 * Arming is synchronous and costs nothing unless the new time is earlier than the armed one; it may ring early (what it was armed for has gone), never late. Many clocks can
 * share one timer (`shared`): the pools of a process cost one fiber together, and what is due in the same millisecond one wake.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Alarms from "./Alarms.ts"

export interface AlarmClock {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Rings at `at` at the latest, unless it rings before. Infinity is ignored. */
  readonly arm: (at: number) => void
  /** Never ends by itself; a defect in the callback ends it, and with it whoever runs it. */
  readonly run: Effect.Effect<never>
}

/** Gets the time and answers when it wants to be called next (Infinity: until armed). */
export type Ring = (now: number) => number

/** A clock with a timer of its own. */
export const make = (ring: Ring): Effect.Effect<AlarmClock> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const changed = yield* Latch.make(false)
    let armedAt = Infinity
    const now = () => clock.currentTimeMillisUnsafe()
    const arm = (at: number): void => {
      if (at >= armedAt) return
      armedAt = at
      changed.openUnsafe()
    }
    const turn = Effect.suspend(() => {
      changed.closeUnsafe()
      const waitMs = Math.ceil(armedAt - now())
      if (waitMs > 0) return waitMs === Infinity ? changed.await : Effect.timeoutOption(changed.await, waitMs)
      armedAt = Infinity
      arm(ring(now()))
      return Effect.void
    })
    return { now, arm, run: Effect.forever(turn) }
  })

/** Clocks on one timer, which somebody has to run. */
export interface SharedAlarmClock {
  readonly now: () => number
  /** A clock that rings while both its own `run` and the shared one do. A defect in its callback ends its own `run` only. */
  readonly make: (ring: Ring) => AlarmClock
  readonly run: Effect.Effect<never>
}

interface Member {
  readonly ring: Ring
  /** Its `run` ends with this defect; undefined: it does not run. */
  died: ((defect: unknown) => void) | undefined
  armedAt: number
}

export const shared: Effect.Effect<SharedAlarmClock> = Effect.gen(function*() {
  const alarms = new Alarms.Alarms<Member>()
  const ringOf = (alarm: Alarms.Alarm<Member>, now: number): void => {
    const member = alarm.owner
    member.armedAt = Infinity
    try {
      arm(alarm, member.ring(now))
    } catch (defect) {
      member.died?.(defect)
    }
  }
  const timer = yield* make((now) => {
    // Each once in a turn: one that wants to be called again at once does not keep the others waiting.
    const due: Array<Alarms.Alarm<Member>> = []
    for (let alarm = alarms.due(now); alarm !== undefined; alarm = alarms.due(now)) due.push(alarm)
    for (const alarm of due) if (alarm.owner.died !== undefined) ringOf(alarm, now)
    return alarms.earliest
  })
  const arm = (alarm: Alarms.Alarm<Member>, at: number): void => {
    const member = alarm.owner
    if (at >= member.armedAt) return
    member.armedAt = at
    if (member.died === undefined) return
    alarms.set(alarm, at)
    timer.arm(at)
  }
  return {
    now: timer.now,
    run: timer.run,
    make: (ring) => {
      const member: Member = { ring, died: undefined, armedAt: Infinity }
      const alarm = Alarms.make(member)
      return {
        now: timer.now,
        arm: (at) => arm(alarm, at),
        run: Effect.callback<never>((resume) => {
          member.died = (defect) => {
            member.died = undefined
            alarms.clear(alarm)
            resume(Effect.die(defect))
          }
          const { armedAt } = member
          member.armedAt = Infinity
          arm(alarm, armedAt)
          return Effect.sync(() => {
            member.died = undefined
            alarms.clear(alarm)
          })
        })
      }
    }
  }
})
