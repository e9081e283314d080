/**
 * One pool of pods, for the scheduler that owns it: one PATCH a claim, every write with the version it was decided on, every unknown outcome settled by reading.
 *
 * What it keeps true, beyond the promises of `PoolProvider`:
 * - A write whose outcome is not known, or that is given up, either took effect before its read-back answers or never will: the read-back moves the pod's version on.
 * - What our own writes answer is in the cache at once; a list never shows a state before them, so nothing is created twice because a watch lags.
 * - A claimed or protected pod is never deleted by scale-down: the version that was judged is the version that is deleted. Only the end of the whole pool takes it.
 * - A pod that shows a greater session ends this one: every later write is answered `Fenced` without being sent.
 * - A token is signed for a pod that the API server has shown to be there a moment ago; an idle pod whose agent asks for none any more is replaced.
 *
 * Follows design/04 section 1 and docs/design/kubernetes.md.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { AgentTokensPort } from "../../shared/plugin/AgentLink.ts"
import {
  type ClaimOutcome,
  type ClaimWrite,
  type CreateOutcome,
  type CreateWrite,
  type DeleteOutcome,
  type DeleteWrite,
  type OpenContext,
  outcome,
  type PoolStatus,
  type ProviderError,
  type ProviderPool,
  type ReadBackOutcome,
  type ReleaseOutcome,
  type ReleaseWrite,
  type SandboxDelta,
  type SandboxState
} from "../../shared/plugin/PoolProvider.ts"
import { type AgentTokenAnswer, AgentTokenRequest } from "../../shared/protocol/SandboxAgent.ts"
import { type ClaimId, type SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import * as AgentPod from "./AgentPod.ts"
import * as Answer from "./Answer.ts"
import { type Abort, type Api, type Request, strategicMergePatch } from "./ApiClient.ts"
import type { Config } from "./Config.ts"
import { Informer } from "./Informer.ts"
import { at, isObject, type JsonObject, parse, textAt } from "./Json.ts"
import { annotation, label, podName, selectorOf } from "./Names.ts"
import * as Pod from "./Pod.ts"
import * as PodPatch from "./PodPatch.ts"
import type * as PoolObject from "./PoolObject.ts"
import * as Reset from "./Reset.ts"
import { StatusTeller } from "./StatusTeller.ts"

/** Runs the reset command in a pod; true: exit code 0. Interrupted when it takes too long. */
export type ResetHook = (
  pod: { readonly namespace: string; readonly name: string; readonly uid: SandboxUid; readonly container: string },
  command: ReadonlyArray<string>
) => Effect.Effect<boolean>

/** Of pools in agent mode: what the agents in pods are given. */
export interface Agents {
  readonly tokens: AgentTokensPort
  readonly natsUrl: string
  /** Of a token. */
  readonly ttlMs: number
  /** How much longer than its token is good an agent may be silent. */
  readonly lateMs: number
}

export interface KubernetesPoolOptions {
  readonly client: Api
  readonly context: OpenContext
  readonly config: Config
  readonly namespace: string
  readonly resetHook: ResetHook
  /** Of pools in agent mode. */
  readonly agents?: Agents | undefined
  /** Of the informer, for tests. */
  readonly informer?: Partial<ConstructorParameters<typeof Informer>[0]>
}

/** How long a write is tried within its own deadline (the scheduler's is 5 s) when the server asks to wait. */
const writeBudgetMs = 4_500
/** Reads and writes in turns that one read-back or release makes before it says `Unknown`. */
const turnsMax = 8
const deletionsMax = 10_000
const decodeTokenRequest = Schema.decodeUnknownOption(AgentTokenRequest)

interface Pending {
  /** The version that the claim's write names. */
  readonly version: number
  isGivenUp: boolean
  abort: Abort
}

export class KubernetesPool implements ProviderPool {
  readonly informer: Informer<Pod.Pod>
  private readonly client: Api
  private readonly context: OpenContext
  private readonly config: Config
  private readonly namespace: string
  private readonly resetHook: ResetHook
  private readonly agents: Agents | undefined
  private readonly now: () => number
  private readonly fork: (effect: Effect.Effect<void>) => void
  private onDelta: (delta: SandboxDelta) => void = () => {}
  private latestSession: number
  /** Claims' writes whose outcome the scheduler does not know yet, by uid and claim id. */
  private readonly pending = new Map<string, Pending>()
  /** When a pod was first seen here: start time-outs do not trust another machine's clock. */
  private readonly firstSeen = new Map<SandboxUid, number>()
  /** When an agent has last asked for a token here. */
  private readonly agentHeard = new Map<SandboxUid, number>()
  private readonly resetting = new Set<SandboxUid>()
  private readonly deleting = new Set<SandboxUid>()
  private statusTeller: StatusTeller | undefined
  /** Resets that are looked at again at their end. */
  private readonly waiting = new Set<SandboxUid>()

