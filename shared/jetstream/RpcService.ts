/**
 * Requests of the contract from the answering side: endpoints as NATS micro services (ADR-32).
 *
 * Keeps true: every request gets exactly one answer, a ContractError in the contract's shape if nothing better; none is dropped silently. At most `inFlightMax` handlers of
 * an endpoint run at once. A defect of a handler is answered `Internal` and logged, it ends nothing. When the scope closes, nothing new is taken, what runs has
 * `graceMs` to end, and the rest is answered `ShuttingDown`. `nats micro ls|info|stats` finds every service. Follows design/02, docs/design/modules.md.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { ContractError, errorCodes } from "../protocol/ErrorCode.ts"
import * as Decode from "./Decode.ts"
import type { Message } from "./Message.ts"
import type { Connection, Subscription } from "./Nats.ts"
import { printable, refuse } from "./Rpc.ts"

/** The largest request a service takes, in bytes. */
export const requestBytesMax = 1_048_576
export const inFlightMaxDefault = 1_024
/** The queue group of ADR-32: a request goes to one of the replicas. */
export const queueDefault = "q"
const graceDefaultMs = 1_000

/** What a handler learns beside the request. */
export interface RequestContext {
  readonly subject: string
  /** What stands at the `*` of the endpoint's subject, in order; each is a valid name. */
  readonly tokens: ReadonlyArray<string>
  /** The raw message: headers, reply subject, data (to pass it on to another replica). */
  readonly message: Message
}

/** Answer of a handler that passed the request on: somebody else answers it. */
export const forwarded: unique symbol = Symbol("heddle/Rpc/forwarded")
export type Forwarded = typeof forwarded

interface EndpointCommon<A> {
  /** Name within the service, `[A-Za-z0-9_-]+`. */
  readonly name: string
  /** `*` stands for one name (given to the handler as `tokens`). */
  readonly subject: string
  /** `false`: no queue group, every replica answers (subjects that name one process). Default `q`. */
  readonly queue?: string | false
  readonly request: Decode.Decodable<A>
  /** Default 1 MiB. */
  readonly bytesMax?: number
  readonly description?: string
}
/** One endpoint of a service. Make it with `endpoint` or `endpointUnsafe`. */
export type Endpoint<R = never> = {
  readonly name: string
  readonly subject: string
  readonly queue: string | false
  readonly description: string
  readonly bind: (runtime: EndpointRuntime<R>) => (message: Message, subject: string) => void
}
interface EndpointRuntime<R> {
  readonly run: (effect: Effect.Effect<void, never, R>) => void
  readonly isClosing: () => boolean
  readonly stats: EndpointStats
  readonly nowMs: () => number
  readonly log: (message: string, cause: Cause.Cause<unknown>) => void
  readonly onClose: (refuse: () => void) => () => void
}

interface EndpointStats {
  requests: number
  errors: number
  lastError: string
  processingMs: number
}

/** An answer that the server would not take (`max_payload`) is replaced by an error that fits; while the connection is down both are lost. */
const send = (message: Message, text: string): void => {
  if (message.reply === undefined || message.respond(text)) return // nobody waits for the answer
  refuse(
    message,
    new ContractError({
      code: "PayloadTooLarge",
      message: `the answer has ${text.length} characters, more than the server takes; ask for less (limit, next)`
    })
  )
}

const tokenPattern = /^[A-Za-z0-9_-]{1,63}$/

/** The tokens at the wildcards of `pattern`; `undefined` when `subject` does not match. Pure. */
export const matchTokens = (pattern: string, subject: string): ReadonlyArray<string> | undefined => {
  const wanted = pattern.split(".")
  const found = subject.split(".")
  if (wanted.length !== found.length) return undefined
  const tokens: Array<string> = []
  for (let i = 0; i < wanted.length; i++) {
    const token = found[i] ?? ""
    if (wanted[i] === "*") tokens.push(token)
    else if (wanted[i] !== token) return undefined
  }
  return tokens
}

interface Admitted<A> {
  readonly request: A
  readonly context: RequestContext
}

