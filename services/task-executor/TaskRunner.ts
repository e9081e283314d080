/**
 * Runs registered attempts through their task types, and turns how they end into facts.
 *
 * Keeps true: each attempt ends with exactly one final fact, unless it was superseded; an inline type runs at once, in plain code; any other runs in a fiber of
 * its own, whose interruption is the kill: it is done when nothing of the task is left in the sandbox. An end that came before the kill counts as it came.
 * Follows design/04 section 3.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Messaging } from "../../shared/plugin/Messaging.ts"
import type { Contributed } from "../../shared/plugin/Plugin.ts"
import type { SandboxClient, SandboxLost } from "../../shared/plugin/SandboxClient.ts"
import type { TaskOutcome, TaskType } from "../../shared/plugin/TaskType.ts"
import type { TaskFact, TaskSpec } from "../../shared/protocol/Report.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { Attempt, Stop } from "./Attempt.ts"
import type { ExecutorMeters } from "./ExecutorMeters.ts"
import type { Later } from "./Later.ts"
import { LogStream } from "./LogStream.ts"
import type { Wire } from "./Wire.ts"

export interface TaskRunnerOptions {
  readonly host: Pick<Contributed, "taskTypes" | "poolProviders">
  /** For types that run in the executor itself. */
  readonly messaging: Messaging
  readonly wire: Wire
  readonly later: Later
  /** Runs an effect until the executor's scope ends. */
  readonly fork: (effect: Effect.Effect<TaskOutcome, SandboxLost>) => Fiber.Fiber<TaskOutcome, SandboxLost>
  readonly report: (attempt: Attempt, fact: TaskFact) => void
  /** A superseded attempt has ended, without a report. */
  readonly onEnded: (attempt: Attempt) => void
  readonly onDefect: (cause: unknown) => void
  readonly meters: ExecutorMeters | undefined
}

interface Running {
  readonly fiber: Fiber.Fiber<TaskOutcome, SandboxLost>
  readonly pause: Deferred.Deferred<void>
}

type InFiber = Exclude<TaskType, { readonly _tag: "Inline" }>

/** The fact that an outcome is. */
export const factOf = (outcome: TaskOutcome, startedAt: number | undefined): TaskFact => {
  const started = startedAt === undefined ? {} : { startedAt }
  switch (outcome._tag) {
    case "Succeeded":
      return { _tag: "SUCCEEDED", outputs: outcome.outputs, ...started, ...exitCodeOf(outcome) }
    case "Failed":
      return { _tag: "FAILED", reason: outcome.reason, ...started, ...exitCodeOf(outcome) }
    case "Fatal":
      return { _tag: "FATAL", reason: outcome.reason, ...started, ...exitCodeOf(outcome) }
    case "Paused":
      return { _tag: "PAUSED", ...started }
  }
}
const exitCodeOf = ({ exitCode }: { readonly exitCode?: number }) => exitCode === undefined ? {} : { exitCode }

export class TaskRunner {
  private readonly options: TaskRunnerOptions
  private readonly running = new Map<Attempt, Running>()
  private readonly logs = new Set<LogStream>()

  constructor(options: TaskRunnerOptions) {
    this.options = options
  }

  get isIdle(): boolean {
    return this.running.size === 0
  }

  /** All output is sent, or given up. */
  get isLogIdle(): boolean {
    return this.logs.size === 0
  }

  /** The attempt is registered: it starts now. */
  run(attempt: Attempt, spec: TaskSpec): void {
    attempt.phase = "Running"
    if (attempt.stop !== undefined) return this.ended(attempt, stopped(attempt.stop, undefined))
    const type = this.options.host.taskTypes.get(spec.type)
    if (type === undefined) {
      const known = Array.from(this.options.host.taskTypes.keys()).join(", ")
      return this.ended(attempt, {
        _tag: "FATAL",
        reason:
          `this executor has no task type "${spec.type}" (it has: ${known}). Load its plugin, or correct the task's \`type\`.`
      })
    }
    attempt.startedAt = this.options.later.nowMs()
    attempt.startedSeconds = this.options.meters?.seconds() ?? 0
    attempt.isInline = type._tag === "Inline"
    if (type._tag === "Inline") return this.ended(attempt, inlineFact(type.run, spec, attempt.startedAt))
    this.start(attempt, spec, type)
  }

