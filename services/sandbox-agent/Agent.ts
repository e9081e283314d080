/**
 * The agent in a sandbox's image: runs programs for whoever holds the sandbox, as `exec` of a container runtime would, over NATS. It knows no tasks and no launcher.
 *
 * Keeps true: output under way is bounded by the credit that the holder gave; a holder that says nothing for `agentSilenceMs`, or leaves, gets its program's stdin closed (which ends
 * the tree, see plugins/kubernetes/PodLauncher.ts); numbered messages are told in order, and one that cannot be sent ends the exec; input is given in the order of its numbers,
 * once each, over whichever connection it came; at most `execsMax` at one time. docs/design/kubernetes.md, "Agent mode"; shared/protocol/SandboxAgent.ts.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { type ChildProcess, spawn } from "node:child_process"
import type { Readable } from "node:stream"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import {
  agentAliveMs,
  type AgentAnswer,
  AgentControl,
  agentCreditBytes,
  type AgentEnd,
  AgentExec,
  type AgentHello,
  agentInputHeaderBytes,
  agentOutput,
  agentOutputHeaderBytes,
  agentSilenceMs,
  agentSubject
} from "../../shared/protocol/SandboxAgent.ts"

export const execsMax = 256
/** A holder may send so much for a program that does not read. */
const inputBytesMax = 16 * 1024 * 1024
/** Pieces of input that came before one that is missing. */
const inputWaitingMax = 64
/** At the agent's end: how long programs have after their stdin was closed. */
const endWaitMs = 15_000

export interface AgentOptions {
  /** As `agentBase` makes it. */
  readonly base: string
  readonly hello: AgentHello
  /** Of every program. */
  readonly env: Readonly<Record<string, string>>
}

/** Of the connections that one agent has at a time. */
const queue = "agent"

const decodeExec = Decode.decoder(AgentExec)
const decodeControl = Decode.decoder(AgentControl)

class Running {
  heardAt: number
  readonly id: string
  private readonly child: ChildProcess
  private readonly streams: ReadonlyArray<Readable>
  private readonly publish: (message: Uint8Array) => boolean
  private readonly onEnd: () => void
  private next = 0
  private nextInput = 0
  /** By number: input that is ahead of its turn. */
  private readonly early = new Map<number, Buffer>()
  private sent = 0
  private credit = agentCreditBytes
  private isPaused = false
  /** The holder has left, or cannot be told any more: output is thrown away. */
  private isLeft = false
  private isOver = false

  constructor(
    options: {
      readonly id: string
      readonly child: ChildProcess
      readonly now: number
      readonly publish: (message: Uint8Array) => boolean
      readonly onEnd: () => void
    }
  ) {
    const { child } = options
    this.id = options.id
    this.child = child
    this.heardAt = options.now
    this.publish = options.publish
    this.onEnd = options.onEnd
    this.streams = [child.stdout, child.stderr].filter((stream) => stream !== null)
    // A program may end without reading what it is given.
    child.stdin?.on("error", () => undefined)
    child.stdout?.on("data", (chunk: Buffer) => this.output(agentOutput.stdout, chunk))
    child.stderr?.on("data", (chunk: Buffer) => this.output(agentOutput.stderr, chunk))
    child.once("error", (error) => this.end({ error: error.message }))
    child.once("close", (code, signal) => this.end(signal === null ? { code: code ?? -1 } : { signal }))
  }

  input(message: Uint8Array): void {
    const { stdin } = this.child
    if (this.isLeft || stdin === null || message.length < agentInputHeaderBytes) return
    const number = new DataView(message.buffer, message.byteOffset).getUint32(0)
    // What came over another connection already.
    if (number < this.nextInput || this.early.has(number)) return
    // What is given may be a view of a buffer that is used again.
    this.early.set(number, Buffer.from(message.subarray(agentInputHeaderBytes)))
    for (let piece; (piece = this.early.get(this.nextInput)) !== undefined;) {
      this.early.delete(this.nextInput++)
      stdin.write(piece)
    }
    if (stdin.writableLength > inputBytesMax || this.early.size > inputWaitingMax) this.leave()
  }

  grant(bytes: number): void {
    if (bytes > this.credit) this.credit = bytes
    if (!this.isPaused || this.sent >= this.credit) return
    this.isPaused = false
    for (const stream of this.streams) stream.resume()
  }

  /** Its stdin ends, which ends it; nothing of it is told any more. */
  leave(): void {
    if (this.isLeft) return
    this.isLeft = true
    this.child.stdin?.end()
    for (const stream of this.streams) stream.resume()
  }

  alive(): void {
    if (!this.isLeft) this.publish(Uint8Array.of(agentOutput.alive, 0, 0, 0, 0))
  }