  constructor(
    options: KubernetesPoolOptions,
    runtime: { readonly now: () => number; readonly fork: (effect: Effect.Effect<void>) => void }
  ) {
    this.client = options.client
    this.context = options.context
    this.config = options.config
    this.namespace = options.namespace
    this.resetHook = options.resetHook
    this.agents = options.agents
    this.now = runtime.now
    this.fork = runtime.fork
    this.latestSession = options.context.sessionId
    this.informer = new Informer<Pod.Pod>({
      ...options.informer,
      client: options.client,
      path: this.pods,
      labelSelector: selectorOf(options.context.pool),
      read: Pod.read,
      changed: (pod) => this.changed(pod),
      removed: (pod) => this.removed(pod),
      gap: (reason) => this.onDelta({ _tag: "Gap", reason }),
      damaged: (object) =>
        this.warn("a pod cannot be read and is left alone", { pod: textAt(object, "metadata", "name") ?? "unnamed" })
    })
  }

  // ---------------------------------------------------------------- what is there

  get list(): Effect.Effect<ReadonlyArray<SandboxState>, ProviderError> {
    return Effect.map(this.informer.current, (pods) => {
      const states: Array<SandboxState> = []
      for (const pod of pods) {
        this.look(pod)
        const state = this.stateOf(pod)
        if (state !== undefined) states.push(state)
      }
      return states
    })
  }

  watch(onDelta: (delta: SandboxDelta) => void): Effect.Effect<void, ProviderError, Scope.Scope> {
    return Effect.suspend(() => {
      this.onDelta = onDelta
      return Effect.asVoid(Effect.forkScoped(
        this.informer.run.pipe(
          // A defect of ours must not pass unseen: the pool would go blind.
          Effect.tapCause((cause) => Effect.logError("the watch of pods has died", cause))
        )
      ))
    })
  }

  private stateOf(pod: Pod.Pod): SandboxState | undefined {
    const state = Pod.stateOf(pod, this.context.pool)
    return state === undefined ? undefined : AgentPod.withAddress(state, pod, this.context.pool)
  }

  private changed(pod: Pod.Pod): void {
    if (pod.session > this.latestSession) this.latestSession = pod.session
    if (!this.firstSeen.has(pod.uid)) this.firstSeen.set(pod.uid, this.now())
    const state = this.stateOf(pod)
    this.onDelta(state === undefined ? { _tag: "Removed", uid: pod.uid } : { _tag: "Upsert", state })
    this.look(pod)
  }

  private removed(pod: Pod.Pod): void {
    this.firstSeen.delete(pod.uid)
    this.agentHeard.delete(pod.uid)
    this.deleting.delete(pod.uid)
    this.resetting.delete(pod.uid)
    this.onDelta({ _tag: "Removed", uid: pod.uid })
  }

  /** What the pod itself asks for: its reset goes on, or it is taken away because it has ended or never started. */
  private look(pod: Pod.Pod): void {
    if (pod.isDeleting || this.isFenced) return
    if (pod.ended !== undefined) return this.replace(pod, `its containers have ended: ${pod.ended}`)
    const { startTimeout } = this.config
    if (pod.sandboxPhase === "Stopping") return this.resetOn(pod)
    if (pod.sandboxPhase !== "Idle" || Pod.isProtected(pod)) return
    const silent = this.silence(pod)
    if (silent !== undefined) return this.replace(pod, silent)
    if (pod.isReady || startTimeout === 0) return
    if (this.now() - (this.firstSeen.get(pod.uid) ?? this.now()) >= startTimeout) {
      this.replace(pod, "it was not ready in time")
    }
  }

  // ---------------------------------------------------------------- agents

