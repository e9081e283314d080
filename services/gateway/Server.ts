/**
 * The HTTP server: takes the routes of the table, checks what comes in, and ends in order. docs/design/gateway.md.
 *
 * Kept true: every request is answered in the contract's shape, whatever happens; what is in progress is bounded by kind; a body is read up to its limit and no further; a client that
 * goes away ends the work that was done for it; at the end nothing new is taken, waits and streams are told, and what is in progress has `drainMs`.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { parse as parseYaml } from "yaml"
import * as Decode from "../../shared/jetstream/Decode.ts"
import { requestBytesMax } from "../../shared/jetstream/RpcService.ts"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import * as Answer from "./Answer.ts"
import * as Api from "./Api.ts"
import { Gate } from "./Gate.ts"
import * as Guard from "./Guard.ts"
import type * as HttpMeters from "./HttpMeters.ts"
import type { Outbox } from "./Outbox.ts"
import * as Relay from "./Relay.ts"

/** In progress at once. */
export const requestsMax = 256
export const waitsMax = 1_024
export const streamsMax = 256
/** What requests in progress have at the end. */
export const drainMs = 3_000
const droppedReadMsDefault = 10_000

/** What is sent to the client of an event stream; the scope it was made in is the request's. */
export interface Events {
  readonly text: Stream.Stream<string, ContractError>
  readonly outbox: Outbox
}

/** One request as a handler sees it: what the path names is checked, the query has the types that the table says. */
export interface Request {
  readonly params: Api.Params
  readonly query: Api.Json
  /** `Last-Event-ID`. */
  readonly lastEventId: string | undefined
}

/** What the gateway answers itself, by the id of the route. */
export interface Own {
  readonly answers: Readonly<Record<string, (request: Request) => Effect.Effect<unknown, ContractError>>>
  readonly events: Readonly<
    Record<string, (request: Request) => Effect.Effect<Events, ContractError, Scope.Scope>>
  >
}

export interface ServerOptions {
  readonly host: string
  /** 0: a free one. */
  readonly port: number
  readonly guard: Guard.GuardOptions
  readonly relay: Relay.Relay
  readonly own: Own
  /** Everything that is no route of the API: the console. */
  readonly fallback: Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    unknown,
    HttpServerRequest.HttpServerRequest
  >
  /** More paths: `/livez` and the like. */
  readonly plain: Readonly<Record<`/${string}`, () => HttpServerResponse.HttpServerResponse>>
  readonly meters: HttpMeters.HttpMeters
  /** In progress at once, by kind; those of `requestsMax`, `waitsMax` and `streamsMax` when not given. */
  readonly most?: { readonly requests?: number; readonly waits?: number; readonly streams?: number }
  /** How long a reader that was too slow may need to read that it was; 10 s when not given. */
  readonly droppedReadMs?: number
}

export interface Server {
  /** `http://127.0.0.1:8080`. */
  readonly url: string
  readonly isEnding: () => boolean
  readonly streams: () => number
  readonly requests: () => number
  readonly waits: () => number
}

const openApiPath = `${Api.prefix}/openapi.json` as const

const yamlTypes: ReadonlySet<string> = new Set(["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"])

const invalid = (code: "InvalidJson" | "InvalidMessage", message: string) => new ContractError({ code, message })

/** The object that a body is. */
const parsedBody = (text: string, contentType: string): Result.Result<Api.Json, ContractError> => {
  const isYaml = yamlTypes.has(contentType)
  let value: unknown
  try {
    value = isYaml ? parseYaml(text) : JSON.parse(text)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split("\n", 1)[0]?.slice(0, 200) ?? "" : ""
    return Result.fail(invalid("InvalidJson", `the body is not ${isYaml ? "YAML" : "JSON"}: ${why}`))
  }
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Result.succeed(value as Api.Json) // an object of JSON
    : Result.fail(invalid("InvalidMessage", "the body is no object"))
}

