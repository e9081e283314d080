/**
 * Handles what the durable inbox delivers: facts when no owner answered, commands of fire-and-forget publishers, signals between instances.
 *
 * `done` is told exactly once: when the journal has what the message led to, when it has to come again, or when it can never be handled and why.
 */
import * as Effect from "effect/Effect"
import * as Decode from "../../shared/jetstream/Decode.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { CommandMessage } from "../../shared/protocol/Signal.ts"
import type { InstanceId } from "../../shared/protocol/Token.ts"
import { StartRequest } from "../../shared/protocol/Workflow.ts"
import type { InboxOutcome } from "./CommandInbox.ts"
import type { Definitions } from "./Definitions.ts"
import type { ExecutorPort } from "./ExecutorPort.ts"
import type { Instances } from "./Instances.ts"
import { isPassing, type Signals } from "./Signals.ts"
import * as WorkflowRpc from "./WorkflowRpc.ts"

const decodeStart = Decode.valueDecoder(StartRequest)
const commandVerbs = { Pause: "pause", Resume: "resume", Stop: "stop" } as const

export interface CommandHandlerOptions {
  readonly instances: Instances
  readonly definitions: Definitions
  readonly port: ExecutorPort
  readonly signals: Signals
  /** Runs an effect that belongs to the coordinator's life. */
  readonly fork: (effect: Effect.Effect<unknown>) => void
}

export class CommandHandler {
  readonly #options: CommandHandlerOptions

  constructor(options: CommandHandlerOptions) {
    this.#options = options
  }

  handle(
    instance: InstanceId,
    message: CommandMessage,
    replyTo: string | undefined,
    done: (outcome: InboxOutcome) => void
  ): void {
    const { fork, port, signals } = this.#options
    if (message._tag === "Fact") {
      return port.fact(message.report, (outcome) => done({ _tag: outcome._tag === "NotOwner" ? "again" : "done" }))
    }
    if (message._tag === "Signal") return signals.handle(instance, message, done)
    // a defect belongs to this message: it is refused with the reason, everything else goes on
    const contained = Effect.catchDefect(
      this.#command(instance, message, replyTo),
      (defect) =>
        Effect.fail(
          new ContractError({
            code: "Internal",
            message: `a defect: ${defect instanceof Error ? defect.message : String(defect)}`
          })
        )
    )
    fork(Effect.match(contained, {
      onSuccess: () => done({ _tag: "done" }),
      onFailure: (error) => done(isPassing(error) ? { _tag: "again" } : { _tag: "refused", error: error.answer.error })
    }))
  }

  #command(
    instance: InstanceId,
    message: Exclude<CommandMessage, { readonly _tag: "Fact" | "Signal" }>,
    replyTo: string | undefined
  ): Effect.Effect<void, ContractError> {
    const { definitions, instances } = this.#options
    if (message._tag !== "Start") {
      return instances.command(instance, WorkflowRpc.commandEvent(commandVerbs[message._tag], message.reason))
    }
    return Effect.gen(function*() {
      const request = yield* Effect.fromResult(decodeStart(message.request))
      const reference = WorkflowRpc.parseReference(request)
      const problem = WorkflowRpc.problemOfStart(request)
      if (problem !== undefined) return yield* problem
      const extra = { replyTo, team: undefined }
      if (request.fork !== undefined) {
        return yield* instances.fork(instance, { ...request, instanceId: instance }, request.fork, extra)
      }
      const graph = reference === undefined
        ? yield* definitions.keepInline((message.request as { readonly inline?: unknown }).inline) // decoded above
        : yield* definitions.resolve(reference.namespace, reference.name, reference.version)
      return yield* instances.start(instance, graph, { ...request, instanceId: instance }, extra)
    })
  }
}
