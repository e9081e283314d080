/**
 * The claim scheduler on pods: scheduler, provider and API server in one process and in virtual time, with everything going wrong that does: watch lag up to 5 s, 30% conflicts,
 * 5% lost answers and lost requests, 429, 500, cut watches, evicted and deleted pods, an owner that dies in the middle. After every step the invariants of design/04 section 4.
 *
 * Chance comes from the seed: `HEDDLE_SEED=17 npx vitest run --project integration test/contract/kube/provider-simulation.test.ts` runs one again and prints its history.
 */
import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Provider from "../../../plugins/kubernetes/Provider.ts"
import * as Timeline from "../../../plugins/simulated/Timeline.ts"
import * as AlarmClock from "../../../services/pool-scheduler/AlarmClock.ts"
import { PoolScheduler } from "../../../services/pool-scheduler/PoolScheduler.ts"
import { ClaimId, Namespace, PoolName, type SandboxUid, SessionId } from "../../../shared/protocol/Token.ts"
import { Cluster } from "../../../shared/testing/kube/Cluster.ts"
import { seeded } from "../../../shared/testing/kube/KubeClock.ts"
import * as Pod from "../../../shared/testing/kube/Pod.ts"
import { alternate, template } from "./ProviderWorld.ts"
import { submitted } from "./SubmittedApi.ts"

class Broken extends Error {}

