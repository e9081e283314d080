/**
 * What a gateway counts of its HTTP (shared/telemetry/Catalog): requests by route and status, how long each took, readers of event streams that were too slow.
 *
 * Kept true: each request counts once, when its answer is there or its client has gone; a route's name is the id of the API's table, so there are few. What waits open is read from
 * the server's gates. An event stream has no duration: it lasts as long as its reader likes.
 */
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import type { Counter, Histogram, Meters } from "../../shared/telemetry/Meters.ts"

type Status = typeof Catalog.httpStatuses[number]

/** What is no route of the API's table: the console's files, what tells how the process is, and what nobody serves, or what was refused before its route was looked for. */
export type OtherRoute = "page" | "probe" | "openapi" | "none"

interface Route {
  readonly ended: Readonly<Record<Status, Counter>>
  readonly seconds: Histogram
}

/** `undefined`: the client has gone. */
const classOf = (status: number | undefined): Status =>
  status === undefined ? "gone" : status < 300 ? "2xx" : status < 400 ? "3xx" : status < 500 ? "4xx" : "5xx"

export class HttpMeters {
  /** A clock that only goes forward, in seconds. */
  readonly seconds: () => number
  /** Event streams that were closed since their reader was too slow. */
  readonly slowReaders: Counter
  readonly #meters: Meters
  readonly #routes = new Map<string, Route>()

  constructor(meters: Meters, seconds: () => number) {
    this.seconds = seconds
    this.#meters = meters
    this.slowReaders = meters.counter(Catalog.httpSlowReaders, {})
  }

  /** A request that came at `since` (by `seconds`) was answered. `isStream`: what follows has just begun. */
  ended(name: string, status: number | undefined, since: number, isStream: boolean): void {
    const route = this.#of(name)
    route.ended[classOf(status)].total++
    if (!isStream && status !== undefined) route.seconds.observe(this.seconds() - since)
  }

  #of(route: string): Route {
    let found = this.#routes.get(route)
    if (found === undefined) {
      const of = (status: Status): Counter => this.#meters.counter(Catalog.httpRequests, { route, status })
      found = {
        ended: { "2xx": of("2xx"), "3xx": of("3xx"), "4xx": of("4xx"), "5xx": of("5xx"), gone: of("gone") },
        seconds: this.#meters.histogram(Catalog.httpSeconds, { route })
      }
      this.#routes.set(route, found)
    }
    return found
  }
}
