/**
 * Requests to one Kubernetes API server. Knows HTTP and nothing of pods.
 *
 * Keeps true: writes, reads and watches have connections of their own, so that a slow list or a hundred watches never hold up a claim; each connection carries one
 * request at a time (HTTP/1.1 with keep-alive), so no server limit on streams can stall one; `done` is called exactly once; "not sent" is said only when
 * no connection was made. Callbacks and no fiber: a claim is one request and nothing else.
 */
import * as Http from "node:http"
import * as Https from "node:https"
import * as Answer from "./Answer.ts"
import * as Json from "./Json.ts"
import { WatchLines } from "./WatchLines.ts"

export type Lane = "write" | "read"

export interface Request {
  readonly method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE"
  /** From the server's root, without query. */
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly body?: unknown
  /** Of the body; `application/json` when not given. */
  readonly contentType?: string
}

export const strategicMergePatch = "application/strategic-merge-patch+json"
/** Server-side apply; JSON is YAML. */
export const applyPatch = "application/apply-patch+yaml"

/** How to reach the server and who asks; read anew before each request, so that a rotated token is used at once. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>
  /** The same object as long as nothing of it has changed. */
  readonly tls: Https.AgentOptions
  /** Instead of the client's own agents: where the cluster is behind a proxy. */
  readonly agent: Http.Agent | undefined
}

/** An API server as the provider uses it. */
export interface Api {
  /** One request. `done` is called once. */
  send(lane: Lane, request: Request, done: (answer: Answer.Answer) => void): Abort
  /** A watch: one connection of its own until it ends. */
  watch(path: string, query: Request["query"], handlers: WatchHandlers): Watch
}

/** Where a WebSocket of the API begins, and what its handshake carries. */
export interface Dial {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly tls: Https.AgentOptions
  readonly agent: Http.Agent | undefined
}

/** Connections that are not HTTP after their handshake (`exec`). */
export interface Dialer {
  dial(path: string, query: ReadonlyArray<readonly [string, string]>): Dial
  /** The server said 401 to a handshake. */
  unauthorized(): void
}

export interface ApiClientOptions {
  /** `https://host:port`, perhaps with a path. */
  readonly server: string
  readonly userAgent: string
  readonly credentials: () => Credentials
  /** The server said 401: the credentials are read again. */
  readonly unauthorized: () => void
  /** Without a byte from the server a request is lost after this time. */
  readonly timeoutMs: number
  readonly bodyBytesMax: number
}

export const connectionsMax = { write: 100, read: 16 } as const

export interface Watch {
  readonly close: () => void
}

/** Ends a request that is still under way; its outcome is then `Lost` (or `NotSent`). */
export type Abort = () => void

export interface WatchHandlers {
  /** The server has taken the watch. */
  readonly opened: () => void
  /** Each event as it stands on the wire, parsed. */
  readonly event: (event: unknown) => void
  /** Once. `Answered`: refused with this status. `Lost`: it broke, or ended as every watch does. */
  readonly ended: (answer: Answer.Answer) => void
}

const queryOf = (query: Request["query"]): string => {
  const parts: Array<string> = []
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== undefined) parts.push(`${encodeURIComponent(key)}=${encodeURIComponent(String(value))}`)
  }
  return parts.length === 0 ? "" : `?${parts.join("&")}`
}

/** Before a connection stood: nothing of the request can have arrived. */
const unreachable = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"])
const codeOf = (error: Error): string => "code" in error && typeof error.code === "string" ? error.code : ""

export class ApiClient implements Api, Dialer {
  private readonly options: ApiClientOptions
  private readonly base: URL
  private readonly isTls: boolean
  private agents: {
    readonly tls: Https.AgentOptions
    readonly write: Http.Agent
    readonly read: Http.Agent
    readonly watch: Http.Agent
  }
  private isClosed = false

  constructor(options: ApiClientOptions) {
    this.options = options
    this.base = new URL(options.server)
    this.isTls = this.base.protocol === "https:"
    this.agents = this.makeAgents(options.credentials().tls)
  }

  /** `done` is called later, never before this returns. */
  send(lane: Lane, request: Request, done: (answer: Answer.Answer) => void): Abort {
    const text = request.body === undefined ? undefined : JSON.stringify(request.body)
    let isDone = false
    let isConnected = false
    const finish = (answer: Answer.Answer): void => {
      if (isDone) return
      isDone = true
      if (answer._tag === "Answered" && answer.status === 401) this.options.unauthorized()
      done(answer)
    }
    const failed = (error: Error): void =>
      finish(
        isConnected || !unreachable.has(codeOf(error)) && !isAbortBeforeConnect(error)
          ? { _tag: "Lost", reason: error.message }
          : { _tag: "NotSent", reason: `the API server cannot be reached: ${error.message}` }
      )
    const headers: Record<string, string | number> = text === undefined
      ? {}
      : { "content-type": request.contentType ?? "application/json", "content-length": Buffer.byteLength(text) }
    const outgoing = this.request(lane, request.method, request.path + queryOf(request.query), headers, (response) => {
      const chunks: Array<Buffer> = []
      let size = 0
      response.on("data", (chunk: Buffer) => {
        size += chunk.length
        if (size <= this.options.bodyBytesMax) chunks.push(chunk)
        else response.destroy(new Error(`an answer of more than ${this.options.bodyBytesMax} bytes`))
      })
      response.on("error", failed)
      response.on("aborted", () => failed(new Error("the connection was closed within the answer")))
      response.on("end", () => {
        if (!response.complete) return failed(new Error("the answer ended too early"))
        const body = Buffer.concat(chunks).toString("utf8")
        finish({
          _tag: "Answered",
          status: response.statusCode ?? 0,
          body: Json.parse(body) ?? body,
          retryAfterMs: Answer.retryAfterMs(response.headers["retry-after"])
        })
      })
    })
    outgoing.on("socket", (socket) => {
      if (!socket.connecting) isConnected = true
      else socket.once("connect", () => (isConnected = true))
    })
    outgoing.on("error", failed)
    outgoing.setTimeout(
      this.options.timeoutMs,
      () => outgoing.destroy(new Error(`no answer within ${this.options.timeoutMs} ms`))
    )
    outgoing.end(text)
    return () => outgoing.destroy(new Aborted())
  }

