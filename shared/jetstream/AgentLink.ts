/** `AgentLink` of the plugin SDK over this process's connection. */
import * as Effect from "effect/Effect"
import { type AgentConnection, AgentUnreachable } from "../plugin/AgentLink.ts"
import type { Connection } from "./Nats.ts"

export const make = (nats: Connection): AgentConnection => ({
  request: (subject, body, timeoutMs) =>
    nats.request(subject, body, { timeoutMs }).pipe(
      Effect.map((message) => message.text),
      Effect.mapError((error) =>
        new AgentUnreachable({ kind: error._tag === "NoResponders" ? "Nobody" : "Silent", message: error.message })
      )
    ),
  publish: (subject, body) => nats.publish(subject, body),
  subscribe: (subject, handler) => nats.subscribeUnsafe(subject, (message) => handler(message.data)).unsubscribe
})
