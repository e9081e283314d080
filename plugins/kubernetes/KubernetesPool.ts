/**
 * One pool of pods, for the scheduler that owns it: one PATCH a claim, every write with the version it was decided on, every unknown outcome settled by reading.
 *
 * What it keeps true, beyond the promises of `PoolProvider`:
 * - A write whose outcome is not known, or that is given up, either took effect before its read-back answers or never will: the read-back moves the pod's version on.
 * - What our own writes answer is in the cache at once; a list never shows a state before them, so nothing is created twice because a watch lags.
 * - A claimed or protected pod is never deleted by scale-down: the version that was judged is the version that is deleted. Only the end of the whole pool takes it.
 * - A pod that shows a greater session ends this one: every later write is answered `Fenced` without being sent.
 * - An idle pod whose agent asks for no token any more is replaced.
 *
 * Follows design/04 section 1 and docs/design/kubernetes.md.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
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
import { poolKey } from "../../shared/protocol/Sandbox.ts"
import { type ClaimId, type SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import * as AgentPod from "./AgentPod.ts"
import type * as Answer from "./Answer.ts"
import type { Api } from "./ApiClient.ts"
import type { Config } from "./Config.ts"
import { Informer } from "./Informer.ts"
import { type JsonObject, textAt } from "./Json.ts"
import { annotation, label, podName, selectorOf } from "./Names.ts"
import * as Pod from "./Pod.ts"
import { type Agents, PodAgents } from "./PodAgents.ts"
import * as PodFeeds from "./PodFeeds.ts"
import * as PodPatch from "./PodPatch.ts"
import { type Pending, PodRequests, podsPath, type Runtime } from "./PodRequests.ts"
import { PodResets, type ResetHook } from "./PodResets.ts"
import type * as PoolObject from "./PoolObject.ts"
import { StatusTeller } from "./StatusTeller.ts"
import type { WatchFeed } from "./WatchFeed.ts"

export interface KubernetesPoolOptions {
  readonly client: Api
  readonly context: OpenContext
  readonly config: Config
  readonly namespace: string
  readonly resetHook: ResetHook
  /** The watch of the pods of all pools of this namespace. */
  readonly feed: WatchFeed
  /** Of what all pools of the cluster share beside it: dies with its defect. */
  readonly shared?: Effect.Effect<never> | undefined
  /** Of pools in agent mode. */
  readonly agents?: Agents | undefined
  /** Of the informer, for tests. */
  readonly informer?: Partial<ConstructorParameters<typeof Informer>[0]>
}

/** Reads and writes in turns that one read-back or release makes before it says `Unknown`. */
const turnsMax = 8
const deletionsMax = 10_000

export class KubernetesPool implements ProviderPool {
  readonly failure: Effect.Effect<never>
  readonly informer: Informer<Pod.Pod>
  private readonly client: Api
  private readonly context: OpenContext
  private readonly config: Config
  private readonly namespace: string
  private readonly requests: PodRequests
  private readonly resets: PodResets
  private readonly agents: Agents | undefined
  private readonly podAgents: PodAgents | undefined
  private readonly died = Deferred.makeUnsafe<never>()
  private readonly now: () => number
  private onDelta: (delta: SandboxDelta) => void = () => {}
  private latestSession: number
  /** Claims' writes whose outcome the scheduler does not know yet, by uid and claim id. */
  private readonly pending = new Map<string, Pending>()
  /** When a pod was first seen here: start time-outs do not trust another machine's clock. */
  private readonly firstSeen = new Map<SandboxUid, number>()
  /** The state of a pod as long as it does not change: a list of thousands makes no new ones. */
  private readonly states = new WeakMap<Pod.Pod, SandboxState>()
  private readonly deleting = new Set<SandboxUid>()
  private statusTeller: StatusTeller | undefined

