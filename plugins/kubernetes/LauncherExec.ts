/**
 * A process in a sandbox, over anything that runs a program there with stdin, stdout and stderr: what the launcher (Launcher.ts) says becomes a SandboxProcess.
 *
 * Keeps true: a reader that stops stops the connection, and with it the process; leaving the scope ends the process tree, by the launcher's stdin and, when that is lost, by
 * a second program that sweeps; a connection that ends before the exit is known is `SandboxLost`, with what is known about the sandbox. A connection is tried again until
 * the script was sent, never after: nothing runs before it. docs/design/kubernetes.md, "Exec".
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  execBytesMax,
  type ExecRequest,
  type ExitStatus,
  type KillGrace,
  killGraceDefault,
  type OutputChunk,
  SandboxLost,
  type SandboxProcess
} from "../../shared/plugin/SandboxClient.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import * as PodLauncher from "./PodLauncher.ts"

/** Output held for a slow reader before the connection is paused. */
const unreadBytesMax = 256 * 1024
/** From the request to the process's start, repeated attempts included. */
export const startTimeoutMs = 20_000
export const retryMs = 300
/** Beyond the two graces of a kill: the time SIGKILL and the answer may take. */
const killSlackMs = 10_000
const sweepTimeoutMs = 20_000
/** For the question what became of a sandbox whose connection was lost. */
const inquiryTimeoutMs = 5_000

/** A connection could not be had, or the command could not be run. */
export type Refused =
  /** Nothing of the sandbox is to blame; the same everywhere. */
  | { readonly _tag: "NotStarted"; readonly reason: string }
  | { readonly _tag: "Lost"; readonly reason: string }
  | { readonly _tag: "Again"; readonly reason: string }

/** One program that runs. All of it is synchronous; nothing throws. */
export interface Channel {
  readonly isOpen: () => boolean
  /** To stdin, in order. */
  readonly write: (bytes: Uint8Array) => void
  /** No more output until `resume`, soon. */
  readonly pause: () => void
  readonly resume: () => void
  /** At once; stdin ends. Idempotent. */
  readonly end: () => void
}

export interface ChannelHandlers {
  /** Before anything else, and before `open` returns. */
  readonly opened: (channel: Channel) => void
  readonly stdout: (bytes: Uint8Array) => void
  readonly stderr: (bytes: Uint8Array) => void
  /** Once, after which nothing else is called. `ended`: the program has, and how; absent when only the connection has. */
  readonly closed: (reason: string, ended: ProgramEnd | undefined) => void
}

/** What is said about a program's end. `isNoLauncher`: it could not be run, or ran without what the launcher needs. */
export interface ProgramEnd {
  readonly message: string | undefined
  readonly isNoLauncher: boolean
}

/** What is known of a sandbox. `gone`: why it cannot be used any more. `isEmpty`: surely nothing of it runs. */
export interface Inquiry {
  readonly gone: string | undefined
  readonly isEmpty: boolean
}

/** A way to run programs in one sandbox. */
export interface Transport {
  readonly open: (command: ReadonlyArray<string>, handlers: ChannelHandlers) => Effect.Effect<void, Refused>
  readonly inquire: Effect.Effect<Inquiry>
  /** Never ends; tells of a connection on which nothing comes any more. */
  readonly watch: (channel: Channel, isPaused: () => boolean, lost: (reason: string) => void) => Effect.Effect<never>
}

const idOf = Effect.map(
  Effect.all(Array.from({ length: 4 }, () => Random.nextIntBetween(0, 0xffffffff))),
  (numbers) => numbers.map((number) => number.toString(16).padStart(8, "0")).join("")
)

/** Runs the sweep of an exec whose connection is lost. True: all of it has ended. */
const sweep = (transport: Transport, id: string): Effect.Effect<boolean, Refused> =>
  Effect.gen(function*() {
    const script = PodLauncher.sweepOf(id)
    const swept = yield* Deferred.make<boolean>()
    const reader = new PodLauncher.LauncherReader(id, {
      output: () => undefined,
      started: () => undefined,
      ended: () => undefined,
      swept: () => Deferred.doneUnsafe(swept, Exit.succeed(true))
    })
    let channel: Channel | undefined
    const run = transport.open(PodLauncher.commandOf(script), {
      opened: (opened) => {
        channel = opened
        opened.write(script)
      },
      stdout: () => undefined,
      stderr: (bytes) => reader.pushStderr(bytes),
      closed: () => Deferred.doneUnsafe(swept, Exit.succeed(false))
    })
    return yield* Effect.andThen(run, Deferred.await(swept)).pipe(
      Effect.ensuring(Effect.sync(() => channel?.end()))
    )
  })

