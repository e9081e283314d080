/**
 * The `http` task type: one HTTP request, sent by the executor itself; nothing runs in the sandbox. Its answer's status, some headers and body become outputs.
 *
 * Keeps true: every attempt of a task in a run carries the same idempotency key; what another try could mend (5xx, 408, 425, 429, no answer) is `Failed`, everything else
 * that was not expected is `Fatal`; an attempt waits as `Retry-After` asks only for as long as it may; no more of an answer is held than outputs may have; nothing of
 * a URL but its origin, and no header, is written to logs and reasons. Interruption breaks the connection.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import type { Outputs } from "../../shared/protocol/Report.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const
const Scalar = Schema.Union([Schema.String, Schema.Finite, Schema.Boolean])
const HeaderName = Schema.String.check(
  Schema.isPattern(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/u, { message: "a header's name such as x-api-key" })
)
const isHeaderName = Schema.is(HeaderName)
const HeaderValue = Schema.String.check(
  Schema.isPattern(/^[\t\x20-\x7e\x80-\xff]*$/u, { message: "a header's value: one line of Latin characters" })
)
const HeaderFields = Schema.Record(Schema.String, HeaderValue).check(
  Schema.makeFilter((headers) => {
    const wrong = Object.keys(headers).find((name) => !isHeaderName(name))
    return wrong === undefined ? undefined : `${JSON.stringify(wrong)} is no header's name`
  })
)
const Status = Schema.Int.check(Schema.isBetween({ minimum: 100, maximum: 599 }))
const StatusClass = Schema.Literals(["2xx", "3xx", "4xx", "5xx"])

export const With = Schema.Struct({
  /** `http://` or `https://`. Without user and password: these belong into `headers`. */
  url: Schema.String.check(
    Schema.isPattern(/^https?:\/\/[^\s/?#@]+([/?#]\S*)?$/u, {
      message: "an address such as https://example.org/x, without user and password (they belong into with.headers)"
    })
  ),
  /** `GET` when not given, `POST` with `json` or `body`. */
  method: Schema.optionalKey(Schema.Literals(methods)),
  /** Added to the URL's query, encoded. */
  query: Schema.optionalKey(Schema.Record(Schema.String, Scalar)),
  /** Further headers, such as `authorization`. */
  headers: Schema.optionalKey(HeaderFields),
  /** Any value, sent as JSON with `content-type: application/json`. */
  json: Schema.optionalKey(Schema.Unknown),
  /** A text, sent as it stands, instead of `json`. */
  body: Schema.optionalKey(Schema.String),
  /** For one request, to the end of its answer; 30s when not given. The time-out of the task counts as well. */
  timeout: Schema.optionalKey(DurationMs),
  /** Statuses, or classes of them, that are a success; `[2xx]` when not given. */
  expect: Schema.optionalKey(Schema.NonEmptyArray(Schema.Union([Status, StatusClass]))),
  /** How long an attempt may wait in all when answers of 429 or 503 say so (`Retry-After`), before it fails; 30s when not given, 0 never waits. */
  retryAfterMax: Schema.optionalKey(DurationMs),
  /** Redirects to follow, 0 to 10; none when not given. At another origin only `accept` of `headers` is sent. */
  redirects: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10 }))),
  /** What to make of the body: `json`, `text`, `none`; when not given JSON if its content type says so, else text. */
  answer: Schema.optionalKey(Schema.Literals(["json", "text", "none"])),
  /** Headers of the answer that become outputs beside `content-type`, `etag`, `last-modified` and `location`. */
  answerHeaders: Schema.optionalKey(Schema.Array(HeaderName)),
  /** The idempotency key; when not given it is made of instance, task, run and item, and the same in every attempt. Sent as `Idempotency-Key`, unless `headers` have one. */
  idempotencyKey: Schema.optionalKey(HeaderValue)
}).check(
  Schema.makeFilter(({ body, json, method }) =>
    body !== undefined && json !== undefined
      ? "give json or body, not both"
      : (body !== undefined || json !== undefined) && (method === "GET" || method === "HEAD")
      ? `${method} has no body: take POST, or leave out json and body`
      : undefined
  )
)
export type With = typeof With.Type

