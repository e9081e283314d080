/**
 * The way from a plugin to agents in sandboxes: core NATS as far as docs/reference/wire.md "SandboxAgent" needs it. Given by the process that uses the plugin (an executor), since
 * plugins know no broker; `undefined` where there is none.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { PoolRef } from "../protocol/Sandbox.ts"

/** `Nobody`: nobody listens there. `Silent`: no answer in time, or no connection; it may have been done. */
export class AgentUnreachable extends Schema.TaggedError<AgentUnreachable>()("AgentUnreachable", {
  kind: Schema.Literals(["Nobody", "Silent"]),
  message: Schema.String
}) {}

export interface AgentConnection {
  readonly request: (subject: string, body: string, timeoutMs: number) => Effect.Effect<string, AgentUnreachable>
  /** `false`: it was dropped (no connection, or too large). */
  readonly publish: (subject: string, body: string | Uint8Array) => boolean
  /** `handler` is synchronous and does not throw. Returns how to end it. */
  readonly subscribe: (subject: string, handler: (data: Uint8Array) => void) => () => void
}

/** Identifies the agent in a new pod. */
export interface AgentTicket {
  /** The text of a NATS credentials file: good for asking for a token, and for nothing else. */
  readonly credentials: Redacted.Redacted<string>
  /** Public key that the agent's tokens are made for; the private one is in `credentials` and nowhere else. */
  readonly user: string
}

/** Signs what agents connect with, for the subjects below `base` (`agentBase`). */
export interface AgentTokensPort {
  readonly ticket: (base: string, ttlMs: number) => Effect.Effect<AgentTicket, { readonly message: string }>
  /** A token for the agent of `user`: a JWT, of no use without that agent's private key. */
  readonly token: (
    base: string,
    user: string,
    ttlMs: number
  ) => Effect.Effect<string, { readonly message: string }>
  /**
   * Answers the questions for tokens of a pool's agents until the scope ends: `answer` is told who asks, as the server has checked it, and what it says; `undefined` answers nothing.
   * At most 64 at a time; what comes beyond that is not answered and asked again. An answer goes to the inbox of the agent that has asked and nowhere else.
   */
  readonly serve: (
    pool: PoolRef,
    answer: (base: string, request: string) => Effect.Effect<string | undefined>
  ) => Effect.Effect<void, never, Scope.Scope>
}

/** Given by a pool scheduler that has the signing key; `undefined` where there is none. */
export const AgentTokens = Context.Reference<AgentTokensPort | undefined>("heddle/plugin/AgentTokens", {
  defaultValue: () => undefined
})

/** Given by whoever works in sandboxes; `undefined` where there is no connection for it. */
export const AgentLink = Context.Reference<AgentConnection | undefined>("heddle/plugin/AgentLink", {
  defaultValue: () => undefined
})