  /** `background`: dies with the defect of what `runtime` has forked. */
  constructor(options: KubernetesPoolOptions, runtime: Runtime, background: Effect.Effect<never>) {
    this.client = options.client
    this.context = options.context
    this.config = options.config
    this.namespace = options.namespace
    this.agents = options.agents
    this.now = runtime.now
    this.failure = Effect.raceAllFirst([
      Deferred.await(this.died),
      options.feed.failure,
      background,
      options.shared ?? Effect.never
    ])
    this.latestSession = options.context.sessionId
    this.informer = new Informer<Pod.Pod>({
      ...options.informer,
      client: options.client,
      path: podsPath(options.namespace),
      labelSelector: selectorOf(options.context.pool),
      shared: { feed: options.feed, key: PodFeeds.keyOf(options.context.pool) },
      read: Pod.read,
      changed: (pod) => this.changed(pod),
      removed: (pod) => this.removed(pod),
      gap: (reason) => this.onDelta({ _tag: "Gap", reason }),
      damaged: (object) =>
        this.requests.warn("a pod cannot be read and is left alone", {
          pod: textAt(object, "metadata", "name") ?? "unnamed"
        })
    })
    const { agents, client, config, context, namespace } = options
    const { informer } = this
    const requests = new PodRequests({ client, informer, namespace, pool: poolKey(context.pool), runtime })
    const isFenced = () => this.isFenced
    this.requests = requests
    this.podAgents = agents === undefined ? undefined : new PodAgents(agents, context.pool, requests, isFenced)
    this.resets = new PodResets({
      requests,
      informer,
      reset: config.reset,
      sessionId: context.sessionId,
      hook: options.resetHook,
      isFenced,
      replace: (pod, reason) => this.replace(pod, reason),
      look: (pod) => this.look(pod)
    })
  }

  private get isFenced(): boolean {
    return this.latestSession > this.context.sessionId
  }