  /** Why the agent of an idle pod counts as gone. Its token has ended: it asks in half of that time. */
  private silence(pod: Pod.Pod): string | undefined {
    const { agents } = this
    if (agents === undefined || pod.annotations[annotation.agentUser] === undefined) return undefined
    const heard = this.agentHeard.get(pod.uid)
    const since = heard ?? this.firstSeen.get(pod.uid)
    if (since === undefined || this.now() - since < agents.ttlMs + agents.lateMs) return undefined
    return heard === undefined
      ? "its agent has never asked for a token here: does its first container start services/sandbox-agent, and does it reach NATS?"
      : "its agent has not asked for a token for longer than one is good"
  }

  /** Answers the agent that asks at `base`; `undefined`: not by this owner. */
  private token(agents: Agents, base: string, request: string): Effect.Effect<string | undefined> {
    return Effect.gen({ self: this }, function*() {
      const asked = decodeTokenRequest(parse(request))
      if (this.isFenced) return undefined
      const answer = (of: AgentTokenAnswer) => JSON.stringify(of)
      const later = (reason: string) => answer({ _tag: "Refused", reason, isFinal: false })
      if (Option.isNone(asked)) return answer({ _tag: "Refused", reason: "the question cannot be read", isFinal: true })
      const { uid } = asked.value
      // As the API server has it now: a cache may not know yet that the pod is gone.
      const pod = yield* Effect.callback<Pod.Pod | undefined | string>((resume) =>
        this.readNamed(base.slice(base.lastIndexOf(".") + 1), (found) => resume(Effect.succeed(found)))
      )
      if (typeof pod === "string") return later(pod)
      const { pool } = this.context
      const found = AgentPod.tokenUser(pod, pool, { base, uid })
      if ("refused" in found) return answer({ _tag: "Refused", reason: found.refused, isFinal: true })
      const { ttlMs } = agents
      const jwt = yield* Effect.result(agents.tokens.token(base, found.user, ttlMs))
      if (Result.isFailure(jwt)) {
        this.warn("no token for an agent", { pod: base, reason: jwt.failure.message })
        return later(jwt.failure.message)
      }
      this.agentHeard.set(uid, this.now())
      return answer({ _tag: "Token", jwt: jwt.success, ttlMs })
    })
  }

  /** Until the scope ends. */
  get servingAgents(): Effect.Effect<void, never, Scope.Scope> {
    const { agents } = this
    return agents === undefined
      ? Effect.void
      : agents.tokens.serve(this.context.pool, (base, request) => this.token(agents, base, request))
  }

  // ---------------------------------------------------------------- claims

  claim(write: ClaimWrite, done: (outcome: ClaimOutcome) => void): void {
    if (this.isFenced) return done(outcome.fenced(SessionId.make(this.latestSession)))
    const pod = this.informer.cache.get(write.uid)
    if (pod === undefined || Pod.isGone(pod)) return done(outcome.gone)
    // The write could not succeed: the version that it names has gone by.
    if (pod.version !== write.version) return done(outcome.conflict)
    if (pod.sandboxPhase !== "Idle" || !pod.isReady || Pod.isProtected(pod)) return done(outcome.wrongPhase)
    const problem = PodPatch.claimProblem(this.config.template, pod, write)
    if (problem !== undefined) return done(outcome.refused(problem))
    const unfit = PodPatch.podProblem(pod, write)
    if (unfit !== undefined) return done(outcome.hardError(unfit, false))
    const key = pendingKey(write.uid, write.mark.claimId)
    const pending: Pending = { version: write.version, isGivenUp: false, abort: () => {} }
    this.pending.set(key, pending)
    this.write(this.patchOf(pod, PodPatch.claim(pod, write)), (verdict) => {
      const settled = this.claimOutcome(write, verdict)
      // An unknown one stays pending until it is read back.
      if (settled._tag !== "Unknown" && this.pending.get(key) === pending) this.pending.delete(key)
      done(settled)
    }, pending)
  }

  private claimOutcome(write: ClaimWrite, verdict: Answer.Verdict): ClaimOutcome {
    switch (verdict._tag) {
      case "Done": {
        const pod = this.wrote(verdict.body)
        return pod !== undefined && pod.uid === write.uid && pod.claim?.claimId === write.mark.claimId
          ? outcome.success(pod.version)
          : outcome.unknown("the answer to the claim's write does not show the claim")
      }
      case "Conflict":
      case "Expired":
        return outcome.conflict
      case "NotFound":
        this.informer.forget(write.uid)
        return outcome.gone
      case "Refused":
        return PodPatch.isOfClaim(write, verdict.fields)
          ? outcome.refused(verdict.message)
          : outcome.hardError(verdict.message, verdict.everywhere)
      case "Later":
        return outcome.hardError(verdict.message, true)
      case "Unknown":
        return outcome.unknown(verdict.message)
    }
  }

