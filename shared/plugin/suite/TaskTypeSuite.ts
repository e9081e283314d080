/**
 * What every task type promises (shared/plugin/TaskType.ts), as checks for its author's tests: wrong arguments end an attempt for good before anything runs, an attempt has the outcome and
 * the outputs that the type's documentation says, one that is killed has ended when the interruption is done, and nothing of it is left.
 *
 * The author says, for the cases of the type, which arguments lead there; and gives the sandbox for types that run in one. What a killed attempt would leave behind, only the
 * author can see (`isGone`).
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { TaskSpec } from "../../protocol/Report.ts"
import type { Messaging } from "../Messaging.ts"
import { type Plugin, PluginError } from "../Plugin.ts"
import type { SandboxClient } from "../SandboxClient.ts"
import type { TaskOutcome, TaskType } from "../TaskType.ts"
import { effect, expect, isSame, plain, type Promised, show, waitMaxMs, within } from "./Suite.ts"

export type With = Readonly<Record<string, unknown>>

/** One attempt and how it ends. What is not given is not looked at, but for `outcome`. */
export interface Case {
  readonly name: string
  readonly with: With
  readonly outcome: TaskOutcome["_tag"]
  readonly outputs?: Readonly<Record<string, unknown>>
  readonly exitCode?: number
  /** In the reason of an attempt that did not succeed. */
  readonly reason?: RegExp
  /** Bytes that the attempt logs at least: for a type whose output may be large. */
  readonly logged?: number
}

export interface Subject {
  readonly type: TaskType
  /** Arguments that are wrong, each with what the reason names. */
  readonly wrong: ReadonlyArray<readonly [arguments_: With, named: RegExp]>
  readonly cases: ReadonlyArray<Case>
  /** Of a type that takes time: an attempt that runs until it is killed. */
  readonly endless?: {
    readonly with: With
    /** Completes when the attempt is under way; not given: when it has logged something. */
    readonly begun?: Effect.Effect<void>
    /** Nothing of it is left; not given: it leaves nothing that could be seen. */
    readonly isGone?: Effect.Effect<boolean>
    /** From the kill to the end of everything, at most: the type's grace and a margin. */
    readonly graceMs: number
  }
  /** For types that run in a sandbox. */
  readonly sandbox?: Effect.Effect<SandboxClient, unknown, Scope.Scope>
  /** For types that use the executor's connection. */
  readonly messaging?: Messaging
}

/** The type that a plugin contributes under this name. */
export const typeOf = (plugin: Plugin, type: string, config?: unknown): TaskType => {
  const loaded = plugin.load(config)
  if (loaded._tag === "Failure") throw loaded.failure
  const found = loaded.success.taskTypes.get(type)
  if (found === undefined) {
    throw new PluginError({ plugin: plugin.manifest.name, message: `it contributes no task type ${type}` })
  }
  return found
}

const decodeSpec = Schema.decodeSync(TaskSpec)
const specOf = (type: TaskType, given: With, attempt = 1): TaskSpec =>
  decodeSpec({
    instance: "suite",
    task: "task",
    taskInstanceId: `task:1:${attempt}`,
    attempt,
    type: type.type,
    with: given,
    params: { day: "2026-01-02" },
    env: { STAGE: "suite" },
    shard: 0,
    session: 1
  })

/** Not to be reached: the type runs elsewhere, or the arguments were wrong. */
const untouched = (what: string) => (): never => {
  throw new Error(`the ${what} is used`)
}
const noSandbox: SandboxClient = { exec: untouched("sandbox") }
const noMessaging: Messaging = {
  publish: untouched("connection"),
  store: untouched("connection"),
  request: untouched("connection")
}

type Log = (stream: "stdout" | "stderr" | "system", bytes: Uint8Array) => void

/** One attempt. */
const attempt = (subject: Pick<Subject, "type" | "sandbox" | "messaging">, given: With, log: Log) =>
  Effect.gen(function*() {
    const { messaging = noMessaging, sandbox = Effect.succeed(noSandbox), type } = subject
    const spec = specOf(type, given)
    const pauseRequested = Effect.never
    switch (type._tag) {
      case "Inline":
        return type.run(spec)
      case "Sandboxed":
        return yield* type.run({ spec, log, pauseRequested, sandbox: yield* sandbox })
      case "Effectful":
        return yield* type.run({ spec, log, pauseRequested, messaging })
    }
  })

const reasonOf = (outcome: TaskOutcome): string => "reason" in outcome ? outcome.reason : ""

