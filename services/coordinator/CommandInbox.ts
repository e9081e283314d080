/**
 * The durable inbox: HEDDLE_COMMANDS, one consumer per owned shard. For fire-and-forget publishers, and for facts when no owner answered.
 *
 * A message is acknowledged only when the journal has what it led to; one that was lost on the way (the shard moved on) is delivered to the next owner. What
 * can't be understood is put aside with a reason and a log line, never retried for ever and never dropped silently. Follows design/01 sections 2 and 4.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import { CommandMessage } from "../../shared/protocol/Signal.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, type Shard } from "../../shared/protocol/Token.ts"

/** Messages of one shard that may wait for the journal. */
export const unsettledMax = 512

const decode = Decode.decoder(CommandMessage)
const isInstance = Schema.is(InstanceId)

/** `done`: recorded. `again`: not now (not ours any more, or full). `refused`: can never be handled. */
export type InboxOutcome = { readonly _tag: "done" } | { readonly _tag: "again" } | {
  readonly _tag: "refused"
  readonly error: ErrorBody
}

export interface CommandInboxOptions {
  readonly nats: Connection
  readonly shardOf: (instance: InstanceId) => Shard
  readonly handle: (
    shard: Shard,
    instance: InstanceId,
    message: CommandMessage,
    replyTo: string | undefined,
    done: (outcome: InboxOutcome) => void
  ) => void
  readonly warn: (message: string) => void
}

export class CommandInbox {
  readonly #options: CommandInboxOptions

  constructor(options: CommandInboxOptions) {
    this.#options = options
  }

  /** Consumes the shard's commands until it is interrupted; fails when the consumer is lost for good. */
  consume(shard: Shard): Effect.Effect<never, Consume.ConsumeFailed> {
    return Effect.scoped(Effect.flatMap(
      Consume.consume(
        this.#options.nats,
        Streams.name.commands,
        {
          durable: `shard-${shard}`,
          filter: Subject.commandsOfShard(shard),
          ackWaitMs: 30_000,
          maxAckPending: unsettledMax,
          maxMessages: 128,
          takesOver: true
        },
        (delivery) => this.#deliver(shard, delivery)
      ),
      (consumer) => consumer.failure
    ))
  }

  /** Why a message can't be meant for this subject, where no owner could ever handle it. */
  #misled(shard: Shard, instance: InstanceId, message: CommandMessage): string | undefined {
    const home = this.#options.shardOf(instance)
    if (home !== shard) return `instance ${instance} is of shard ${home}: publish to ${Subject.command(home, instance)}`
    if (message._tag === "Fact" && (message.report.instance !== instance || message.report.shard !== shard)) {
      return `a report of ${message.report.instance}, shard ${message.report.shard}, on the subject of ${instance}, shard ${shard}`
    }
    if (message._tag !== "Start") return undefined
    const { request } = message
    return typeof request === "object" && request !== null && "instanceId" in request &&
        request.instanceId !== instance
      ? `instanceId ${String(request.instanceId).slice(0, 80)} on the subject of ${instance}`
      : undefined
  }

  #deliver(shard: Shard, delivery: Consume.Delivery): void {
    const instance = delivery.subject.split(".")[3]
    const message = decode(delivery.text)
    const replyTo = delivery.header(Subject.header.replyTo)
    const refuse = (error: ErrorBody): void => {
      this.#options.warn(`command on ${delivery.subject} refused: ${error.code}: ${error.message}`)
      if (replyTo !== undefined) this.#options.nats.publish(replyTo, JSON.stringify({ error }))
      delivery.term(`${error.code}: ${error.message}`)
    }
    if (!isInstance(instance)) {
      return refuse({
        code: "InvalidName",
        message: `"${String(instance).slice(0, 80)}" in the subject is no instance id: 1 to 63 of A-Z a-z 0-9 _ -`
      })
    }
    if (Result.isFailure(message)) return refuse(message.failure.answer.error)
    const misled = this.#misled(shard, instance, message.success)
    if (misled !== undefined) return refuse({ code: "InvalidMessage", message: misled })
    this.#options.handle(shard, instance, message.success, replyTo, (outcome) => {
      switch (outcome._tag) {
        case "done":
          delivery.ack()
          return
        case "again":
          delivery.nak(500)
          return
        case "refused":
          return refuse(outcome.error)
      }
    })
  }
}
