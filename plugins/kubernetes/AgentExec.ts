/**
 * The holder's side of a sandbox with our agent: processes in it over NATS (shared/protocol/SandboxAgent.ts), without the cluster's API.
 *
 * Keeps true: the launcher and everything above it are the same as over `exec` of Kubernetes (LauncherExec.ts); output is taken by credit, so that a reader that stops stops the
 * agent, and an agent that does not stop is a lost sandbox; output is taken in the order of its numbers, and a number that stays missing, or silence, is a lost sandbox. docs/design/kubernetes.md, "Agent mode".
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { type AgentConnection, AgentLink } from "../../shared/plugin/AgentLink.ts"
import type { PoolProvider } from "../../shared/plugin/PoolProvider.ts"
import { type SandboxClient, SandboxLost } from "../../shared/plugin/SandboxClient.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import {
  agentAliveMs,
  AgentAnswer,
  type AgentControl,
  agentCreditBytes,
  AgentEnd,
  AgentExec,
  AgentHello,
  agentInputHeaderBytes,
  agentOutput,
  agentOutputHeaderBytes,
  agentSilenceMs,
  agentSubject
} from "../../shared/protocol/SandboxAgent.ts"
import { parse } from "./Json.ts"
import * as LauncherExec from "./LauncherExec.ts"
import type { Channel, ChannelHandlers, Inquiry, ProgramEnd, Refused, Transport } from "./LauncherExec.ts"

const scheme = "agent:"
const requestTimeoutMs = 3_000
const inputBytesMax = 256 * 1024
/** For an agent that is not there, when a sandbox is first used. */
const connectWaitMs = 8_000
const connectRetryMs = 200
/** Turns without a word before the agent is asked, and before it counts as gone. */
const turnsToAsk = 2
const turnsMax = Math.ceil(agentSilenceMs / agentAliveMs)
/** Turns that a missing message may come later than one behind it. */
const gapTurnsMax = 2
/** Beyond what was granted: pipes are read in pieces, of two streams. */
const creditSlackBytes = 256 * 1024
const earlyMax = 1_024

/** Of a sandbox in agent mode: `base` as `agentBase` makes it. */
export const addressOf = (base: string): string => `${scheme}${base}`
export const isAddress = (address: string | undefined): boolean => address?.startsWith(scheme) === true

const decodeAnswer = Schema.decodeUnknownOption(AgentAnswer)
const decodeHello = Schema.decodeUnknownOption(AgentHello)
const decodeEnd = Schema.decodeUnknownOption(AgentEnd)
const encodeExec = Schema.encodeSync(AgentExec)

const endOf = (payload: Uint8Array): ProgramEnd => {
  const decoded = decodeEnd(parse(Buffer.from(payload).toString("utf8")))
  if (decoded._tag === "None") return { message: "the agent told an end that cannot be read", isNoLauncher: false }
  const { code, error, signal } = decoded.value
  return {
    message: error ??
      (signal === undefined ? `the launcher ended with code ${code ?? -1}` : `the launcher was ended by ${signal}`),
    // Without a word of the launcher's before it.
    isNoLauncher: error !== undefined || code === 0 || code === 126 || code === 127
  }
}

interface Opened {
  /** Since the last message, in turns of `agentAliveMs`. */
  silentTurns: number
  /** One turn of `agentAliveMs`: says that the holder is there, and looks at what is missing. */
  readonly turn: () => void
}
const opened = new WeakMap<Channel, Opened>()