/** The checks that both kinds of endpoint make before a handler sees anything. */
const admission = <A>(
  options: EndpointCommon<A>
): (message: Message, subject: string) => Result.Result<Admitted<A>, ContractError> => {
  const decode = Decode.decoder(options.request)
  const bytesMax = options.bytesMax ?? requestBytesMax
  const isLiteral = !options.subject.includes("*")
  const none: ReadonlyArray<string> = []
  return (message, subject) => {
    const size = message.data.byteLength
    if (size > bytesMax) {
      return Result.fail(
        new ContractError({
          code: "PayloadTooLarge",
          message: `${size} bytes, ${options.name} takes at most ${bytesMax}. ${errorCodes.PayloadTooLarge.fix}`,
          details: { bytes: size, bytesMax }
        })
      )
    }
    const tokens = isLiteral ? none : matchTokens(options.subject, subject)
    if (tokens === undefined) {
      return Result.fail(
        new ContractError({ code: "UnknownSubject", message: `${subject} is not of the form ${options.subject}` })
      )
    }
    for (const token of tokens) {
      if (!tokenPattern.test(token)) {
        return Result.fail(
          new ContractError({
            code: "InvalidName",
            message: `"${printable(token)}" in ${printable(subject)}: ${errorCodes.InvalidName.fix}`,
            details: { name: token }
          })
        )
      }
    }
    const decoded = decode(message.text)
    return Result.isFailure(decoded)
      ? Result.fail(decoded.failure)
      : Result.succeed({ request: decoded.success, context: { subject, tokens, message } })
  }
}

const shuttingDown = (): ContractError =>
  new ContractError({ code: "ShuttingDown", message: `this replica is ending. ${errorCodes.ShuttingDown.fix}` })

/**
 * An endpoint whose handler is an Effect: one fiber per request. The answer is sent as JSON as it is (encoded form). Failures are the contract's errors.
 */
export const endpoint = <A, Answer, R = never>(
  options: EndpointCommon<A> & {
    /** More are answered `Overloaded`. Default 1,024. */
    readonly inFlightMax?: number
    readonly handler: (request: A, context: RequestContext) => Effect.Effect<Answer | Forwarded, ContractError, R>
  }
): Endpoint<R> => ({
  name: options.name,
  subject: options.subject,
  queue: options.queue ?? queueDefault,
  description: options.description ?? "",
  bind: (runtime) => {
    const admit = admission(options)
    const inFlightMax = options.inFlightMax ?? inFlightMaxDefault
    const stats = runtime.stats
    let inFlight = 0
    const fail = (message: Message, error: ContractError): void => {
      stats.errors++
      stats.lastError = `${error.code}: ${error.message}`
      refuse(message, error)
    }
    return (message, subject) => {
      stats.requests++
      if (runtime.isClosing()) return fail(message, shuttingDown())
      if (inFlight >= inFlightMax) {
        return fail(
          message,
          new ContractError({
            code: "Overloaded",
            message: `${inFlightMax} requests of ${options.name} are in progress. ${errorCodes.Overloaded.fix}`,
            details: { inFlightMax }
          })
        )
      }
      const admitted = admit(message, subject)
      if (Result.isFailure(admitted)) return fail(message, admitted.failure)
      const { context, request } = admitted.success
      const startedMs = runtime.nowMs()
      inFlight++
      // Uninterruptible around the handler: an interrupted one (the scope closes) is answered too.
      runtime.run(
        Effect.uninterruptibleMask((restore) =>
          restore(Effect.suspend(() => options.handler(request, context))).pipe(
            Effect.map((answer) => answer === forwarded ? undefined : JSON.stringify(answer)),
            Effect.matchCause({
              onSuccess: (text) => {
                if (text !== undefined) send(message, text)
              },
              onFailure: (cause) => {
                const error = Cause.findErrorOption(cause)
                if (error._tag === "Some" && !Cause.hasDies(cause)) return fail(message, error.value)
                if (Cause.hasInterruptsOnly(cause)) return fail(message, shuttingDown())
                runtime.log(`${options.name}: a defect`, cause)
                fail(
                  message,
                  new ContractError({
                    code: "Internal",
                    message: `a defect in ${options.name}: ${printable(Cause.pretty(cause).split("\n", 1)[0] ?? "")}`
                  })
                )
              }
            }),
            Effect.ensuring(Effect.sync(() => {
              inFlight--
              stats.processingMs += runtime.nowMs() - startedMs
            }))
          )
        )
      )
    }
  }
})

/** Answers a request of `endpointUnsafe`. The first call counts, later ones do nothing. */
export interface Responder<Answer> {
  /** A value, sent as JSON, or JSON text made by the caller. */
  readonly answer: (answer: Answer | string) => void
  readonly refuse: (error: ContractError) => void
  /** Somebody else answers: the request was passed on with its reply subject. */
  readonly passedOn: () => void
  /** Answers with what the effect gives, in a fiber of the service: for the rare request of a hot endpoint that has to wait for something. */
  readonly run: (effect: Effect.Effect<Answer, ContractError>) => void
}

