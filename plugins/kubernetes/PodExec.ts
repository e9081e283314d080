/**
 * The holder's side of a pod: processes in its container, over `exec` of the Kubernetes API (WebSocket, v5 or v4 of the channel protocol).
 *
 * Keeps true: what `exec` of Kubernetes does not give comes from the launcher (PodLauncher.ts); a reader that stops stops the connection, and with it the process; leaving
 * the scope ends the process tree, by the launcher's stdin and, when that is lost, by a second exec that sweeps; a connection that ends before the exit is known is
 * `SandboxLost`, with what the pod says about itself. A handshake is repeated until the script was sent, never after: nothing runs before it.
 * `ws` and not the client's own Exec: that one ignores what its streams say about being full, and errors after the handshake. docs/design/kubernetes.md, "Exec".
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { type RawData, WebSocket } from "ws"
import type { PoolProvider } from "../../shared/plugin/PoolProvider.ts"
import {
  execBytesMax,
  type ExecRequest,
  type ExitStatus,
  type KillGrace,
  killGraceDefault,
  type OutputChunk,
  type SandboxClient,
  SandboxLost,
  type SandboxProcess
} from "../../shared/plugin/SandboxClient.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import * as Answer from "./Answer.ts"
import type { Api, Dialer } from "./ApiClient.ts"
import type { ReachableCluster } from "./Cluster.ts"
import { at, listAt, parse, textAt } from "./Json.ts"
import type { ResetHook } from "./KubernetesPool.ts"
import { annotation } from "./Names.ts"
import * as Pod from "./Pod.ts"
import * as PodLauncher from "./PodLauncher.ts"

/** Open WebSockets of one process to one cluster; who comes later waits as long as a start may take. */
export const connectionsMax = 1_024
/** Output held for a slow reader before the connection is paused. */
const unreadBytesMax = 256 * 1024
/** The kubelet sends chunks of 32 KiB. */
const messageBytesMax = 16 * 1024 * 1024
/** From the request to the process's start, repeated handshakes included. */
const startTimeoutMs = 20_000
const handshakeTimeoutMs = 10_000
const retryMs = 300
/** Beyond the two graces of a kill: the time SIGKILL and the answer may take. */
const killSlackMs = 10_000
const sweepTimeoutMs = 20_000
/** For the question what became of a pod whose connection was lost. */
const inquiryTimeoutMs = 5_000
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

/** A WebSocket could not be had, or the command could not be run. */
type Refused =
  /** Nothing of the sandbox is to blame; the same everywhere. */
  | { readonly _tag: "NotStarted"; readonly reason: string }
  | { readonly _tag: "Lost"; readonly reason: string }
  | { readonly _tag: "Again"; readonly reason: string }

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

interface ChannelHandlers {
  /** Before anything else, and before `open` returns. */
  readonly opened: (socket: WebSocket) => void
  readonly stdout: (bytes: Buffer) => void
  readonly stderr: (bytes: Buffer) => void
  /** What the server says at the end (a `Status`). */
  readonly status: (status: unknown) => void
  /** Once, after which nothing else is called. */
  readonly closed: (reason: string) => void
}

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
    let isOpen = false
    let reason = "the connection was closed"
    const refuse = (refused: Refused) => {
      socket.on("error", () => undefined) // it is being ended
      socket.terminate()
      resume(Effect.fail(refused))
    }
    socket.on("open", () => {
      isOpen = true
      handlers.opened(socket)
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
      else if (bytes[0] === statusChannel) handlers.status(parse(payload.toString("utf8")))
    })
    socket.on("close", (code) => {
      if (isOpen) handlers.closed(reason === "the connection was closed" ? `${reason} (${code})` : reason)
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
const ping = (
  of: () => WebSocket | undefined,
  isPaused: () => boolean,
  lost: () => void
): Effect.Effect<never> =>
  Effect.suspend(() => {
    let missing = 0
    of()?.on("pong", () => (missing = 0))
    return Effect.forever(Effect.gen(function*() {
      yield* Effect.sleep(pingMs)
      if (isPaused()) missing = 0
      else if (++missing > pingsMax) lost()
      if (of()?.readyState === WebSocket.OPEN) of()?.ping()
    }))
  })

const idOf = Effect.map(
  Effect.all(Array.from({ length: 4 }, () => Random.nextIntBetween(0, 0xffffffff))),
  (numbers) => numbers.map((number) => number.toString(16).padStart(8, "0")).join("")
)

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
      yield* Effect.sleep(verdict._tag === "Later" ? verdict.afterMs : retryMs)
    }
  }
)

