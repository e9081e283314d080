/**
 * Who may ask: the token, the page that a browser asks from, and the name by which it asks. docs/design/gateway.md "Security".
 *
 * Kept true: a token is compared in constant time; what another web site makes a browser send changes nothing and shows nothing. Pure but for the hash.
 */
import * as Redacted from "effect/Redacted"
import { createHash, timingSafeEqual } from "node:crypto"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"

export interface GuardOptions {
  /** Where it listens, as it was asked to. */
  readonly host: string
  readonly token: Redacted.Redacted | undefined
  /** Origins of web sites that may ask beside the gateway's own (`https://heddle.example.com`): of a proxy in front of it. */
  readonly origins: ReadonlySet<string>
}

export interface Asked {
  /** With its query. */
  readonly url: string
  readonly headers: Readonly<Record<string, string | undefined>>
}

const loopback = /^(localhost|([a-z0-9-]+\.)*localhost|127(\.\d{1,3}){3}|\[::1\]|::1)$/u
const digest = (text: string): Buffer => createHash("sha256").update(text).digest()
const hostnameOf = (host: string): string => host.replace(/:\d+$/u, "").toLowerCase()

/** Needs the token: everything of the API but its description. */
export const isProtected = (url: string): boolean => {
  const path = url.split("?", 1)[0] ?? ""
  return /^\/+api(\/|$)/iu.test(decoded(path)) && path !== "/api/v1/openapi.json"
}
const decoded = (path: string): string => {
  try {
    return decodeURIComponent(path)
  } catch {
    return path // no route has such a path
  }
}

const isOwn = (origin: string, host: string | undefined): boolean => {
  try {
    return new URL(origin).host === host
  } catch {
    return false // `null`, of a page without an origin
  }
}

/** What is to be told instead of an answer. Make it once. */
export const make = (options: GuardOptions): (asked: Asked) => ContractError | undefined => {
  const { host, origins, token } = options
  const wanted = token === undefined ? undefined : digest(Redacted.value(token))
  const isLocal = loopback.test(hostnameOf(host))
  return ({ headers, url }) => {
    const { authorization, host: named, origin } = headers
    if (isLocal && wanted === undefined && (named === undefined || !loopback.test(hostnameOf(named)))) {
      return new ContractError({
        code: "Forbidden",
        message: `this gateway listens on ${host} and answers by that name only, not as ${
          JSON.stringify((named ?? "").slice(0, 100))
        }. Bind another address with --http-host, and set HEDDLE_HTTP_TOKEN.`
      })
    }
    if (origin !== undefined && !origins.has(origin) && !isOwn(origin, named)) {
      return new ContractError({
        code: "Forbidden",
        message: `a page of ${JSON.stringify(origin.slice(0, 100))} may not ask. ${errorCodes.Forbidden.fix}`
      })
    }
    if (wanted === undefined || !isProtected(url)) return undefined
    const given = /^bearer +(.+)$/iu.exec(authorization ?? "")?.[1]
    return given !== undefined && timingSafeEqual(digest(given), wanted)
      ? undefined
      : new ContractError({
        code: "Unauthorized",
        message: `${
          given === undefined ? "no token was sent" : "the token is not this gateway's"
        }. ${errorCodes.Unauthorized.fix}`
      })
  }
}
