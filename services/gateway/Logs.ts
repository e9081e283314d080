/**
 * What the tasks of a run have written: pages of the stream of logs, and the same live. docs/design/gateway.md "Routes".
 *
 * Kept true: each line once, in the order of the stream, named by its sequence; a live reader that is slow is read for more slowly, not more held for it.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { LogLine } from "../../shared/protocol/Report.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { block, Outbox } from "./Outbox.ts"

/** Messages that are looked at for one page: of a run with many tasks the lines of one may be few. */
const scannedMax = 10_000
const limitDefault = 100
/** Lines that wait for a live reader before no more are asked for, and again. */
const highWater = 256
const inFlightMax = 64

const decodeLine = Decode.decoder(LogLine)

export interface Asked {
  readonly instance: string
  /** Its name, or `name:run:attempt`. */
  readonly task: string | undefined
  /** Stream sequence. */
  readonly after: number
}

const filterOf = ({ instance, task }: Asked): string =>
  `heddle.logs.${instance}.${task?.includes(":") === true ? task : "*"}`

const taskIdOf = (subject: string): string => subject.slice(subject.lastIndexOf(".") + 1)

/** A name, or the id of an attempt; nothing that is something else in a subject. */
export const checkTask = (task: string | undefined): ContractError | undefined =>
  task === undefined || /^[A-Za-z0-9_-]{1,63}(:\d{1,9}){0,3}$/.test(task) ? undefined : new ContractError({
    code: "InvalidName",
    message: `task: ${JSON.stringify(task.slice(0, 80))} is neither a task's name nor \`name:run:attempt\``,
    path: "task"
  })

/** The line as it is shown; `undefined`: of another task, or nothing that this version can read. */
const lineOf = (asked: Asked, sequence: number, subject: string, text: string) => {
  const taskId = taskIdOf(subject)
  if (asked.task !== undefined && taskId !== asked.task && taskId.split(":", 1)[0] !== asked.task) return undefined
  const line = decodeLine(text)
  return Result.isFailure(line) ? undefined : { seq: sequence, taskId, ...line.success, at: timestamp(line.success.at) }
}

const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: error.message })

/** A page, oldest first. */
export const page = (nats: Connection, asked: Asked, limit: number = limitDefault) =>
  Effect.gen(function*() {
    const items: Array<object> = []
    let after = asked.after
    yield* Read.readRange(nats, Streams.name.logs, {
      filter: filterOf(asked),
      from: after + 1,
      batch: Math.min(512, limit)
    }).pipe(
      Stream.take(scannedMax),
      Stream.takeUntil((message) => {
        const line = lineOf(asked, message.sequence, message.subject, message.text)
        after = message.sequence
        if (line !== undefined) items.push(line)
        return items.length === limit
      }),
      Stream.runDrain,
      Effect.mapError(unavailable)
    )
    return { items, next: String(after) }
  })

/** Server-Sent Events, while the scope is open. */
export const live = (
  nats: Connection,
  asked: Asked,
  heartbeatMs: number
): Effect.Effect<{ readonly text: Stream.Stream<string>; readonly outbox: Outbox }, ContractError, Scope.Scope> =>
  Effect.gen(function*() {
    const outbox = new Outbox()
    let waiting = 0
    let isPaused = false
    let consumer: Consume.Consumer | undefined
    consumer = yield* Consume.consume(
      nats,
      Streams.name.logs,
      {
        filter: filterOf(asked),
        from: asked.after + 1,
        acknowledge: "none",
        maxMessages: inFlightMax,
        description: "heddle gateway: logs"
      },
      (delivery) => {
        const line = lineOf(asked, delivery.sequence, delivery.subject, delivery.text)
        if (line === undefined) return
        const id = String(delivery.sequence)
        outbox.push({ id, text: block("log", JSON.stringify(line), id) })
        waiting += 1
        if (waiting >= highWater && !isPaused && consumer !== undefined) {
          isPaused = true
          consumer.pause()
        }
      }
    ).pipe(Effect.mapError(unavailable))
    yield* consumer.failure.pipe(
      Effect.catch((error) => Effect.sync(() => outbox.end(error.message))),
      Effect.catchCause((cause) =>
        Effect.sync(() => {
          if (Cause.hasInterruptsOnly(cause)) return
          outbox.end("a defect of the gateway")
          nats.fail(`gateway: the reader of logs: ${Cause.pretty(cause)}`, cause)
        })
      ),
      Effect.forkScoped
    )
    let given = String(asked.after)
    const text = Stream.paginate(undefined, () =>
      Effect.map(outbox.take(heartbeatMs), (blocks) => {
        waiting = 0
        if (isPaused) {
          isPaused = false
          consumer?.resume()
        }
        if (blocks.length > 0) {
          given = blocks.at(-1)?.id ?? given
          return [[blocks.map((one) => one.text).join("")], Option.some(undefined)] as const
        }
        const { ended } = outbox
        return ended === undefined
          ? [[": \n\n"], Option.some(undefined)] as const
          : [[block("dropped", JSON.stringify({ reason: ended, cursor: given }))], Option.none()] as const
      }))
    return { text: Stream.concat(Stream.make("retry: 1000\n: \n\n"), text), outbox }
  })
