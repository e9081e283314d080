/**
 * How a holder runs processes through the agent in a sandbox's image (agent mode): core NATS, below one subject for each sandbox, so that one token fits one sandbox.
 *
 * The agent answers on `<base>.to.hello` and `<base>.to.exec`, takes `<base>.to.control.<exec>` and `<base>.to.input.<exec>`, and tells on `<base>.from.output.<exec>`; it asks
 * for its tokens on `<base>.from.token`, answered below `<base>.inbox`. Both sides hold a lease on an exec by what they say: silence of `silenceMs` ends it. Messages of one exec are
 * numbered in both directions, since they may pass over two connections of the agent while one takes the other's place. docs/design/kubernetes.md, "Agent mode".
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
  /** Four bytes, the number of this message in its exec (32 bits, big endian, from 0), then bytes for the process's stdin. */
  input: (base: string, exec: string) => `${base}.to.input.${exec}`,
  /** Five bytes, then the payload: kind (`agentOutput`), number of this message in its exec (32 bits, big endian, from 0). */
  output: (base: string, exec: string) => `${base}.from.output.${exec}`,
  /** Request of the agent, to the pool's owner: `AgentTokenRequest`, answered by `AgentTokenAnswer`. */
  token: (base: string) => `${base}.from.token`,
  /** The same of all agents of a pool. */
  tokens: (pool: PoolRef) => `${agentBase(pool, "*")}.from.token`
} as const

/** The first byte of an output message. `end`: an `AgentEnd` as JSON. `alive`: nothing but a sign of life, with no number of its own. */
export const agentOutput = { alive: 0, stdout: 1, stderr: 2, end: 3 } as const
export const agentOutputHeaderBytes = 5
export const agentInputHeaderBytes = 4

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

/** What an agent says when it asks for a token: which sandbox it is in. Who it is, the server has checked: nobody else may publish there. */
export const AgentTokenRequest = Schema.Struct({ uid: SandboxUid })
export type AgentTokenRequest = typeof AgentTokenRequest.Type

/** `Token`: a JWT for the agent's own key, which is no use to anybody else; good for `ttlMs` from now. `Refused` with `isFinal`: no later question is answered otherwise. */
export const AgentTokenAnswer = Schema.Union([
  Schema.TaggedStruct("Token", { jwt: Schema.String, ttlMs: Schema.Int.check(Schema.isGreaterThan(0)) }),
  Schema.TaggedStruct("Refused", { reason: Schema.String, isFinal: Schema.Boolean })
])
export type AgentTokenAnswer = typeof AgentTokenAnswer.Type

export interface AgentPermissions {
  readonly subscribe: ReadonlyArray<string>
  readonly publish: ReadonlyArray<string>
}

/** Subjects that the token of one sandbox allows. Answers to requests go where the request says, once each (`allow_responses`). */
export const agentPermissions = (base: string): AgentPermissions => ({
  subscribe: [`${base}.to.>`, `${agentInbox(base)}.>`],
  publish: [`${base}.from.>`]
})
/** Subjects that the ticket of one sandbox allows: to ask for a token, and nothing else. */
export const agentTicketPermissions = (base: string): AgentPermissions => ({
  subscribe: [`${agentInbox(base)}.>`],
  publish: [agentSubject.token(base)]
})
export const agentInbox = (base: string): string => `${base}.inbox`