/** Runs the sweep of an exec whose connection is lost. True: all of it has ended. */
const sweep = (client: Client, target: Target, id: string): Effect.Effect<boolean, Refused> =>
  Effect.gen(function*() {
    const script = PodLauncher.sweepOf(id)
    const swept = yield* Deferred.make<boolean>()
    const reader = new PodLauncher.LauncherReader(id, {
      output: () => undefined,
      started: () => undefined,
      ended: () => undefined,
      swept: () => Deferred.doneUnsafe(swept, Exit.succeed(true))
    })
    let socket: WebSocket | undefined
    const run = open(client, target, PodLauncher.commandOf(script), {
      opened: (opened) => {
        socket = opened
        toStdin(opened, script)
      },
      stdout: () => undefined,
      stderr: (bytes) => reader.pushStderr(bytes),
      status: () => undefined,
      closed: () => Deferred.doneUnsafe(swept, Exit.succeed(false))
    })
    return yield* Effect.andThen(run, Deferred.await(swept)).pipe(
      Effect.ensuring(Effect.sync(() => socket?.terminate()))
    )
  })

/** Repeated while the API server cannot be reached; ends early when the container or the pod is gone, and with it all its processes. */
const swept = (client: Client, target: Target, id: string): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (;;) {
      const done = yield* sweep(client, target, id).pipe(
        Effect.catch((refused) => Effect.succeed(refused._tag !== "Again"))
      )
      if (done) return
      yield* Effect.sleep(retryMs)
    }
  }).pipe(Effect.interruptible, Effect.timeoutOption(sweepTimeoutMs), Effect.asVoid)

const exec = Effect.fnUntraced(
  function*(
    client: Client,
    /** As it is named in errors, its uid, and whether the pod is still that one is asked when the connection was lost. */
    sandbox: Pick<Sandbox, "name" | "uid">,
    { claimEnv, target }: Found,
    permits: Semaphore.Semaphore,
    request: ExecRequest
  ) {
    const lost = (reason: string) => new SandboxLost({ sandbox: sandbox.name, reason })
    const chunks = yield* Queue.unbounded<OutputChunk, SandboxLost | Cause.Done>()
    const started = yield* Deferred.make<void, SandboxLost>()
    const exit = yield* Deferred.make<ExitStatus, SandboxLost>()
    /** The exit is known (`undefined`), or the connection has ended without. */
    const over = yield* Deferred.make<string | undefined>()
    const grace: KillGrace = request.grace ?? killGraceDefault
    const killTimeoutMs = grace.sigintMs + grace.sigtermMs + killSlackMs
    const id = yield* idOf
    let socket: WebSocket | undefined
    let unreadBytes = 0
    let isPaused = false
    let isKilling = false
    let isStarted = false
    let hasEnded = false
    /** The pod is known to be gone, with all that ran there. */
    let isGone = false
    let serverStatus: unknown

    const end = (status: ExitStatus) => {
      hasEnded = true
      Deferred.doneUnsafe(started, Exit.void)
      if (Deferred.doneUnsafe(exit, Exit.succeed(status))) Queue.endUnsafe(chunks)
      Deferred.doneUnsafe(over, Exit.succeed(undefined))
    }
    const fail = (reason: string) => {
      const error = lost(reason)
      Deferred.doneUnsafe(started, Exit.fail(error))
      if (Deferred.doneUnsafe(exit, Exit.fail(error))) Queue.failCauseUnsafe(chunks, Cause.fail(error))
    }
    const closed = (reason: string) => Deferred.doneUnsafe(over, Exit.succeed(reason))
    const askToEnd = () => {
      if (isKilling) return
      isKilling = true
      isPaused = false
      socket?.resume()
      if (socket !== undefined) toStdin(socket, Buffer.from(PodLauncher.killLine(grace)))
    }
    /** True: it is over. False: its launcher does not answer. */
    const killed = Effect.suspend(() => {
      askToEnd()
      return Effect.map(Effect.timeoutOption(Deferred.await(over), killTimeoutMs), (known) => known._tag === "Some")
    })
    const process: SandboxProcess = {
      output: Stream.fromQueue(chunks).pipe(Stream.mapArray((batch) => {
        for (const { bytes } of batch) unreadBytes -= bytes.length
        if (isPaused && unreadBytes <= unreadBytesMax / 2) {
          isPaused = false
          socket?.resume()
        }
        return batch
      })),
      exit: Deferred.await(exit),
      kill: Effect.flatMap(killed, (isOver) =>
        isOver ? Effect.asVoid(Deferred.await(exit)) : Effect.andThen(
          swept(client, target, id),
          Effect.suspend(() => {
            fail("its process did not end when it was killed")
            return Effect.asVoid(Deferred.await(exit))
          })
        ))
    }
    const requestBytes = Buffer.byteLength(JSON.stringify(request))
    if (requestBytes > execBytesMax) {
      end({ _tag: "NotStarted", reason: `the request has ${requestBytes} bytes, more than ${execBytesMax}` })
      return process
    }
    const script = PodLauncher.scriptOf({ id, sandbox: sandbox.uid, request, claimEnv })

    const reader = new PodLauncher.LauncherReader(id, {
      output: (stream, bytes) => {
        if (isKilling && unreadBytes > unreadBytesMax) return
        unreadBytes += bytes.length
        Queue.offerUnsafe(chunks, { stream, bytes })
        if (unreadBytes > unreadBytesMax && !isKilling && !isPaused) {
          isPaused = true
          socket?.pause()
        }
      },
      started: () => {
        isStarted = true
        Deferred.doneUnsafe(started, Exit.void)
      },
      ended: end
    })
    const feed = (push: () => void) => {
      try {
        push()
      } catch (error) {
        closed(`its launcher wrote what no launcher writes: ${String(error)}`)
        socket?.terminate()
      }
    }

    yield* Semaphore.takeScoped(permits, 1).pipe(
      Effect.timeoutOrElse({
        duration: startTimeoutMs,
        orElse: () => Effect.fail(lost(`this process has ${connectionsMax} connections into pods already`))
      })
    )
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        const isOpen = socket?.readyState === WebSocket.OPEN
        const ending = hasEnded || isGone || socket === undefined
          ? Effect.void
          : Effect.flatMap(isOpen ? killed : Effect.succeed(true), () =>
            hasEnded || isGone ? Effect.void : swept(client, target, id))
        return Effect.ensuring(
          ending,
          Effect.sync(() =>
            socket?.terminate()
          )
        )
      })
    )
    const dialled = yield* open(client, target, PodLauncher.commandOf(script), {
      opened: (opened) => {
        socket = opened
        toStdin(opened, script)
      },
      stdout: (bytes) => feed(() => reader.pushStdout(bytes)),
      stderr: (bytes) => feed(() => reader.pushStderr(bytes)),
      status: (status) => (serverStatus = status),
      closed
    }).pipe(
      Effect.retry({ while: (refused) => refused._tag === "Again", schedule: Schedule.spaced(retryMs) }),
      Effect.timeoutOrElse({
        duration: startTimeoutMs,
        orElse: () => Effect.fail<Refused>({ _tag: "Lost", reason: `no exec in it within ${startTimeoutMs} ms` })
      }),
      Effect.result
    )
    if (dialled._tag === "Failure") {
      if (dialled.failure._tag !== "NotStarted") return yield* lost(dialled.failure.reason)
      end(dialled.failure)
      return process
    }

    /** A connection that has ended without an exit: what the server and the pod say about it. */
    const inquiry = Effect.gen(function*() {
      const reason = yield* Deferred.await(over)
      if (reason === undefined) return
      const asked = yield* Effect.timeoutOption(get(client, target), inquiryTimeoutMs)
      const verdict = asked._tag === "Some" ? asked.value : undefined
      const gone = verdict?._tag === "NotFound"
        ? "its pod is gone"
        : verdict?._tag === "Done"
        ? goneOf(verdict.body, sandbox.uid)
        : undefined
      isGone = verdict?._tag === "NotFound" || gone === otherPod
      const told = textAt(serverStatus, "message")
      if (gone !== undefined) fail(gone)
      else if (!isStarted && isNoLauncher(serverStatus)) {
        end({
          _tag: "NotStarted",
          reason: `the container has no shell for heddle (/bin/sh, head, cat, mkdir)${
            told === undefined ? "" : `: ${told}`
          }`
        })
      } else fail(told ?? reason)
    })
    yield* Effect.forkScoped(inquiry)
    yield* Effect.forkScoped(
      ping(() => socket, () => isPaused, () => {
        closed("the API server does not answer on its connection any more")
        socket?.terminate()
      })
    )
    yield* Deferred.await(started).pipe(
      Effect.timeoutOrElse({
        duration: startTimeoutMs,
        orElse: () => Effect.fail(lost(`it did not start the process within ${startTimeoutMs} ms`))
      })
    )
    return process
  }
)

