/**
 * The program in a sandbox's image: `node services/sandbox-agent/main.ts`. Connects with the token of its sandbox and serves until it is told to end.
 *
 * Its environment: HEDDLE_NATS_URL, HEDDLE_AGENT_CREDENTIALS (the text of the token's file), HEDDLE_AGENT_BASE (the subject of its sandbox), HEDDLE_SANDBOX_UID. Programs get all but these.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Nats from "../../shared/jetstream/Nats.ts"
import { agentInbox } from "../../shared/protocol/SandboxAgent.ts"
import { SandboxUid } from "../../shared/protocol/Token.ts"
import * as Agent from "./Agent.ts"

const own = new Set(["HEDDLE_NATS_URL", "HEDDLE_AGENT_CREDENTIALS", "HEDDLE_AGENT_BASE", "HEDDLE_SANDBOX_UID"])

/** Never succeeds: fails when the connection has ended for good, as it does when the token has expired. */
export const program = Effect.scoped(Effect.gen(function*() {
  const url = yield* Config.String("HEDDLE_NATS_URL")
  const base = yield* Config.String("HEDDLE_AGENT_BASE")
  const uid = yield* Config.schema(SandboxUid, "HEDDLE_SANDBOX_UID")
  const credentials = yield* Config.option(Config.Redacted("HEDDLE_AGENT_CREDENTIALS"))
  const nats = yield* Nats.open({
    url,
    name: base,
    inboxPrefix: agentInbox(base),
    ...(Option.isSome(credentials) ? { credentialsText: Redacted.value(credentials.value) } : {})
  })
  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !own.has(name)) env[name] = value
  }
  const startup = (yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)
  yield* Agent.serve(nats, { base, hello: { uid, startup }, env })
  yield* Effect.logInfo(`agent of sandbox ${uid} at ${base}`)
  return yield* nats.failure
}))

if (import.meta.main) NodeRuntime.runMain(program)