  /** Ends an attempt that is Registering or Running; a Reporting one has ended. The strongest reason counts. */
  stop(attempt: Attempt, why: Stop): void {
    if (attempt.phase === "Reporting" || attempt.stop === "superseded") return
    if (why === "kill" && attempt.stop !== undefined) return
    attempt.stop = why
    this.running.get(attempt)?.fiber.interruptUnsafe()
  }

  /** Asks a running attempt to pause; one whose type cannot runs to its end. */
  pause(attempt: Attempt): void {
    const running = this.running.get(attempt)
    if (running !== undefined) Deferred.doneUnsafe(running.pause, Effect.void)
  }

  private start(attempt: Attempt, spec: TaskSpec, type: InFiber): void {
    const { fork, later, report, wire } = this.options
    report(attempt, { _tag: "RUNNING" })
    const pause = Deferred.makeUnsafe<void>()
    const log = new LogStream({
      subject: Subject.logs(attempt.instance, attempt.taskInstanceId),
      wire,
      later,
      onDrained: () => this.logs.delete(log)
    })
    this.logs.add(log)
    const context = {
      spec,
      log: (stream: "stdout" | "stderr" | "system", bytes: Uint8Array) => log.write(stream, bytes),
      pauseRequested: Deferred.await(pause)
    }
    const effect = Effect.scoped(
      type._tag === "Effectful"
        ? type.run({ ...context, messaging: this.options.messaging })
        : this.inSandbox(attempt, (sandbox) => type.run({ ...context, sandbox }))
    )
    const fiber = fork(effect)
    this.running.set(attempt, { fiber, pause })
    // Also of a fiber that has ended already, or was interrupted before it began.
    fiber.addObserver((exit) => {
      try {
        this.running.delete(attempt)
        log.close()
        this.ended(attempt, this.factOfExit(attempt, exit))
      } catch (cause) {
        this.options.onDefect(cause)
      }
    })
  }

  private inSandbox(
    { sandbox }: Attempt,
    use: (sandbox: SandboxClient) => Effect.Effect<TaskOutcome, SandboxLost, Scope.Scope>
  ): Effect.Effect<TaskOutcome, SandboxLost, Scope.Scope> {
    const provider = this.options.host.poolProviders.get(sandbox.provider)
    return provider === undefined
      ? Effect.succeed({
        _tag: "Fatal",
        reason: `this executor has no pool provider "${sandbox.provider}": load its plugin`
      })
      : Effect.flatMap(provider.connect(sandbox), use)
  }

  private factOfExit(attempt: Attempt, exit: Exit.Exit<TaskOutcome, SandboxLost>): TaskFact {
    if (Exit.isSuccess(exit)) return factOf(exit.value, attempt.startedAt)
    const lost = Cause.findErrorOption(exit.cause)
    if (lost._tag === "Some") attempt.isLost = true
    if (attempt.stop !== undefined) return stopped(attempt.stop, attempt.startedAt)
    if (lost._tag === "Some") return { _tag: "SANDBOX_LOST", reason: lost.value.message }
    // The executor's scope ended under it.
    if (Cause.hasInterruptsOnly(exit.cause)) return stopped("shutdown", attempt.startedAt)
    return {
      _tag: "FATAL",
      reason: `a defect in task type ${attempt.spec?.type ?? ""}: ${Cause.pretty(exit.cause).slice(0, 2_000)}`,
      ...(attempt.startedAt === undefined ? {} : { startedAt: attempt.startedAt })
    }
  }

  private ended(attempt: Attempt, fact: TaskFact): void {
    attempt.phase = "Reporting"
    this.options.meters?.ended(attempt, attempt.stop === "superseded" ? "superseded" : fact._tag)
    if (attempt.stop === "superseded") this.options.onEnded(attempt)
    else this.options.report(attempt, fact)
  }
}

const inlineFact = (run: (spec: TaskSpec) => TaskOutcome, spec: TaskSpec, startedAt: number): TaskFact => {
  try {
    return factOf(run(spec), startedAt)
  } catch (error) {
    return { _tag: "FATAL", reason: `a defect in task type ${spec.type}: ${String(error)}`, startedAt }
  }
}

/** What an attempt's end is when it was stopped. A superseded one reports nothing. */
const stopped = (why: Stop, startedAt: number | undefined): TaskFact =>
  why === "kill"
    ? { _tag: "KILLED", ...(startedAt === undefined ? {} : { startedAt }) }
    // Not the task's fault, and not its end: it runs again elsewhere.
    : { _tag: "SANDBOX_LOST", reason: "its executor was shut down" }