/** Both sides that run processes in pods: the holder's `connect`, and the scheduler's reset command. One bound on connections for both. */
export const make = (cluster: ReachableCluster): {
  readonly connect: PoolProvider["connect"]
  readonly resetHook: ResetHook
} => {
  const permits = Semaphore.makeUnsafe(connectionsMax)
  return {
    connect: (sandbox) =>
      Effect.gen(function*() {
        const lost = (reason: string) => new SandboxLost({ sandbox: sandbox.name, reason })
        const address = Pod.parseAddress(sandbox.address)
        if (address === undefined) return yield* lost(`its address "${sandbox.address ?? ""}" names no pod`)
        const client = yield* cluster.client.pipe(Effect.mapError((error) => lost(error.message)))
        const found = yield* find(client, sandbox, address).pipe(
          Effect.timeoutOrElse({
            duration: startTimeoutMs,
            orElse: () => Effect.fail(lost(`the API server did not tell about its pod within ${startTimeoutMs} ms`))
          })
        )
        const sandboxClient: SandboxClient = {
          exec: (request) =>
            typeof found === "string"
              ? Effect.succeed(notStarted(found))
              : exec(client, sandbox, found, permits, request)
        }
        return sandboxClient
      }),
    resetHook: (pod, command) =>
      Effect.gen(function*() {
        const client = yield* cluster.client
        const found: Found = {
          target: { namespace: pod.namespace, pod: pod.name, container: pod.container },
          claimEnv: {}
        }
        const process = yield* exec(client, { name: pod.name, uid: pod.uid }, found, permits, {
          command,
          env: {}
        })
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