const refusals = ({ type, wrong }: Subject): Promised =>
  effect(
    "wrong arguments end the attempt for good, name what is wrong in one line, and nothing runs",
    Effect.gen(function*() {
      const logged: Array<string> = []
      for (const [given, named] of wrong) {
        const outcome = yield* within(
          "a refusal",
          attempt({ type }, given, (_, bytes) => logged.push(new TextDecoder().decode(bytes)))
        )
        expect(outcome._tag === "Fatal", () => `${show(given)} gives ${show(outcome)}`)
        expect(named.test(outcome.reason), () => `${show(given)}: ${named} is not in ${outcome.reason}`)
        expect(!outcome.reason.includes("\n"), () => `the reason has several lines: ${outcome.reason}`)
      }
      expect(logged.length === 0, () => `it has logged ${show(logged)}`)
    })
  )

const caseOf = (subject: Subject, one: Case): Promised =>
  effect(
    `${one.name}: ${one.outcome}`,
    Effect.gen(function*() {
      let logged = 0
      const outcome = yield* within(
        "the end of an attempt",
        attempt(subject, one.with, (_, bytes) => logged += bytes.length)
      )
      expect(outcome._tag === one.outcome, () => show(outcome))
      if (one.reason !== undefined) {
        const { reason } = one
        expect(reason.test(reasonOf(outcome)), () => `${reason} is not in ${show(reasonOf(outcome))}`)
      }
      if (outcome._tag === "Failed" || outcome._tag === "Fatal") {
        expect(outcome.reason !== "", () => "it does not say why")
        expect(outcome.reason.length <= reasonCharactersMax, () => `its reason has ${outcome.reason.length} characters`)
      }
      if (outcome._tag === "Succeeded") {
        const { outputs } = outcome
        expect(
          isSame(outputs, JSON.parse(JSON.stringify(outputs))),
          () => `its outputs do not survive as JSON: ${show(outputs)}`
        )
        expect(
          one.outputs === undefined || isSame(outputs, one.outputs),
          () => `its outputs are ${show(outputs)}, not ${show(one.outputs)}`
        )
      }
      if (one.exitCode !== undefined) {
        expect("exitCode" in outcome && outcome.exitCode === one.exitCode, () =>
          `exit code ${one.exitCode}: ${show(outcome)}`)
      }
      if (one.logged !== undefined) {
        const { logged: least } = one
        expect(logged >= least, () =>
          `it has logged ${logged} bytes of ${least}`)
      }
    })
  )

/** Of a reason: tables and messages show it. */
const reasonCharactersMax = 4_000

const killed = (subject: Subject, endless: NonNullable<Subject["endless"]>): Promised =>
  effect(
    "a kill ends an attempt within its grace, and nothing of it is left",
    Effect.gen(function*() {
      const logging = yield* Latch.make(false)
      const running = yield* Effect.forkChild(
        Effect.scoped(attempt(subject, endless.with, () => void logging.openUnsafe())),
        { startImmediately: true }
      )
      const early = Effect.flatMap(Fiber.await(running), (exit) =>
        Effect.die(
          Exit.isSuccess(exit) ? new Error(`it has ended by itself: ${show(exit.value)}`) : Cause.squash(exit.cause)
        ))
      yield* within("an attempt that is under way", Effect.raceFirst(endless.begun ?? logging.await, early))
      const { isGone } = endless
      if (isGone !== undefined) {
        expect(!(yield* isGone), () => "it is under way, and `isGone` says that nothing of it is there")
      }
      yield* Effect.timeoutOrElse(Fiber.interrupt(running), {
        // the grace is the type's; the rest is for a machine that stands still
        duration: endless.graceMs + waitMaxMs,
        orElse: () => Effect.die(new Error(`it has not ended ${endless.graceMs + waitMaxMs} ms after the kill`))
      })
      const exit = yield* Fiber.await(running)
      expect(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause), () => `it has an outcome: ${show(exit)}`)
      if (isGone !== undefined) {
        expect(yield* isGone, () => "the interruption is done, and something of it is left")
      }
    })
  )

/** Everything, for `Suite.run`. */
export const promises = (subject: Subject): ReadonlyArray<Promised> => [
  plain("it says what it is, and what it takes", () => {
    const { description, type } = subject.type
    expect(/^[a-z0-9][a-z0-9_-]*$/iu.test(type) && description !== "", () => `${show(type)}: ${show(description)}`)
  }),
  refusals(subject),
  ...subject.cases.map((one) => caseOf(subject, one)),
  ...(subject.endless === undefined ? [] : [killed(subject, subject.endless)])
]
