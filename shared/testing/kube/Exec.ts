/**
 * `exec` over WebSocket, as kube-apiserver and a kubelet do it together: subprotocols v5.channel.k8s.io and v4.channel.k8s.io, one binary message a chunk with its channel in
 * the first byte (0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize, 255 close of v5), and at the end a `Status` on channel 3: Success, or NonZeroExitCode with the code as a cause.
 *
 * What runs is the test's choice: `handler`, or a real child process (of this machine's shell, in a folder of the pod's own) for containers whose image begins with `local/`.
 * Processes end with their session, their container and the server.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import type { IncomingMessage } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Duplex, Readable } from "node:stream"
import { type RawData, type WebSocket, WebSocketServer } from "ws"
import type { Cluster } from "./Cluster.ts"
import type { Json, KubeObject } from "./Json.ts"
import * as Refusal from "./Refusal.ts"
import type { ApiRequest } from "./Route.ts"

/** One running `exec`, as a handler sees it. */
export interface ExecSession {
  readonly pod: KubeObject
  readonly container: string
  readonly command: ReadonlyArray<string>
  readonly isTty: boolean
  readonly stdout: (chunk: Uint8Array | string) => void
  readonly stderr: (chunk: Uint8Array | string) => void
  /** Resolves when the client has taken most of what was sent: a runtime reads no more of a pipe before that. */
  readonly drained: () => Promise<void>
  /** Ends the session. A code other than 0 is told as NonZeroExitCode. */
  readonly exit: (code: number) => void
  /** Ends the session as a runtime does that could not run the command. */
  readonly fail: (message: string) => void
  readonly onStdin: (listener: (chunk: Uint8Array) => void) => void
  /** The client has no more input (v5 only). */
  readonly onStdinEnd: (listener: () => void) => void
  readonly onResize: (listener: (size: { readonly Width: number; readonly Height: number }) => void) => void
  /** The connection is over, or the container is. */
  readonly onClose: (listener: () => void) => void
}

export type ExecHandler = (session: ExecSession) => void

export interface ExecOptions {
  /** Default: `local` for images that begin with `local/`, refused for others. */
  readonly handler?: ExecHandler
  /**
   * What a runtime does with the processes of a connection that is gone: `kill` (default), or `leave`, as containerd does, which only ends their stdin. They end with the
   * container in any case.
   */
  readonly onDisconnect?: "kill" | "leave"
}

const protocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
const stdinChannel = 0
const stdoutChannel = 1
const stderrChannel = 2
const errorChannel = 3
const resizeChannel = 4
const closeChannel = 255
/** A runtime holds about so much for a slow client. */
const unsentBytesMax = 256 * 1024

const bytesOf = (data: RawData): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? Buffer.from(data) : data

const exitStatus = (code: number): Refusal.Status =>
  code === 0
    ? { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success" }
    : {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      reason: "NonZeroExitCode",
      message: `command terminated with non-zero exit code: exit status ${code}`,
      details: { causes: [{ reason: "ExitCode", message: String(code) }] }
    }

const signals: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15
}

/** In the environment of every process of a container: what it leaves running ends with the container, as a PID namespace does it. */
const containerMark = "HEDDLE_KUBE_CONTAINER"

/** SIGKILL to all processes of a container, or of a pod when `mark` ends with a dot, until none is left. */
const killMarked = (mark: string): void => {
  if (process.platform !== "linux") return
  const wanted = `\0${containerMark}=${mark}${mark.endsWith(".") ? "" : "\0"}`
  for (let round = 0, isAny = true; isAny && round < 50; round++) {
    isAny = false
    for (const name of readdirSync("/proc")) {
      if (!/^\d+$/.test(name)) continue
      try {
        if (!`\0${readFileSync(`/proc/${name}/environ`, "latin1")}`.includes(wanted)) continue
        if (/\) [ZX] /.test(readFileSync(`/proc/${name}/stat`, "latin1"))) continue
        process.kill(Number(name), "SIGKILL")
        isAny = true
      } catch {
        // gone, or somebody else's
      }
    }
  }
}

interface Live {
  readonly uid: string
  readonly container: string
  readonly kill: () => void
}

