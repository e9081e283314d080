/**
 * The holder's side of a local sandbox: processes in it, over the unix socket of its agent.
 *
 * Keeps true: a holder that stops reading output stops the process's writes (the socket is paused, then the agent pauses the process's pipes); leaving the
 * scope of an exec ends its process tree first; a connection that ends before the exit is known is `SandboxLost`.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { connect as connectSocket } from "node:net"
import {
  execBytesMax,
  type ExitStatus,
  type KillGrace,
  killGraceDefault,
  type OutputChunk,
  type SandboxClient,
  SandboxLost,
  type SandboxProcess
} from "../../shared/plugin/SandboxClient.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import * as Frame from "./Frame.mjs"

/** Output held for a slow reader before the socket is paused. */
const unreadBytesMax = 256 * 1024
/** From the connection to the process's start. */
const startTimeoutMs = 15_000
/** Beyond the two graces of a kill: the time SIGKILL and the answer may take. */
const killSlackMs = 10_000

const ExitFrame = Schema.Struct({
  code: Schema.optionalKey(Schema.Int),
  signal: Schema.optionalKey(Schema.String),
  notStarted: Schema.optionalKey(Schema.String),
  collected: Schema.optionalKey(Schema.Struct({ text: Schema.String, truncated: Schema.Boolean }))
})
const decodeExit = Schema.decodeUnknownSync(ExitFrame)

const statusOf = (payload: Uint8Array): ExitStatus => {
  const { code, collected, notStarted, signal } = decodeExit(Frame.json(payload))
  return notStarted !== undefined
    ? { _tag: "NotStarted", reason: notStarted }
    : signal !== undefined
    ? { _tag: "Signalled", signal, collected }
    : { _tag: "Exited", code: code ?? -1, collected }
}

const exec = Effect.fnUntraced(
  function*(sandbox: Sandbox, path: string, request: Parameters<SandboxClient["exec"]>[0]) {
    const lost = (reason: string) => new SandboxLost({ sandbox: sandbox.name, reason })
    const body = new TextEncoder().encode(JSON.stringify(request))
    const chunks = yield* Queue.unbounded<OutputChunk, SandboxLost | Cause.Done>()
    const started = yield* Deferred.make<void, SandboxLost>()
    const exit = yield* Deferred.make<ExitStatus, SandboxLost>()
    const grace: KillGrace = request.grace ?? killGraceDefault
    let unreadBytes = 0
    let isPaused = false
    let isKilling = false

    if (body.length > execBytesMax) {
      Deferred.doneUnsafe(
        exit,
        Exit.succeed({ _tag: "NotStarted", reason: `the request has ${body.length} bytes, more than ${execBytesMax}` })
      )
      const process: SandboxProcess = { output: Stream.empty, exit: Deferred.await(exit), kill: Effect.void }
      return process
    }

    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => connectSocket({ path })),
      (socket) =>
        Effect.suspend(() => {
          if (Deferred.isDoneUnsafe(exit)) {
            socket.destroy()
            return Effect.void
          }
          kill()
          return Deferred.await(exit).pipe(
            Effect.timeoutOption(grace.sigintMs + grace.sigtermMs + killSlackMs),
            Effect.ignore,
            Effect.andThen(Effect.sync(() => socket.destroy()))
          )
        })
    )
    const fail = (reason: string) => {
      const error = Exit.fail(lost(reason))
      Deferred.doneUnsafe(started, error)
      if (Deferred.doneUnsafe(exit, error)) Queue.failCauseUnsafe(chunks, Cause.fail(lost(reason)))
    }
    const kill = () => {
      if (isKilling) return
      isKilling = true
      isPaused = false
      socket.resume()
      if (socket.writable) Frame.write(socket, Frame.kill, grace)
    }
    const onOutput = (stream: OutputChunk["stream"], bytes: Uint8Array) => {
      if (isKilling && unreadBytes > unreadBytesMax) return
      unreadBytes += bytes.length
      Queue.offerUnsafe(chunks, { stream, bytes })
      if (unreadBytes > unreadBytesMax && !isKilling && !isPaused) {
        isPaused = true
        socket.pause()
      }
    }
    const reader = Frame.reader((kind, payload) => {
      if (kind === Frame.stdout) onOutput("stdout", payload)
      else if (kind === Frame.stderr) onOutput("stderr", payload)
      else if (kind === Frame.started) Deferred.doneUnsafe(started, Exit.void)
      else if (kind === Frame.exit) {
        Deferred.doneUnsafe(started, Exit.void)
        Deferred.doneUnsafe(exit, Exit.succeed(statusOf(payload)))
        Queue.endUnsafe(chunks)
      }
    })
    socket.on("data", (bytes) => {
      try {
        reader(bytes)
      } catch (error) {
        fail(`its agent sent what is no frame (${String(error)})`)
        socket.destroy()
      }
    })
    socket.on("error", (error) => fail(`its agent cannot be reached (${error.message})`))
    socket.on("close", () => fail("its agent closed the connection"))
    Frame.write(socket, Frame.exec, body)

    yield* Deferred.await(started).pipe(
      Effect.timeoutOrElse({
        duration: startTimeoutMs,
        orElse: () => Effect.fail(lost(`its agent did not start the process within ${startTimeoutMs} ms`))
      })
    )
    const process: SandboxProcess = {
      output: Stream.fromQueue(chunks).pipe(Stream.mapArray((batch) => {
        for (const { bytes } of batch) unreadBytes -= bytes.length
        if (isPaused && unreadBytes <= unreadBytesMax / 2) {
          isPaused = false
          socket.resume()
        }
        return batch
      })),
      exit: Deferred.await(exit),
      kill: Effect.suspend(() => {
        kill()
        return Effect.asVoid(Deferred.await(exit))
      })
    }
    return process
  }
)

/** Does not connect yet: each exec has its own connection, and a sandbox that is gone shows there. */
export const connect = (sandbox: Sandbox): Effect.Effect<SandboxClient, SandboxLost> => {
  const address = sandbox.address ?? ""
  return address.startsWith("unix:")
    ? Effect.succeed({ exec: (request) => exec(sandbox, address.slice("unix:".length), request) })
    : Effect.fail(new SandboxLost({ sandbox: sandbox.name, reason: `its address "${address}" is no unix socket` }))
}
