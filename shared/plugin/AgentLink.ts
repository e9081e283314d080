/**
 * The way from a plugin to agents in sandboxes: core NATS as far as docs/reference/wire.md "SandboxAgent" needs it. Given by the process that uses the plugin (an executor), since
 * plugins know no broker; `undefined` where there is none.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

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

/** Makes the tokens of agents: the text of a NATS credentials file, good for the subjects below `base` and `ttlMs`. */
export interface AgentTokensPort {
  readonly issue: (
    base: string,
    ttlMs: number
  ) => Effect.Effect<Redacted.Redacted<string>, { readonly message: string }>
}

/** Given by a pool scheduler that has the signing key; `undefined` where there is none. */
export const AgentTokens = Context.Reference<AgentTokensPort | undefined>("heddle/plugin/AgentTokens", {
  defaultValue: () => undefined
})

/** Given by whoever works in sandboxes; `undefined` where there is no connection for it. */
export const AgentLink = Context.Reference<AgentConnection | undefined>("heddle/plugin/AgentLink", {
  defaultValue: () => undefined
})