/** One program: output is subscribed before it is asked for. */
const open = (
  link: AgentConnection,
  base: string,
  uid: Sandbox["uid"],
  command: ReadonlyArray<string>,
  handlers: ChannelHandlers
): Effect.Effect<void, Refused> =>
  Effect.gen(function*() {
    const exec = (yield* Effect.all(Array.from({ length: 4 }, () => Random.nextIntBetween(0, 0xffffffff))))
      .map((number) => number.toString(36)).join("")
    const state: Opened = {
      silentTurns: 0,
      turn: () => {
        say({ _tag: "Credit", bytes: granted })
        if (early.size === 0) gapTurns = 0
        else if (++gapTurns > gapTurnsMax) close(`output of its agent was lost (message ${next})`)
      }
    }
    /** By number: messages that came before one that is missing, as they may while the agent changes its connection. */
    const early = new Map<number, { readonly kind: number | undefined; readonly payload: Uint8Array }>()
    let gapTurns = 0
    let nextInput = 0
    let isOpen = false
    let isOver = false
    let isPaused = false
    let next = 0
    let received = 0
    let granted = agentCreditBytes
    let isClosedEarly: (() => void) | undefined

    const say = (control: AgentControl) => link.publish(agentSubject.control(base, exec), JSON.stringify(control))
    const close = (reason: string, end?: ProgramEnd) => {
      if (isOver) return
      isOver = true
      unsubscribe()
      if (isOpen) handlers.closed(reason, end)
      else isClosedEarly = () => handlers.closed(reason, end)
    }
    const grant = () => {
      if (isPaused || isOver || received + agentCreditBytes - granted < agentCreditBytes / 2) return
      granted = received + agentCreditBytes
      say({ _tag: "Credit", bytes: granted })
    }
    const take = (kind: number | undefined, payload: Uint8Array) => {
      next++
      if (kind === agentOutput.end) close("its agent told the end of the program", endOf(payload))
      else if (kind === agentOutput.stdout) handlers.stdout(payload)
      else if (kind === agentOutput.stderr) handlers.stderr(payload)
    }
    const unsubscribe = link.subscribe(agentSubject.output(base, exec), (data) => {
      if (isOver || data.length < agentOutputHeaderBytes) return
      state.silentTurns = 0
      const kind = data[0]
      if (kind === agentOutput.alive) return
      const number = new DataView(data.buffer, data.byteOffset).getUint32(1)
      const payload = data.subarray(agentOutputHeaderBytes)
      if (number < next || early.has(number)) return close(`its agent told message ${number} of its output twice`)
      received += payload.length
      if (received > granted + creditSlackBytes) return close("its agent tells more than it may")
      if (number > next) {
        // Held longer than the message that it is a part of.
        early.set(number, { kind, payload: Uint8Array.from(payload) })
        if (early.size > earlyMax) close(`output of its agent was lost (message ${next})`)
        return
      }
      take(kind, payload)
      // oxlint-disable-next-line no-unmodified-loop-condition -- `close` sets it
      for (let found; !isOver && (found = early.get(next)) !== undefined;) {
        early.delete(next)
        take(found.kind, found.payload)
      }
      grant()
    })
    const channel: Channel = {
      isOpen: () => !isOver,
      write: (bytes) => {
        // oxlint-disable-next-line no-unmodified-loop-condition -- `close` sets it
        for (let from = 0; from < bytes.length && !isOver; from += inputBytesMax) {
          const piece = bytes.subarray(from, from + inputBytesMax)
          const message = Buffer.allocUnsafe(agentInputHeaderBytes + piece.length)
          message.writeUInt32BE(nextInput++, 0)
          message.set(piece, agentInputHeaderBytes)
          if (!link.publish(agentSubject.input(base, exec), message)) close("there is no connection to NATS")
        }
      },
      pause: () => {
        isPaused = true
      },
      resume: () => {
        isPaused = false
        grant()
      },
      end: () => {
        if (!isOver) say({ _tag: "Close" })
        isOver = true
        unsubscribe()
      }
    }
    opened.set(channel, state)
    const answer = yield* link.request(
      agentSubject.exec(base),
      JSON.stringify(encodeExec({ exec, uid, command })),
      requestTimeoutMs
    ).pipe(
      Effect.mapError((error): Refused =>
        error.kind === "Nobody"
          ? { _tag: "Lost", reason: "its agent is gone" }
          : { _tag: "Again", reason: error.message }
      ),
      Effect.onExit((exit) => Effect.sync(() => exit._tag === "Failure" && channel.end()))
    )
    const decoded = decodeAnswer(parse(answer))
    const refused = decoded._tag === "None"
      ? "its agent's answer cannot be read"
      : decoded.value._tag === "Refused"
      ? decoded.value.reason
      : undefined
    if (refused !== undefined) {
      channel.end()
      return yield* Effect.fail<Refused>({ _tag: "Lost", reason: refused })
    }
    isOpen = true
    handlers.opened(channel)
    isClosedEarly?.()
  })

const inquire = (link: AgentConnection, base: string, uid: string): Effect.Effect<Inquiry> =>
  link.request(agentSubject.hello(base), "", requestTimeoutMs).pipe(
    Effect.map((text): Inquiry => {
      const hello = decodeHello(parse(text))
      const isOther = hello._tag === "Some" && hello.value.uid !== uid
      return { gone: isOther ? "another sandbox has its name now" : undefined, isEmpty: isOther }
    }),
    Effect.catch((error) =>
      Effect.succeed<Inquiry>({ gone: error.kind === "Nobody" ? "its agent is gone" : undefined, isEmpty: false })
    )
  )

const watch = (link: AgentConnection, base: string, uid: string): Transport["watch"] => (channel, _isPaused, lost) =>
  Effect.forever(Effect.gen(function*() {
    yield* Effect.sleep(agentAliveMs)
    const state = opened.get(channel)
    if (state === undefined || !channel.isOpen()) return
    state.turn()
    if (++state.silentTurns < turnsToAsk) return
    const { gone } = yield* inquire(link, base, uid)
    if (gone !== undefined || state.silentTurns > turnsMax) lost(gone ?? "its agent says nothing any more")
  }))

export const connect: PoolProvider["connect"] = (sandbox) =>
  Effect.gen(function*() {
    const lost = (reason: string) => new SandboxLost({ sandbox: sandbox.name, reason })
    const link = yield* AgentLink
    if (link === undefined) return yield* lost("this process has no way to agents: it was given no connection for them")
    const base = (sandbox.address ?? "").slice(scheme.length)
    if (!isAddress(sandbox.address) || !/^heddle\.sandbox(\.[A-Za-z0-9_-]{1,63}){3}$/.test(base)) {
      return yield* lost(`its address "${sandbox.address ?? ""}" names no agent`)
    }
    // A claim may be faster than an agent that has just been started, or that finds its server again.
    for (let waitedMs = 0;; waitedMs += connectRetryMs) {
      const { gone, isEmpty } = yield* inquire(link, base, sandbox.uid)
      if (gone === undefined) break
      if (isEmpty || waitedMs >= connectWaitMs) return yield* lost(gone)
      yield* Effect.sleep(connectRetryMs)
    }
    const transport: Transport = {
      open: (command, handlers) => open(link, base, sandbox.uid, command, handlers),
      inquire: inquire(link, base, sandbox.uid),
      watch: watch(link, base, sandbox.uid)
    }
    const client: SandboxClient = {
      exec: (request) => LauncherExec.exec(transport, sandbox, sandbox.env ?? {}, request)
    }
    return client
  })
