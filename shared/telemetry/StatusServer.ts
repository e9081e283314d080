/**
 * What a process tells over HTTP to whoever looks after it: `GET /livez`, `/readyz` and `/metrics`.
 *
 * Kept true here: `/livez` answers as long as the event loop turns and the program has not ended, whatever becomes of NATS; `/readyz` is 200 only while no part of the process has
 * a reason against it (`Readiness`), else 503 with the reasons; nothing here changes anything, and no secret is shown, so it needs no authentication. It closes last, so that an
 * orderly end can be watched.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { ContractError } from "../protocol/ErrorCode.ts"
import * as Catalog from "./Catalog.ts"
import * as Meters from "./Meters.ts"
import * as ProcessMeters from "./ProcessMeters.ts"
import * as Readiness from "./Readiness.ts"

export interface StatusOptions {
  readonly host: string
  /** 0: a free one. */
  readonly port: number
  readonly service: string
  readonly version: string
}

export interface StatusServer {
  readonly port: number
}

/** How long requests that are under way at the end may take. */
const closeMs = 500

const prometheusText = "text/plain; version=0.0.4; charset=utf-8"

/** Serves while the scope is open. Fails with `Unavailable` when it cannot listen there. */
export const serve = (options: StatusOptions): Effect.Effect<StatusServer, ContractError, Scope.Scope> =>
  Effect.gen(function*() {
    const { host, port, service, version } = options
    const meters = yield* Meters.Telemetry
    const readiness = yield* Readiness.ProcessReadiness
    const clock = yield* Clock.Clock
    const beganAt = clock.currentTimeMillisUnsafe()
    yield* ProcessMeters.show(meters, { service, version })
    yield* meters.gaugeScoped(Catalog.ready, {}, () => readiness.reasons().length === 0 ? 1 : 0)

    const live = () =>
      HttpServerResponse.jsonUnsafe({
        live: true,
        service,
        version,
        uptimeSeconds: Math.floor((clock.currentTimeMillisUnsafe() - beganAt) / 1_000)
      })
    const ready = () => {
      const reasons = readiness.reasons()
      return reasons.length === 0
        ? HttpServerResponse.jsonUnsafe({ ready: true, service })
        : HttpServerResponse.jsonUnsafe({ ready: false, service, reasons }, { status: 503 })
    }
    const metrics = () =>
      HttpServerResponse.text(PrometheusMetrics.formatUnsafe(meters.context), { contentType: prometheusText })
    const answer = Effect.gen(function*() {
      const { method, url } = yield* HttpServerRequest.HttpServerRequest
      if (method !== "GET" && method !== "HEAD") return HttpServerResponse.empty({ status: 405 })
      switch (url.split("?")[0]) {
        case "/livez":
          return live()
        case "/readyz":
          return ready()
        case "/metrics":
          return metrics()
        default:
          return HttpServerResponse.jsonUnsafe({ paths: ["/livez", "/readyz", "/metrics"] }, { status: 404 })
      }
    })

    const http = createServer()
    const server = yield* NodeHttpServer.make(() => http, {
      host,
      port,
      gracefulShutdownTimeout: closeMs
    }).pipe(
      Effect.mapError((error) =>
        new ContractError({
          code: "Unavailable",
          message: `the status server cannot listen on ${host}:${port}: ${
            error.cause instanceof Error ? error.cause.message : String(error.cause)
          }. Give another --status-port (0 is a free one) or --status-host.`
        })
      )
    )
    // after `closeMs`: whoever is still connected then does not hold up the end of the process
    yield* Effect.addFinalizer(() => Effect.sync(() => http.closeAllConnections()))
    yield* server.serve(answer)
    return { port: (http.address() as AddressInfo).port } // it listens on TCP
  })
