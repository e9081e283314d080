/**
 * The cluster's HTTP address: bodies, streams and upgrades of a Kubernetes API server on 127.0.0.1, a thin shell over Cluster.ts. Runs on Node and Deno.
 *
 * Keeps true: a watch's events are written in their order, one JSON object a line; a watcher that does not read is cut once `watchBufferBytesMax` wait for it;
 * what the faults lose is lost as a broken connection, never as an answer.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import { createServer as createSecureServer } from "node:https"
import type { AddressInfo, Socket } from "node:net"
import type { Duplex } from "node:stream"
import * as Yaml from "yaml"
import * as Api from "./Api.ts"
import type { WatchEvent } from "./ApiStore.ts"
import * as Certificate from "./Certificate.ts"
import { Cluster, type ClusterOptions } from "./Cluster.ts"
import * as Discovery from "./Discovery.ts"
import { Exec, type ExecOptions } from "./Exec.ts"
import type { Json } from "./Json.ts"
import * as Protobuf from "./Protobuf.ts"
import type { User } from "./Rbac.ts"
import * as Refusal from "./Refusal.ts"
import * as Route from "./Route.ts"
import * as Table from "./Table.ts"

export interface ApiServerOptions extends ClusterOptions {
  /** Default 0: one that is free. */
  readonly port?: number
  /** Default: a cluster made of the other options. */
  readonly cluster?: Cluster
  readonly exec?: ExecOptions
  /** TLS under a certificate of its own (`ca`): kubectl sends no token without. Default: plain HTTP. */
  readonly isSecure?: boolean
}

const bodyBytesMax = 3 * 1024 * 1024
const watchBufferBytesMax = 64 * 1024 * 1024

const readBody = (request: IncomingMessage): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const chunks: Array<Buffer> = []
    let size = 0
    request.on("data", (chunk: Buffer) => {
      size += chunk.length
      if (size > bodyBytesMax) {
        reject(Refusal.failure(413, "RequestEntityTooLarge", `Request entity too large: limit is ${bodyBytesMax}`))
        request.resume()
      } else chunks.push(chunk)
    })
    request.on("end", () => resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)))
    request.on("error", reject)
    request.on("close", () => reject(new Error("the request was cut")))
  })

const decode = (bytes: Buffer, contentType: string | undefined): Json => {
  if (bytes.length === 0) return undefined
  if (contentType?.startsWith("application/vnd.kubernetes.protobuf") === true) return Protobuf.decode(bytes)
  const text = bytes.toString()
  try {
    return contentType?.includes("yaml") === true && !text.startsWith("{") ? Yaml.parse(text) : JSON.parse(text)
  } catch (error) {
    throw Refusal.badRequest(
      `couldn't get version/kind; json parse error: ${error instanceof Error ? error.message : String(error)}`
    )
  }
}

const writes = new Set(["POST", "PUT", "PATCH"])

export class ApiServer {
  readonly cluster: Cluster
  /** PEM of the authority behind its certificate; undefined: plain HTTP. */
  readonly ca: string | undefined
  readonly #server: Server
  readonly #exec: Exec
  readonly #sockets = new Set<Socket>()

