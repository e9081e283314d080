/**
 * The holder's side of a pod: processes in its container, over `exec` of the Kubernetes API (WebSocket, v5 or v4 of the channel protocol).
 *
 * Keeps true: what `exec` of Kubernetes does not give comes from the launcher (LauncherExec.ts); a reader that stops stops the connection; the pod behind a name is the one that
 * was claimed, when a client is made and when a connection was lost; connections are bounded.
 * `ws` and not the client's own Exec: that one ignores what its streams say about being full, and errors after the handshake. docs/design/kubernetes.md, "Exec".
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { type RawData, WebSocket } from "ws"
import type { PoolProvider } from "../../shared/plugin/PoolProvider.ts"
import { type SandboxClient, SandboxLost, type SandboxProcess } from "../../shared/plugin/SandboxClient.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import * as Answer from "./Answer.ts"
import type { Api, Dialer } from "./ApiClient.ts"
import type { ReachableCluster } from "./Cluster.ts"
import { at, listAt, parse, textAt } from "./Json.ts"
import * as LauncherExec from "./LauncherExec.ts"
import type { Channel, ChannelHandlers, Inquiry, ProgramEnd, Refused, Transport } from "./LauncherExec.ts"
import { annotation } from "./Names.ts"
import * as Pod from "./Pod.ts"
import type { ResetHook } from "./PodResets.ts"

/** Open WebSockets of one process to one cluster; who comes later waits as long as a start may take. */
export const connectionsMax = 1_024
/** The kubelet sends chunks of 32 KiB. */
const messageBytesMax = 16 * 1024 * 1024
const handshakeTimeoutMs = 10_000
const pingMs = 10_000
/** Pings without an answer, of a reader that reads. */
const pingsMax = 3

const stdinChannel = 0
const stdoutChannel = 1
const stderrChannel = 2
const statusChannel = 3

/** One pod's container. */
interface Target {
  readonly namespace: string
  readonly pod: string
  readonly container: string
}

const rights = "bind the Role heddle-task-executor (infra/crds/rbac.yaml) to this process's service account"

const refusedOf = (status: number, body: string): Refused => {
  const message = textAt(parse(body), "message") ?? body.trim().slice(0, 300)
  const reason = `${message === "" ? "the API server refused exec" : message} (${status})`
  if (status === 401 || status === 429 || status === 502 || status === 503 || status === 504) {
    return { _tag: "Again", reason }
  }
  if (status === 403) return { _tag: "NotStarted", reason: `${reason}: ${rights}` }
  return { _tag: "Lost", reason }
}

/** What the server says when `/bin/sh` cannot be run, or ran without what the launcher needs; not when the container is gone. */
const isNoLauncher = (status: unknown): boolean => {
  if (textAt(status, "status") === "Success") return true
  const message = textAt(status, "message") ?? ""
  const codes = new Set(listAt(status, "details", "causes").map((one) => textAt(one, "message")))
  return codes.has("126") || codes.has("127") ||
    /executable file not found|no such file or directory|permission denied/i.test(message)
}

const bytesOf = (data: RawData): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? Buffer.from(data) : data

const endOf = (status: unknown): ProgramEnd => ({
  message: textAt(status, "message"),
  isNoLauncher: isNoLauncher(status)
})

/** For pings, which are no part of a channel. */
const sockets = new WeakMap<Channel, WebSocket>()