  readBack(uid: SandboxUid, claimId: ClaimId, done: (outcome: ReadBackOutcome) => void): void {
    const key = pendingKey(uid, claimId)
    const pending = this.pending.get(key)
    if (pending !== undefined) {
      pending.isGivenUp = true
      pending.abort()
    }
    const finish = (settled: ReadBackOutcome): void => {
      if (settled._tag !== "Unknown" && this.pending.get(key) === pending) this.pending.delete(key)
      done(settled)
    }
    const known = this.informer.cache.get(uid)
    if (known === undefined) return finish({ _tag: "Gone" })
    this.settle(known, claimId, pending, 0, finish)
  }

  /** Reads the pod until it shows the claim, or shows that the claim's write can no longer happen. */
  private settle(
    known: Pod.Pod,
    claimId: ClaimId,
    pending: Pending | undefined,
    turn: number,
    done: (outcome: ReadBackOutcome) => void
  ): void {
    this.read(known, (pod) => {
      if (typeof pod === "string") return done(outcome.unknown(pod))
      const state = pod === undefined ? undefined : this.stateOf(pod)
      if (pod === undefined || state === undefined) return done({ _tag: "Gone" })
      if (pod.sandboxPhase === "Running" && pod.claim?.claimId === claimId) {
        return done({ _tag: "Ours", version: pod.version })
      }
      if (pending === undefined || pod.version !== pending.version) return done({ _tag: "NotOurs", state })
      if (turn >= turnsMax) return done(outcome.unknown("the pod changes faster than it can be read"))
      // As it was when the claim was written: the write may still be on its way. From here on it would meet another version.
      this.write(
        this.patchOf(pod, PodPatch.fence(pod, SessionId.make(this.latestSession), claimId)),
        (verdict) => {
          if (verdict._tag === "Done") {
            const fenced = this.wrote(verdict.body)
            const moved = fenced === undefined ? undefined : this.stateOf(fenced)
            if (moved !== undefined) return done({ _tag: "NotOurs", state: moved })
          }
          if (verdict._tag === "NotFound") {
            this.informer.forget(pod.uid)
            return done({ _tag: "Gone" })
          }
          if (verdict._tag === "Conflict") return this.settle(pod, claimId, pending, turn + 1, done)
          done(outcome.unknown(verdict._tag === "Done" ? "the fence's answer cannot be read" : verdict.message))
        }
      )
    })
  }

  // ---------------------------------------------------------------- releases

  release(write: ReleaseWrite, done: (outcome: ReleaseOutcome) => void): void {
    if (this.isFenced) return done(outcome.fenced(SessionId.make(this.latestSession)))
    const pod = this.informer.cache.get(write.uid)
    if (pod === undefined) return done({ _tag: "Gone" })
    this.releaseAt(pod, write, 0, done)
  }

  private releaseAt(
    pod: Pod.Pod,
    write: ReleaseWrite,
    turn: number,
    done: (outcome: ReleaseOutcome) => void
  ): void {
    if (Pod.isGone(pod)) return done({ _tag: "Gone" })
    if (pod.claim?.claimId !== write.claimId || pod.sandboxPhase === "Idle") return done({ _tag: "NotOurs" })
    const { reset, template } = this.config
    const images = reset.method === "restart" ? PodPatch.restartImages(pod, reset, template) : {}
    const isReplaced = write.mode === "delete" || reset.method === "delete" ||
      (reset.method === "restart" && Object.keys(images).length === 0)
    if (pod.sandboxPhase === "Stopping" && !isReplaced) {
      done({ _tag: "Done" })
      return this.look(pod)
    }
    const settle = (verdict: Answer.Verdict): void => {
      switch (verdict._tag) {
        case "Done":
          this.wrote(verdict.body)
          return done({ _tag: "Done" })
        case "NotFound":
          this.informer.forget(pod.uid)
          return done({ _tag: "Gone" })
        case "Conflict":
        case "Expired":
          if (turn >= turnsMax) return done(outcome.unknown("the pod changes faster than it can be released"))
          return this.read(pod, (now) => {
            if (typeof now === "string") return done(outcome.unknown(now))
            if (now === undefined) return done({ _tag: "Gone" })
            this.releaseAt(now, write, turn + 1, done)
          })
        case "Refused":
          return done(outcome.hardError(verdict.message, verdict.everywhere))
        case "Later":
        case "Unknown":
          return done(outcome.unknown(verdict.message))
      }
    }
    if (isReplaced) return this.remove(pod, pod.version, settle)
    this.write(
      this.patchOf(
        pod,
        reset.method === "none"
          ? PodPatch.idle(pod, write.sessionId, false)
          : PodPatch.stopping(pod, write.sessionId, this.now(), images)
      ),
      settle
    )
  }