  watch(path: string, query: Request["query"], handlers: WatchHandlers): Watch {
    let isEnded = false
    const end = (answer: Answer.Answer): void => {
      if (isEnded) return
      isEnded = true
      if (answer._tag === "Answered" && answer.status === 401) this.options.unauthorized()
      handlers.ended(answer)
      outgoing.destroy()
    }
    const lost = (reason: string): void => end({ _tag: "Lost", reason })
    const outgoing = this.request("watch", "GET", path + queryOf(query), {}, (response) => {
      const status = response.statusCode ?? 0
      const isWatch = status === 200
      if (isWatch && !isEnded) handlers.opened()
      const chunks: Array<Buffer> = []
      const lines = new WatchLines((line) => {
        if (isEnded) return
        const event = Json.parse(line)
        if (event === undefined) lost("the watch told something that is not JSON")
        else handlers.event(event)
      })
      response.on("data", (chunk: Buffer) => {
        if (isEnded) return
        if (!isWatch) {
          if (chunks.length < 64) chunks.push(chunk)
        } else if (!lines.push(chunk)) lost("the watch told an object that is too large")
      })
      response.on("error", (error) => lost(error.message))
      response.on("aborted", () => lost("the watch was cut"))
      response.on("end", () => {
        const body = Buffer.concat(chunks).toString("utf8")
        end(
          isWatch
            ? { _tag: "Lost", reason: "the watch has ended" }
            : {
              _tag: "Answered",
              status,
              body: Json.parse(body) ?? body,
              retryAfterMs: Answer.retryAfterMs(response.headers["retry-after"])
            }
        )
      })
    })
    outgoing.on("error", (error) => lost(error.message))
    outgoing.end()
    return {
      close: () => {
        isEnded = true
        outgoing.destroy()
      }
    }
  }

  dial(path: string, query: ReadonlyArray<readonly [string, string]>): Dial {
    const { agent, headers, tls } = this.options.credentials()
    const prefix = this.base.pathname === "/" ? "" : this.base.pathname.replace(/\/$/, "")
    const parts = query.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    return {
      url: `${this.isTls ? "wss" : "ws"}://${this.base.host}${prefix}${path}?${parts.join("&")}`,
      headers: { "user-agent": this.options.userAgent, ...headers },
      tls: this.isTls ? tls : {},
      agent
    }
  }

  unauthorized(): void {
    this.options.unauthorized()
  }

  /** Requests under way end as `Lost`. */
  close(): void {
    this.isClosed = true
    for (const agent of [this.agents.write, this.agents.read, this.agents.watch]) agent.destroy()
  }

  private request(
    lane: Lane | "watch",
    method: string,
    path: string,
    headers: Readonly<Record<string, string | number>>,
    onResponse: (response: Http.IncomingMessage) => void
  ): Http.ClientRequest {
    const credentials = this.options.credentials()
    if (!this.isClosed) this.renewAgents(credentials.tls)
    const prefix = this.base.pathname === "/" ? "" : this.base.pathname.replace(/\/$/, "")
    return (this.isTls ? Https : Http).request({
      ...(this.isTls ? credentials.tls : {}),
      host: this.base.hostname.replace(/^\[|\]$/g, ""),
      port: this.base.port === "" ? (this.isTls ? 443 : 80) : Number(this.base.port),
      method,
      path: prefix + path,
      agent: credentials.agent ?? this.agents[lane],
      headers: {
        accept: "application/json",
        "user-agent": this.options.userAgent,
        ...credentials.headers,
        ...headers
      }
    }, onResponse)
  }

  /** A rotated client certificate opens new connections; those under way end by themselves. */
  private renewAgents(tls: Https.AgentOptions): void {
    if (tls === this.agents.tls) return
    this.agents = this.makeAgents(tls)
  }

  private makeAgents(tls: Https.AgentOptions) {
    const make = (options: Https.AgentOptions): Http.Agent =>
      this.isTls ? new Https.Agent({ ...tls, ...options }) : new Http.Agent(options)
    return {
      tls,
      write: make({ keepAlive: true, maxSockets: connectionsMax.write, scheduling: "lifo" }),
      read: make({ keepAlive: true, maxSockets: connectionsMax.read, scheduling: "lifo" }),
      watch: make({ keepAlive: false })
    }
  }
}

class Aborted extends Error {
  constructor() {
    super("given up")
  }
}
/** Given up while it still waited for a connection. */
const isAbortBeforeConnect = (error: Error): boolean => error instanceof Aborted