/** Of a query everything is text; what the table says is a number is made one. */
const typed = (query: Readonly<Record<string, string | ReadonlyArray<string>>>, known: Api.Route["query"]): Api.Json =>
  Object.fromEntries(
    Object.entries(query).flatMap(([key, value]) => {
      if (!Object.hasOwn(known, key)) return []
      const text = typeof value === "string" ? value : value.at(-1) ?? ""
      return text === "" ? [] : [[key, numbers.has(key) && /^-?\d{1,15}$/.test(text) ? Number(text) : text]]
    })
  )
const numbers: ReadonlySet<string> = new Set(["limit", "count", "version"])

const contentTypeField = "Content-Type"

const tooLarge = (length: number | undefined) =>
  new ContractError({
    code: "PayloadTooLarge",
    message: `${
      length === undefined ? "the body is" : `${length} bytes are`
    } more than ${requestBytesMax}. ${errorCodes.PayloadTooLarge.fix}`,
    details: { bytesMax: requestBytesMax }
  })

const isNoRoute = (error: unknown): boolean =>
  HttpServerError.isHttpServerError(error) && error.reason._tag === "RouteNotFound"

const noRoute = ({ method, url }: HttpServerRequest.HttpServerRequest) =>
  new ContractError({
    code: "UnknownSubject",
    message: `there is no ${method} ${url.split("?", 1)[0]?.slice(0, 200) ?? ""}: ${openApiPath} lists the routes`
  })

/** What a request that failed is answered with. */
const told = (request: HttpServerRequest.HttpServerRequest, cause: Cause.Cause<unknown>) => {
  const error = Cause.hasDies(cause) ? undefined : Cause.findErrorOption(cause)
  if (error?._tag === "Some") {
    if (error.value instanceof ContractError) {
      const { value } = error
      return Effect.succeed(Answer.error(value, value.path === contentTypeField ? 415 : undefined))
    }
    if (isNoRoute(error.value)) return Effect.succeed(Answer.error(noRoute(request)))
  }
  const defect = new ContractError({
    code: "Internal",
    message: `a defect in ${request.method} ${request.url.split("?", 1)[0]}`
  })
  return Effect.as(Effect.logError(`gateway: ${defect.message}`, cause), Answer.error(defect))
}

/** Every failure is told; a client that has gone is told nothing. */
const answered = <E, R>(
  effect: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, R | HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
    Effect.matchCauseEffect(effect, {
      onSuccess: Effect.succeed,
      onFailure: (cause) => Cause.hasInterruptsOnly(cause) ? Effect.interrupt : told(request, cause)
    }))

const nameOfHost = (host: string): string => host.includes(":") ? `[${host}]` : host

