/**
 * The program in a sandbox's image: `node services/sandbox-agent/main.ts`. Connects with the ticket of its sandbox and serves until it is told to end.
 *
 * Its environment: HEDDLE_NATS_URL, HEDDLE_AGENT_CREDENTIALS (the text of the ticket's file; without it, it connects without tokens), HEDDLE_AGENT_BASE (the subject of its sandbox),
 * HEDDLE_SANDBOX_UID. Programs get all but these.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as AgentToken from "../../shared/jetstream/AgentToken.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { agentInbox } from "../../shared/protocol/SandboxAgent.ts"
import { SandboxUid } from "../../shared/protocol/Token.ts"
import * as Agent from "./Agent.ts"
import * as Connections from "./Connections.ts"

const own = new Set(["HEDDLE_NATS_URL", "HEDDLE_AGENT_CREDENTIALS", "HEDDLE_AGENT_BASE", "HEDDLE_SANDBOX_UID"])

/** Never succeeds: fails when there is no way to go on, so that what started it starts it anew or takes the sandbox away. */
export const program = Effect.scoped(Effect.gen(function*() {
  const url = yield* Config.String("HEDDLE_NATS_URL")
  const base = yield* Config.String("HEDDLE_AGENT_BASE")
  const uid = yield* Config.schema(SandboxUid, "HEDDLE_SANDBOX_UID")
  const ticket = yield* Config.option(Config.Redacted("HEDDLE_AGENT_CREDENTIALS"))
  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !own.has(name)) env[name] = value
  }
  const startup = (yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)
  const open = (credentials: Redacted.Redacted<string> | undefined) =>
    Nats.open({
      url,
      name: base,
      inboxPrefix: agentInbox(base),
      ...(credentials === undefined ? {} : { credentialsText: Redacted.value(credentials) })
    })
  const scope = yield* Effect.scope
  // The connections outlive what is told over them.
  return yield* Effect.scoped(Effect.gen(function*() {
    const agent = yield* Agent.make({ base, hello: { uid, startup }, env })
    yield* Effect.logInfo(`agent of sandbox ${uid} at ${base}`)
    if (Option.isNone(ticket)) {
      const nats = yield* Scope.provide(open(undefined), scope)
      yield* agent.use(nats)
      return yield* Effect.raceFirst(nats.failure, agent.failure)
    }
    const connected = yield* Connections.run({
      base,
      uid,
      open: (jwt) =>
        jwt === undefined
          ? open(ticket.value)
          : AgentToken.credentialsWith(ticket.value, jwt).pipe(
            Effect.mapError((error) => new ContractError({ code: "InvalidMessage", message: error.message })),
            Effect.flatMap(open)
          ),
      use: agent.use,
      leave: agent.leaveAll
    }).pipe(Effect.forkIn(scope))
    return yield* Effect.raceFirst(Fiber.join(connected), agent.failure)
  }))
}))

if (import.meta.main) NodeRuntime.runMain(program)