export class Exec {
  readonly #cluster: Cluster
  readonly #options: ExecOptions
  readonly #server = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => protocols.find((one) => offered.has(one)) ?? false
  })
  readonly #live = new Set<Live>()
  readonly #folders = new Map<string, string>()
  /** Uids come from a seed: a double beside this one, in another test process, has pods of the same. */
  readonly #own = randomUUID()
  readonly #unlisten: () => void

  constructor(cluster: Cluster, options: ExecOptions) {
    this.#cluster = cluster
    this.#options = options
    this.#unlisten = cluster.store.listen((event, resource) => {
      if (resource.plural !== "pods") return
      const { uid } = event.object.metadata
      if (event.type === "DELETED") this.#end(uid, undefined)
      else if (event.previous !== undefined) this.#endRestarted(event.previous, event.object)
    })
  }

  /** A container that was started anew has none of its old processes. */
  #endRestarted(previous: KubeObject, object: KubeObject): void {
    if (previous.status === object.status || this.#live.size === 0) return
    const before = new Map<string, Json>((previous.status?.containerStatuses ?? []).map((one: Json) => [one.name, one]))
    for (const one of object.status?.containerStatuses ?? []) {
      const isSame = before.get(one.name)?.containerID === one.containerID && one.state?.terminated === undefined
      if (!isSame) this.#end(object.metadata.uid, one.name)
    }
  }

  #end(uid: string, container: string | undefined): void {
    for (const live of Array.from(this.#live)) {
      if (live.uid === uid && (container === undefined || live.container === container)) live.kill()
    }
    if (this.#folders.has(uid)) killMarked(`${this.#own}.${uid}.${container ?? ""}`)
    if (container !== undefined) return
    const folder = this.#folders.get(uid)
    this.#folders.delete(uid)
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  }

  stop(): Promise<void> {
    this.#unlisten()
    for (const live of Array.from(this.#live)) live.kill()
    for (const uid of this.#folders.keys()) killMarked(`${this.#own}.${uid}.`)
    for (const folder of this.#folders.values()) {
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
    }
    this.#folders.clear()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  /** The folder that stands for the pod's file system, made when first needed. */
  folderOf(pod: KubeObject): string {
    const { uid } = pod.metadata
    const known = this.#folders.get(uid)
    if (known !== undefined) return known
    const folder = mkdtempSync(join(tmpdir(), "heddle-pod-"))
    this.#folders.set(uid, folder)
    return folder
  }

  /** Throws `Refusal` before the upgrade: no such pod, no such container, not running. */
  upgrade(request: ApiRequest, query: URLSearchParams, incoming: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { resource, namespace, name = "" } = request
    const pod = this.#cluster.store.get(resource, namespace, name)
    const containers: ReadonlyArray<Json> = pod.spec?.containers ?? []
    const wanted = query.get("container") ?? ""
    const asked = query.getAll("command")
    if (asked.length === 0) throw Refusal.badRequest("you must specify at least 1 command for the container")
    if (wanted === "" && containers.length > 1) {
      throw Refusal.badRequest(
        `a container name must be specified for pod ${name}, choose one of: [${
          containers.map((one) => one.name).join(" ")
        }]`
      )
    }
    const container = wanted === "" ? containers[0] : containers.find((one) => one.name === wanted)
    if (container === undefined) throw Refusal.badRequest(`container ${wanted} is not valid for pod ${name}`)
    if ((pod.spec?.nodeName ?? "") === "") throw Refusal.badRequest(`pod ${name} does not have a host assigned`)
    const status = (pod.status?.containerStatuses ?? []).find((one: Json) => one.name === container.name)
    if (pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed") {
      throw Refusal.badRequest(`cannot exec into a container in a completed pod; current phase is ${pod.status.phase}`)
    }
    if (status?.state?.running === undefined) {
      throw Refusal.failure(
        500,
        "InternalError",
        `unable to upgrade connection: container not found ("${container.name}")`
      )
    }
    const offered = String(incoming.headers["sec-websocket-protocol"] ?? "").split(",").map((one) => one.trim())
    if (!offered.some((one) => protocols.includes(one))) {
      throw Refusal.badRequest(`unable to negotiate protocol: client supports ${offered.join(", ")}`)
    }
    this.#server.handleUpgrade(incoming, socket, head, (client) => {
      this.#run(client, pod, container, asked, query)
    })
  }

  #run(
    client: WebSocket,
    pod: KubeObject,
    container: Json,
    command: ReadonlyArray<string>,
    query: URLSearchParams
  ): void {
    const wants = (name: string) => query.get(name) === "true" || query.get(name) === "1"
    const isV5 = client.protocol === "v5.channel.k8s.io"
    const onStdin: Array<(chunk: Uint8Array) => void> = []
    const onStdinEnd: Array<() => void> = []
    const onResize: Array<(size: { readonly Width: number; readonly Height: number }) => void> = []
    const onClose: Array<() => void> = []
    let isOver = false
    const send = (channel: number, chunk: Uint8Array | string) => {
      if (isOver || client.readyState !== client.OPEN) return
      const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk
      const message = Buffer.allocUnsafe(bytes.length + 1)
      message[0] = channel
      message.set(bytes, 1)
      client.send(message)
    }
    const drained = async () => {
      // oxlint-disable-next-line no-unmodified-loop-condition -- the end of the connection sets it
      while (!isOver && client.readyState === client.OPEN && client.bufferedAmount > unsentBytesMax) {
        await new Promise<void>((resolve) => {
          // an empty chunk of output: told when everything before it is out
          client.send(Buffer.from([stdoutChannel]), () => resolve())
        })
      }
    }
    const over = () => {
      if (isOver) return
      isOver = true
      this.#live.delete(live)
      for (const listener of onClose) listener()
    }
    const end = (status: Refusal.Status) => {
      if (isOver) return
      send(errorChannel, JSON.stringify(status))
      over()
      client.close(1000)
    }
    const live: Live = {
      uid: pod.metadata.uid,
      container: container.name,
      kill: () => end(exitStatus(137))
    }
    this.#live.add(live)
    client.on("message", (data) => {
      const bytes = bytesOf(data)
      const channel = bytes[0]
      if (channel === stdinChannel && wants("stdin")) { for (const listener of onStdin) listener(bytes.subarray(1)) }
      else if (channel === resizeChannel) {
        const size: Json = JSON.parse(bytes.subarray(1).toString())
        for (const listener of onResize) listener(size)
      } else if (channel === closeChannel && isV5 && bytes[1] === stdinChannel) {
        for (const listener of onStdinEnd) listener()
      }
    })
    client.on("close", over)
    client.on("error", over)
    // as the server does it: each output stream that was asked for is opened by an empty message
    if (wants("stdin")) send(stdinChannel, "")
    if (wants("stdout")) send(stdoutChannel, "")
    if (wants("stderr")) send(stderrChannel, "")
    const session: ExecSession = {
      pod,
      container: container.name,
      command,
      isTty: wants("tty"),
      stdout: (chunk) => wants("stdout") && send(stdoutChannel, chunk),
      stderr: (chunk) => wants("stderr") && send(stderrChannel, chunk),
      drained,
      exit: (code) => end(exitStatus(code)),
      fail: (message) => end(Refusal.internalError(message).status),
      onStdin: (listener) => onStdin.push(listener),
      onStdinEnd: (listener) => onStdinEnd.push(listener),
      onResize: (listener) => onResize.push(listener),
      onClose: (listener) => (isOver ? listener() : onClose.push(listener))
    }
    const { handler } = this.#options
    if (handler !== undefined) handler(session)
    else if (String(container.image).startsWith("local/")) this.local(session)
    else session.fail("the double runs commands of images local/… only; give it an exec handler for others")
  }

  /** Runs the command as a process of this machine, in the pod's folder, with the container's environment. */
  readonly local = (session: ExecSession): void => {
    const { pod, command } = session
    const container: Json = (pod.spec?.containers ?? []).find((one: Json) => one.name === session.container)
    const [program = "", ...args] = command
    let child: ChildProcess
    try {
      child = spawn(program, args, {
        cwd: this.folderOf(pod),
        env: {
          PATH: process.env["PATH"],
          HOME: this.folderOf(pod),
          // what a container leaves in its temporary folder goes with the pod
          TMPDIR: this.folderOf(pod),
          HOSTNAME: pod.metadata.name,
          [containerMark]: `${this.#own}.${pod.metadata.uid}.${session.container}`,
          ...Object.fromEntries((container?.env ?? []).map((one: Json) => [one.name, one.value ?? ""]))
        },
        stdio: ["pipe", "pipe", "pipe"],
        // a process group of its own, so that what the command started ends with it
        detached: true
      })
    } catch (error) {
      session.fail(`error executing command in container: ${String(error)}`)
      return
    }
    const { stdin, stdout, stderr, pid } = child
    let isOver = false
    child.on("error", (error) => {
      isOver = true
      session.fail(
        `error executing command in container: failed to exec in container: exec: ${
          JSON.stringify(program)
        }: ${error.message}`
      )
    })
    const forward = (stream: Readable | null, send: ExecSession["stdout"]) =>
      stream?.on("data", (chunk: Buffer) => {
        send(chunk)
        stream.pause()
        session.drained().then(() => stream.resume(), () => stream.resume())
      })
    forward(stdout, session.stdout)
    forward(stderr, session.stderr)
    // the command may end without reading what it is given
    stdin?.on("error", () => undefined)
    session.onStdin((chunk) => stdin?.write(chunk))
    session.onStdinEnd(() => stdin?.end())
    child.on("close", (code, signal) => {
      isOver = true
      session.exit(code ?? 128 + (signals[signal ?? ""] ?? 0))
    })
    session.onClose(() => {
      if (isOver || pid === undefined) return
      if (this.#options.onDisconnect === "leave") {
        stdin?.end()
        stdout?.resume()
        stderr?.resume()
        return
      }
      try {
        process.kill(-pid, "SIGKILL")
      } catch {
        // it ended in between
      }
    })
  }
}
