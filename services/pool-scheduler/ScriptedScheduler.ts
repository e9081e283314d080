/**
 * For tests: a pool's scheduler whose provider answers when the test says so, and whose clock the test moves.
 */
import type {
  ClaimOutcome,
  ClaimWrite,
  CreateOutcome,
  DeleteOutcome,
  PauseOutcome,
  ReadBackOutcome,
  ReleaseOutcome,
  ReleaseWrite,
  SandboxState
} from "../../shared/plugin/PoolProvider.ts"
import type { Labels } from "../../shared/protocol/Sandbox.ts"
import { ClaimId, Namespace, SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import type { Claim } from "./Claim.ts"
import type { ClaimEvent } from "./ClaimEvent.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import type { Options } from "./PoolOptions.ts"
import { PoolScheduler } from "./PoolScheduler.ts"
import type { Settled } from "./Settled.ts"

interface Call<Write, Outcome> {
  readonly write: Write
  readonly answer: (outcome: Outcome) => void
}

/** `idle` sandboxes `s0`, `s1`, ... are there; `labels` gives theirs. */
export const setup = (
  options: Partial<Options> & { readonly idle?: number; readonly labels?: (index: number) => Labels } = {}
) => {
  const { idle = 1, labels = () => ({}), ...rest } = options
  const world = {
    now: 1_000,
    armed: [] as Array<number>,
    claims: [] as Array<Call<ClaimWrite, ClaimOutcome>>,
    readBacks: [] as Array<Call<string, ReadBackOutcome>>,
    releases: [] as Array<Call<ReleaseWrite, ReleaseOutcome>>,
    creates: [] as Array<Call<string, CreateOutcome>>,
    pauses: [] as Array<Call<string, PauseOutcome>>,
    deletes: [] as Array<Call<SandboxUid, DeleteOutcome>>,
    repairs: [] as Array<string>,
    events: [] as Array<ClaimEvent>,
    fenced: [] as Array<number>,
    adopted: [] as Array<Claim>,
    granted: new Set<string>()
  }
  const scheduler = new PoolScheduler({
    provider: {
      claim: (write, answer) => world.claims.push({ write, answer }),
      readBack: (uid, _, answer) => world.readBacks.push({ write: uid, answer }),
      release: (write, answer) => world.releases.push({ write, answer }),
      create: (write, answer) => world.creates.push({ write: write.name, answer }),
      delete: (write, answer) => world.deletes.push({ write: write.uid, answer }),
      pause: (write, answer) => world.pauses.push({ write: `pause ${write.claimId}`, answer }),
      resume: (write, answer) => world.pauses.push({ write: `resume ${write.claimId}`, answer })
    },
    now: () => world.now,
    arm: (at) => world.armed.push(at),
    repair: (reason) => world.repairs.push(reason),
    event: (event) => world.events.push(event),
    adoptedTask: (claim) => world.adopted.push(claim),
    fenced: (current) => world.fenced.push(current),
    warn: () => {}
  }, { sessionId: SessionId.make(7), poolName: "p", size: idle, ...rest })
  const states = Array.from({ length: idle }, (_, i) => state(`s${i}`, "Idle", 1, undefined, labels(i)))
  scheduler.listed(scheduler.listing(), states)
  const results = new Map<string, Array<Settled>>()
  const specOf = (id: string, more: Partial<ClaimSpec>): ClaimSpec => ({
    claimId: ClaimId.make(id),
    holder: "h",
    team: "default",
    priority: 5,
    deadlineAt: Infinity,
    ttlMs: 60_000,
    ...more
  })
  /** Every write of a claim that has not been answered succeeds. */
  const grantAll = () => {
    for (let i = 0; i < world.claims.length; i++) {
      const call = world.claims[i]
      if (call === undefined || world.granted.has(call.write.mark.claimId + call.write.uid)) continue
      world.granted.add(call.write.mark.claimId + call.write.uid)
      call.answer({ _tag: "Success", version: call.write.version + 1 })
    }
  }
  const claim = (id: string, more: Partial<ClaimSpec> = {}) => {
    const answers: Array<Settled> = []
    if (!results.has(id)) results.set(id, answers)
    return scheduler.enqueue(specOf(id, more), (settled) => results.get(id)?.push(settled))
  }
  const batch = (id: string, count: number, more: Partial<ClaimSpec> = {}) => {
    const answers: Array<Settled> = []
    if (!results.has(id)) results.set(id, answers)
    return scheduler.enqueueBatch(specOf(id, more), count, (settled) => results.get(id)?.push(settled))
  }
  const outcomes = (id: string) => (results.get(id) ?? []).map((_) => _.outcome)
  /** What happens at `at`, as the timer would do it. */
  const tickAt = (at: number) => {
    world.now = at
    return scheduler.tick(at)
  }
  const upsert = (one: SandboxState) => scheduler.observe({ _tag: "Upsert", state: one })
  return { world, scheduler, batch, grantAll, claim, outcomes, tickAt, upsert, results }
}

export const state = (
  uid: string,
  phase: SandboxState["phase"],
  version: number,
  claimId?: string,
  labels: Labels = {}
): SandboxState => ({
  sandbox: { uid: SandboxUid.make(uid), name: uid, namespace: Namespace.make("default"), provider: "test", labels },
  phase,
  version,
  ...(claimId === undefined
    ? {}
    : { claim: { claimId: ClaimId.make(claimId), holder: "h", sessionId: SessionId.make(7), ttlMs: 60_000 } })
})

export const last = <A>(items: ReadonlyArray<A>): A => {
  const item = items.at(-1)
  if (item === undefined) throw new Error("nothing there")
  return item
}