const run = (seed: number) =>
  Effect.gen(function*() {
    const random = seeded(seed)
    const pick = <A>(items: ReadonlyArray<A>): A => items[Math.floor(random() * items.length)] as A // never empty here
    const clock = yield* Clock.Clock
    const now = () => clock.currentTimeMillisUnsafe()
    const timeline = yield* Timeline.make
    const history: Array<string> = []
    const note = (line: string) => history.push(`${now()} ${line}`)
    let found: string | undefined
    const fail = (message: string): void => {
      found ??= message
    }
    const cluster = new Cluster({
      seed,
      clock: {
        nowMs: now,
        after: (ms, run) => {
          let isLive = true
          timeline.after(ms, () => isLive && run())
          return () => {
            isLive = false
          }
        }
      },
      historyLengthMax: pick([20, 1_000]),
      kubelet: { bindMs: [1, 10], startMs: [1, 40], readyMs: [1, 40], restartMs: [1, 40], endMs: [1, 100] },
      faults: {
        latencyMs: pick([[0, 0], [1, 10], [1, 200], [1, 200], [1, 15_000]] as const),
        conflictRate: random() * 0.3,
        lostAnswerRate: random() * 0.05,
        lostRequestRate: random() * 0.05,
        tooManyRequestsRate: random() * 0.05,
        internalErrorRate: random() * 0.05,
        cutWatchRate: random() * 0.05,
        watchLagMsMax: pick([0, 50, 500, 5_000])
      }
    })
    /** Pods whose deletion was asked for: another one is made in their place at once. */
    const doomed = new Set<string>()
    /** Pods that somebody else has deleted. One of such a name was made by a late repetition of its creation: no name guards against that, and scale-down takes it. */
    const dropped = new Set<string>()
    const size = 1 + Math.floor(random() * 6)
    const reset = pick([
      { method: "none" },
      { method: "delete" },
      { method: "restart", alternates: { main: alternate }, timeout: 20_000 }
    ])
    const livePods = () =>
      cluster.store.list(Pod.resource, { namespace: "default" }).items.filter((pod) =>
        pod.metadata.deletionTimestamp === undefined && pod.status?.phase !== "Failed"
      )

    interface Wanted {
      readonly id: ClaimId
      readonly results: Array<string>
      readonly scheduler: PoolScheduler
      sandbox: SandboxUid | undefined
      releaseAt: number
    }
    const wanted = new Map<string, Wanted>()
    /** Who holds what, as the owners told it. */
    const holders = new Map<SandboxUid, string>()
    /** Claims that one of the owners has ended: another that adopts one of them late holds nothing by it. */
    const over = new Set<string>()

    const own = (session: number) =>
      Effect.gen(function*() {
        const fork = yield* FiberSet.makeRuntime<never, void, never>()
        // A process that is dead hears nothing more; what it has sent goes on.
        let isAlive = true
        yield* Effect.addFinalizer(() => Effect.sync(() => (isAlive = false)))
        const hears = (ms: number, run: () => void) => timeline.after(ms, () => isAlive && run())
        const provider = Provider.make({ cluster: { client: Effect.succeed(submitted(cluster, hears, note, doomed)) } })
        const pool = yield* provider.open({
          pool: { namespace: Namespace.make("default"), name: PoolName.make("web") },
          sessionId: SessionId.make(session),
          size,
          labels: {},
          startedAt: 0
        }, { template, reset, startTimeout: 60_000 })
        let isListing = false
        const repair = (): void => {
          if (isListing) return
          isListing = true
          const token = scheduler.listing()
          fork(
            pool.list.pipe(
              Effect.map((states) => scheduler.listed(token, states)),
              Effect.catch((error) => Effect.sync(() => note(`list: ${error.message}`))),
              Effect.ensuring(Effect.sync(() => {
                isListing = false
              }))
            )
          )
        }
        const alarm: AlarmClock.AlarmClock = yield* AlarmClock.make((at) => scheduler.tick(at))
        const scheduler: PoolScheduler = new PoolScheduler({
          provider: pool,
          now: alarm.now,
          arm: alarm.arm,
          repair,
          event: ({ claim, kind, sandbox }) => {
            const { claimId } = claim.spec
            note(`${session}: ${kind} ${claimId} on ${sandbox.name}`)
            const holder = holders.get(sandbox.uid)
            if (kind === "Adopted" && over.has(claimId)) return
            if (kind === "Claimed" || kind === "Adopted") {
              if (holder !== undefined && holder !== claimId) {
                fail(`I1: ${sandbox.name} is given to ${claimId} and ${holder} holds it`)
              }
              holders.set(sandbox.uid, claimId)
            } else {
              over.add(claimId)
              if (holder === claimId) holders.delete(sandbox.uid)
            }
          },
          adoptedTask: () => fail("there are no tasks"),
          fenced: (current) => note(`${session}: fenced by ${current}`),
          warn: (message, details) => note(`${session}: ${message} ${JSON.stringify(details)}`)
        }, { sessionId: SessionId.make(session), poolName: "web", size })
        yield* Effect.forkScoped(alarm.run, { startImmediately: true })
        yield* pool.watch((delta) => scheduler.observe(delta))
        const open: Effect.Effect<void> = Effect.suspend(() => {
          const token = scheduler.listing()
          return Effect.map(pool.list, (states) => scheduler.listed(token, states))
        }).pipe(
          // An owner whose first list fails is opened again.
          Effect.catch(() => Effect.andThen(Effect.sleep(500), open))
        )
        yield* Effect.forkScoped(open)
        yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(10_000), Effect.sync(repair))))
        return scheduler
      })

    const want = (scheduler: PoolScheduler): void => {
      const one: Wanted = {
        id: ClaimId.make(`c${wanted.size}`),
        results: [],
        scheduler,
        sandbox: undefined,
        releaseAt: now() + Math.floor(random() * 3_000)
      }
      wanted.set(one.id, one)
      scheduler.enqueue({
        claimId: one.id,
        holder: "test",
        team: "red",
        priority: 5,
        deadlineAt: now() + pick([500, 5_000, 60_000]),
        ttlMs: pick([2_000, 600_000]),
        ...(random() < 0.2 ? { labels: { job: one.id }, images: { main: "registry.example/box:9" } } : {})
      }, (settled) => {
        one.results.push(settled.outcome)
        note(`${one.id} -> ${settled.outcome} after ${settled.attempts}: ${settled.error?.message ?? ""}`)
        one.sandbox = settled.sandbox?.uid
      })
    }
    let session = 1
    const check = (scheduler: PoolScheduler): void => {
      for (const one of wanted.values()) {
        if (one.results.length > 1) fail(`I2: ${one.id} has ${one.results.length} results`)
      }
      const { inflightCas, total } = scheduler.snapshot()
      if (inflightCas < 0 || total < 0) fail("a counter is negative")
      // Refill under lag and lost answers: a name is created once, so there are never more than wanted.
      const staying = livePods().filter(({ metadata: { name } }) => !doomed.has(name) && !dropped.has(name)).length
      // Two owners at once may both make one; the surplus is scaled down.
      if (staying > size && session === 1) fail(`${staying} pods, ${size} are wanted`)
      if (found !== undefined) throw new Broken(found)
    }

    let scope = yield* Scope.make()
    let scheduler = yield* Scope.provide(own(session), scope)
    /** An owner that has lost the pool and does not know it yet. */
    let old: { readonly scope: Scope.Closeable; readonly scheduler: PoolScheduler; readonly until: number } | undefined
    const bury = Effect.suspend(() => {
      if (old === undefined) return Effect.void
      note("the old owner is dead")
      // At once: nothing is drained, its requests are on their way.
      for (const one of wanted.values()) {
        if (one.results.length === 0 && one.scheduler === old.scheduler) one.results.push("lost with its owner")
      }
      const { scope } = old
      old = undefined
      return Scope.close(scope, Exit.void)
    })
    const broken = yield* Effect.gen(function*() {
      const changeAt = random() < 0.6 ? Math.floor(random() * 70) : -1
      for (let step = 0; step < 80; step++) {
        const what = random()
        if (step === changeAt) {
          note("another owner")
          old = { scope, scheduler, until: step + pick([0, 1, 5, 10]) }
          scope = yield* Scope.make()
          scheduler = yield* Scope.provide(own(++session), scope)
        }
        if (old !== undefined && step >= old.until) yield* bury
        if (what < 0.6) want(old !== undefined && random() < 0.5 ? old.scheduler : scheduler)
        else if (what < 0.65) {
          const pod = livePods()[0]
          if (pod !== undefined) {
            note(`somebody deletes ${pod.metadata.name}`)
            dropped.add(pod.metadata.name)
            cluster.store.delete(Pod.resource, "default", pod.metadata.name, {})
          }
        } else if (what < 0.7) {
          const pod = livePods()[0]
          if (pod !== undefined && cluster.kubelet?.evict("default", pod.metadata.name) === true) {
            note(`evicted: ${pod.metadata.name}`)
          }
        }
        for (const one of wanted.values()) {
          if (one.releaseAt <= now() && one.results[0] === "Claimed") {
            one.releaseAt = Infinity
            // By whom it was asked of; if that one is dead, by whom has adopted it.
            const by = one.scheduler === old?.scheduler ? old.scheduler : scheduler
            by.release(one.id, random() < 0.2 ? "delete" : "recycle")
          }
        }
        check(scheduler)
        yield* TestClock.adjust(pick([0, 1, 5, 30, 200, 1_000]))
        check(scheduler)
      }
      yield* bury
      // I9: with the faults over and everything given back, all drains.
      cluster.faults.options = {}
      note("calm")
      for (const one of wanted.values()) scheduler.release(one.id)
      for (let turn = 0; turn < 80; turn++) {
        yield* TestClock.adjust(10_000)
        check(scheduler)
      }
      const end = scheduler.snapshot()
      for (const one of wanted.values()) {
        if (one.results.length !== 1) fail(`I2: ${one.id} has ${one.results.length} results at the end`)
      }
      if (end.queueLen + end.inflightCas + end.claimed + end.reservedCount > 0) {
        fail(`I9: not drained: ${JSON.stringify(end)}`)
      }
      const phases = livePods().map((pod) => pod.metadata.labels?.["heddle.dev/phase"])
      if (end.idleReady !== size || phases.length !== size || phases.some((phase) => phase !== "Idle")) {
        fail(`I3: ${end.idleReady} idle of ${size}; pods: ${phases.join()}`)
      }
      if (found !== undefined) throw new Broken(found)
      return undefined
    }).pipe(
      Effect.catchDefect((defect) => defect instanceof Broken ? Effect.succeed(defect.message) : Effect.die(defect))
    )
    yield* Scope.close(scope, Exit.void)
    cluster.stop()
    return { broken, history, claimed: [...wanted.values()].filter((one) => one.results[0] === "Claimed").length }
  }).pipe(
    Effect.scoped,
    // Chance (the jitter of back-off) and time of its own: what a seed did in a row of them it does alone.
    Random.withSeed(seed),
    Effect.provide(TestClock.layer())
  )

const one = process.env["HEDDLE_SEED"]
const seeds = one === undefined
  ? Array.from({ length: Number(process.env["HEDDLE_SEEDS"] ?? 250) }, (_, index) => index + 1)
  : [Number(one)]

it.effect(
  `pods, with all faults on: I1, I2, I3, I9 and no over-creation over ${seeds.length} seeds`,
  () =>
    Effect.gen(function*() {
      let claimed = 0
      for (const seed of seeds) {
        const result = yield* run(seed)
        claimed += result.claimed
        if (result.broken !== undefined || one !== undefined) process.stdout.write(`${result.history.join("\n")}\n`)
        assert.strictEqual(
          result.broken,
          undefined,
          `seed ${seed}; again with HEDDLE_SEED=${seed} npx vitest run --project integration test/contract/kube/provider-simulation.test.ts`
        )
      }
      assert.isAbove(claimed, seeds.length * 5, "the runs do claim sandboxes")
    }),
  600_000
)
