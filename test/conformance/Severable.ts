/**
 * A connection that can be cut at any of its messages: the coordinator behind it is then as dead as after `kill -9` between two instructions.
 *
 * Cut: nothing goes out any more, nothing that comes in is heard, no answer arrives, and the server no longer knows its subscriptions. `onMessage` sees every
 * message that goes out (before it goes) and every answer that comes back (before it is heard), in order, and says whether to cut there; so a test can
 * enumerate the points at which a process may die.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Message } from "../../shared/jetstream/Message.ts"
import { type Connection, ConnectionLost, type RequestError, type Subscription } from "../../shared/jetstream/Nats.ts"

/** `out`: about to be sent. `in`: arrived, about to be handled. `answer`: the answer to a request of ours, about to be handled. */
export interface Passing {
  readonly direction: "out" | "in" | "answer"
  readonly subject: string
  readonly body: string
}

export interface Severable {
  readonly connection: Connection
  readonly cut: () => void
  readonly isCut: () => boolean
  /** Cut, and whoever waits for an answer learns that none will come: so that what is dead can be cleared away. */
  readonly bury: () => void
  /** Messages go through again from here on; subscriptions are not renewed. For a zombie that writes once more. */
  readonly mend: () => void
}

const textOf = (body: string | Uint8Array): string => typeof body === "string" ? body : new TextDecoder().decode(body)

/** `onMessage`: `true` cuts the connection before the message. */
export const severable = (nats: Connection, onMessage: (passing: Passing) => boolean = () => false): Severable => {
  let isCut = false
  let isBuried = false
  const parked: Array<() => void> = []
  const subscriptions = new Set<Subscription>()
  const cut = (): void => {
    isCut = true
    for (const subscription of subscriptions) subscription.unsubscribe()
    subscriptions.clear()
  }
  const passes = (direction: Passing["direction"], subject: string, body: string): boolean => {
    if (isCut) return false
    if (onMessage({ direction, subject, body })) cut()
    return !isCut
  }
  // the message as it is, but its answer goes through the cut too
  const heard = (message: Message): Message =>
    Object.create(message, {
      respond: {
        value: (body: string | Uint8Array, headers?: Parameters<Message["respond"]>[1]): boolean =>
          message.reply !== undefined && passes("out", message.reply, textOf(body)) && message.respond(body, headers)
      }
    }) as Message // inherits everything else of `message`
  const subscribeUnsafe: Connection["subscribeUnsafe"] = (subject, handler, options) => {
    const subscription = nats.subscribeUnsafe(subject, (message) => {
      if (passes("in", message.subject, message.text)) handler(heard(message))
    }, options)
    subscriptions.add(subscription)
    return {
      unsubscribe: () => {
        subscriptions.delete(subscription)
        subscription.unsubscribe()
      },
      drain: () => subscription.drain()
    }
  }
  const requestUnsafe: Connection["requestUnsafe"] = (subject, body, options, done) => {
    const lost = () => done(Result.fail(new ConnectionLost({ subject, sent: true })))
    const park = () => void (isBuried ? lost() : parked.push(lost))
    if (!passes("out", subject, textOf(body))) return park()
    nats.requestUnsafe(subject, body, options, (result) => {
      if (passes("answer", subject, Result.isSuccess(result) ? result.success.text : "")) done(result)
      else park()
    })
  }
  const connection: Connection = {
    url: nats.url,
    get serverVersion() {
      return nats.serverVersion
    },
    get payloadBytesMax() {
      return nats.payloadBytesMax
    },
    get isConnected() {
      return nats.isConnected
    },
    traffic: nats.traffic,
    publish: (subject, body, options) => passes("out", subject, textOf(body)) && nats.publish(subject, body, options),
    request: (subject, body, options) =>
      Effect.callback<Message, RequestError>((resume) =>
        requestUnsafe(
          subject,
          body,
          options ?? {},
          (result) => resume(Result.isSuccess(result) ? Effect.succeed(result.success) : Effect.fail(result.failure))
        )
      ),
    requestUnsafe,
    subscribe: (subject, handler, options) =>
      Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => subscribeUnsafe(subject, handler, options)),
          (subscription) => Effect.sync(() => subscription.unsubscribe())
        ),
        nats.flush
      ),
    subscribeUnsafe,
    readReplies: nats.readReplies,
    inbox: nats.inbox,
    flush: Effect.suspend(() => isCut ? Effect.succeed(false) : nats.flush),
    onReconnect: nats.onReconnect,
    onDisconnect: nats.onDisconnect,
    onForbidden: nats.onForbidden,
    failure: nats.failure,
    fail: nats.fail,
    clock: nats.clock
  }
  return {
    connection,
    cut,
    isCut: () => isCut,
    bury: () => {
      cut()
      isBuried = true
      for (const lost of parked.splice(0)) lost()
    },
    mend: () => {
      isCut = false
    }
  }
}
