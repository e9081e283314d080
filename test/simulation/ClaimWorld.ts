/**
 * One run of the claim scheduler in a world that does everything to it: clients, owners that die or overlap, sandboxes, faults, all in virtual time and without a fiber.
 *
 * After every step the invariants of design/04 section 4 are looked at: I1 (against the owner's events, against what clients were told, and against the sandboxes
 * themselves), I2, I3, I7 (at each write: nobody older of the same line waits), I8, quotas, protection; at the end, with the faults over, I9: everybody is served and everything is given
 * back. `run` of one plan gives the same history every time.
 */
import * as Schema from "effect/Schema"
import { Config, SimulatedPool } from "../../plugins/simulated/SimulatedPool.ts"
import { SimulatedSandboxes } from "../../plugins/simulated/SimulatedSandboxes.ts"
import * as Timeline from "../../plugins/simulated/Timeline.ts"
import { Autoscaler } from "../../services/pool-scheduler/Autoscaler.ts"
import type { Batch } from "../../services/pool-scheduler/Batch.ts"
import type { Claim } from "../../services/pool-scheduler/Claim.ts"
import type { ClaimEvent } from "../../services/pool-scheduler/ClaimEvent.ts"
import type { ClaimSpec } from "../../services/pool-scheduler/ClaimSpec.ts"
import type { Adjustable } from "../../services/pool-scheduler/PoolOptions.ts"
import { PoolScheduler } from "../../services/pool-scheduler/PoolScheduler.ts"
import type { Settled } from "../../services/pool-scheduler/Settled.ts"
import type { ProviderPool } from "../../shared/plugin/PoolProvider.ts"
import { ClaimId, Namespace, PoolName, type SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import type { Action, ClaimPlan, Plan } from "./Plan.ts"

export interface Outcome {
  /** The first rule that was broken. */
  readonly broken: string | undefined
  /** Oldest first, each line with its time. */
  readonly history: ReadonlyArray<string>
  readonly claims: number
  readonly granted: number
  readonly owners: number
  readonly batches: number
  /** Writes within a quota: that it is looked at. */
  readonly quotaChecks: number
  /** Results by outcome. */
  readonly outcomes: ReadonlyMap<string, number>
}

class Broken extends Error {}

const pool = { namespace: Namespace.make("default"), name: PoolName.make("p") }
const decodeConfig = Schema.decodeUnknownSync(Config)
const repairMs = 10_000
const adoptGraceMs = 1_500

/** Of these no record is kept. */
const refusals = new Set(["QueueFull", "ShuttingDown", "Failed", "Invalid"])

/** A client and its claim. */
interface Client {
  readonly id: ClaimId
  readonly plan: ClaimPlan
  readonly order: number
  readonly deadlineAt: number
  /** Whose answer it listens to, and which of its requests. */
  owner: Owner | undefined
  asked: number
  answers: number
  state: "Asking" | "Held" | "Done"
  isRefused: boolean
  uids: ReadonlyArray<SandboxUid>
}

interface Owner {
  readonly session: SessionId
  readonly scheduler: PoolScheduler
  readonly connection: SimulatedPool
  readonly holders: Map<SandboxUid, Claim>
  /** Requests that it has not answered; of a batch its members, which count one by one. */
  readonly open: Map<Client, Batch<Claim> | undefined>
  /** Claims that it was asked for and may not have ended, oldest first. */
  readonly asked: Array<ClaimId>
  isAlive: boolean
  isServing: boolean
  /** Another one has begun: what it does not know any more is no fault of its own. */
  isReplaced: boolean
}

class World {
  readonly plan: Plan
  readonly timeline = Timeline.virtual(1_000)
  readonly sandboxes: SimulatedSandboxes
  readonly history: Array<string> = []
  readonly isRecorded: boolean
  readonly clients: Array<Client> = []
  readonly byId = new Map<string, Client>()
  readonly owners: Array<Owner> = []
  /** Sandboxes that a client was told it has, and has neither given back nor lost. */
  readonly told = new Map<SandboxUid, Client>()
  readonly marked = new Set<string>()
  /** Sandboxes that were taken from these claims, from outside. */
  readonly seized = new Set<string>()
  readonly outcomes = new Map<string, number>()
  current: Owner | undefined
  found: string | undefined
  granted = 0
  isEnding = false
  limits: Partial<Adjustable> = {}

  constructor(plan: Plan, isRecorded: boolean) {
    this.plan = plan
    this.isRecorded = isRecorded
    this.sandboxes = new SimulatedSandboxes(this.timeline, plan.seed, false)
    this.sandboxes.note = (line) => this.note(line)
    this.sandboxes.onViolation = (message) => this.fail(`never: ${message}`)
    this.sandboxes.onShown = (state) => {
      if (state.claim !== undefined) this.marked.add(`${state.sandbox.uid} ${state.claim.claimId}`)
    }
  }

  note(line: () => string): void {
    if (this.isRecorded) this.history.push(`${this.timeline.now()} ${line()}`)
  }

  fail(message: string): never {
    this.found ??= message
    throw new Broken(message)
  }

  // ---------------------------------------------------------------- owners

  startOwner(): Owner {
    const { plan, timeline } = this
    const session = SessionId.make(7 + this.owners.length)
    const connection = new SimulatedPool(
      { pool, sessionId: session, size: plan.size, labels: {}, startedAt: timeline.now() },
      decodeConfig({
        seed: plan.seed,
        latencyMs: plan.latencyMs,
        watchLagMs: plan.watchLagMs,
        startMs: plan.startMs,
        conflictRate: plan.conflictRate,
        lostAnswerRate: plan.lostAnswerRate,
        slowWriteRate: plan.slowWriteRate,
        hardErrorRate: plan.hardErrorRate,
        lostDeltaRate: plan.lostDeltaRate,
        killEveryMs: this.owners.length === 0 ? plan.killEveryMs : 0,
        zones: plan.zones
      }),
      timeline,
      this.sandboxes
    )
    let armedAt = Infinity
    const arm = (at: number): void => {
      if (at >= armedAt) return
      armedAt = at
      timeline.after(Math.max(0, at - timeline.now()), () => {
        if (armedAt !== at || !owner.isAlive) return
        armedAt = Infinity
        arm(scheduler.tick(timeline.now()))
      })
    }
    /** What answers a dead owner is heard by nobody. */
    const heard = <A>(done: (answer: A) => void) => (answer: A): void => {
      if (owner.isAlive) done(answer)
    }
    const provider: Omit<ProviderPool, "list" | "watch"> = {
      claim: (write, done) => {
        this.checkOrder(owner, write.mark.claimId)
        connection.claim(write, heard(done))
      },
      readBack: (uid, claimId, done) => connection.readBack(uid, claimId, heard(done)),
      release: (write, done) => connection.release(write, heard(done)),
      create: (write, done) => connection.create(write, heard(done)),
      delete: (write, done) => connection.delete(write, heard(done))
    }
    let isListing = false
    let isListWanted = false
    const repair = (reason: string): void => {
      isListWanted = true
      if (isListing || !owner.isAlive) return
      this.note(() => `${session}: lists, ${reason}`)
      isListing = true
      isListWanted = false
      const token = scheduler.listing()
      connection.listUnsafe(heard((states) => {
        isListing = false
        scheduler.listed(token, states)
        if (isListWanted) repair("once more")
      }))
    }
    const scheduler: PoolScheduler = new PoolScheduler(
      {
        provider,
        now: timeline.now,
        arm,
        repair,
        event: (event) => this.onEvent(owner, event),
        adoptedTask: (claim) => timeline.after(adoptGraceMs, () => this.askCustody(owner, claim)),
        fenced: () => this.stop(owner, "fenced"),
        warn: (message, details) => this.note(() => `${session}: ${message} ${JSON.stringify(details)}`)
      },
      {
        sessionId: session,
        poolName: "p",
        size: plan.size,
        sizeMax: plan.sizeMax,
        release: plan.release,
        inflightCasMax: plan.inflightCasMax,
        queueLengthMax: plan.queueLengthMax,
        creatingMax: plan.creatingMax,
        createPerSecond: plan.createPerSecond,
        wear: { maxUses: plan.maxUses, maxAgeMs: plan.maxAgeMs },
        weights: new Map([["blue", 3]]),
        ...this.limits
      }
    )
    const owner: Owner = {
      session,
      scheduler,
      connection,
      holders: new Map(),
      open: new Map(),
      asked: [],
      isAlive: true,
      isServing: false,
      isReplaced: false
    }
    this.owners.push(owner)
    this.note(() => `${session}: a new owner`)
    connection.watchUnsafe((delta) => {
      if (owner.isAlive) scheduler.observe(delta)
    })
    const first = scheduler.listing()
    connection.listUnsafe(heard((states) => {
      scheduler.listed(first, states)
      if (this.current !== owner) return
      owner.isServing = true
      for (const client of this.clients) if (client.state === "Asking" && client.owner === undefined) this.ask(client)
    }))
    const again = (): void =>
      timeline.after(repairMs, () => {
        if (!owner.isAlive) return
        repair("as every ten seconds")
        again()
      })
    again()
    return owner
  }

  /** The owner drains and ends; what it still answers is heard. */
  stop(owner: Owner, why: string): void {
    if (!owner.isAlive) return
    this.note(() => `${owner.session}: stops, ${why}`)
    owner.isReplaced = true
    owner.scheduler.shutdown(() => {})
    if (owner === this.current && !this.isEnding) this.fail(`${owner.session} is ${why} and nobody has replaced it`)
  }

  kill(owner: Owner): void {
    if (!owner.isAlive) return
    this.note(() => `${owner.session}: dies`)
    owner.isAlive = false
    owner.connection.close()
    for (const client of this.clients) {
      if (client.owner !== owner) continue
      client.owner = undefined
      if (client.state === "Asking") {
        client.asked++
        if (client.plan.isStubborn) this.askSoon(client)
        else client.state = "Done"
      }
    }
  }

  newOwner(overlapMs: number, downMs: number): void {
    const before = this.current
    this.current = undefined
    if (before !== undefined) {
      before.isReplaced = true
      if (overlapMs === 0) this.kill(before)
      else {
        this.timeline.after(overlapMs, () => {
          this.stop(before, "its lease has ended")
          this.timeline.after(6_000, () => this.kill(before))
        })
      }
    }
    this.timeline.after(overlapMs === 0 ? downMs : 0, () => {
      if (this.current === undefined) this.current = this.startOwner()
    })
  }

  // ---------------------------------------------------------------- clients

  specOf({ deadlineAt, id, order, plan }: Client): ClaimSpec {
    return {
      claimId: id,
      holder: `client ${order}`,
      team: plan.team,
      priority: plan.priority,
      deadlineAt,
      ttlMs: plan.ttlMs,
      selector: plan.zone === undefined ? undefined : { zone: plan.zone },
      preferred: plan.preferredZone === undefined
        ? undefined
        : [{ ...(plan.zone === undefined ? {} : { zone: plan.zone }), zone: plan.preferredZone }]
    }
  }

  want(plan: ClaimPlan): void {
    const order = this.clients.length
    const client: Client = {
      id: ClaimId.make(`c${order}`),
      plan,
      order,
      deadlineAt: plan.deadlineMs === undefined ? Infinity : this.timeline.now() + plan.deadlineMs,
      owner: undefined,
      asked: 0,
      answers: 0,
      state: "Asking",
      isRefused: false,
      uids: []
    }
    this.clients.push(client)
    this.byId.set(client.id, client)
    this.ask(client)
  }

  /** Of whoever owns the pool then; if nobody does, of the next one when it is there. */
  askSoon(client: Client): void {
    this.timeline.after(1, () => {
      if (client.owner === undefined && client.state === "Asking") this.ask(client)
    })
  }

  ask(client: Client): void {
    const owner = this.current
    if (owner === undefined || !owner.isServing) return
    client.owner = owner
    client.answers = 0
    const request = ++client.asked
    const { count } = client.plan
    owner.open.set(client, undefined)
    owner.asked.push(client.id)
    this.note(() => `${client.id} asks ${owner.session}: ${JSON.stringify(client.plan)}`)
    const onSettled = (settled: Settled): void => {
      owner.open.delete(client)
      this.answered(owner, client, request, settled)
    }
    if (count === 1) owner.scheduler.enqueue(this.specOf(client), onSettled)
    else {
      const batch = owner.scheduler.enqueueBatch(this.specOf(client), count, onSettled)
      if (owner.open.has(client)) owner.open.set(client, batch)
    }
  }

  answered(owner: Owner, client: Client, request: number, settled: Settled): void {
    if (!owner.isAlive) this.fail(`${owner.session} is dead and answers ${client.id}`)
    this.note(() =>
      `${client.id} -> ${settled.outcome} by ${owner.session} (${settled.attempts} attempts)${
        client.asked === request ? "" : ", to nobody"
      }${settled.error === undefined ? "" : `: ${settled.error.message}`}`
    )
    if (client.asked !== request) return
    if (++client.answers > 1) this.fail(`I2: ${client.id} is answered ${client.answers} times`)
    this.outcomes.set(settled.outcome, (this.outcomes.get(settled.outcome) ?? 0) + 1)
    if (settled.outcome !== "Claimed") {
      if (settled.outcome === "DeadlineExceeded" && this.timeline.now() < client.deadlineAt) {
        this.fail(`point 8: ${client.id} is told DeadlineExceeded before its deadline`)
      }
      client.isRefused = refusals.has(settled.outcome)
      const goesOn = settled.outcome === "ShuttingDown" && client.plan.isStubborn && !this.isEnding
      client.owner = undefined
      client.state = goesOn ? "Asking" : "Done"
      if (goesOn) this.askSoon(client)
      return
    }
    const sandboxes = settled.sandboxes ?? (settled.sandbox === undefined ? [] : [settled.sandbox])
    if (sandboxes.length !== client.plan.count) {
      this.fail(`all or none: ${client.id} asked for ${client.plan.count} and is given ${sandboxes.length}`)
    }
    client.state = "Held"
    client.uids = sandboxes.map(({ uid }) => uid)
    for (const uid of client.uids) {
      const other = this.told.get(uid)
      if (other !== undefined && other !== client && !this.seized.has(`${uid} ${client.id}`)) {
        this.fail(`I1: ${client.id} is told that it has ${uid}, and so was ${other.id}`)
      }
      if (!this.seized.has(`${uid} ${client.id}`)) this.told.set(uid, client)
    }
    this.timeline.after(client.plan.holdMs, () => this.giveBack(client))
  }

  giveBack(client: Client): void {
    if (client.state !== "Held") return
    const owner = this.current
    if (owner === undefined || !owner.isServing) return this.timeline.after(100, () => this.giveBack(client))
    client.state = "Done"
    this.note(() => `${client.id} is given back to ${owner.session}`)
    owner.scheduler.release(client.id, client.plan.mode)
    for (const uid of client.uids) if (this.told.get(uid) === client) this.told.delete(uid)
  }

  /** A task's sandbox that an owner found: kept as long as its client has it. */
  askCustody(owner: Owner, claim: Claim): void {
    if (!owner.isAlive || claim.phase !== "Claimed") return
    const client = this.byId.get(claim.spec.claimId)
    if (client === undefined || client.state === "Done") {
      this.note(() => `${owner.session}: nobody has the task of ${claim.spec.claimId}`)
      owner.scheduler.releaseClaim(claim)
    } else this.timeline.after(adoptGraceMs, () => this.askCustody(owner, claim))
  }

  // ---------------------------------------------------------------- what is watched all the time

  onEvent(owner: Owner, event: ClaimEvent): void {
    const { uid } = event.sandbox
    const { claim, kind } = event
    const { claimId } = claim.spec
    this.note(() => `${owner.session}: ${kind} ${claimId} on ${uid}`)
    const holder = owner.holders.get(uid)
    if (kind === "Claimed" || kind === "Adopted") {
      this.granted++
      if (holder !== undefined) this.fail(`I1: ${uid} is given to ${claimId} and ${holder.spec.claimId} holds it`)
      if (!this.marked.has(`${uid} ${claimId}`)) this.fail(`I1: ${uid} never was ${claimId}'s`)
      owner.holders.set(uid, claim)
      return
    }
    if (holder !== claim) this.fail(`I1: ${claimId} gives up ${uid}, which it does not hold`)
    owner.holders.delete(uid)
    const client = this.byId.get(claim.batch?.claimId ?? claimId)
    if (client !== undefined && this.told.get(uid) === client) this.told.delete(uid)
  }

  /** I7: a claim is written for while an older one of its line (team, priority, kind of sandbox) waits. And a team holds no more than it may. */
  checkOrder(owner: Owner, claimId: ClaimId): void {
    const { scheduler } = owner
    const claim = scheduler.get(claimId)?.claim
    if (claim === undefined) return
    if (claim.batch !== undefined) return // its turn was the batch's
    const limit = this.limits.quotas?.default ?? Infinity
    const held = scheduler.heldByTeam.get(claim.spec.team) ?? 0
    // Of the present owner: the one before it has not heard of a later quota.
    if (held > limit && owner === this.current) {
      this.fail(`quota: ${claim.spec.team} may hold ${limit} and takes a ${held}th for ${claimId}`)
    }
    if (held <= limit && limit < Infinity) this.quotaChecks++
    let isOlder = true
    for (const id of owner.asked) {
      if (id === claimId) isOlder = false // from here on they are younger
      const client = this.byId.get(id)
      const other = client?.plan.count === 1 ? scheduler.get(id)?.claim : undefined
      if (
        other !== undefined && other.phase === "Waiting" &&
        other.spec.team === claim.spec.team && other.selector?.key === claim.selector?.key &&
        (isOlder ? other.spec.priority >= claim.spec.priority : other.spec.priority > claim.spec.priority)
      ) this.fail(`I7: ${claimId} is served before ${id}, which is older or has a higher priority`)
    }
  }

  /** Writes of teams that have a quota. */
  quotaChecks = 0

  check(): void {
    if (this.found !== undefined) throw new Broken(this.found)
    for (const owner of this.owners) {
      if (!owner.isAlive) continue
      const snapshot = owner.scheduler.snapshot()
      const { session } = owner
      let open = 0
      for (const batch of owner.open.values()) {
        open += batch === undefined ? 1 : batch.members.filter((member) => member.settled === undefined).length
      }
      if (snapshot.queueLen !== open) {
        this.fail(`I8: ${session} has queueLen ${snapshot.queueLen}, and ${open} are without a result`)
      }
      if (snapshot.claimed !== owner.holders.size) {
        this.fail(`I3: ${session} counts ${snapshot.claimed} claimed, and ${owner.holders.size} are held`)
      }
      if (snapshot.inflightCas > this.plan.inflightCasMax) {
        this.fail(`point 5: ${session} has ${snapshot.inflightCas} writes in flight`)
      }
      for (const [name, value] of Object.entries(snapshot)) {
        if (value < 0) this.fail(`${session}: ${name} is ${value}`)
      }
      if (owner.asked.length > 64) this.tidy(owner)
    }
  }

  private tidy(owner: Owner): void {
    const open = owner.asked.filter((id) => owner.scheduler.get(id)?.settled === undefined)
    owner.asked.length = 0
    owner.asked.push(...open)
  }

  // ---------------------------------------------------------------- the run

  adjust(change: Partial<Adjustable>): void {
    this.limits = { ...this.limits, ...change }
    this.current?.scheduler.adjust(change)
  }

  autoscaler(min: number, max: number, minIdle: number, downCooldownMs: number): Autoscaler {
    return new Autoscaler({
      pool,
      min,
      max,
      minIdle,
      upCooldownMs: 0,
      downCooldownMs,
      deciders: [],
      initial: this.current?.scheduler.snapshot().target ?? min
    })
  }

  act(action: Action): void {
    const { sandboxes, timeline } = this
    const { current } = this
    if (action._tag !== "Wait" && action._tag !== "Claim") this.note(() => JSON.stringify(action))
    const uid = (which: number): SandboxUid | undefined => {
      const uids = Array.from(sandboxes.truth.keys())
      return uids[which % uids.length]
    }
    switch (action._tag) {
      case "Wait":
        return timeline.advance(action.ms)
      case "Claim":
        return this.want(action.claim)
      case "Again":
      case "Cancel":
      case "Renew": {
        const client = this.clients[action.which % this.clients.length]
        if (client === undefined || current === undefined || client.owner !== current) return
        if (action._tag === "Renew") {
          current.scheduler.renew(client.id, 300)
          return
        }
        if (action._tag === "Cancel") {
          current.scheduler.cancel(client.id)
          if (client.state === "Asking" && client.answers === 0 && client.owner === current) {
            this.fail(`point 8: ${client.id} is cancelled and not answered`)
          }
          if (client.state === "Held") {
            client.state = "Done"
            for (const held of client.uids) if (this.told.get(held) === client) this.told.delete(held)
          }
          return
        }
        // A refused one may be tried again, and a task's leaves no result.
        const isKnown = client.plan.ttlMs === 0 ? current.scheduler.get(client.id) !== undefined : !client.isRefused
        if (!isKnown) return
        // Joined to the first, or answered with its result: never a claim of its own.
        const before = current.scheduler.queueLength
        const ignore = (): void => {}
        if (client.plan.count === 1) current.scheduler.enqueue(this.specOf(client), ignore)
        else current.scheduler.enqueueBatch(this.specOf(client), client.plan.count, ignore)
        if (current.scheduler.queueLength > before) {
          this.fail(`I2: the repeated ${client.id} became a second claim`)
        }
        return
      }
      case "NotifyIdle":
        return current?.scheduler.notifyIdle()
      case "Repair": {
        if (current === undefined) return
        const { connection, scheduler } = current
        const token = scheduler.listing()
        return connection.listUnsafe((states) => current.isAlive && scheduler.listed(token, states))
      }
      case "Kill":
      case "Protect":
      case "Unprotect":
      case "Seize": {
        const one = uid(action.which)
        if (one === undefined) return
        if (action._tag === "Kill") sandboxes.kill(one)
        else if (action._tag === "Seize") {
          // Whoever has this one, or is about to be told so, has lost it, though nobody may have noticed.
          const holder = sandboxes.truth.get(one)?.claim
          if (holder !== undefined) {
            this.told.delete(one)
            this.seized.add(`${one} ${holder.batch ?? holder.claimId}`)
          }
          sandboxes.seize(one)
        } else sandboxes.protect(one, action._tag === "Protect")
        return
      }
      case "Interrupt":
        return current?.connection.interrupt(action.ms)
      case "Forbid":
        sandboxes.isForbidden = true
        return timeline.after(action.ms, () => {
          sandboxes.isForbidden = false
        })
      case "NewOwner":
        return this.newOwner(action.overlapMs, action.downMs)
      case "Adjust": {
        const { autoscale, isDraining, quota, size, weight, whenQuotaReached } = action.change
        if (quota !== undefined) {
          this.adjust({
            quotas: { default: quota === "none" ? undefined : quota, teams: new Map() },
            whenQuotaReached: whenQuotaReached ?? "wait"
          })
        }
        if (isDraining !== undefined) this.adjust({ isDraining })
        if (size !== undefined) this.adjust({ size: Math.min(size, this.plan.sizeMax), autoscaler: undefined })
        if (weight !== undefined) this.adjust({ weights: new Map([["red", weight]]) })
        if (autoscale !== undefined) {
          const { downMs, max, min, minIdle } = autoscale
          this.adjust({ autoscaler: this.autoscaler(Math.min(min, max), max, minIdle, downMs) })
        }
      }
    }
  }

  begin(): void {
    this.current = this.startOwner()
    this.check()
    for (const action of this.plan.actions) {
      this.act(action)
      this.check()
    }
  }

  /** I9: with the faults over everybody is served and everything comes back. */
  end(): void {
    const { plan, sandboxes, timeline } = this
    this.note(() => "calm")
    sandboxes.isCalm = true
    sandboxes.isForbidden = false
    this.adjust({
      isDraining: false,
      size: plan.sizeMax,
      autoscaler: undefined,
      quotas: { teams: new Map() },
      wear: {}
    })
    for (const [uid, state] of Array.from(sandboxes.truth)) {
      if (state.isProtected === true) sandboxes.protect(uid, false)
    }
    const isOver = (): boolean =>
      this.current?.isServing === true && this.clients.every((client) => client.state === "Done") &&
      this.owners.every((owner) => !owner.isAlive || owner.open.size === 0)
    // Leases of clients that have gone end within their ttl.
    for (let spent = 0; spent < 120_000 && !isOver(); spent += 500) {
      timeline.advance(500)
      this.check()
    }
    if (!isOver()) {
      const left = this.clients.filter((client) => client.state !== "Done").map(({ id, state }) => `${id} ${state}`)
      this.fail(`I9: not served in two minutes without faults: ${left.join(", ")}`)
    }
    for (let i = 0; i < 10 || i < 60 && this.current?.scheduler.snapshot().idleReady !== plan.sizeMax; i++) {
      timeline.advance(3_000)
      this.check()
    }
    const owner = this.current
    if (owner === undefined) return this.fail("there is no owner at the end")
    // What clients that have gone were given is on its lease; the longest is ten minutes.
    if (owner.holders.size > 0) timeline.advance(620_000)
    this.check()
    const end = owner.scheduler.snapshot()
    if (end.queueLen !== 0 || end.inflightCas !== 0 || end.claimed !== 0 || end.reservedCount !== 0) {
      this.fail(`I9: not drained: ${JSON.stringify(end)}`)
    }
    for (const state of sandboxes.truth.values()) {
      if (state.phase !== "Idle") this.fail(`I3: ${state.sandbox.uid} is ${state.phase} at the end, leaked`)
    }
    if (end.idleReady !== plan.sizeMax || sandboxes.truth.size !== plan.sizeMax) {
      this.fail(`I3: ${end.idleReady} ready of ${sandboxes.truth.size} sandboxes, size ${plan.sizeMax}`)
    }
    // A claim after shutdown is answered.
    this.isEnding = true
    let drained = false
    const late: Array<string> = []
    owner.scheduler.shutdown(() => drained = true)
    owner.scheduler.enqueue({
      claimId: ClaimId.make("late"),
      holder: "",
      team: "red",
      priority: 5,
      deadlineAt: Infinity,
      ttlMs: 1
    }, ({ outcome }) => late.push(outcome))
    if (late[0] !== "ShuttingDown" || !drained) this.fail(`point 10: ${late[0]}, drained ${drained}`)
  }
}

/** Runs a plan; `isRecorded`: with its history, which costs most of the time. */
export const run = (plan: Plan, isRecorded: boolean): Outcome => {
  const world = new World(plan, isRecorded)
  let broken: string | undefined
  try {
    world.begin()
    world.end()
  } catch (error) {
    if (error instanceof Broken) broken = world.found ?? error.message
    else broken = `a defect: ${error instanceof Error ? error.stack : String(error)}`
  }
  return {
    broken,
    history: world.history,
    claims: world.clients.length,
    granted: world.granted,
    owners: world.owners.length,
    batches: world.clients.filter((client) => client.plan.count > 1).length,
    outcomes: world.outcomes,
    quotaChecks: world.quotaChecks
  }
}
