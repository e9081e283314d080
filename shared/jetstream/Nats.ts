/**
 * One connection of a process to NATS, and everything that goes through it without JetStream: publish, request, subscribe.
 *
 * Keeps true: a request ends exactly once, with its answer or with a reason; it never outlives its deadline by more than one sweep (100 ms); nothing that was
 * dropped is reported as sent. Answers to all requests arrive on one inbox subscription and are handed over synchronously, without a fiber, promise or timer each.
 * While the connection is down a request fails at once with `ConnectionLost{sent: false}` (it would only wait for a deadline, and the library drops what is
 * published then); requests in flight when it breaks fail with `ConnectionLost{sent: true}`, since their answers may be lost. The connection itself is renewed for ever.
 * Follows docs/design/modules.md "shared/jetstream", guides nats.md sections 2.3 and 8.
 */
import { connect, createInbox, credsAuthenticator, PermissionViolationError } from "@nats-io/transport-node"
import type { ConnectionOptions, Msg, NatsConnection, Subscription as RawSubscription } from "@nats-io/transport-node"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Record from "effect/Record"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Buffer } from "node:buffer"
import { readFileSync } from "node:fs"
import { ContractError } from "../protocol/ErrorCode.ts"
import { encodeHeaders, type Headers, Message } from "./Message.ts"

export type { Headers, Message } from "./Message.ts"

/** Nobody listens on the subject (for JetStream: no such stream, or its leader is being elected). Nothing was done. */
export class NoResponders extends Schema.TaggedError<NoResponders>()("NoResponders", { subject: Schema.String }) {
  override get message(): string {
    return `nobody answers on ${this.subject}`
  }
}
/** No answer in time: done or not, nobody knows. */
export class RequestTimeout
  extends Schema.TaggedError<RequestTimeout>()("RequestTimeout", { subject: Schema.String, timeoutMs: Schema.Finite })
{
  override get message(): string {
    return `no answer on ${this.subject} within ${this.timeoutMs} ms`
  }
}
/** The connection is down. `sent: false`: the request never left. `sent: true`: it may have been done. */
export class ConnectionLost
  extends Schema.TaggedError<ConnectionLost>()("ConnectionLost", { subject: Schema.String, sent: Schema.Boolean })
{
  override get message(): string {
    return this.sent
      ? `the connection to NATS broke while waiting for ${this.subject}`
      : `no connection to NATS, ${this.subject} was not sent`
  }
}
/** Larger than the server takes (`max_payload`); it was not sent. */
export class MessageTooLarge
  extends Schema.TaggedError<MessageTooLarge>()("MessageTooLarge", { subject: Schema.String, bytesMax: Schema.Finite })
{
  override get message(): string {
    return `a message to ${this.subject} is larger than the server takes (${this.bytesMax} bytes)`
  }
}
export type RequestError = NoResponders | RequestTimeout | ConnectionLost | MessageTooLarge

/** The connection has ended for good, or a synchronous handler threw: the service cannot go on. */
export class NatsFailed
  extends Schema.TaggedError<NatsFailed>()("NatsFailed", { reason: Schema.String, cause: Schema.Defect() })
{
  override get message(): string {
    return this.reason
  }
}

export interface PublishOptions {
  readonly headers?: Headers
  readonly reply?: string
}
export interface RequestOptions {
  readonly headers?: Headers
  /** Where the answer goes, once: a subject that `readReplies` has and that others may read too. Default: one that only this connection reads. */
  readonly reply?: string
  /** Default `requestTimeoutDefaultMs`. */
  readonly timeoutMs?: number
}
export interface SubscribeOptions {
  /** Queue group: each message goes to one of its members. */
  readonly queue?: string
}
export interface Subscription {
  /** No further message is delivered from here on. Idempotent. */
  readonly unsubscribe: () => void
  /** The server stops sending; what is on the way is still delivered. */
  readonly drain: () => void
}

export const requestTimeoutDefaultMs = 5_000
/** How late after its deadline a request may fail; `standstillMs` more when this process stood still meanwhile. */
export const sweepIntervalMs = 100
/** A look at the deadlines that is so much later than it should be: the process stood still. Then what has come meanwhile is read first, for as long again. */
const standstillMs = 1_000
export const connectWaitDefaultMs = 10_000
export const slowWaitDefaultMs = 60_000
const drainWaitMs = 2_000
/** Kinds of subjects that a log tells about as forbidden. */
const forbiddenMax = 64
const flushWaitMs = 2_000

