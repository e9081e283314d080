/**
 * Envs: `heddle.rpc.env.apply`, `.list`, `.delete`, and `heddle.rpc.env.<ns>.<env>.claim`, a claim that goes to the best member pool. Any replica answers.
 *
 * A claim is sent to one member at a time; one that is full, draining, too small, over its team's quota or without an owner is passed over for the next, and the last refusal is the
 * answer when all are. A claim with an id of its own is handled by the replica that rendezvous hashing names for it, which remembers where it went; after a restart the stored
 * results tell. So the same id again is the same claim, also through another replica. Follows design/02 "Claims", design/04 EnvScheduler.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Forwarding from "../../shared/jetstream/Forwarding.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { claimDeadlineDefaultMs, ClaimRequest, ClaimResult } from "../../shared/protocol/Claim.ts"
import { type EnvList, EnvRef, EnvSpec, type EnvView } from "../../shared/protocol/Env.ts"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import { NoFields } from "../../shared/protocol/NoFields.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import type { Deleted } from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { ClaimId, type MemberId, Namespace, PoolName, SessionId } from "../../shared/protocol/Token.ts"
import * as ClaimMessages from "./ClaimMessages.ts"
import { type EnvDirectory, envKey } from "./EnvDirectory.ts"
import type { Ranked } from "./EnvScheduler.ts"

const claimsInFlightMax = 100_000
/** Claims with an id of their own whose pool is remembered. */
const rememberedMax = 10_000
/** Beyond a claim's deadline: the owner answers at its time. */
const answerGraceMs = 3_000
const atHomeHeader = "Heddle-At-Home"

const noSession = SessionId.make(0)
const decodeClaim = Decode.valueDecoder(ClaimRequest)
const readResult = Rpc.answerReader(ClaimResult)
const encodeClaim = Schema.encodeSync(ClaimRequest)
const encodeSpec = Schema.encodeSync(EnvSpec)
export const decodeEnv = Decode.decoder(EnvSpec)

export interface EnvRpcsOptions {
  readonly nats: Connection
  readonly envs: EnvDirectory
  readonly member: MemberId
  /** Runs an Effect for a request that has to look something up. */
  readonly fork: (effect: Effect.Effect<void>) => void
  /** Prefix of ids that are made here. */
  readonly idPrefix: string
  /** The replica that handles a claim with this id. */
  readonly homeOf: (key: string) => MemberId | undefined
}

export const envSpecKey = (env: { readonly namespace: string; readonly name: string }): string =>
  `env.${env.namespace}.${env.name}`

const noSuchEnv = (key: string): ContractError =>
  new ContractError({ code: "NoSuchEnv", message: `there is no env ${key}. ${errorCodes.NoSuchEnv.fix}`, path: key })
const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: error.message })

/** A result that another member may better. */
const isPassedOver = (result: ClaimResult): boolean =>
  result.outcome === "QueueFull" || result.outcome === "NoSuchPool" || result.outcome === "ShuttingDown"
  || result.outcome === "Invalid" && result.error?.path === "count"
  || result.outcome === "Failed" && (result.error?.code === "QuotaExceeded" || result.error?.code === "PoolDraining")