  /** Answers the agents that ask for tokens, until the scope ends. */
  get servingAgents(): Effect.Effect<void, never, Scope.Scope> {
    return this.podAgents?.serving ?? Effect.void
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
          // The pool would go blind.
          Effect.tapCause((cause) =>
            Cause.hasInterruptsOnly(cause) ? Effect.void : Deferred.failCause(this.died, cause)
          )
        )
      ))
    })
  }

  private stateOf(pod: Pod.Pod): SandboxState | undefined {
    const known = this.states.get(pod)
    if (known !== undefined) return known
    const bare = Pod.stateOf(pod, this.context.pool)
    if (bare === undefined) return undefined
    const state = AgentPod.withAddress(bare, pod, this.context.pool)
    this.states.set(pod, state)
    return state
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
    this.podAgents?.forget(pod.uid)
    this.deleting.delete(pod.uid)
    this.resets.forget(pod.uid)
    this.onDelta({ _tag: "Removed", uid: pod.uid })
  }

  /** What the pod itself asks for: its reset goes on, or it is taken away because it has ended or never started. */
  private look(pod: Pod.Pod): void {
    if (pod.isDeleting || this.isFenced) return
    if (pod.ended !== undefined) return this.replace(pod, `its containers have ended: ${pod.ended}`)
    const { startTimeout } = this.config
    if (pod.sandboxPhase === "Stopping") return this.resets.step(pod)
    if (pod.sandboxPhase !== "Idle" || Pod.isProtected(pod)) return
    const silent = this.podAgents?.silence(pod, this.firstSeen.get(pod.uid))
    if (silent !== undefined) return this.replace(pod, silent)
    if (pod.isReady || startTimeout === 0) return
    if (this.now() - (this.firstSeen.get(pod.uid) ?? this.now()) >= startTimeout) {
      this.replace(pod, "it was not ready in time")
    }
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
    this.requests.patch(pod, PodPatch.claim(pod, write), (verdict) => {
      const settled = this.claimOutcome(write, verdict)
      // An unknown one stays pending until it is read back.
      if (settled._tag !== "Unknown" && this.pending.get(key) === pending) this.pending.delete(key)
      done(settled)
    }, pending)
  }

  private claimOutcome(write: ClaimWrite, verdict: Answer.Verdict): ClaimOutcome {
    switch (verdict._tag) {
      case "Done": {
        const pod = this.requests.wrote(verdict.body)
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
    this.requests.read(known, (pod) => {
      if (typeof pod === "string") return done(outcome.unknown(pod))
      const state = pod === undefined ? undefined : this.stateOf(pod)
      if (pod === undefined || state === undefined) return done({ _tag: "Gone" })
      if (pod.sandboxPhase === "Running" && pod.claim?.claimId === claimId) {
        return done({ _tag: "Ours", version: pod.version })
      }
      if (pending === undefined || pod.version !== pending.version) return done({ _tag: "NotOurs", state })
      if (turn >= turnsMax) return done(outcome.unknown("the pod changes faster than it can be read"))
      // As it was when the claim was written: the write may still be on its way. From here on it would meet another version.
      this.requests.patch(
        pod,
        PodPatch.fence(pod, SessionId.make(this.latestSession), claimId),
        (verdict) => {
          if (verdict._tag === "Done") {
            const fenced = this.requests.wrote(verdict.body)
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
          this.requests.wrote(verdict.body)
          return done({ _tag: "Done" })
        case "NotFound":
          this.informer.forget(pod.uid)
          return done({ _tag: "Gone" })
        case "Conflict":
        case "Expired":
          if (turn >= turnsMax) return done(outcome.unknown("the pod changes faster than it can be released"))
          return this.requests.read(pod, (now) => {
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
    if (isReplaced) return this.requests.remove(pod, pod.version, this.config.grace, settle)
    this.requests.patch(
      pod,
      reset.method === "none"
        ? PodPatch.idle(pod, write.sessionId, false)
        : PodPatch.stopping(pod, write.sessionId, this.now(), images),
      settle
    )
  }

  // ---------------------------------------------------------------- creation and deletion

  create(write: CreateWrite, done: (outcome: CreateOutcome) => void): void {
    if (this.isFenced) return done(outcome.fenced(SessionId.make(this.latestSession)))
    const name = podName(write.name)
    const body = PodPatch.create(write.name, this.context, write.sessionId, this.namespace, this.config)
    const { agents } = this
    if (agents === undefined) return this.send(write, name, body, done)
    const base = AgentPod.baseOf(this.context.pool, write.name)
    this.requests.fork(
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
    this.requests.create(body, (verdict) => {
      switch (verdict._tag) {
        case "Done":
          this.requests.wrote(verdict.body)
          return done({ _tag: "Done" })
        case "Conflict":
          // AlreadyExists: ours from a try before this one, unless somebody else uses the name.
          return this.requests.readNamed(name, (pod) => {
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
    this.requests.remove(pod, write.version, this.config.grace, (verdict) => {
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
    this.requests.warn("a pod is replaced", { pod: pod.name, reason })
    this.requests.remove(pod, pod.version, this.config.grace, (verdict) => {
      this.deleting.delete(pod.uid)
      if (verdict._tag === "NotFound") this.informer.forget(pod.uid)
      else if (verdict._tag === "Refused") {
        this.requests.warn("a pod cannot be deleted", { pod: pod.name, reason: verdict.message })
      }
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
    }, {
      later: (afterMs, run) => this.requests.later(afterMs, run),
      warn: (message, details) => this.requests.warn(message, details)
    })
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
}

const pendingKey = (uid: SandboxUid, claimId: ClaimId): string => `${uid} ${claimId}`

/** Ready to be watched; ends with its scope. */
export const make = (options: KubernetesPoolOptions): Effect.Effect<KubernetesPool, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const fibers = yield* FiberSet.make<void, never>()
    const fork = yield* FiberSet.runtime(fibers)<never>()
    const pool = new KubernetesPool(
      options,
      { now: () => clock.currentTimeMillisUnsafe(), fork },
      Effect.andThen(FiberSet.join(fibers), Effect.never)
    )
    yield* pool.informer.joined
    yield* pool.servingAgents
    return pool
  })
