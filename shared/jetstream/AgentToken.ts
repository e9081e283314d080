/**
 * Tokens for the agents in sandboxes: user JWTs of NATS' decentralised authentication, signed with a key of the mesh's account, good for one sandbox's subjects and for a time.
 *
 * Keeps true: a token allows nothing but `agentPermissions` of its sandbox and one answer to each request that it got; it cannot reach the journal, JetStream's API, another
 * sandbox, or anybody's inbox. Issuing asks nobody: the server believes the signature. docs/design/kubernetes.md, "Agent mode".
 */
import { encodeUser, fmtCreds } from "@nats-io/jwt"
import { createUser, fromSeed } from "@nats-io/nkeys"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { AgentTokensPort } from "../plugin/AgentLink.ts"
import { agentPermissions } from "../protocol/SandboxAgent.ts"

/** The signing key is none, or not one of an account. */
export class AgentTokenFailed extends Schema.TaggedError<AgentTokenFailed>()("AgentTokenFailed", {
  message: Schema.String
}) {}

export interface AgentTokensOptions {
  /** Seed of the account's signing key, or of the account itself (`SA...`). */
  readonly seed: Redacted.Redacted<string>
  /** Public key of the account (`A...`), when the seed is of a signing key. */
  readonly account?: string
}

/** How long an agent has for its answer to a request. */
const answerMs = 30_000
/** One for each exec, and a few of its own. */
const subscriptionsMax = 64

export const make = (options: AgentTokensOptions): AgentTokensPort => ({
  issue: (base, ttlMs) =>
    Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      return yield* Effect.tryPromise({
        try: async () => {
          const signer = fromSeed(new TextEncoder().encode(Redacted.value(options.seed)))
          const user = createUser()
          const { publish, subscribe } = agentPermissions(base)
          const token = await encodeUser(base, user, signer, {
            pub: { allow: [...publish], deny: [] },
            sub: { allow: [...subscribe], deny: [] },
            resp: { max: 1, ttl: answerMs * 1_000_000 },
            subs: subscriptionsMax,
            ...(options.account === undefined ? {} : { issuer_account: options.account })
          }, { exp: Math.ceil((now + ttlMs) / 1_000) })
          return Redacted.make(new TextDecoder().decode(fmtCreds(token, user)))
        },
        catch: (cause) =>
          new AgentTokenFailed({ message: `no token for an agent can be made with this signing key: ${String(cause)}` })
      })
    })
})

/** `HEDDLE_AGENT_SEED` and `HEDDLE_AGENT_ACCOUNT`; `undefined` when no seed is set. */
export const config: Config.Config<AgentTokensPort | undefined> = Config.all({
  seed: Config.option(Config.Redacted("HEDDLE_AGENT_SEED")),
  account: Config.option(Config.String("HEDDLE_AGENT_ACCOUNT"))
}).pipe(Config.map(({ account, seed }) =>
  Option.isNone(seed)
    ? undefined
    : make({ seed: seed.value, ...(Option.isNone(account) ? {} : { account: account.value }) })
))