/** What a connection has carried, and how often it was made anew. */
export interface Traffic {
  readonly inMessages: number
  readonly outMessages: number
  readonly inBytes: number
  readonly outBytes: number
  readonly reconnects: number
}

export interface Connection {
  /** Without user and password. */
  readonly url: string
  /** Of the server connected now, e.g. `2.15.1`. */
  readonly serverVersion: string
  /** The largest message the server takes, in bytes. */
  readonly payloadBytesMax: number
  readonly isConnected: boolean
  /** Since this process opened it. */
  readonly traffic: () => Traffic
  /** Core publish, at most once, never throws. `false`: it was dropped (connection down, closing, or larger than `payloadBytesMax`). */
  readonly publish: (subject: string, body: string | Uint8Array, options?: PublishOptions) => boolean
  readonly request: (
    subject: string,
    body: string | Uint8Array,
    options?: RequestOptions
  ) => Effect.Effect<Message, RequestError>
  /** The same without a fiber. `done` is called exactly once, maybe before this returns, and must not throw. */
  readonly requestUnsafe: (
    subject: string,
    body: string | Uint8Array,
    options: RequestOptions,
    done: (result: Result.Result<Message, RequestError>) => void
  ) => void
  /** Answers on `subject` (with wildcards) settle the requests that named one of its subjects as `reply`. Returns when the server knows it. */
  readonly readReplies: (subject: string) => Effect.Effect<void, never, Scope.Scope>
  /** Returns when the server knows the subscription. `handler` is synchronous; if it throws, `failure` fails. Survives reconnects. */
  readonly subscribe: (
    subject: string,
    handler: (message: Message) => void,
    options?: SubscribeOptions
  ) => Effect.Effect<void, never, Scope.Scope>
  readonly subscribeUnsafe: (
    subject: string,
    handler: (message: Message) => void,
    options?: SubscribeOptions
  ) => Subscription
  /** A subject that only this connection uses. */
  readonly inbox: () => string
  /** Everything published before has reached the server; `false` when that was not confirmed within 2 s. */
  readonly flush: Effect.Effect<boolean>
  /** After each reconnect, when subscriptions stand again. What was in flight before is lost. */
  readonly onReconnect: (handler: () => void) => Effect.Effect<void, never, Scope.Scope>
  readonly onDisconnect: (handler: () => void) => Effect.Effect<void, never, Scope.Scope>
  /** The server dropped a message on this subject, since our user may not publish there. It says so before it answers a `flush` that follows. */
  readonly onForbidden: (handler: (subject: string) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Never succeeds; fails when the connection has ended for good. A service races its main effect with it. */
  readonly failure: Effect.Effect<never, NatsFailed>
  /** Takes the service down through `failure`: for synchronous code that finds its own invariant broken. */
  readonly fail: (reason: string, cause: unknown) => void
  /** The clock that deadlines are read from. */
  readonly clock: Clock.Clock
}

/** Who connects: at most one of a file, its text, user and password, a token. None: what the URL names, or nobody. */
export interface Identity {
  /** Path of a `.creds` file (JWT and nkey). Read again at each reconnect, so that it may be renewed in place. */
  readonly credentials?: string
  /** The text of such a file, instead of its path. */
  readonly credentialsText?: string
  readonly user?: string
  readonly password?: Redacted.Redacted<string>
  readonly token?: Redacted.Redacted<string>
}

export interface ConnectOptions extends Identity {
  /** `nats://[user:password@]host:port`, or several with commas. */
  readonly url: string
  /** Shown by `nats server report connections`. */
  readonly name: string
  /** Where answers arrive, for an identity that may not subscribe to every inbox; `_INBOX` when not given. */
  readonly inboxPrefix?: string
  /** How long to try before the first connection where nobody listens, default 10 s. */
  readonly connectWaitMs?: number
  /** The same where somebody takes the connection and does not answer in time (a busy machine), default 60 s; not less than `connectWaitMs`. */
  readonly slowWaitMs?: number
}

export class Nats extends Context.Service<Nats, Connection>()("heddle/jetstream/Nats") {
  static readonly layer = (options: ConnectOptions): Layer.Layer<Nats, ContractError> =>
    Layer.effect(Nats, open(options))
}

const unclear = (message: string): ContractError => new ContractError({ code: "InvalidMessage", message })

/** `HEDDLE_NATS_CREDS`; or `HEDDLE_NATS_USER` and `HEDDLE_NATS_PASSWORD`; or `HEDDLE_NATS_TOKEN`. More than one of them is a mistake, and said so. */
export const identityConfig = Effect.gen(function*() {
  const set = yield* Config.all({
    credentials: Config.option(Config.String("HEDDLE_NATS_CREDS")),
    user: Config.option(Config.String("HEDDLE_NATS_USER")),
    password: Config.option(Config.Redacted("HEDDLE_NATS_PASSWORD")),
    token: Config.option(Config.Redacted("HEDDLE_NATS_TOKEN"))
  })
  const identity: Identity = Record.getSomes<string, string | Redacted.Redacted<string>>(set)
  const names = [
    ...(identity.credentials === undefined ? [] : ["HEDDLE_NATS_CREDS"]),
    ...(identity.user === undefined && identity.password === undefined ? [] : ["HEDDLE_NATS_USER"]),
    ...(identity.token === undefined ? [] : ["HEDDLE_NATS_TOKEN"])
  ]
  if (names.length > 1) {
    return yield* unclear(`${names.join(" and ")} are set: a process has one identity at NATS. Unset all but one.`)
  }
  if ((identity.user === undefined) !== (identity.password === undefined)) {
    return yield* unclear("HEDDLE_NATS_USER and HEDDLE_NATS_PASSWORD belong together: set both, or none of them.")
  }
  return identity
})

interface Pending {
  readonly subject: string
  readonly deadline: number
  readonly timeoutMs: number
  readonly done: (result: Result.Result<Message, RequestError>) => void
}

const withoutSecrets = (url: string): string => url.replace(/\/\/[^@/]*@/g, "//")

const isRefusal = (cause: unknown): boolean =>
  cause instanceof Error && /authorization|authentication|permission/i.test(`${cause.name} ${cause.message}`)

const reasonOf = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause)
  const inner = cause.cause instanceof Error ? `: ${cause.cause.message}` : ""
  return `${cause.message || cause.name}${inner}`
}