  private constructor(options: ApiServerOptions) {
    this.cluster = options.cluster ?? new Cluster(options)
    this.#exec = new Exec(this.cluster, options.exec ?? {})
    const serve = (request: IncomingMessage, response: ServerResponse) => {
      this.#serve(request, response).catch((error: unknown) => this.#refuse(response, error))
    }
    const pair = options.isSecure === true ? Certificate.make(this.cluster.clock.nowMs()) : undefined
    this.ca = pair?.certificate
    this.#server = pair === undefined
      ? createServer({ keepAliveTimeout: 60_000 }, serve)
      : createSecureServer({ keepAliveTimeout: 60_000, cert: pair.certificate, key: pair.key }, serve)
    this.#server.on(
      "upgrade",
      (request: IncomingMessage, socket: Duplex, head: Buffer) => this.#upgrade(request, socket, head)
    )
    this.#server.on("connection", (socket: Socket) => {
      // small answers and watch events must not wait for more
      socket.setNoDelay(true)
      this.#sockets.add(socket)
      socket.on("close", () => this.#sockets.delete(socket))
    })
  }

  static async start(options: ApiServerOptions = {}): Promise<ApiServer> {
    const server = new ApiServer(options)
    await new Promise<void>((resolve, reject) => {
      server.#server.once("error", reject)
      server.#server.listen(options.port ?? 0, "127.0.0.1", resolve)
    })
    return server
  }

  get url(): string {
    const address = this.#server.address() as AddressInfo // it listens on a port
    return `${this.ca === undefined ? "http" : "https"}://127.0.0.1:${address.port}`
  }

  /** Breaks every connection; new ones are accepted. */
  cutConnections(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Ends the server, its connections, the processes that `exec` started and the cluster's timers. */
  async stop(): Promise<void> {
    this.cluster.stop()
    await this.#exec.stop()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.cutConnections()
    await closed
  }

  #refuse(response: ServerResponse, error: unknown): void {
    if (response.headersSent || response.destroyed) {
      response.destroy()
      return
    }
    if (error instanceof Refusal.Refusal && error.text !== undefined) {
      response.writeHead(error.code, { "content-type": "text/plain; charset=utf-8" })
      response.end(error.text)
    } else if (error instanceof Refusal.Refusal) {
      this.#answer(response, error.code, error.status, error.status.details?.retryAfterSeconds)
    } else {
      const failed = Refusal.internalError(error instanceof Error ? error.stack ?? error.message : String(error))
      this.#answer(response, failed.code, failed.status)
    }
  }

  #write(response: ServerResponse, text: string, type = "text/plain"): void {
    response.writeHead(200, { "content-type": type })
    response.end(text)
  }

  #answer(
    response: ServerResponse,
    code: number,
    body: Json,
    retryAfterSeconds?: number,
    warnings?: ReadonlyArray<string>
  ): void {
    if (response.destroyed) return
    const text = Buffer.from(JSON.stringify(body))
    response.writeHead(code, {
      "content-type": "application/json",
      "content-length": text.length,
      ...(retryAfterSeconds === undefined || code !== 429 ? {} : { "retry-after": String(retryAfterSeconds) }),
      ...(warnings === undefined ? {} : { warning: warnings.map((text) => `299 - ${JSON.stringify(text)}`).join(", ") })
    })
    response.end(text)
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { cluster } = this
    const method = request.method ?? "GET"
    const target = request.url ?? "/"
    const mark = target.indexOf("?")
    const path = mark === -1 ? target : target.slice(0, mark)
    const search = mark === -1 ? "" : target.slice(mark + 1)
    const contentType = request.headers["content-type"]
    const needsBody = writes.has(method) || method === "DELETE"
    const text = needsBody ? await readBody(request) : Buffer.alloc(0)
    const user = cluster.userOf(request.headers.authorization)
    const found = Route.route(method, path, search, contentType, cluster.find)
    // Of the second version there is nothing: an empty document, as clients ask that have found no kind in the third.
    if (path === "/openapi/v2" && method === "GET") {
      const type = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
      if (request.headers.accept?.includes(type) !== true) throw Refusal.noSuchPath()
      this.#write(response, "", "application/octet-stream")
      return
    }
    if (found._tag === "Discovery") {
      const body = Discovery.answer(
        cluster.store,
        method,
        found.segments,
        user,
        needsBody ? decode(text, contentType) : undefined
      )
      if (typeof body === "string") this.#write(response, body)
      else this.#answer(response, method === "POST" ? 201 : 200, body)
      return
    }
    const plain = found.request
    if (plain.verb === "watch") {
      this.#watch(plain, user, request, response)
      return
    }
    if (plain.subresource === "exec" || plain.subresource === "attach" || plain.subresource === "portforward") {
      Api.authorize(plain, user)
      throw Refusal.badRequest("Upgrade request required")
    }
    const body = needsBody ? decode(text, contentType) : undefined
    if (writes.has(method) && body === undefined) throw Refusal.badRequest("the body of the request is empty")
    const userAgent = request.headers["user-agent"]?.split("/")[0]
    const isTable = Table.isWanted(request.headers.accept) && (plain.verb === "get" || plain.verb === "list") &&
      plain.subresource === undefined
    cluster.submit(body === undefined ? plain : { ...plain, body, userAgent }, user, (outcome) => {
      if (outcome._tag === "Lost") return request.socket.destroy()
      const { code, retryAfterSeconds, warnings } = outcome
      // a log is text
      if (typeof outcome.body === "string" && code === 200) return this.#write(response, outcome.body)
      const shown = isTable && code === 200
        ? Table.of(plain.resource, outcome.body, plain.query["includeObject"], cluster.clock.nowMs())
        : outcome.body
      this.#answer(response, code, shown, retryAfterSeconds, warnings)
    })
  }

  #watch(request: Route.ApiRequest, user: User, incoming: IncomingMessage, response: ServerResponse): void {
    let pending = ""
    let isScheduled = false
    let isEnded = false
    const flush = () => {
      isScheduled = false
      if (pending === "" || response.destroyed) return
      response.write(pending)
      pending = ""
      if (response.writableLength > watchBufferBytesMax) incoming.socket.destroy()
    }
    const start = () => {
      if (!response.headersSent) {
        response.writeHead(200, { "content-type": "application/json", "cache-control": "no-cache, private" })
        response.flushHeaders()
      }
    }
    const isTable = Table.isWanted(incoming.headers.accept)
    let isLater = false
    const shown = (event: WatchEvent): WatchEvent => {
      if (!isTable || event.type === "ERROR") return event
      const nowMs = this.cluster.clock.nowMs()
      const object: Json = Table.of(request.resource, event.object, request.query["includeObject"], nowMs, isLater)
      isLater = true
      return { ...event, object }
    }
    const watching = this.cluster.watch(request, user, {
      event: (event) => {
        pending += `${JSON.stringify(shown(event))}\n`
        if (isScheduled) return
        isScheduled = true
        // one write for all events of a turn
        queueMicrotask(() => {
          start()
          flush()
        })
      },
      end: (isCut) => {
        isEnded = true
        queueMicrotask(() => {
          start()
          flush()
          if (isCut) incoming.socket.destroy()
          else response.end()
        })
      }
    })
    if (!isEnded) start()
    response.on("close", watching.stop)
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    try {
      const target = request.url ?? "/"
      const mark = target.indexOf("?")
      const path = mark === -1 ? target : target.slice(0, mark)
      const search = mark === -1 ? "" : target.slice(mark + 1)
      const user = this.cluster.userOf(request.headers.authorization)
      const found = Route.route("GET", path, search, undefined, this.cluster.find)
      if (found._tag === "Discovery" || found.request.subresource !== "exec") throw Refusal.noSuchPath()
      Api.authorize(found.request, user)
      this.#exec.upgrade(found.request, new URLSearchParams(search), request, socket, head)
    } catch (error) {
      const refusal = error instanceof Refusal.Refusal ? error : Refusal.internalError(String(error))
      const text = JSON.stringify(refusal.status)
      socket.end(
        `HTTP/1.1 ${refusal.code} ${refusal.status.reason ?? ""}\r\ncontent-type: application/json\r\ncontent-length: ${
          Buffer.byteLength(text)
        }\r\nconnection: close\r\n\r\n${text}`
      )
    }
  }
}