/** Opens one exec. `handlers` are called from the first message on. */
const open = (
  client: Dialer,
  target: Target,
  command: ReadonlyArray<string>,
  handlers: ChannelHandlers
): Effect.Effect<void, Refused> =>
  Effect.callback<void, Refused>((resume) => {
    const { agent, headers, tls, url } = client.dial(
      `/api/v1/namespaces/${target.namespace}/pods/${target.pod}/exec`,
      [
        ["container", target.container],
        ["stdin", "true"],
        ["stdout", "true"],
        ["stderr", "true"],
        ...command.map((word) => ["command", word] as const)
      ]
    )
    const socket = new WebSocket(url, ["v5.channel.k8s.io", "v4.channel.k8s.io"], {
      ...tls,
      headers,
      ...(agent === undefined ? {} : { agent }),
      handshakeTimeout: handshakeTimeoutMs,
      maxPayload: messageBytesMax,
      perMessageDeflate: false
    })
    const channel: Channel = {
      isOpen: () => socket.readyState === WebSocket.OPEN,
      write: (bytes) => toStdin(socket, bytes),
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      end: () => socket.terminate()
    }
    let isOpen = false
    let ended: ProgramEnd | undefined
    let reason = "the connection was closed"
    const refuse = (refused: Refused) => {
      socket.on("error", () => undefined) // it is being ended
      socket.terminate()
      resume(Effect.fail(refused))
    }
    socket.on("open", () => {
      isOpen = true
      sockets.set(channel, socket)
      handlers.opened(channel)
      resume(Effect.void)
    })
    socket.on("unexpected-response", (_request, response) => {
      const chunks: Array<Buffer> = []
      const status = response.statusCode ?? 0
      if (status === 401) client.unauthorized()
      response.on("data", (chunk: Buffer) => {
        if (chunks.length < 64) chunks.push(chunk)
      })
      response.on("end", () => refuse(refusedOf(status, Buffer.concat(chunks).toString("utf8"))))
      response.on("error", (error) => refuse({ _tag: "Again", reason: error.message }))
    })
    socket.on("error", (error) => {
      reason = error.message
      if (!isOpen) refuse({ _tag: "Again", reason: `the API server cannot be reached: ${error.message}` })
    })
    socket.on("message", (data, isBinary) => {
      const bytes = isBinary ? bytesOf(data) : Buffer.from(String(data))
      const payload = bytes.subarray(1)
      if (payload.length === 0) return
      if (bytes[0] === stdoutChannel) handlers.stdout(payload)
      else if (bytes[0] === stderrChannel) handlers.stderr(payload)
      else if (bytes[0] === statusChannel) ended = endOf(parse(payload.toString("utf8")))
    })
    socket.on("close", (code) => {
      if (isOpen) handlers.closed(reason === "the connection was closed" ? `${reason} (${code})` : reason, ended)
    })
    return Effect.sync(() => {
      if (!isOpen) refuse({ _tag: "Again", reason: "interrupted" })
    })
  })

const toStdin = (socket: WebSocket, bytes: Uint8Array): void => {
  if (socket.readyState !== WebSocket.OPEN) return
  // The server copies each message into the process's pipe: pieces, so that none is too large for it.
  for (let from = 0; from < bytes.length; from += 32 * 1024) {
    const piece = bytes.subarray(from, from + 32 * 1024)
    const message = Buffer.allocUnsafe(piece.length + 1)
    message[0] = stdinChannel
    message.set(piece, 1)
    socket.send(message)
  }
}

/** Tells of a server that does not answer any more. A paused connection cannot see answers and is left alone. Never ends. */
const ping: Transport["watch"] = (channel, isPaused, lost) =>
  Effect.suspend(() => {
    let missing = 0
    const socket = sockets.get(channel)
    socket?.on("pong", () => (missing = 0))
    return Effect.forever(Effect.gen(function*() {
      yield* Effect.sleep(pingMs)
      if (isPaused()) missing = 0
      else if (++missing > pingsMax) lost("the API server does not answer on its connection any more")
      if (socket?.readyState === WebSocket.OPEN) socket.ping()
    }))
  })

const isEnv = Schema.is(Schema.Record(Schema.String, Schema.String))

/** What `connect` found out about the pod. */
interface Found {
  readonly target: Target
  readonly claimEnv: Readonly<Record<string, string>>
}

const containerOf = (body: unknown): string | undefined => {
  const names = listAt(body, "spec", "containers").map((one) => textAt(one, "name"))
  const wanted = textAt(at(body, "metadata", "annotations"), "kubectl.kubernetes.io/default-container")
  return wanted !== undefined && names.includes(wanted) ? wanted : names[0]
}

const otherPod = "another pod has its name now"

/** `undefined`: it is there, and the same. Otherwise what has become of it. */
const goneOf = (body: unknown, uid: string): string | undefined => {
  const pod = Pod.read(body)
  if (pod === undefined || pod.uid !== uid) return otherPod
  if (pod.ended !== undefined) return `its pod has ended: ${pod.ended}`
  return pod.isDeleting ? "its pod is being deleted" : undefined
}

const get = (client: Api, target: { readonly namespace: string; readonly pod: string }) =>
  Effect.callback<Answer.Verdict>((resume) => {
    const abort = client.send(
      "read",
      { method: "GET", path: `/api/v1/namespaces/${target.namespace}/pods/${target.pod}` },
      (answer) => resume(Effect.succeed(Answer.verdict(answer)))
    )
    return Effect.sync(abort)
  })

