/**
 * How a holder runs processes through the agent in a sandbox's image (agent mode): core NATS, below one subject for each sandbox, so that one token fits one sandbox.
 *
 * The agent answers on `<base>.to.hello` and `<base>.to.exec`, takes `<base>.to.control.<exec>` and `<base>.to.input.<exec>`, and tells on `<base>.from.output.<exec>`; its
 * own inbox, which it does not use, would be below `<base>.inbox`. Both sides hold a lease on an exec by what they say: silence of `silenceMs` ends it. docs/design/kubernetes.md, "Agent mode".
 */
import * as Schema from "effect/Schema"
import type { PoolRef } from "./Sandbox.ts"
import { SandboxUid, Token } from "./Token.ts"

/** `heddle.sandbox.<namespace>.<pool>.<name>`: what a sandbox's token reaches is below it. `name` is one token (a pod's name has no dot). */
export const agentBase = (pool: PoolRef, name: string): string =>
  `heddle.sandbox.${pool.namespace}.${pool.name}.${name}`

/** Subjects below `agentBase`. */
export const agentSubject = {
  /** Request: `AgentHello`. */
  hello: (base: string) => `${base}.to.hello`,
  /** Request: `AgentExec`, answered by `AgentAnswer`. */
  exec: (base: string) => `${base}.to.exec`,
  /** `AgentControl`. */
  control: (base: string, exec: string) => `${base}.to.control.${exec}`,
  /** Bytes for the process's stdin. */
  input: (base: string, exec: string) => `${base}.to.input.${exec}`,
  /** Five bytes, then the payload: kind (`agentOutput`), number of this message in its exec (32 bits, big endian, from 0). */
  output: (base: string, exec: string) => `${base}.from.output.${exec}`
} as const

/** The first byte of an output message. `end`: an `AgentEnd` as JSON. `alive`: nothing but a sign of life, with no number of its own. */
export const agentOutput = { alive: 0, stdout: 1, stderr: 2, end: 3 } as const
export const agentOutputHeaderBytes = 5

/** Output that may be under way when a holder has said nothing of how much it takes. */
export const agentCreditBytes = 256 * 1024
/** How often each side says that it is there, and after what silence the other one counts as gone. */
export const agentAliveMs = 2_000
export const agentSilenceMs = 10_000

/** Which sandbox answers, and since when: another `startup` under the same name is another life of it. */
export const AgentHello = Schema.Struct({ uid: SandboxUid, startup: Token })
export type AgentHello = typeof AgentHello.Type

/** Runs a program with its arguments; `exec` is the holder's id for it, known to nobody else. Only in the sandbox `uid`. */
export const AgentExec = Schema.Struct({
  exec: Token,
  uid: SandboxUid,
  command: Schema.Array(Schema.String)
})
export type AgentExec = typeof AgentExec.Type

export const AgentAnswer = Schema.Union([
  Schema.TaggedStruct("Accepted", {}),
  Schema.TaggedStruct("Refused", { reason: Schema.String })
])
export type AgentAnswer = typeof AgentAnswer.Type

/** `Credit`: how many bytes of output, from the beginning, the holder takes; also its sign of life. `Close`: it has left. */
export const AgentControl = Schema.Union([
  Schema.TaggedStruct("Credit", { bytes: Schema.Int }),
  Schema.TaggedStruct("Close", {})
])
export type AgentControl = typeof AgentControl.Type

/** How the program ended, as a runtime tells it: code, or signal, or why it could not be run. */
export const AgentEnd = Schema.Struct({
  code: Schema.optionalKey(Schema.Int),
  signal: Schema.optionalKey(Schema.String),
  error: Schema.optionalKey(Schema.String)
})
export type AgentEnd = typeof AgentEnd.Type

/** Subjects that the token of one sandbox allows. Answers to requests go where the request says, once each (`allow_responses`). */
export const agentPermissions = (base: string): {
  readonly subscribe: ReadonlyArray<string>
  readonly publish: ReadonlyArray<string>
} => ({ subscribe: [`${base}.to.>`, `${base}.inbox.>`], publish: [`${base}.from.>`] })
export const agentInbox = (base: string): string => `${base}.inbox`
