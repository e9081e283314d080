/**
 * The way from a plugin to agents in sandboxes: core NATS as far as docs/reference/wire.md "SandboxAgent" needs it. Given by the process that uses the plugin (an executor), since
 * plugins know no broker; `undefined` where there is none.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
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

export const AgentLink = Context.Reference<AgentConnection | undefined>("heddle/plugin/AgentLink", {
  defaultValue: () => undefined
})