  private output(kind: number, chunk: Buffer): void {
    if (this.isLeft) return
    this.tell(kind, chunk)
    this.sent += chunk.length
    if (this.sent < this.credit || this.isPaused) return
    this.isPaused = true
    for (const stream of this.streams) stream.pause()
  }

  private end(end: AgentEnd): void {
    if (this.isOver) return
    this.isOver = true
    if (!this.isLeft) this.tell(agentOutput.end, Buffer.from(JSON.stringify(end)))
    this.onEnd()
  }

  private tell(kind: number, payload: Uint8Array): void {
    const message = Buffer.allocUnsafe(agentOutputHeaderBytes + payload.length)
    message[0] = kind
    message.writeUInt32BE(this.next++ % 0x1_0000_0000, 1)
    message.set(payload, agentOutputHeaderBytes)
    if (!this.publish(message)) this.leave()
  }
}

export interface Agent {
  /** Hears and tells over this connection from now on; what still comes over an earlier one is taken too. Returns when the server knows. */
  readonly use: (nats: Connection) => Effect.Effect<void>
  /** Nobody can be told anything any more: what runs ends. */
  readonly leaveAll: () => void
  /** Never succeeds; dies with the defect of what tells that programs live: their holders would take them for lost. */
  readonly failure: Effect.Effect<never>
}

/** Says nothing until it is given a connection. When its scope ends it closes the stdin of what runs and waits for it. */
export const make = Effect.fnUntraced(function*(options: AgentOptions) {
  const { base, env, hello } = options
  const clock = yield* Clock.Clock
  const running = new Map<string, Running>()
  let current: Connection | undefined
  let isEnding = false
  let onIdle: (() => void) | undefined

  const start = (request: AgentExec): AgentAnswer => {
    const refused = (reason: string): AgentAnswer => ({ _tag: "Refused", reason })
    if (request.uid !== hello.uid) return refused(`this is the sandbox ${hello.uid}`)
    if (isEnding) return refused("the agent is ending")
    if (running.has(request.exec)) return refused("there is an exec of this id already")
    if (running.size >= execsMax) return refused(`${execsMax} programs run already`)
    const [program = "", ...args] = request.command
    let child: ChildProcess
    try {
      child = spawn(program, args, { env, detached: true, stdio: ["pipe", "pipe", "pipe"] })
    } catch (error) {
      return refused(String(error))
    }
    const subject = agentSubject.output(base, request.exec)
    running.set(
      request.exec,
      new Running({
        id: request.exec,
        child,
        now: clock.currentTimeMillisUnsafe(),
        publish: (message) => current?.publish(subject, message) === true,
        onEnd: () => {
          running.delete(request.exec)
          if (running.size === 0) onIdle?.()
        }
      })
    )
    return { _tag: "Accepted" }
  }
  const of = (subject: string): Running | undefined => {
    const found = running.get(subject.slice(subject.lastIndexOf(".") + 1))
    if (found !== undefined) found.heardAt = clock.currentTimeMillisUnsafe()
    return found
  }

  const leaveAll = (): void => {
    for (const exec of running.values()) exec.leave()
  }
  yield* Effect.addFinalizer(() =>
    Effect.callback<void>((resume) => {
      isEnding = true
      onIdle = () => resume(Effect.void)
      leaveAll()
      if (running.size === 0) resume(Effect.void)
    }).pipe(Effect.interruptible, Effect.timeoutOption(endWaitMs))
  )
  const hear = (nats: Connection): void => {
    nats.subscribeUnsafe(agentSubject.control(base, "*"), (message) => {
      const exec = of(message.subject)
      const control = decodeControl(message.text)
      if (exec === undefined || Result.isFailure(control)) return
      if (control.success._tag === "Close") exec.leave()
      else exec.grant(control.success.bytes)
    })
    nats.subscribeUnsafe(agentSubject.input(base, "*"), (message) => of(message.subject)?.input(message.data))
    // A request comes over one connection only, while there are two.
    nats.subscribeUnsafe(agentSubject.exec(base), (message) => {
      const request = decodeExec(message.text)
      const answer: AgentAnswer = Result.isSuccess(request)
        ? start(request.success)
        : { _tag: "Refused", reason: request.failure.message }
      message.respond(JSON.stringify(answer))
    }, { queue })
    nats.subscribeUnsafe(agentSubject.hello(base), (message) => message.respond(JSON.stringify(hello)), { queue })
  }
  const telling = yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    yield* Effect.sleep(agentAliveMs)
    const now = clock.currentTimeMillisUnsafe()
    for (const exec of running.values()) {
      if (now - exec.heardAt > agentSilenceMs) exec.leave()
      else exec.alive()
    }
  })))
  return {
    use: (nats) =>
      Effect.gen(function*() {
        hear(nats)
        yield* nats.flush
        current = nats
      }),
    leaveAll,
    failure: Fiber.join(telling)
  } satisfies Agent
})