  /** One step of the reset of a pod in Stopping. */
  private resetOn(pod: Pod.Pod): void {
    if (this.resetting.has(pod.uid)) return
    const { reset } = this.config
    const next = Reset.next(pod, reset, this.now())
    switch (next._tag) {
      case "Replace":
        return this.replace(pod, next.reason)
      case "Finish":
        return this.finishReset(pod)
      case "Wait":
        if (this.waiting.has(pod.uid)) return
        this.waiting.add(pod.uid)
        return this.later(next.until - this.now(), () => {
          this.waiting.delete(pod.uid)
          const latest = this.informer.cache.get(pod.uid)
          if (latest !== undefined) this.look(latest)
        })
      case "Exec": {
        this.resetting.add(pod.uid)
        const container = reset.container ?? Object.keys(pod.images)[0] ?? ""
        const hook = this.resetHook(
          { namespace: pod.namespace, name: pod.name, uid: pod.uid, container },
          reset.command ?? []
        )
        this.fork(
          hook.pipe(
            Effect.timeoutOption(Math.max(next.until - this.now(), 0)),
            Effect.map((done) => done._tag === "Some" && done.value),
            Effect.catchCause(() => Effect.succeed(false)),
            Effect.map((isReset) => {
              const latest = this.informer.cache.get(pod.uid)
              if (latest === undefined || latest.sandboxPhase !== "Stopping") {
                this.resetting.delete(pod.uid)
              } else if (isReset) this.finishReset(latest)
              else {
                this.resetting.delete(pod.uid)
                this.replace(latest, "its reset command failed")
              }
            })
          )
        )
      }
    }
  }

  private finishReset(pod: Pod.Pod): void {
    this.resetting.add(pod.uid)
    const session = this.context.sessionId
    this.write(this.patchOf(pod, PodPatch.idle(pod, session, this.config.reset.method === "restart")), (verdict) => {
      if (verdict._tag === "Done") {
        this.resetting.delete(pod.uid)
        this.wrote(verdict.body)
        return
      }
      // Whatever it was: the next look at the pod, as it is then, decides.
      this.read(pod, (now) => {
        if (typeof now !== "string" && (now === undefined || now.sandboxPhase !== "Stopping")) {
          this.resetting.delete(pod.uid)
          return
        }
        const latest = typeof now === "string" || now === undefined ? pod : now
        if (verdict._tag === "Conflict" && latest.version > pod.version) return this.finishReset(latest)
        this.later(1_000, () => {
          this.resetting.delete(pod.uid)
          // A command that has run is not run again for a write that failed.
          const again = this.informer.cache.get(pod.uid)
          if (again === undefined || again.sandboxPhase !== "Stopping" || this.isFenced) return
          if (this.config.reset.method === "exec") this.finishReset(again)
          else this.resetOn(again)
        })
      })
    })
  }

  // ---------------------------------------------------------------- creation and deletion

  create(write: CreateWrite, done: (outcome: CreateOutcome) => void): void {
    if (this.isFenced) return done(outcome.fenced(SessionId.make(this.latestSession)))
    const name = podName(write.name)
    const body = PodPatch.create(write.name, this.context, write.sessionId, this.namespace, this.config)
    const { agents } = this
    if (agents === undefined) return this.send(write, name, body, done)
    const base = AgentPod.baseOf(this.context.pool, write.name)
    this.fork(
      Effect.match(agents.tokens.ticket(base, AgentPod.ticketTtlMs), {
        onSuccess: ({ credentials, user }) => {
          const agent = { base, natsUrl: agents.natsUrl, credentials: Redacted.value(credentials), user }
          this.send(write, name, AgentPod.withAgent(body, agent), done)
        },
        onFailure: (error) => done(outcome.hardError(error.message, true))
      })
    )
  }