type Client = Api & Dialer

/** The pod of a sandbox, read until there is an answer. */
const find = Effect.fnUntraced(
  function*(client: Client, sandbox: Sandbox, address: { readonly namespace: string; readonly name: string }) {
    const where = { namespace: address.namespace, pod: address.name }
    const lost = (reason: string) => new SandboxLost({ sandbox: sandbox.name, reason })
    for (;;) {
      const verdict = yield* get(client, where)
      if (verdict._tag === "Done") {
        const gone = goneOf(verdict.body, sandbox.uid)
        if (gone !== undefined) return yield* lost(gone)
        const container = containerOf(verdict.body)
        if (container === undefined) return yield* lost("its pod has no container")
        const env = parse(textAt(verdict.body, "metadata", "annotations", annotation.env) ?? "")
        const found: Found = { target: { ...where, container }, claimEnv: isEnv(env) ? env : {} }
        return found
      }
      if (verdict._tag === "NotFound") return yield* lost("its pod is gone")
      if (verdict._tag === "Refused" && verdict.message.endsWith("(403)")) return `${verdict.message}: ${rights}`
      yield* Effect.sleep(verdict._tag === "Later" ? verdict.afterMs : LauncherExec.retryMs)
    }
  }
)

const transport = (client: Client, uid: string, target: Target): Transport => ({
  open: (command, handlers) => open(client, target, command, handlers),
  inquire: Effect.map(get(client, target), (verdict): Inquiry => {
    if (verdict._tag === "NotFound") return { gone: "its pod is gone", isEmpty: true }
    const gone = verdict._tag === "Done" ? goneOf(verdict.body, uid) : undefined
    return { gone, isEmpty: gone === otherPod }
  }),
  watch: ping
})

/** Both sides that run processes in pods: the holder's `connect`, and the scheduler's reset command. One bound on connections for both. */
export const make = (cluster: ReachableCluster): {
  readonly connect: PoolProvider["connect"]
  readonly resetHook: ResetHook
} => {
  const permits = Semaphore.makeUnsafe(connectionsMax)
  const permit = (sandbox: { readonly name: string }) =>
    Semaphore.takeScoped(permits, 1).pipe(
      Effect.timeoutOrElse({
        duration: LauncherExec.startTimeoutMs,
        orElse: () =>
          Effect.fail(
            new SandboxLost({
              sandbox: sandbox.name,
              reason: `this process has ${connectionsMax} connections into pods already`
            })
          )
      })
    )
  return {
    connect: (sandbox) =>
      Effect.gen(function*() {
        const lost = (reason: string) => new SandboxLost({ sandbox: sandbox.name, reason })
        const address = Pod.parseAddress(sandbox.address)
        if (address === undefined) return yield* lost(`its address "${sandbox.address ?? ""}" names no pod`)
        const client = yield* cluster.client.pipe(Effect.mapError((error) => lost(error.message)))
        const found = yield* find(client, sandbox, address).pipe(
          Effect.timeoutOrElse({
            duration: LauncherExec.startTimeoutMs,
            orElse: () =>
              Effect.fail(lost(`the API server did not tell about its pod within ${LauncherExec.startTimeoutMs} ms`))
          })
        )
        const sandboxClient: SandboxClient = {
          exec: (request) =>
            typeof found === "string"
              ? Effect.succeed(notStarted(found))
              : Effect.andThen(
                permit(sandbox),
                LauncherExec.exec(transport(client, sandbox.uid, found.target), sandbox, found.claimEnv, request)
              )
        }
        return sandboxClient
      }),
    resetHook: (pod, command) =>
      Effect.gen(function*() {
        const client = yield* cluster.client
        const target = { namespace: pod.namespace, pod: pod.name, container: pod.container }
        yield* permit(pod)
        const process = yield* LauncherExec.exec(transport(client, pod.uid, target), pod, {}, { command, env: {} })
        yield* Stream.runDrain(process.output)
        const status = yield* process.exit
        return status._tag === "Exited" && status.code === 0
      }).pipe(
        Effect.scoped,
        Effect.catch((error) =>
          Effect.as(Effect.logWarning("a reset command cannot be run", { pod: pod.name, reason: error.message }), false)
        )
      )
  }
}

const notStarted = (reason: string): SandboxProcess => ({
  output: Stream.empty,
  exit: Effect.succeed({ _tag: "NotStarted", reason }),
  kill: Effect.void
})