export const Config = Schema.Struct({
  /** Hosts that tasks may ask: `api.example.org`, `*.example.org` (every name below), with a port where it counts (`localhost:8080`). All when not given. */
  hosts: Schema.optionalKey(
    Schema.Array(
      Schema.String.check(
        Schema.isPattern(/^(\*\.)?[^\s/*@]+$/u, { message: "a host such as api.example.org or *.example.org" })
      )
    )
  )
})

export const answerBytesMax = 256 * 1024
const timeoutDefaultMs = 30_000
const retryAfterMaxDefaultMs = 30_000
/** Who asks for no time at all is not asked again without a pause. */
const retryAfterLeastMs = 1_000
const reasonCharactersMax = 400
const headersKept = ["content-type", "etag", "last-modified", "location"]

/** Whether `hosts` of the plugin's config has the URL's. */
export const isAllowed = (hosts: ReadonlyArray<string> | undefined, { host, hostname }: URL): boolean =>
  hosts === undefined || hosts.some((pattern) => {
    const wanted = pattern.toLowerCase()
    const found = /:\d+$/.test(wanted) ? host : hostname
    return wanted.startsWith("*.") ? found.endsWith(wanted.slice(1)) : found === wanted
  })

const isPassing = (status: number): boolean => status >= 500 || status === 408 || status === 425 || status === 429

const isExpected = (expect: ReadonlyArray<number | string>, status: number): boolean =>
  expect.includes(status) || expect.includes(`${Math.floor(status / 100)}xx`)

/** `Retry-After`, in seconds or as a date, in ms from now. */
export const retryAfterMs = (text: string | null, nowMs: number): number | undefined => {
  if (text === null) return undefined
  if (/^\d+$/.test(text.trim())) return Number(text) * 1_000
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs)
}

/** What came back, its body already read as far as it may be. */
interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly bytes: Uint8Array
  /** There is more than `answerBytesMax`. */
  readonly isCut: boolean
}

interface Asked {
  readonly url: URL
  readonly method: string
  readonly headers: Headers
  readonly body: string | undefined
}

const readBounded = async (response: Response): Promise<Pick<Answer, "bytes" | "isCut">> => {
  const parts: Array<Uint8Array> = []
  let length = 0
  if (response.body !== null) {
    // leaving the loop cancels the body
    for await (const part of response.body) {
      parts.push(part)
      length += part.length
      if (length > answerBytesMax) break
    }
  }
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return { bytes: bytes.subarray(0, answerBytesMax), isCut: length > answerBytesMax }
}

const ask = async ({ body, headers, method, url }: Asked, isBodyWanted: boolean, signal: AbortSignal) => {
  const response = await fetch(url, {
    method,
    headers,
    signal,
    redirect: "manual",
    ...(body === undefined ? {} : { body })
  })
  const { status } = response
  if (!isBodyWanted && status < 400) await response.body?.cancel()
  const read = isBodyWanted || status >= 400
    ? await readBounded(response)
    : { bytes: new Uint8Array(0), isCut: false }
  const answer: Answer = { status, headers: response.headers, ...read }
  return answer
}

/** The request that a redirect asks for, as `fetch` would follow it; headers of the definition do not go to another origin. */
const redirected = (asked: Asked, { headers, status }: Answer): Asked | undefined => {
  const location = headers.get("location")
  if (![301, 302, 303, 307, 308].includes(status) || location === null || !URL.canParse(location, asked.url.href)) {
    return undefined
  }
  const url = new URL(location, asked.url)
  const accept = asked.headers.get("accept")
  const kept = new Headers(
    url.origin === asked.url.origin ? asked.headers : accept === null ? {} : { accept }
  )
  const isPlain = status === 303 && asked.method !== "HEAD" || status < 303 && asked.method === "POST"
  if (!isPlain) return { ...asked, url, headers: kept }
  kept.delete("content-type")
  return { url, method: "GET", headers: kept, body: undefined }
}

/** Without the URL, which some messages hold; `fetch` of Node says only that it failed, and why in the cause. */
const causeOf = (cause: unknown): string => {
  const errors = cause instanceof Error && cause.cause instanceof Error ? [cause.cause, cause] : [cause]
  for (const error of errors) {
    if (!(error instanceof Error)) continue
    const text = error.message !== "" ? error.message : "code" in error ? String(error.code) : error.name
    return text.replaceAll(/\s*\(?https?:\/\/\S+/g, "")
  }
  return "the request failed"
}

/** `text` without what the request has told in confidence, for an answer that says it back. */
const redacted = (text: string, { headers, url }: Asked): string => {
  const secrets = [...headers].flatMap(([name, value]) =>
    /^(content-|accept|idempotency-key)/.test(name) ? [] : [value, ...value.split(" ").slice(1)]
  ).concat(url.pathname, url.search.slice(1), ...url.searchParams.values()).filter((secret) => secret.length >= 6)
  return secrets.toSorted((a, b) => b.length - a.length).reduce((said, secret) => said.replaceAll(secret, "***"), text)
}

const decodeText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const isJson = (headers: Headers): boolean => /^[^;]*\bjson\b/i.test(headers.get("content-type") ?? "")

const outputsOf = (answer: Answer, options: With): Outputs | string => {
  const headers: Record<string, string> = {}
  for (const name of [...headersKept, ...(options.answerHeaders ?? [])]) {
    const value = answer.headers.get(name)
    if (value !== null) headers[name.toLowerCase()] = value
  }
  const outputs = { status: answer.status, headers }
  if (options.answer === "none") return outputs
  if (answer.isCut) {
    return `its body has more than ${answerBytesMax} bytes: take \`answer: none\`, or fetch it in a sandbox`
  }
  const text = decodeText(answer.bytes)
  if (options.answer !== "json" && (options.answer === "text" || !isJson(answer.headers) || text === "")) {
    return { ...outputs, text }
  }
  try {
    return { ...outputs, json: JSON.parse(text) as unknown }
  } catch {
    return options.answer === "json" ? "its body is no JSON" : { ...outputs, text }
  }
}

const requestOf = (options: With, key: string): Asked => {
  const url = new URL(options.url)
  for (const [name, value] of Object.entries(options.query ?? {})) url.searchParams.append(name, String(value))
  const headers = new Headers(options.headers)
  if (!headers.has("idempotency-key")) headers.set("idempotency-key", key)
  if (options.json !== undefined && !headers.has("content-type")) headers.set("content-type", "application/json")
  const body = options.json === undefined ? options.body : JSON.stringify(options.json)
  return { url, method: options.method ?? (body === undefined ? "GET" : "POST"), headers, body }
}

const fatal = (reason: string): TaskType.TaskOutcome => ({ _tag: "Fatal", reason })
const failed = (reason: string): TaskType.TaskOutcome => ({ _tag: "Failed", reason })

export const http = (config: typeof Config.Type): TaskType.TaskType =>
  TaskType.effectful<With>({
    type: "http",
    description: "Sends an HTTP request from the executor; status, headers and body of the answer become outputs.",
    with: With,
    run: Effect.fnUntraced(function*({ log, spec, with: options }) {
      if (!URL.canParse(options.url)) return fatal("with.url is no address")
      const timeoutMs = options.timeout ?? timeoutDefaultMs
      const encoder = new TextEncoder()
      let waitLeftMs = options.retryAfterMax ?? retryAfterMaxDefaultMs
      let redirectsLeft = options.redirects ?? 0
      let asked = requestOf(options, options.idempotencyKey ?? TaskType.idempotencyKey(spec))
      while (true) {
        const { method, url } = asked
        const what = `${method} ${url.origin}`
        const say = (text: string) => log("system", encoder.encode(`${what}: ${text}\n`))
        if (!isAllowed(config.hosts, url)) {
          return fatal(
            `${url.host} is not among the hosts that tasks of this mesh may ask (HEDDLE_HTTP_HOSTS of the executors): ask there, or take another \`with.url\``
          )
        }
        const current = asked
        const startedAt = yield* Clock.currentTimeMillis
        const result = yield* Effect.tryPromise({
          try: (signal) => ask(current, options.answer !== "none", signal),
          catch: causeOf
        }).pipe(
          Effect.timeoutOrElse({ duration: timeoutMs, orElse: () => Effect.fail(`no answer within ${timeoutMs} ms`) }),
          Effect.result
        )
        const now = yield* Clock.currentTimeMillis
        if (result._tag === "Failure") {
          say(result.failure)
          // fetch asks some ports of other protocols never
          return (/bad port|port \d+ (is|are) blocked/i.test(result.failure) ? fatal : failed)(
            `${what}: ${result.failure}`
          )
        }
        const answer = result.success
        say(`${answer.status}, ${answer.bytes.length}${answer.isCut ? "+" : ""} bytes in ${now - startedAt} ms`)
        if (isExpected(options.expect ?? ["2xx"], answer.status)) {
          const outputs = outputsOf(answer, options)
          return typeof outputs === "string"
            ? fatal(`${what} was answered ${answer.status}, but ${outputs}`)
            : { _tag: "Succeeded", outputs }
        }
        const next = redirected(asked, answer)
        if (next !== undefined && redirectsLeft > 0) {
          redirectsLeft--
          asked = next
          continue
        }
        const pauseMs = answer.status === 429 || answer.status === 503
          ? retryAfterMs(answer.headers.get("retry-after"), now)
          : undefined
        if (pauseMs !== undefined && pauseMs <= waitLeftMs && waitLeftMs > 0) {
          const waitMs = Math.max(pauseMs, retryAfterLeastMs)
          waitLeftMs -= waitMs
          say(`asked to wait ${waitMs} ms`)
          yield* Effect.sleep(waitMs)
          continue
        }
        const told = redacted(decodeText(answer.bytes), asked).replace(/\s+/g, " ").trim().slice(0, reasonCharactersMax)
        const reason = `${what} was answered ${answer.status}${
          next !== undefined
            ? ` (to ${next.url.origin}; \`with.redirects\` says how many are followed)`
            : pauseMs !== undefined
            ? ` (wait ${pauseMs} ms, more than \`with.retryAfterMax\` leaves)`
            : ""
        }${told === "" ? "" : `: ${told}`}`
        return isPassing(answer.status) ? failed(reason) : fatal(reason)
      }
    })
  })