export const endpoints = (options: EnvRpcsOptions): ReadonlyArray<RpcService.Endpoint> => {
  const { envs, nats } = options
  const bucket = Kv.bucket(nats, Streams.bucketName.pools)
  const remembered = new Map<string, PoolName>()
  let made = 0

  const remember = (key: string, pool: PoolName): void => {
    if (remembered.size >= rememberedMax) {
      for (const oldest of remembered.keys()) {
        remembered.delete(oldest)
        break
      }
    }
    remembered.set(key, pool)
  }

  const claim = RpcService.endpointUnsafe<unknown, ClaimResult>({
    name: "env-claim",
    subject: "heddle.rpc.env.*.*.claim",
    description: "Claims from the best member pool of an env",
    request: Schema.Unknown,
    inFlightMax: claimsInFlightMax,
    handler: (body, respond, context) => {
      const env = {
        namespace: Namespace.make(context.tokens[0] ?? ""),
        name: context.tokens[1] ?? ""
      }
      const decoded = decodeClaim(body)
      const legible = ClaimMessages.claimIdOf(body)
      const invalid = (error: ContractError): void =>
        respond.answer(
          ClaimMessages.refusal(legible ?? ClaimId.make("none"), "Invalid", noSession, error.answer.error)
        )
      if (Result.isFailure(decoded)) return invalid(decoded.failure)
      const candidates = envs.candidates(env, decoded.success.count ?? 1)
      if (candidates === undefined) return respond.refuse(noSuchEnv(envKey(env)))
      const { message } = context
      const chosen = decoded.success.claimId ?? ClaimMessages.idOfMessage(message.header(Subject.header.msgId))
      const key = `${envKey(env)}/${chosen ?? ""}`
      if (chosen !== undefined && message.header(atHomeHeader) === undefined) {
        const home = options.homeOf(key)
        if (home !== undefined && home !== options.member) {
          return Forwarding.passOn(nats, Subject.forwarded(home, context.subject), message, {
            headers: { [atHomeHeader]: "1" },
            taken: respond.passedOn,
            refused: respond.refuse
          })
        }
      }
      const request: ClaimRequest = {
        ...decoded.success,
        claimId: chosen ?? ClaimId.make(`${options.idPrefix}${(made++).toString(36)}`)
      }
      const text = JSON.stringify(encodeClaim(request))
      const count = request.count ?? 1
      const timeoutMs = (request.deadline ?? claimDeadlineDefaultMs) + answerGraceMs
      const team = message.header(Subject.header.team)
      const traceparent = message.header(Subject.header.traceparent)
      const poolOf = (name: PoolName): PoolRef => ({ namespace: candidates.namespace, name })

      const ask = (name: PoolName, done: (result: Result.Result<ClaimResult, ContractError>) => void): void => {
        const pool = poolOf(name)
        envs.sent(pool, count)
        nats.requestUnsafe(Subject.rpc.pool(pool, "claim"), text, {
          timeoutMs,
          ...(team === undefined && traceparent === undefined ? {} : {
            headers: {
              ...(team === undefined ? {} : { [Subject.header.team]: team }),
              ...(traceparent === undefined ? {} : { [Subject.header.traceparent]: traceparent })
            }
          })
        }, (answer) => {
          if (Result.isFailure(answer)) return done(Result.fail(unavailable(answer.failure)))
          done(readResult(answer.success))
        })
      }
      const tell = (name: PoolName, result: ClaimResult): void => respond.answer({ ...result, pool: poolOf(name) })
      /** One member after the other; `refusal` is the last one's. */
      const next = (left: ReadonlyArray<Ranked>, refusal: ClaimResult | ContractError | undefined): void => {
        const [best, ...others] = left
        if (best === undefined) {
          remembered.delete(key)
          if (refusal === undefined) return respond.refuse(noMember(envKey(env)))
          return refusal instanceof ContractError ? respond.refuse(refusal) : respond.answer(refusal)
        }
        const { pool } = best.member
        if (chosen !== undefined) remember(key, pool)
        ask(pool, (result) => {
          if (Result.isFailure(result)) return next(others, result.failure)
          if (!isPassedOver(result.success)) return tell(pool, result.success)
          if (result.success.outcome === "QueueFull") envs.saturated(env, best.member)
          // What passes says more than what does not: an answer that makes trying again worth while is kept.
          const isKept = refusal !== undefined && !(refusal instanceof ContractError) && refusal.outcome === "QueueFull"
          next(others, isKept ? refusal : result.success)
        })
      }
      const again = (name: PoolName): void =>
        ask(name, (result) => Result.isFailure(result) ? respond.refuse(result.failure) : tell(name, result.success))
      if (chosen === undefined) return next(candidates.ranked, undefined)
      const known = remembered.get(key)
      if (known !== undefined) return again(known)
      options.fork(
        storedPool(nats, candidates.namespace, chosen).pipe(
          Effect.map((stored) => {
            const name = Option.getOrUndefined(stored)
            if (name !== undefined && candidates.ranked.some((one) => one.member.pool === name)) again(name)
            else next(candidates.ranked, undefined)
          }),
          Effect.catch((error) => Effect.sync(() => respond.refuse(unavailable(error))))
        )
      )
    }
  })

  return [
    claim,
    RpcService.endpoint<EnvSpec, EnvView>({
      name: "env-apply",
      subject: Subject.rpc.envs("apply"),
      description: "Makes or changes an env",
      request: EnvSpec,
      handler: (spec) =>
        Effect.gen(function*() {
          const env = { ...spec, namespace: spec.namespace ?? namespaceDefault }
          if ((spec.members ?? []).length === 0 && Object.keys(spec.selector ?? {}).length === 0) {
            return yield* new ContractError({
              code: "InvalidMessage",
              message: "an env names its members or has a selector for the labels of pools",
              path: "members"
            })
          }
          yield* bucket.put(envSpecKey(env), JSON.stringify(encodeSpec(env))).pipe(Effect.mapError(unavailable))
          envs.put(env)
          return envs.viewOf(env) ?? { namespace: env.namespace, name: env.name, spec: env, members: [] }
        })
    }),
    RpcService.endpoint<NoFields, EnvList>({
      name: "env-list",
      subject: Subject.rpc.envs("list"),
      description: "All envs, their members as they are ranked now",
      request: NoFields,
      handler: () => Effect.sync(() => ({ items: envs.views }))
    }),
    RpcService.endpoint<EnvRef, typeof Deleted.Type>({
      name: "env-delete",
      subject: Subject.rpc.envs("delete"),
      description: "Removes an env; its pools stay",
      request: EnvRef,
      handler: ({ name, namespace }) =>
        Effect.gen(function*() {
          const env = { name, namespace: namespace ?? namespaceDefault }
          const entry = yield* bucket.get(envSpecKey(env)).pipe(Effect.mapError(unavailable))
          if (Option.isNone(entry)) return yield* noSuchEnv(envKey(env))
          yield* bucket.delete(envSpecKey(env))
          envs.remove(env)
          return { name, deleted: true }
        })
    })
  ]
}

const noMember = (key: string): ContractError =>
  new ContractError({
    code: "NoSuchPool",
    message: `env ${key} has no member pool at the moment: apply one, or see \`heddle envs describe\``,
    path: key
  })

/** Where an earlier claim with this id went, as its stored result tells. */
const storedPool = (
  nats: Connection,
  namespace: Namespace,
  claimId: ClaimId
): Effect.Effect<Option.Option<PoolName>, JetStreamFailed> =>
  Effect.map(
    Read.lastMessage(nats, Streams.name.results, `heddle.pool.${namespace}.*.result.${claimId}`),
    // anybody can publish there: what is no pool's name is no result of ours
    Option.flatMap((message) => Schema.decodeUnknownOption(PoolName)(message.subject.split(".")[3]))
  )
