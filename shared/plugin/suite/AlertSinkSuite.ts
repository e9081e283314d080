/**
 * What every alert sink promises (shared/plugin/AlertSink.ts), as checks for its author's tests: delivered is what the other side has, once more is the same once more, and what
 * is not delivered is a failure that says whether another try would do better.
 *
 * The suite gives the sink its context and its logger, and looks at what came through both; a sink that tells somewhere else says what has arrived there.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import { AlertKind, type AlertMessage } from "../../protocol/Alert.ts"
import { InstanceId, TaskName } from "../../protocol/Token.ts"
import { type AlertContext, AlertFailed, type AlertSink } from "../AlertSink.ts"
import { effect, expect, type Promised, show, within } from "./Suite.ts"

/** A sink whose other side takes what it is told. */
export interface Open {
  readonly sink: AlertSink
  /** Everything that has arrived there so far, as text; not given: what went through the context's `publish` (subject, space, body) and to the log. */
  readonly arrived?: Effect.Effect<ReadonlyArray<string>>
}

export interface Subject {
  readonly up: Effect.Effect<Open, never, Scope.Scope>
  /** Nobody is there just now; not given: what the context's `publish` says when the connection is down, or nothing that can be down (`canFail: false`). */
  readonly down?: Effect.Effect<AlertSink, never, Scope.Scope>
  /** The other side will never take it. */
  readonly refused?: Effect.Effect<AlertSink, never, Scope.Scope>
  /** The other side takes the connection and says nothing. */
  readonly silent?: Effect.Effect<AlertSink, never, Scope.Scope>
  /** `false`: a sink such as the log, which has no other side. */
  readonly canFail?: boolean
}

const alertOf = (number: number, more: Partial<AlertMessage> = {}): AlertMessage => ({
  id: `suite-${number}/alert`,
  kind: AlertKind.literals[number % AlertKind.literals.length] ?? "WorkflowFailed",
  at: "2026-01-02T03:04:05.678Z",
  message: `what happened ${number}`,
  ...more
})
const full = alertOf(1_000, {
  message: "exit 1: \"quotes\", back\\slash, newline\nand ünïcode ☃",
  namespace: "default",
  definition: { name: "nightly", version: 3 },
  instanceId: InstanceId.make("nightly-1"),
  task: TaskName.make("load"),
  schedule: "nightly",
  backfill: "january"
})

const world = () => {
  const told: Array<string> = []
  const context: AlertContext = {
    publish: (subject, body) => Effect.sync(() => void told.push(`${subject} ${body}`))
  }
  const logger = Logger.make<unknown, void>(({ message }) => {
    told.push([message].flat().map(String).join(" "))
  })
  return {
    told,
    deliver: (sink: AlertSink, alert: AlertMessage, given: AlertContext = context) =>
      within("a delivery", sink.deliver(alert, given)).pipe(Effect.provide(Logger.layer([logger])))
  }
}

/** A world with its sink, and how to see what has arrived. */
const opened = Effect.fnUntraced(function*({ up }: Subject) {
  const { deliver, told } = world()
  const { arrived = Effect.sync(() => told), sink } = yield* up
  return { sink, deliver: (alert: AlertMessage) => deliver(sink, alert), arrived }
})

const failureOf = (sink: AlertSink, context?: AlertContext) =>
  Effect.gen(function*() {
    const exit = yield* Effect.exit(world().deliver(sink, alertOf(1), context))
    expect(Exit.isFailure(exit), () => "it is delivered")
    const failure = exit.cause.reasons.find(Cause.isFailReason)?.error
    expect(failure instanceof AlertFailed, () => Cause.pretty(exit.cause))
    expect(failure.message !== "", () => "it does not say why")
    return failure
  })

/** Everything, for `Suite.run`. */
export const promises = (subject: Subject): ReadonlyArray<Promised> => [
  effect(
    "a delivery is done when the other side has it: what, of which kind, why",
    Effect.gen(function*() {
      const { arrived, deliver, sink } = yield* opened(subject)
      expect(sink.sink !== "" && sink.description !== "", () => "it has no name or no description")
      for (const [number, kind] of AlertKind.literals.entries()) {
        yield* deliver(alertOf(number))
        const texts = yield* arrived
        expect(texts.length === number + 1, () => `${number + 1} deliveries, and ${texts.length} have arrived`)
        const text = texts.at(-1) ?? ""
        expect(text.includes(kind), () => `the kind ${kind} is not in ${show(text)}`)
        expect(text.includes(`what happened ${number}`), () => `the message is not in ${show(text)}`)
      }
    })
  ),
  effect(
    "an alert with every field, and odd characters in its message, arrives like any other",
    Effect.gen(function*() {
      const { arrived, deliver } = yield* opened(subject)
      yield* deliver(full)
      yield* deliver(alertOf(1, { message: "x".repeat(60_000) }))
      const [first = "", ...rest] = yield* arrived
      expect(rest.length === 1, () => `2 deliveries, and ${rest.length + 1} have arrived`)
      for (const part of ["nightly-1", "load", "ünïcode ☃"]) {
        expect(first.includes(part), () => `${part} is not in ${show(first)}`)
      }
    })
  ),
  effect(
    "the same alert once more arrives as the same, so that the other side can tell",
    Effect.gen(function*() {
      const { arrived, deliver } = yield* opened(subject)
      yield* deliver(full)
      yield* deliver(full)
      const [first, second, ...rest] = yield* arrived
      expect(first === second && rest.length === 0, () => `${show(first)}, then ${show(second)}`)
    })
  ),
  effect(
    "many at a time all arrive",
    Effect.gen(function*() {
      const { arrived, deliver } = yield* opened(subject)
      const numbers = Array.from({ length: 20 }, (_, number) => number)
      yield* Effect.forEach(numbers, (number) => deliver(alertOf(number)), { concurrency: 20, discard: true })
      const texts = yield* arrived
      const missing = numbers.filter((number) =>
        !texts.some((text) => new RegExp(`what happened ${number}(?!\\d)`, "u").test(text))
      )
      expect(
        texts.length === 20 && missing.length === 0,
        () => `${texts.length} of 20 have arrived; not ${missing.join(", ")}`
      )
    })
  ),
  ...(subject.canFail === false ? [] : [
    effect(
      "while the other side is away a delivery fails, and is worth another try",
      Effect.gen(function*() {
        const failed = new AlertFailed({ message: "the connection is down", isPermanent: false })
        const sink = yield* subject.down ?? Effect.map(subject.up, (open) => open.sink)
        const { isPermanent, message } = yield* failureOf(sink, { publish: () => Effect.fail(failed) })
        expect(!isPermanent, () => `it says that no other try would do better: ${message}`)
      })
    )
  ]),
  ...(subject.refused === undefined ? [] : [
    effect(
      "what the other side will never take fails for good",
      Effect.gen(function*() {
        const { isPermanent, message } = yield* failureOf(yield* subject.refused ?? Effect.never)
        expect(isPermanent, () => `it says that another try would do better: ${message}`)
      })
    )
  ]),
  ...(subject.silent === undefined ? [] : [
    effect(
      "a delivery that gets no answer ends at once when it is interrupted",
      Effect.gen(function*() {
        const sink = yield* subject.silent ?? Effect.never
        const context: AlertContext = { publish: () => Effect.never }
        const delivering = yield* Effect.forkChild(sink.deliver(alertOf(1), context), { startImmediately: true })
        yield* within("the end of an interrupted delivery", Fiber.interrupt(delivering))
      })
    )
  ])
]