  private send(write: CreateWrite, name: string, body: JsonObject, done: (outcome: CreateOutcome) => void): void {
    this.write({ method: "POST", path: this.pods, body }, (verdict) => {
      switch (verdict._tag) {
        case "Done":
          this.wrote(verdict.body)
          return done({ _tag: "Done" })
        case "Conflict":
          // AlreadyExists: ours from a try before this one, unless somebody else uses the name.
          return this.readNamed(name, (pod) => {
            if (typeof pod === "string") return done(outcome.unknown(pod))
            if (pod === undefined) return done(outcome.unknown(`the name ${name} was taken a moment ago`))
            const isOurs = pod.labels[label.pool] === this.context.pool.name &&
              pod.labels[label.namespace] === this.context.pool.namespace &&
              pod.annotations[annotation.name] === write.name
            if (!isOurs) {
              return done(outcome.hardError(`the name ${name} is taken by a pod that is not of this pool`, false))
            }
            this.informer.wrote(pod.version)
            this.informer.told(pod)
            done({ _tag: "Done" })
          })
        case "Refused":
        case "NotFound":
        case "Expired":
          return done(
            outcome.hardError(verdict.message, verdict._tag === "Refused" ? verdict.everywhere : true)
          )
        case "Later":
        case "Unknown":
          return done(outcome.unknown(verdict.message))
      }
    })
  }

  delete(write: DeleteWrite, done: (outcome: DeleteOutcome) => void): void {
    if (this.isFenced) return done(outcome.fenced(SessionId.make(this.latestSession)))
    const pod = this.informer.cache.get(write.uid)
    if (pod === undefined || Pod.isGone(pod)) return done({ _tag: "Done" })
    // Without a version it is meant for good, whoever holds it: the pool is deleted.
    if (write.version !== undefined) {
      if (pod.version !== write.version) return done(outcome.conflict)
      if (pod.sandboxPhase === "Running" || Pod.isKept(pod)) return done(outcome.conflict)
    }
    // With the version that was just judged: a pod that is claimed or protected meanwhile stays.
    this.remove(pod, write.version, (verdict) => {
      switch (verdict._tag) {
        case "Done":
        case "NotFound":
          if (verdict._tag === "NotFound") this.informer.forget(pod.uid)
          return done({ _tag: "Done" })
        case "Conflict":
        case "Expired":
          return done(outcome.conflict)
        case "Refused":
          return done(outcome.hardError(verdict.message, verdict.everywhere))
        case "Later":
        case "Unknown":
          return done(outcome.unknown(verdict.message))
      }
    })
  }

  /** A pod that is of no use any more. Tried again at the next look, which every list gives. */
  private replace(pod: Pod.Pod, reason: string): void {
    if (this.deleting.has(pod.uid) || this.deleting.size >= deletionsMax) return
    this.deleting.add(pod.uid)
    this.warn("a pod is replaced", { pod: pod.name, reason })
    this.remove(pod, pod.version, (verdict) => {
      this.deleting.delete(pod.uid)
      if (verdict._tag === "NotFound") this.informer.forget(pod.uid)
      else if (verdict._tag === "Refused") {
        this.warn("a pod cannot be deleted", { pod: pod.name, reason: verdict.message })
      }
    })
  }

  private remove(pod: Pod.Pod, version: number | undefined, done: (verdict: Answer.Verdict) => void): void {
    this.write({
      method: "DELETE",
      path: `${this.pods}/${pod.name}`,
      body: PodPatch.deleteOptions(pod, version, this.config.grace)
    }, (verdict) => {
      if (verdict._tag === "Done") {
        // Either the pod as it is now (it ends within its grace), or a Status: it is gone at once.
        const now = isObject(verdict.body) && verdict.body["kind"] === "Status" ? undefined : this.wrote(verdict.body)
        if (now === undefined) this.informer.forget(pod.uid)
      }
      done(verdict)
    })
  }

  // ---------------------------------------------------------------- what people see