/** Serves while the scope is open. Fails with `Unavailable` when it cannot listen there. */
export const serve = (options: ServerOptions): Effect.Effect<Server, ContractError, Scope.Scope> =>
  Effect.gen(function*() {
    const { own, relay } = options
    const guard = Guard.make(options.guard)
    const { droppedReadMs = droppedReadMsDefault, meters, most } = options
    const requests = new Gate("requests", most?.requests ?? requestsMax)
    const waits = new Gate("waiting requests", most?.waits ?? waitsMax)
    const streams = new Gate("event streams", most?.streams ?? streamsMax)
    /** Of requests in progress, once it is known. */
    const routes = new WeakMap<object, { readonly name: string; readonly isStream: boolean }>()
    const isOf = (name: HttpMeters.OtherRoute) =>
      Effect.map(
        HttpServerRequest.HttpServerRequest,
        ({ source }) => void routes.set(source, { name, isStream: false })
      )
    const outboxes = new Set<Outbox>()
    const ending = yield* Deferred.make<never, ContractError>()
    let isEnding = false
    let open = 0
    let idle = (): void => undefined
    const shuttingDown = new ContractError({
      code: "ShuttingDown",
      message: `this gateway is ending. ${errorCodes.ShuttingDown.fix}`
    })

    const readBody = Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest, route: Api.Route) {
      const none: Api.Json = {}
      if (route.method !== "POST") return none
      const length = Number(request.headers["content-length"] ?? "0")
      if (length > requestBytesMax) return yield* tooLarge(length)
      const text = yield* request.text.pipe(
        Effect.catch((error) => {
          const { reason } = error
          return reason._tag === "RequestParseError" && "reason" in reason && reason.reason === "BodyTooLarge"
            ? Effect.fail(tooLarge(undefined))
            : Effect.fail(invalid("InvalidMessage", "the body cannot be read"))
        }),
        Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(requestBytesMax))
      )
      if (text === "") {
        if (route.body !== undefined && route.body.isOptional !== true) {
          return yield* invalid("InvalidMessage", `send a ${route.body.name} as the body`)
        }
        return none
      }
      // a page of another web site can send other types without asking, so they are refused whatever is in them
      const contentType = request.headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase() ?? ""
      if (contentType !== "application/json" && !yamlTypes.has(contentType)) {
        return yield* new ContractError({
          code: "InvalidMessage",
          message: `a body is application/json or application/yaml, not ${JSON.stringify(contentType)}`,
          path: contentTypeField
        })
      }
      return route.body === undefined ? none : yield* Effect.fromResult(parsedBody(text, contentType))
    })

    const handlerOf = (route: Api.Route) => {
      const decodeParams = Decode.valueDecoder(Schema.Struct(route.params))
      const decodeQuery = Decode.valueDecoder(Schema.Struct(route.query) as unknown as Schema.Codec<Api.Json>) // plain fields
      const read = Effect.gen(function*() {
        const request = yield* HttpServerRequest.HttpServerRequest
        routes.set(request.source, { name: route.id, isStream: own.events[route.id] !== undefined })
        const { params: named } = yield* HttpRouter.RouteContext
        const params = yield* Effect.fromResult(decodeParams(named))
        const query = yield* Effect.fromResult(
          decodeQuery(typed(yield* HttpServerRequest.ParsedSearchParams, route.query))
        )
        return { request, params, query, lastEventId: request.headers["last-event-id"] }
      })
      const { ask } = route
      if (ask !== undefined) {
        return Effect.gen(function*() {
          const { params, query, request } = yield* read
          const sent = yield* readBody(request, route)
          const { "heddle-team": team, "idempotency-key": key, traceparent } = request.headers
          const asking: Relay.Asking = {
            ask,
            params,
            query,
            sent,
            key,
            headers: {
              ...(team === undefined ? {} : { "Heddle-Team": team }),
              ...(traceparent === undefined ? {} : { traceparent })
            }
          }
          const isWait = Relay.isWait(asking)
          const asked = (isWait ? waits : requests).within(relay.ask(asking))
          const answer = yield* isWait ? Effect.raceFirst(asked, Deferred.await(ending)) : asked
          return Answer.json(answer, Answer.statusOfAnswer(answer))
        })
      }
      const events = own.events[route.id]
      if (events !== undefined) return Effect.flatMap(read, (asked) => streaming(asked.request, events(asked)))
      const answer = own.answers[route.id]
      if (answer === undefined) throw new Error(`nobody answers ${route.id}`)
      return Effect.flatMap(read, (asked) => Effect.map(requests.within(answer(asked)), (value) => Answer.json(value)))
    }

    /** The place is given back when the request's scope closes: after the last byte, or when the client has gone. */
    const streaming = (
      request: HttpServerRequest.HttpServerRequest,
      opened: Effect.Effect<Events, ContractError, Scope.Scope>
    ) =>
      Effect.gen(function*() {
        const refused = streams.enter()
        if (refused !== undefined) return yield* refused
        yield* Effect.addFinalizer(() => Effect.sync(() => streams.leave()))
        const { outbox, text } = yield* opened
        outboxes.add(outbox)
        yield* Effect.addFinalizer(() => Effect.sync(() => outboxes.delete(outbox)))
        if (isEnding) outbox.end(shuttingDown.message)
        // a reader that reads nothing would never be told that it was dropped
        yield* outbox.whenEnded.pipe(
          Effect.andThen(Effect.sync(() => {
            if (outbox.isTooSlow) meters.slowReaders.total++
          })),
          Effect.andThen(Effect.sleep(droppedReadMs)),
          Effect.andThen(Effect.sync(() => NodeHttpServerRequest.toServerResponse(request).destroy())),
          Effect.forkScoped
        )
        return HttpServerResponse.stream(
          text.pipe(
            Stream.catch((error) =>
              Stream.make(`event: dropped\ndata: ${JSON.stringify({ reason: error.message })}\n\n`)
            ),
            Stream.encodeText
          ),
          {
            contentType: "text/event-stream",
            headers: { "cache-control": "no-store", "x-accel-buffering": "no" }
          }
        )
      })

    const router = yield* HttpRouter.make
    const openApi = HttpServerResponse.jsonUnsafe(Api.openApi())
    yield* router.add("GET", openApiPath, () => Effect.as(isOf("openapi"), openApi))
    for (const [path, answer] of Object.entries(options.plain)) {
      yield* router.add("GET", path as `/${string}`, () => Effect.map(isOf("probe"), answer)) // its type's keys
    }
    for (const route of Api.routes) {
      yield* router.add(route.method, `${Api.prefix}${route.path}`, answered(handlerOf(route)))
    }

    const routed = router.asHttpEffect()
    const found = Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const refused = guard({ url: request.url, headers: request.headers })
      if (refused !== undefined) return yield* refused
      if (isEnding) return yield* shuttingDown
      return yield* routed.pipe(
        Effect.catchIf(isNoRoute, () => {
          const isPage = (request.method === "GET" || request.method === "HEAD") && !Guard.isProtected(request.url)
          return isPage ? Effect.andThen(isOf("page"), options.fallback) : Effect.fail(noRoute(request))
        })
      )
    })
    const app = Effect.gen(function*() {
      const { source } = yield* HttpServerRequest.HttpServerRequest
      const since = meters.seconds()
      const count = (status: number | undefined): void => {
        const { isStream, name } = routes.get(source) ?? { name: "none", isStream: false }
        meters.ended(name, status, since, isStream && status === 200)
      }
      open += 1
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          open -= 1
          if (open === 0) idle()
        })
      )
      const answer = yield* Effect.onInterrupt(answered(found), () => Effect.sync(() => count(undefined)))
      count(answer.status)
      return Answer.secured(answer)
    })

    const http = createServer()
    const server = yield* NodeHttpServer.make(() => http, {
      host: options.host,
      port: options.port,
      gracefulShutdownTimeout: 500
    }).pipe(
      Effect.mapError((error) =>
        new ContractError({
          code: "Unavailable",
          message: `the gateway cannot listen on ${nameOfHost(options.host)}:${options.port}: ${
            error.cause instanceof Error ? error.cause.message : String(error.cause)
          }. Give another --http-port (0 is a free one) or --http-host.`
        })
      )
    )
    yield* server.serve(app)
    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        isEnding = true
        Deferred.doneUnsafe(ending, Effect.fail(shuttingDown))
        for (const outbox of outboxes) outbox.end(shuttingDown.message)
        http.close()
        const idled = Effect.callback<void>((resume) => {
          idle = () => resume(Effect.void)
          if (open === 0) idle()
        })
        // in a fiber of its own: this one has been interrupted, so that nothing that can be interrupted waits in it
        yield* Effect.flatMap(
          Effect.forkDetach(Effect.interruptible(Effect.timeoutOption(idled, drainMs))),
          Fiber.await
        )
        // keep-alive ones, and those whose client does not read
        http.closeAllConnections()
      })
    )
    return {
      url: `http://${nameOfHost(options.host)}:${(http.address() as AddressInfo).port}`, // it listens on TCP
      isEnding: () => isEnding,
      streams: () => streams.open,
      requests: () => requests.open,
      waits: () => waits.open
    }
  })
