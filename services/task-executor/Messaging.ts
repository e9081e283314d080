/**
 * What tasks that run in the executor do with NATS, on the executor's own connection (`shared/plugin/Messaging.ts`).
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection, Message } from "../../shared/jetstream/Nats.ts"
import { type Messaging, MessagingFailed, type Reply } from "../../shared/plugin/Messaging.ts"

const failed = (message: string, isPermanent = false) => new MessagingFailed({ message, isPermanent })
const replyOf = ({ data, headers }: Message): Reply => ({ data, headers })
const noResponders = 503

export const make = (nats: Connection): Messaging => {
  /** A publish that went nowhere: too large, or there is no connection. */
  const dropped = (subject: string, body: string) =>
    new TextEncoder().encode(body).length + 512 > nats.payloadBytesMax
      ? failed(`a message to ${subject} is larger than the server takes (${nats.payloadBytesMax} bytes)`, true)
      : failed(`no connection to NATS, ${subject} was not sent`)

  /** Several answers come to an inbox of their own, one after the other, until there are enough or the time is over. */
  const gather: Messaging["request"] = (subject, body, { headers, repliesMax, timeoutMs }) =>
    Effect.suspend(() => {
      const replies: Array<Reply> = []
      const enough = Deferred.makeUnsafe<void, MessagingFailed>()
      const reply = nats.inbox()
      return Effect.acquireUseRelease(
        Effect.sync(() =>
          nats.subscribeUnsafe(reply, (message) => {
            if (message.status === noResponders) {
              Deferred.doneUnsafe(enough, Effect.fail(failed(`nobody answers on ${subject}`)))
            } else if (replies.length < repliesMax && replies.push(replyOf(message)) === repliesMax) {
              Deferred.doneUnsafe(enough, Effect.void)
            }
          })
        ),
        () =>
          nats.publish(subject, body, { headers, reply })
            ? Deferred.await(enough).pipe(
              Effect.timeoutOption(timeoutMs),
              Effect.andThen(
                Effect.suspend(() =>
                  replies.length > 0
                    ? Effect.succeed(replies)
                    : Effect.fail(failed(`no answer on ${subject} within ${timeoutMs} ms`))
                )
              )
            )
            : Effect.fail(dropped(subject, body)),
        (subscription) => Effect.sync(subscription.unsubscribe)
      )
    })

  /** A message that the broker dropped, since the executor's user may not publish there, fails what waits for its effect. */
  const allowed = <A>(subject: string, effect: Effect.Effect<A, MessagingFailed>): Effect.Effect<A, MessagingFailed> =>
    Effect.scoped(Effect.suspend(() => {
      const refused = Deferred.makeUnsafe<never, MessagingFailed>()
      const reason =
        `the executor's user at NATS may not publish on ${subject}: give it that permission (docs/design/permissions.md)`
      return nats.onForbidden((forbidden) => {
        if (forbidden === subject) Deferred.doneUnsafe(refused, Effect.fail(failed(reason, true)))
      }).pipe(Effect.andThen(Effect.raceFirst(effect, Deferred.await(refused))))
    }))

  return {
    publish: (subject, body, { headers }) =>
      allowed(
        subject,
        Effect.suspend(() =>
          nats.publish(subject, body, { headers }) ? nats.flush : Effect.fail(dropped(subject, body))
        ).pipe(
          // a refusal came before the server's confirmation; now it is also told
          Effect.tap(Effect.yieldNow),
          Effect.filterOrFail(
            (isFlushed) => isFlushed,
            () => failed(`the server did not confirm ${subject}: sent or not, nobody knows`)
          ),
          Effect.asVoid
        )
      ),
    store: (subject, body, { headers, msgId, timeoutMs }) =>
      allowed(
        subject,
        Append.publish(nats, subject, body, { headers, msgId, timeoutMs }).pipe(
          Effect.mapError((error) =>
            failed(
              error.reason.startsWith("nobody answers")
                ? `no stream takes ${subject} (or its leader is being elected)`
                : error.message,
              error.reason.includes("larger than the server takes")
            )
          )
        )
      ),
    request: (subject, body, options) =>
      allowed(
        subject,
        options.repliesMax > 1 ? gather(subject, body, options) : nats.request(subject, body, options).pipe(
          Effect.map((message) => [replyOf(message)]),
          Effect.mapError((error) => failed(error.message, error._tag === "MessageTooLarge"))
        )
      )
  }
}