/** What is said about who was refused; no secret is in it. */
const identityText = ({ credentials, credentialsText, token, url, user }: ConnectOptions): string => {
  if (credentials !== undefined) return `the credentials of ${credentials}`
  if (credentialsText !== undefined) return "these credentials"
  if (user !== undefined) return `user ${JSON.stringify(user)}`
  if (token !== undefined) return "this token"
  return /\/\/[^@/]*@/.test(url) ? "the user of the URL" : "a connection without credentials"
}

/** The bytes of a credentials file, and again at each call while it can be read. */
const credentialsOf = (path: string) =>
  Effect.try({
    try: () => {
      let bytes = readFileSync(path)
      credsAuthenticator(bytes)("")
      return () => {
        try {
          bytes = readFileSync(path)
        } catch {
          // It is just being replaced, or was taken away: what it said last may still be good.
        }
        return bytes
      }
    },
    catch: (cause) =>
      unclear(
        `${path} is no credentials file: ${
          reasonOf(cause)
        }. Name one that \`nsc generate creds\` makes (--nats-creds, HEDDLE_NATS_CREDS).`
      )
  })

const connectionOptions = (options: ConnectOptions): Effect.Effect<ConnectionOptions, ContractError> =>
  Effect.gen(function*() {
    const urls = options.url.split(",").map((text) => text.trim()).filter((text) => text !== "")
    const first = URL.canParse(urls[0] ?? "") ? new URL(urls[0] ?? "") : undefined
    const urlUser = first === undefined ? "" : decodeURIComponent(first.username)
    const urlPass = first === undefined ? "" : decodeURIComponent(first.password)
    const { credentials, credentialsText, password, token, user } = options
    if (urlUser !== "" && identityText(options) !== "the user of the URL") {
      return yield* unclear(
        `the URL of the NATS server names a user, and there is ${
          identityText(options)
        }: a process has one identity at NATS. Take the user out of the URL, or unset the other.`
      )
    }
    const credentialsFile = credentials === undefined ? undefined : yield* credentialsOf(credentials)
    return {
      servers: urls.map((text) => withoutSecrets(text).replace(/^(nats|tls):\/\//, "")),
      name: options.name,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 200,
      reconnectJitter: 100,
      pingInterval: 10_000,
      maxPingOut: 2,
      timeout: 2_000,
      ...(urlUser !== "" && urlPass !== ""
        ? { user: urlUser, pass: urlPass }
        : urlUser === ""
        ? {}
        : { token: urlUser }),
      ...(user === undefined || password === undefined ? {} : { user, pass: Redacted.value(password) }),
      ...(token === undefined ? {} : { token: Redacted.value(token) }),
      ...(first?.protocol === "tls:" ? { tls: {} } : {}),
      ...(options.inboxPrefix === undefined ? {} : { inboxPrefix: options.inboxPrefix }),
      ...(credentialsText === undefined
        ? {}
        : { authenticator: credsAuthenticator(new TextEncoder().encode(credentialsText)) }),
      ...(credentialsFile === undefined ? {} : { authenticator: credsAuthenticator(credentialsFile) })
    }
  })

class DialFailed extends Data.TaggedError("DialFailed")<{ readonly cause: unknown }> {}

/** An attempt that was given up on, or that stood still together with this process: the server may be there. */
const isSlow = (cause: unknown): boolean => cause instanceof Error && cause.name === "TimeoutError"

/** Tries for `connectWaitMs`, or `slowWaitMs` while it is only slow; fails at once when the server refuses the identity. */
const dial = Effect.fn("Nats.dial")(function*(options: ConnectOptions) {
  const clock = yield* Clock.Clock
  const waitMs = options.connectWaitMs ?? connectWaitDefaultMs
  const slowMs = Math.max(waitMs, options.slowWaitMs ?? slowWaitDefaultMs)
  const begun = clock.currentTimeMillisUnsafe()
  const raw = yield* connectionOptions(options)
  while (true) {
    const attempt = yield* Effect.tryPromise({
      try: () => connect(raw),
      catch: (cause) => new DialFailed({ cause })
    }).pipe(Effect.result)
    if (Result.isSuccess(attempt)) return attempt.success
    const refused = isRefusal(attempt.failure.cause)
    const forMs = isSlow(attempt.failure.cause) ? slowMs : waitMs
    if (refused || clock.currentTimeMillisUnsafe() - begun >= forMs) {
      const url = withoutSecrets(options.url)
      return yield* new ContractError({
        code: "Unavailable",
        message: refused
          ? `NATS at ${url} refuses ${identityText(options)}: ${
            reasonOf(attempt.failure.cause)
          }. Set HEDDLE_NATS_CREDS to a credentials file, or HEDDLE_NATS_USER and HEDDLE_NATS_PASSWORD, or HEDDLE_NATS_TOKEN, as that server knows them.`
          : `no NATS server at ${url} within ${forMs / 1000} s: ${
            reasonOf(attempt.failure.cause)
          }. Start one (\`heddle dev\`) or set HEDDLE_NATS_URL; \`heddle doctor\` shows more.`,
        details: { url, refused }
      })
    }
    yield* Effect.sleep(200)
  }
})

/** The library's flag that tells whether what is published now goes to a socket; its status events come later than the fact. */
const isUp = (raw: NatsConnection): boolean =>
  (raw as unknown as { readonly protocol: { readonly connected: boolean } }).protocol.connected // not in the public type

/** Opens the connection; it is drained (2 s at most) and closed with the scope. */
export const open = Effect.fn("Nats.open")(function*(options: ConnectOptions) {
  const clock = yield* Clock.Clock
  const context = yield* Effect.context<never>()
  const runFork = Effect.runForkWith(context)
  const failed = yield* Deferred.make<never, NatsFailed>()
  const raw = yield* Effect.acquireRelease(dial(options), close)

  const reconnectHandlers = new Set<() => void>()
  const disconnectHandlers = new Set<() => void>()
  const pending = new Map<string, Pending>()
  const prefix = `${createInbox(options.inboxPrefix)}.`
  let counter = 0
  let nextDeadline = Infinity
  let sweeper: Fiber.Fiber<void> | undefined

  const fail = (reason: string, cause: unknown): void => {
    Deferred.doneUnsafe(failed, Effect.fail(new NatsFailed({ reason, cause })))
  }
  const guarded = (what: string, handler: () => void): void => {
    try {
      handler()
    } catch (cause) {
      fail(`the handler of ${what} threw: ${reasonOf(cause)}`, cause)
    }
  }
  const settle = (request: Pending, result: Result.Result<Message, RequestError>): void =>
    guarded(request.subject, () => request.done(result))

  const failPending = (): void => {
    const lost = [...pending.values()]
    pending.clear()
    for (const request of lost) {
      settle(request, Result.fail(new ConnectionLost({ subject: request.subject, sent: true })))
    }
  }

  // One fiber while anything is pending, for all deadlines; it ends when nothing is.
  const sweep = Effect.gen(function*() {
    let hearsUntil = -Infinity
    while (pending.size > 0) {
      const before = clock.currentTimeMillisUnsafe()
      yield* Effect.sleep(sweepIntervalMs)
      const now = clock.currentTimeMillisUnsafe()
      if (now - before > sweepIntervalMs + standstillMs) hearsUntil = now + standstillMs
      if (now < nextDeadline || now < hearsUntil) continue
      nextDeadline = Infinity // handlers called below may ask again, which lowers it
      for (const [reply, request] of pending) {
        if (request.deadline > now) {
          if (request.deadline < nextDeadline) nextDeadline = request.deadline
          continue
        }
        pending.delete(reply)
        settle(request, Result.fail(new RequestTimeout({ subject: request.subject, timeoutMs: request.timeoutMs })))
      }
    }
    nextDeadline = Infinity
    sweeper = undefined
  })

  const publish: Connection["publish"] = (subject, body, publishOptions) => {
    if (!isUp(raw)) return false
    try {
      raw.publish(
        subject,
        body,
        publishOptions === undefined ? undefined : {
          ...(publishOptions.reply === undefined ? {} : { reply: publishOptions.reply }),
          ...(publishOptions.headers === undefined ? {} : { headers: encodeHeaders(publishOptions.headers) })
        }
      )
      return true
    } catch {
      return false // closed, draining or too large: dropped, and said so
    }
  }
  const wrap = (message: Msg): Message => new Message(message, publish)

  const requestUnsafe: Connection["requestUnsafe"] = (subject, body, requestOptions, done) => {
    const timeoutMs = requestOptions.timeoutMs ?? requestTimeoutDefaultMs
    const reply = requestOptions.reply ?? prefix + (counter++).toString(36)
    if (
      !publish(
        subject,
        body,
        requestOptions.headers === undefined ? { reply } : { reply, headers: requestOptions.headers }
      )
    ) {
      const bytesMax = raw.info?.max_payload ?? Infinity
      const isTooLarge = (typeof body === "string" ? Buffer.byteLength(body) : body.byteLength) + 512 > bytesMax
      done(
        Result.fail(
          isTooLarge && isUp(raw)
            ? new MessageTooLarge({ subject, bytesMax })
            : new ConnectionLost({ subject, sent: false })
        )
      )
      return
    }
    const deadline = clock.currentTimeMillisUnsafe() + timeoutMs
    pending.set(reply, { subject, deadline, timeoutMs, done })
    if (deadline < nextDeadline) nextDeadline = deadline
    sweeper ??= runFork(sweep)
  }

  const subscribeRaw = (
    subject: string,
    handler: (error: Error | null, message: Msg) => void,
    subscribeOptions?: SubscribeOptions
  ): RawSubscription =>
    raw.subscribe(subject, {
      ...(subscribeOptions?.queue === undefined ? {} : { queue: subscribeOptions.queue }),
      callback: (error, message) => {
        if (error === null || error === undefined) return handler(null, message)
        fail(`the subscription of ${subject} was refused: ${reasonOf(error)}`, error)
      }
    })

  const answered = (_: Error | null, message: Msg): void => {
    const request = pending.get(message.subject)
    if (request === undefined) return // its deadline has passed
    pending.delete(message.subject)
    settle(
      request,
      message.headers?.code === 503
        ? Result.fail(new NoResponders({ subject: request.subject }))
        : Result.succeed(wrap(message))
    )
  }
  subscribeRaw(`${prefix}*`, answered)

  const subscribeUnsafe: Connection["subscribeUnsafe"] = (subject, handler, subscribeOptions) => {
    const subscription = subscribeRaw(
      subject,
      (_, message) => guarded(subject, () => handler(wrap(message))),
      subscribeOptions
    )
    return {
      unsubscribe: () => {
        if (!subscription.isClosed() && !raw.isClosed()) subscription.unsubscribe()
      },
      drain: () => {
        if (subscription.isClosed() || subscription.isDraining() || raw.isClosed()) return
        subscription.drain().catch(() => subscription.unsubscribe()) // the connection went down meanwhile: nothing is on the way
      }
    }
  }

  const flush = Effect.tryPromise(() => raw.flush()).pipe(
    Effect.timeoutOption(flushWaitMs),
    Effect.map(Option.isSome),
    Effect.catchCause(() => Effect.succeed(false))
  )

  const forbiddenHandlers = new Set<(subject: string) => void>()
  const registerIn = <Handler>(handlers: Set<Handler>) => (handler: Handler) =>
    Effect.acquireRelease(Effect.sync(() => handlers.add(handler)), () => Effect.sync(() => handlers.delete(handler)))
      .pipe(Effect.asVoid)

  // What is published without the right to is dropped by the server, which tells nobody but the connection.
  const forbidden = new Set<string>()
  const tellForbidden = ({ operation, subject }: PermissionViolationError): void => {
    if (operation === "publish") {
      for (const handler of forbiddenHandlers) guarded("forbidden", () => handler(subject))
    }
    const what = subject.split(".").slice(0, 3).join(".")
    if (forbidden.size >= forbiddenMax || forbidden.has(`${operation} ${what}`)) return
    forbidden.add(`${operation} ${what}`)
    runFork(
      Effect.logError(
        `NATS does not let this process ${operation} on ${subject}, nor maybe on others that begin with ${what}: give its user that permission (docs/design/permissions.md)`
      )
    )
  }
  let reconnects = 0
  const watchStatus = async (): Promise<void> => {
    for await (const status of raw.status()) {
      if (status.type === "error" && status.error instanceof PermissionViolationError) {
        tellForbidden(status.error)
      } else if (status.type === "disconnect") {
        failPending()
        for (const handler of disconnectHandlers) guarded("disconnect", handler)
      } else if (status.type === "reconnect") {
        reconnects++
        for (const handler of reconnectHandlers) guarded("reconnect", handler)
      }
    }
  }
  watchStatus().catch((cause: unknown) => fail("the connection's events ended", cause))
  let closing = false
  raw.closed().then(
    (cause) => {
      failPending()
      if (!closing) fail(`the connection to NATS ended: ${cause === undefined ? "closed" : reasonOf(cause)}`, cause)
    },
    (cause: unknown) => fail("the connection to NATS ended", cause)
  )
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closing = true
      failPending()
      return sweeper === undefined ? Effect.void : Fiber.interrupt(sweeper)
    })
  )

  const connection: Connection = {
    url: withoutSecrets(options.url),
    get serverVersion() {
      return raw.info?.version ?? "unknown"
    },
    get payloadBytesMax() {
      return raw.info?.max_payload ?? 1_048_576
    },
    get isConnected() {
      return isUp(raw)
    },
    traffic: () => {
      const { inBytes, inMsgs, outBytes, outMsgs } = raw.stats()
      return { inMessages: inMsgs, outMessages: outMsgs, inBytes, outBytes, reconnects }
    },
    publish,
    requestUnsafe,
    request: (subject, body, requestOptions) =>
      Effect.callback<Message, RequestError>((resume) => {
        requestUnsafe(subject, body, requestOptions ?? {}, (result) => resume(Effect.fromResult(result)))
      }),
    subscribeUnsafe,
    subscribe: (subject, handler, subscribeOptions) =>
      Effect.acquireRelease(
        Effect.sync(() => subscribeUnsafe(subject, handler, subscribeOptions)),
        (subscription) => Effect.sync(subscription.unsubscribe)
      ).pipe(Effect.andThen(flush), Effect.asVoid),
    readReplies: (subject) =>
      Effect.acquireRelease(
        Effect.sync(() => subscribeRaw(subject, answered)),
        (subscription) =>
          Effect.sync(() => {
            if (!subscription.isClosed() && !raw.isClosed()) subscription.unsubscribe()
          })
      ).pipe(Effect.andThen(flush), Effect.asVoid),
    inbox: () => createInbox(options.inboxPrefix),
    flush,
    onReconnect: registerIn(reconnectHandlers),
    onDisconnect: registerIn(disconnectHandlers),
    onForbidden: registerIn(forbiddenHandlers),
    failure: Deferred.await(failed),
    fail,
    clock
  }
  return connection
})

/** Sends what is buffered, then closes; a connection that is down is closed at once. */
function close(raw: NatsConnection): Effect.Effect<void> {
  const end = Effect.promise(() => raw.close())
  if (!isUp(raw)) return end
  // drain() fails only when the connection went down meanwhile: then nothing is left to send.
  return Effect.tryPromise(() => raw.drain()).pipe(
    Effect.interruptible,
    Effect.timeoutOption(drainWaitMs),
    Effect.ignore,
    Effect.andThen(end)
  )
}