  /** Into the status of the SandboxPool that the pool came from, if it came from one. */
  status(status: PoolStatus): void {
    const { owner } = this.config
    if (owner?.kind !== "SandboxPool") return
    this.statusTeller ??= new StatusTeller({
      api: this.client,
      target: {
        apiVersion: owner.apiVersion,
        kind: owner.kind,
        path: `/apis/${owner.apiVersion}/namespaces/${this.namespace}/sandboxpools/${owner.name}`,
        name: owner.name,
        uid: owner.uid
      },
      owner: this.context.owner,
      selector: selectorOf(this.context.pool),
      now: this.now,
      phases: () => this.phases(),
      isFenced: () => this.isFenced
    }, { later: (afterMs, run) => this.later(afterMs, run), warn: (message, details) => this.warn(message, details) })
    this.statusTeller.tell(status)
  }

  private phases(): PoolObject.Phases {
    const phases = { starting: 0, idle: 0, running: 0, stopping: 0 }
    for (const pod of this.informer.cache.values()) {
      if (Pod.isGone(pod)) continue
      if (pod.sandboxPhase === "Running") phases.running++
      else if (pod.sandboxPhase === "Stopping") phases.stopping++
      else if (pod.isReady) phases.idle++
      else phases.starting++
    }
    return phases
  }

  // ---------------------------------------------------------------- requests

  private get pods(): string {
    return `/api/v1/namespaces/${this.namespace}/pods`
  }

  private get isFenced(): boolean {
    return this.latestSession > this.context.sessionId
  }

  private patchOf(pod: Pod.Pod, body: unknown): Request {
    return { method: "PATCH", path: `${this.pods}/${pod.name}`, body, contentType: strategicMergePatch }
  }

  /** One write. The server's wish to wait is obeyed as long as the write's time allows; given up, it is not sent again. */
  private write(request: Request, done: (verdict: Answer.Verdict) => void, pending?: Pending): void {
    const until = this.now() + writeBudgetMs
    const send = (): void => {
      const abort = this.client.send("write", request, (answer) => {
        const verdict = Answer.verdict(answer)
        if (verdict._tag === "Later" && pending?.isGivenUp !== true && this.now() + verdict.afterMs < until) {
          return this.later(verdict.afterMs, () => pending?.isGivenUp === true ? done(verdict) : send())
        }
        done(verdict)
      })
      if (pending !== undefined) pending.abort = abort
    }
    send()
  }

  /** The pod as it is now; `undefined`: this one is gone. A text: it could not be read, and why. */
  private read(known: Pod.Pod, done: (pod: Pod.Pod | undefined | string) => void): void {
    this.readNamed(known.name, (pod) => {
      if (typeof pod !== "string" && pod?.uid !== known.uid) {
        this.informer.forget(known.uid)
        return done(undefined)
      }
      if (typeof pod === "object") this.informer.told(pod)
      done(pod)
    })
  }

  private readNamed(name: string, done: (pod: Pod.Pod | undefined | string) => void): void {
    this.client.send("read", { method: "GET", path: `${this.pods}/${name}` }, (answer) => {
      const verdict = Answer.verdict(answer)
      if (verdict._tag === "NotFound") return done(undefined)
      if (verdict._tag !== "Done") return done(verdict.message)
      done(Pod.read(verdict.body) ?? `the pod ${name} cannot be read`)
    })
  }

  /** The pod that a write of ours has left. */
  private wrote(body: unknown): Pod.Pod | undefined {
    const pod = at(body, "kind") === "Status" ? undefined : Pod.read(body)
    if (pod === undefined) return undefined
    this.informer.wrote(pod.version)
    this.informer.told(pod)
    return pod
  }

  private later(afterMs: number, run: () => void): void {
    this.fork(Effect.andThen(Effect.sleep(Math.max(afterMs, 0)), Effect.sync(run)))
  }

  private warn(message: string, details: Readonly<Record<string, unknown>>): void {
    this.fork(
      Effect.logWarning(message, { pool: `${this.context.pool.namespace}/${this.context.pool.name}`, ...details })
    )
  }
}

const pendingKey = (uid: SandboxUid, claimId: ClaimId): string => `${uid} ${claimId}`

/** Ready to be watched; ends with its scope. */
export const make = (options: KubernetesPoolOptions): Effect.Effect<KubernetesPool, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const fork = yield* FiberSet.makeRuntime<never, void, never>()
    const pool = new KubernetesPool(options, { now: () => clock.currentTimeMillisUnsafe(), fork })
    yield* pool.servingAgents
    return pool
  })
