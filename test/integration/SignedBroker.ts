/**
 * A real nats-server with decentralised authentication (operator, accounts in memory), for tests of tokens: what it lets through is the server's judgement, not ours.
 */
import { encodeAccount, encodeOperator, encodeUser, fmtCreds } from "@nats-io/jwt"
import { createAccount, createOperator, createUser } from "@nats-io/nkeys"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Broker from "../../shared/testing/Broker.ts"

export interface Signed {
  /** For the server: operator, account, the account's keys. */
  readonly config: string
  /** Of a user of the mesh's account who may do everything in it: the text of a credentials file. */
  readonly credentials: string
  /** Seed of a signing key of that account, and the account. */
  readonly seed: Redacted.Redacted<string>
  readonly account: string
  /** Of another signing key of that account: the one after a rotation. */
  readonly otherSeed: Redacted.Redacted<string>
}

/** New keys, and what a server must know of them. */
export const keys = async (): Promise<Signed> => {
  const operator = createOperator()
  const [account, signer, other, system] = [createAccount(), createAccount(), createAccount(), createAccount()]
  const user = createUser()
  const accountJwt = await encodeAccount("mesh", account, {
    signing_keys: [signer.getPublicKey(), other.getPublicKey()],
    limits: {
      mem_storage: -1,
      disk_storage: -1,
      streams: -1,
      consumer: -1,
      conn: -1,
      subs: -1,
      data: -1,
      payload: -1
    }
  }, { signer: operator })
  const systemJwt = await encodeAccount("SYS", system, {}, { signer: operator })
  const operatorJwt = await encodeOperator("test", operator, { system_account: system.getPublicKey() })
  return {
    config: `operator: ${operatorJwt}
resolver: MEMORY
resolver_preload: {
  ${account.getPublicKey()}: ${accountJwt}
  ${system.getPublicKey()}: ${systemJwt}
}`,
    account: account.getPublicKey(),
    seed: Redacted.make(new TextDecoder().decode(signer.getSeed())),
    otherSeed: Redacted.make(new TextDecoder().decode(other.getSeed())),
    credentials: new TextDecoder().decode(fmtCreds(await encodeUser("mesh", user, account), user))
  }
}

export interface SignedBroker extends Signed {
  readonly url: string
}

export const scoped: Effect.Effect<SignedBroker, never, Scope.Scope> = Effect.gen(function*() {
  const made = yield* Effect.promise(keys)
  const broker = yield* Effect.acquireRelease(
    Effect.promise(() => Broker.startBroker({ config: made.config })),
    (running) => Effect.promise(() => running.stop())
  )
  return { ...made, url: broker.url }
})