/**
 * An endpoint for hot paths: the handler is synchronous and answers by `respond`, now or later; no fiber. What it has not answered when the scope closes is answered
 * `ShuttingDown`. If the handler throws, the request is answered `Internal`.
 */
export const endpointUnsafe = <A, Answer extends object>(
  options: EndpointCommon<A> & {
    /** Requests not yet answered; more are answered `Overloaded`. Default 1,024. */
    readonly inFlightMax?: number
    readonly handler: (request: A, respond: Responder<Answer>, context: RequestContext) => void
  }
): Endpoint => ({
  name: options.name,
  subject: options.subject,
  queue: options.queue ?? queueDefault,
  description: options.description ?? "",
  bind: (runtime) => {
    const admit = admission(options)
    const inFlightMax = options.inFlightMax ?? inFlightMaxDefault
    const stats = runtime.stats
    const open = new Set<Open<Answer>>()
    runtime.onClose(() => {
      for (const one of open) one.refuse(shuttingDown())
    })
    return (message, subject) => {
      stats.requests++
      const one = new Open<Answer>(message, open, stats, runtime, options.name)
      if (runtime.isClosing()) return one.refuse(shuttingDown())
      if (open.size >= inFlightMax) {
        return one.refuse(
          new ContractError({
            code: "Overloaded",
            message: `${inFlightMax} requests of ${options.name} are in progress. ${errorCodes.Overloaded.fix}`,
            details: { inFlightMax }
          })
        )
      }
      const admitted = admit(message, subject)
      if (Result.isFailure(admitted)) return one.refuse(admitted.failure)
      open.add(one)
      try {
        options.handler(admitted.success.request, one, admitted.success.context)
      } catch (cause) {
        runtime.log(`${options.name}: a defect`, Cause.die(cause))
        one.refuse(
          new ContractError({ code: "Internal", message: `a defect in ${options.name}: ${printable(String(cause))}` })
        )
      }
    }
  }
})

class Open<Answer> implements Responder<Answer> {
  private readonly message: Message
  private readonly open: Set<Open<Answer>>
  private readonly stats: EndpointStats
  private readonly runtime: EndpointRuntime<never>
  private readonly name: string
  private readonly startedMs: number
  private isDone = false
  constructor(
    message: Message,
    open: Set<Open<Answer>>,
    stats: EndpointStats,
    runtime: EndpointRuntime<never>,
    name: string
  ) {
    this.message = message
    this.open = open
    this.stats = stats
    this.runtime = runtime
    this.name = name
    this.startedMs = runtime.nowMs()
  }
  private finish(): boolean {
    if (this.isDone) return false
    this.isDone = true
    this.open.delete(this)
    this.stats.processingMs += this.runtime.nowMs() - this.startedMs
    return true
  }
  readonly passedOn = (): void => {
    this.finish()
  }
  readonly run = (effect: Effect.Effect<Answer, ContractError>): void => {
    this.runtime.run(
      Effect.matchCause(effect, {
        onSuccess: this.answer,
        onFailure: (cause) => {
          const error = Cause.findErrorOption(cause)
          if (error._tag === "Some" && !Cause.hasDies(cause)) return this.refuse(error.value)
          if (Cause.hasInterruptsOnly(cause)) return this.refuse(shuttingDown())
          this.runtime.log(`${this.name}: a defect`, cause)
          this.refuse(new ContractError({ code: "Internal", message: `a defect in ${this.name}` }))
        }
      })
    )
  }
  readonly answer = (answer: Answer | string): void => {
    if (this.finish()) send(this.message, typeof answer === "string" ? answer : JSON.stringify(answer))
  }
  readonly refuse = (error: ContractError): void => {
    if (!this.finish()) return
    this.stats.errors++
    this.stats.lastError = `${error.code}: ${error.message}`
    refuse(this.message, error)
  }
}

export interface ServiceInfo {
  /** `[A-Za-z0-9_-]+`, the name that `nats micro ls` shows. */
  readonly service: string
  /** Semantic version. */
  readonly version: string
  readonly description: string
  /** Unique among the replicas; the member's startup id. */
  readonly id: string
  readonly metadata?: Readonly<Record<string, string>>
  /** What running handlers have to end when the scope closes, default 1 s. */
  readonly graceMs?: number
}

