/**
 * One attempt of a task as this executor has it, from its assignment to the acknowledgement of its final report; and the table of all of them.
 *
 * Keeps true: a task instance stands in the table at most once; it leaves it only when its final fact is acknowledged (or it was superseded, dropped or
 * returned), so a question about it is answered truly until then. Follows design/04 section 3.
 */
import type { TaskAssignment } from "../../shared/protocol/Dispatch.ts"
import type { ControlAnswer, FactReport, TaskFact, TaskSpec } from "../../shared/protocol/Report.ts"
import type { PoolRef, Sandbox } from "../../shared/protocol/Sandbox.ts"
import type {
  ClaimId,
  InstanceId,
  MemberId,
  SessionId,
  Shard,
  StartupId,
  TaskInstanceId
} from "../../shared/protocol/Token.ts"

/** `Registering`: asked for, not ours yet. `Running`: it runs. `Reporting`: it has ended, its final fact is not acknowledged. */
export type Phase = "Registering" | "Running" | "Reporting"

/** A fact on its way, as JSON text made once. */
export interface Outgoing {
  readonly report: FactReport
  readonly text: string
  readonly isFinal: boolean
}

/** What stops an attempt, strongest last: a kill that was asked for, the executor's end, and the news that it is not the live attempt any more. */
export type Stop = "kill" | "shutdown" | "superseded"

/** Who this executor is in this life. */
export interface Identity {
  readonly member: MemberId
  readonly startup: StartupId
}

/** One sandbox and one slot. They are free when none of their `attempts` is left. */
export interface Hold {
  attempts: number
}

export class Attempt {
  readonly identity: Identity
  readonly pool: PoolRef
  readonly poolSession: SessionId
  readonly claimId: ClaimId
  readonly sandbox: Sandbox
  readonly instance: InstanceId
  readonly taskInstanceId: TaskInstanceId
  /** Names the task instance in the table; made once, since it is looked up at every step. */
  readonly key: string
  readonly shard: Shard
  /** Of the owner that is asked: the assignment's, or a later one when its owner was lost with the question. */
  session: SessionId
  /** Tasks of the same instance that may still follow in this sandbox. */
  readonly handOff: number
  /** The sandbox and the slot, shared with the attempts that run in them one after the other. */
  readonly hold: Hold
  /** Where to report; learned anew from answers. */
  owner: MemberId
  spec: TaskSpec | undefined
  phase: Phase = "Registering"
  startedAt: number | undefined
  /** The same moment by `ExecutorMeters.seconds`. */
  startedSeconds = 0
  stop: Stop | undefined
  isLost = false
  /** Its type ends at once, in plain code: several such tasks may follow one another in one sandbox without anything waiting for anything. */
  isInline = false
  /** Facts not acknowledged yet, in order. The first may be in flight. */
  readonly outbox: Array<Outgoing> = []
  sequence = 0
  isQueued = false
  isInFlight = false
  /** Of the first fact in the outbox. */
  failures = 0
  /** An offer of the sandbox was sent and its answer is unknown: only the same question again can tell what came of it. */
  isOfferOpen = false

  constructor(
    identity: Identity,
    pool: PoolRef,
    poolSession: SessionId,
    of: Pick<
      TaskAssignment,
      "claimId" | "sandbox" | "instance" | "taskInstanceId" | "shard" | "session" | "owner" | "handOff"
    >,
    hold: Hold = { attempts: 1 }
  ) {
    this.identity = identity
    this.pool = pool
    this.poolSession = poolSession
    this.claimId = of.claimId
    this.sandbox = of.sandbox
    this.instance = of.instance
    this.taskInstanceId = of.taskInstanceId
    this.key = keyOf(of.instance, of.taskInstanceId)
    this.shard = of.shard
    this.session = of.session
    this.handOff = of.handOff
    this.owner = of.owner
    this.hold = hold
  }

  /** A task that follows in the same sandbox (hand-off). `handOff`: how many may follow it in turn. */
  next(spec: TaskSpec, handOff: number): Attempt {
    const next = new Attempt(this.identity, this.pool, this.poolSession, {
      claimId: this.claimId,
      sandbox: this.sandbox,
      instance: spec.instance,
      taskInstanceId: spec.taskInstanceId,
      shard: spec.shard,
      session: spec.session,
      owner: this.owner,
      handOff
    }, this.hold)
    next.spec = spec
    return next
  }
}

export const keyOf = (instance: InstanceId, taskInstanceId: TaskInstanceId): string => `${instance}/${taskInstanceId}`

const finalFacts: ReadonlySet<TaskFact["_tag"]> = new Set([
  "SUCCEEDED",
  "FAILED",
  "FATAL",
  "KILLED",
  "PAUSED",
  "SANDBOX_LOST"
])
export const isFinal = (fact: TaskFact): boolean => finalFacts.has(fact._tag)

/** All attempts that this executor has. */
export class Attempts {
  private readonly byKey = new Map<string, Attempt>()

  get size(): number {
    return this.byKey.size
  }

  get(instance: InstanceId, taskInstanceId: TaskInstanceId): Attempt | undefined {
    return this.byKey.get(keyOf(instance, taskInstanceId))
  }

  /** The one of the same task instance: this one, another, or none. */
  sameAs(attempt: Attempt): Attempt | undefined {
    return this.byKey.get(attempt.key)
  }

  /** In the place of one of the same task instance, if there is one. */
  put(attempt: Attempt): void {
    this.byKey.set(attempt.key, attempt)
  }

  remove(attempt: Attempt): void {
    const { key } = attempt
    if (this.byKey.get(key) === attempt) this.byKey.delete(key)
  }

  all(): ReadonlyArray<Attempt> {
    return Array.from(this.byKey.values())
  }

  /** As a question of the coordinator is answered. */
  stateOf(instance: InstanceId, taskInstanceId: TaskInstanceId): ControlAnswer["tasks"][number] {
    const attempt = this.get(instance, taskInstanceId)
    return attempt === undefined ? "Unknown" : attempt.phase === "Reporting" ? "Reporting" : "Running"
  }
}
