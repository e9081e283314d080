/**
 * The agents in one pool's pods, for the owner of the pool: who of them gets a token, and whose silence means that it is gone.
 *
 * Keeps true: a token is signed for a pod that the API server has shown to be there a moment ago, and by the pool's present owner only.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { AgentTokensPort } from "../../shared/plugin/AgentLink.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { type AgentTokenAnswer, AgentTokenRequest } from "../../shared/protocol/SandboxAgent.ts"
import type { SandboxUid } from "../../shared/protocol/Token.ts"
import * as AgentPod from "./AgentPod.ts"
import { parse } from "./Json.ts"
import { annotation } from "./Names.ts"
import type * as Pod from "./Pod.ts"
import type { PodRequests } from "./PodRequests.ts"

/** Of pools in agent mode: what the agents in pods are given. */
export interface Agents {
  readonly tokens: AgentTokensPort
  readonly natsUrl: string
  /** Of a token. */
  readonly ttlMs: number
  /** How much longer than its token is good an agent may be silent. */
  readonly lateMs: number
}

const decodeTokenRequest = Schema.decodeUnknownOption(AgentTokenRequest)

export class PodAgents {
  private readonly agents: Agents
  private readonly pool: PoolRef
  private readonly requests: PodRequests
  private readonly isFenced: () => boolean
  /** When an agent has last asked for a token here. */
  private readonly heard = new Map<SandboxUid, number>()

  constructor(agents: Agents, pool: PoolRef, requests: PodRequests, isFenced: () => boolean) {
    this.agents = agents
    this.pool = pool
    this.requests = requests
    this.isFenced = isFenced
  }

  /** The pod is gone. */
  forget(uid: SandboxUid): void {
    this.heard.delete(uid)
  }

  /** Why the agent of an idle pod counts as gone. Its token has ended: it asks in half of that time. `firstSeen`: when its pod was. */
  silence(pod: Pod.Pod, firstSeen: number | undefined): string | undefined {
    const { agents } = this
    if (pod.annotations[annotation.agentUser] === undefined) return undefined
    const heard = this.heard.get(pod.uid)
    const since = heard ?? firstSeen
    if (since === undefined || this.requests.now() - since < agents.ttlMs + agents.lateMs) return undefined
    return heard === undefined
      ? "its agent has never asked for a token here: does its first container start services/sandbox-agent, and does it reach NATS?"
      : "its agent has not asked for a token for longer than one is good"
  }

  /** Answers the agent that asks at `base`; `undefined`: not by this owner. */
  private token(base: string, request: string): Effect.Effect<string | undefined> {
    return Effect.gen({ self: this }, function*() {
      const asked = decodeTokenRequest(parse(request))
      if (this.isFenced()) return undefined
      const answer = (of: AgentTokenAnswer) => JSON.stringify(of)
      const later = (reason: string) => answer({ _tag: "Refused", reason, isFinal: false })
      if (Option.isNone(asked)) return answer({ _tag: "Refused", reason: "the question cannot be read", isFinal: true })
      const { uid } = asked.value
      // As the API server has it now: a cache may not know yet that the pod is gone.
      const pod = yield* Effect.callback<Pod.Pod | undefined | string>((resume) =>
        this.requests.readNamed(base.slice(base.lastIndexOf(".") + 1), (found) => resume(Effect.succeed(found)))
      )
      if (typeof pod === "string") return later(pod)
      const { agents } = this
      const found = AgentPod.tokenUser(pod, this.pool, { base, uid })
      if ("refused" in found) return answer({ _tag: "Refused", reason: found.refused, isFinal: true })
      const { ttlMs } = agents
      const jwt = yield* Effect.result(agents.tokens.token(base, found.user, ttlMs))
      if (Result.isFailure(jwt)) {
        this.requests.warn("no token for an agent", { pod: base, reason: jwt.failure.message })
        return later(jwt.failure.message)
      }
      this.heard.set(uid, this.requests.now())
      return answer({ _tag: "Token", jwt: jwt.success, ttlMs })
    })
  }

  /** Until the scope ends. */
  get serving(): Effect.Effect<void, never, Scope.Scope> {
    return this.agents.tokens.serve(this.pool, (base, request) => this.token(base, request))
  }
}