/** Repeated while the API server cannot be reached; ends early when the container or the pod is gone, and with it all its processes. */
const swept = (transport: Transport, id: string): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (;;) {
      const done = yield* sweep(transport, id).pipe(
        Effect.catch((refused) => Effect.succeed(refused._tag !== "Again"))
      )
      if (done) return
      yield* Effect.sleep(retryMs)
    }
  }).pipe(Effect.interruptible, Effect.timeoutOption(sweepTimeoutMs), Effect.asVoid)

export const exec = Effect.fnUntraced(
  function*(
    transport: Transport,
    sandbox: Pick<Sandbox, "name" | "uid">,
    claimEnv: Readonly<Record<string, string>>,
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
    let channel: Channel | undefined
    let unreadBytes = 0
    let isPaused = false
    let isKilling = false
    let isStarted = false
    let hasEnded = false
    /** The pod is known to be gone, with all that ran there. */
    let isGone = false
    let programEnd: ProgramEnd | undefined

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
    /** Of what runs beside it: whoever waits for the process is told of the defect, instead of waiting for ever. */
    const beside = <R>(effect: Effect.Effect<void, never, R>) =>
      Effect.forkScoped(Effect.catchCause(effect, (cause) =>
        Effect.sync(() => {
          if (Cause.hasInterruptsOnly(cause)) return
          Deferred.doneUnsafe(started, Exit.failCause(cause))
          if (Deferred.doneUnsafe(exit, Exit.failCause(cause))) Queue.failCauseUnsafe(chunks, cause)
        })))
    const closed = (reason: string, ended?: ProgramEnd) => {
      programEnd = ended
      Deferred.doneUnsafe(over, Exit.succeed(reason))
    }
    const askToEnd = () => {
      if (isKilling) return
      isKilling = true
      isPaused = false
      channel?.resume()
      channel?.write(Buffer.from(PodLauncher.killLine(grace)))
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
          channel?.resume()
        }
        return batch
      })),
      exit: Deferred.await(exit),
      kill: Effect.flatMap(killed, (isOver) =>
        isOver ? Effect.asVoid(Deferred.await(exit)) : Effect.andThen(
          swept(transport, id),
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
          channel?.pause()
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
        channel?.end()
      }
    }

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        const isOpen = channel?.isOpen() === true
        const ending = hasEnded || isGone || channel === undefined
          ? Effect.void
          : Effect.flatMap(isOpen ? killed : Effect.succeed(true), () =>
            hasEnded || isGone ? Effect.void : swept(transport, id))
        return Effect.ensuring(
          ending,
          Effect.sync(() =>
            channel?.end()
          )
        )
      })
    )
    const dialled = yield* transport.open(PodLauncher.commandOf(script), {
      opened: (opened) => {
        channel = opened
        opened.write(script)
      },
      stdout: (bytes) => feed(() => reader.pushStdout(bytes)),
      stderr: (bytes) => feed(() => reader.pushStderr(bytes)),
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
      const asked = yield* Effect.timeoutOption(transport.inquire, inquiryTimeoutMs)
      const gone = asked._tag === "Some" ? asked.value.gone : undefined
      isGone = asked._tag === "Some" && asked.value.isEmpty
      const told = programEnd?.message
      if (gone !== undefined) fail(gone)
      else if (!isStarted && programEnd?.isNoLauncher === true) {
        end({
          _tag: "NotStarted",
          reason: `the container has no shell for heddle (/bin/sh, head, cat, mkdir)${
            told === undefined ? "" : `: ${told}`
          }`
        })
      } else fail(told ?? reason)
    })
    yield* beside(inquiry)
    if (channel !== undefined) {
      yield* beside(
        transport.watch(channel, () => isPaused, (reason) => {
          closed(reason)
          channel?.end()
        })
      )
    }
    yield* Deferred.await(started).pipe(
      Effect.timeoutOrElse({
        duration: startTimeoutMs,
        orElse: () => Effect.fail(lost(`it did not start the process within ${startTimeoutMs} ms`))
      })
    )
    return process
  }
)
