/**
 * What agents in sandboxes connect with: user JWTs of NATS' decentralised authentication, signed with a key of the mesh's account, good for one sandbox's subjects and for a time.
 *
 * Keeps true: a ticket allows to ask for a token and nothing else; a token allows nothing but `agentPermissions` of its sandbox and one answer to each request that it got: it
 * cannot reach the journal, JetStream's API, another sandbox, or anybody's inbox, nor make us publish anywhere but in its own. Signing asks nobody: the server believes the
 * signature. docs/design/kubernetes.md, "Agent mode".
 */
import { encodeUser, fmtCreds, parseCreds } from "@nats-io/jwt"
import { createUser, fromSeed } from "@nats-io/nkeys"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { AgentTokensPort } from "../plugin/AgentLink.ts"
import {
  agentInbox,
  type AgentPermissions,
  agentPermissions,
  agentSubject,
  agentTicketPermissions
} from "../protocol/SandboxAgent.ts"
import type { Connection } from "./Nats.ts"

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
/** Questions that are answered at one time. */
const answeringMax = 64

/** `nats`: where agents ask. */
export const make = (options: AgentTokensOptions, nats: Connection): AgentTokensPort => {
  const sign = (
    base: string,
    user: string,
    ttlMs: number,
    permissions: AgentPermissions,
    rights: { readonly resp?: { readonly max: number; readonly ttl: number } }
  ) =>
    Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      return yield* Effect.tryPromise({
        try: () => {
          const signer = fromSeed(new TextEncoder().encode(Redacted.value(options.seed)))
          return encodeUser(base, user, signer, {
            pub: { allow: [...permissions.publish], deny: [] },
            sub: { allow: [...permissions.subscribe], deny: [] },
            subs: subscriptionsMax,
            ...rights,
            ...(options.account === undefined ? {} : { issuer_account: options.account })
          }, { exp: Math.ceil((now + ttlMs) / 1_000) })
        },
        catch: (cause) =>
          new AgentTokenFailed({ message: `no token for an agent can be made with this signing key: ${String(cause)}` })
      })
    })
  return {
    ticket: (base, ttlMs) =>
      Effect.gen(function*() {
        const user = createUser()
        const jwt = yield* sign(base, user.getPublicKey(), ttlMs, agentTicketPermissions(base), {})
        return {
          credentials: Redacted.make(new TextDecoder().decode(fmtCreds(jwt, user))),
          user: user.getPublicKey()
        }
      }),
    token: (base, user, ttlMs) =>
      sign(base, user, ttlMs, agentPermissions(base), { resp: { max: 1, ttl: answerMs * 1_000_000 } }),
    serve: (pool, answer) =>
      Effect.gen(function*() {
        const fork = yield* FiberSet.makeRuntime<never, void, never>()
        let answering = 0
        yield* nats.subscribe(agentSubject.tokens(pool), (message) => {
          const base = message.subject.slice(0, -agentSubject.token("").length)
          // The server does not look where a request asks to be answered: an agent must not make us publish elsewhere.
          if (message.reply?.startsWith(`${agentInbox(base)}.`) !== true || answering >= answeringMax) return
          answering++
          fork(
            answer(base, message.text).pipe(
              Effect.map((text) => {
                if (text !== undefined) message.respond(text)
              }),
              Effect.catchCause((cause) => Effect.logError("an agent's question for a token was not answered", cause)),
              Effect.ensuring(Effect.sync(() => {
                answering--
              }))
            )
          )
        })
      })
  }
}

/** The text of a credentials file with `jwt` instead of the one in `credentials`, whose key it was made for. */
export const credentialsWith = (
  credentials: Redacted.Redacted<string>,
  jwt: string
): Effect.Effect<Redacted.Redacted<string>, AgentTokenFailed> =>
  Effect.tryPromise({
    try: async () => {
      const { key } = await parseCreds(new TextEncoder().encode(Redacted.value(credentials)))
      return Redacted.make(new TextDecoder().decode(fmtCreds(jwt, fromSeed(new TextEncoder().encode(key)))))
    },
    catch: (cause) => new AgentTokenFailed({ message: `these are no credentials: ${String(cause)}` })
  })

/** `HEDDLE_AGENT_SEED` and `HEDDLE_AGENT_ACCOUNT`; `undefined` when no seed is set. */
export const config = (nats: Connection): Config.Config<AgentTokensPort | undefined> =>
  Config.all({
    seed: Config.option(Config.Redacted("HEDDLE_AGENT_SEED")),
    account: Config.option(Config.String("HEDDLE_AGENT_ACCOUNT"))
  }).pipe(Config.map(({ account, seed }) =>
    Option.isNone(seed)
      ? undefined
      : make({ seed: seed.value, ...(Option.isNone(account) ? {} : { account: account.value }) }, nats)
  ))