export interface Service {
  /**
   * Handles a message as if it had come on `subject`: for requests that another replica passed on (`heddle.member.<id>.forwarded.<subject>`).
   * `false`: no endpoint has this subject; the caller answers `UnknownSubject`.
   */
  readonly dispatch: (subject: string, message: Message) => boolean
}

interface Bound {
  readonly endpoint: {
    readonly name: string
    readonly subject: string
    readonly queue: string | false
    readonly description: string
  }
  readonly handle: (message: Message, subject: string) => void
  readonly stats: EndpointStats
}

/** Serves the endpoints until the scope closes; returns when the server knows all subscriptions. */
export const serve = <R = never>(
  nats: Connection,
  service: ServiceInfo,
  endpoints: ReadonlyArray<Endpoint<R>>
): Effect.Effect<Service, never, Scope.Scope | R> =>
  Effect.gen(function*() {
    const fibers = yield* FiberSet.make<void, never>()
    const run = yield* FiberSet.runtime(fibers)<R>()
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const closers = new Set<() => void>()
    let isClosing = false
    const startedAt = new Date(nats.clock.currentTimeMillisUnsafe()).toISOString()

    const bound: ReadonlyArray<Bound> = endpoints.map((one) => {
      const stats: EndpointStats = { requests: 0, errors: 0, lastError: "", processingMs: 0 }
      const handle = one.bind({
        run: (effect) => {
          run(effect)
        },
        isClosing: () => isClosing,
        stats,
        nowMs: () => nats.clock.currentTimeMillisUnsafe(),
        log: (text, cause) => {
          fork(Effect.logError(text, cause))
        },
        onClose: (close) => {
          closers.add(close)
          return () => closers.delete(close)
        }
      })
      return { endpoint: one, handle, stats }
    })

    const identity = {
      name: service.service,
      id: service.id,
      version: service.version,
      metadata: service.metadata ?? {}
    }
    const discovery = {
      PING: () => ({ type: "io.nats.micro.v1.ping_response", ...identity }),
      INFO: () => ({
        type: "io.nats.micro.v1.info_response",
        ...identity,
        description: service.description,
        endpoints: bound.map(({ endpoint: one }) => ({
          name: one.name,
          subject: one.subject,
          queue_group: one.queue === false ? "" : one.queue,
          metadata: one.description === "" ? {} : { description: one.description }
        }))
      }),
      STATS: () => ({
        type: "io.nats.micro.v1.stats_response",
        ...identity,
        started: startedAt,
        endpoints: bound.map(({ endpoint: one, stats }) => ({
          name: one.name,
          subject: one.subject,
          queue_group: one.queue === false ? "" : one.queue,
          num_requests: stats.requests,
          num_errors: stats.errors,
          last_error: stats.lastError,
          processing_time: Math.round(stats.processingMs * 1_000_000),
          average_processing_time: stats.requests === 0
            ? 0
            : Math.round(stats.processingMs * 1_000_000 / stats.requests)
        }))
      })
    }

    const subscriptions: Array<Subscription> = []
    for (const { endpoint: one, handle } of bound) {
      subscriptions.push(
        nats.subscribeUnsafe(one.subject, (message) =>
          handle(message, message.subject), one.queue === false ? {} : { queue: one.queue })
      )
    }
    for (const [verb, answer] of Object.entries(discovery)) {
      for (const suffix of ["", `.${service.service}`, `.${service.service}.${service.id}`]) {
        subscriptions.push(
          nats.subscribeUnsafe(`$SRV.${verb}${suffix}`, (message) =>
            message.respond(JSON.stringify(answer())))
        )
      }
    }
    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        isClosing = true
        for (const subscription of subscriptions) {
          subscription.drain()
        }
        yield* nats.isConnected ? nats.flush : Effect.void // from here on nothing new is on its way
        for (const close of closers) {
          close()
        }
        yield* FiberSet.awaitEmpty(fibers).pipe(
          Effect.interruptible,
          Effect.timeoutOption(service.graceMs ?? graceDefaultMs)
        )
      })
    )
    yield* nats.flush

    const bySubject = new Map(
      bound.filter((one) =>
        !one.endpoint.subject.includes("*")
      ).map((one) => [one.endpoint.subject, one])
    )
    const byPattern = bound.filter((one) => one.endpoint.subject.includes("*"))
    return {
      dispatch: (subject, message) => {
        const found = bySubject.get(subject) ??
          byPattern.find((one) => matchTokens(one.endpoint.subject, subject) !== undefined)
        found?.handle(message, subject)
        return found !== undefined
      }
    }
  })
