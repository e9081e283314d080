/** The task core with a real policy and a pool of virtual slots: decisions only, no broker, no clock but the one the test moves. */
import { assert, describe, it } from "@effect/vitest"
import { FairQueue } from "../../plugins/fifo/FairQueue.ts"
import { InlinePool } from "../../plugins/inline/InlinePool.ts"
import { PoolScheduler } from "../../services/pool-scheduler/PoolScheduler.ts"
import { type CoreOptions, handOffBusyMax, SchedulerCore } from "../../services/pool-scheduler/SchedulerCore.ts"
import type { LaneMessage } from "../../services/pool-scheduler/SchedulerStorageClient.ts"
import type { Custody } from "../../services/pool-scheduler/TaskEntry.ts"
import type { PlacementPolicy } from "../../shared/plugin/PlacementPolicy.ts"
import type { SandboxDelta } from "../../shared/plugin/PoolProvider.ts"
import type { SettleRequest, TaskAssignment } from "../../shared/protocol/Dispatch.ts"
import type { JobState, LaneName } from "../../shared/protocol/Lane.ts"
import {
  ClaimId,
  InstanceId,
  MemberId,
  Namespace,
  PoolName,
  SessionId,
  Shard,
  StartupId,
  TaskInstanceId
} from "../../shared/protocol/Token.ts"

const policy: PlacementPolicy = { name: "fifo", make: ({ weights }) => new FairQueue(weights) }
const executor = { executor: MemberId.make("ex"), startup: StartupId.make("s1") }

/** A core with a pool of virtual slots; the test plays the lanes, the coordinators and the executors. */
const setup = (options: Partial<CoreOptions> & { readonly size?: number } = {}) => {
  const { size = 4, ...rest } = options
  const world = {
    now: 1_000,
    acked: [] as Array<string>,
    asked: [] as Array<(custody: Custody) => void>,
    jobStates: [] as Array<(states: ReadonlyArray<JobState> | undefined) => void>,
    lanes: { ready: [] as Array<LaneMessage>, commit: [] as Array<LaneMessage>, cleanup: [] as Array<LaneMessage> }
  }
  const sessionId = SessionId.make(5)
  let deliver: (delta: SandboxDelta) => void = () => {}
  const provider = new InlinePool({
    pool: { namespace: Namespace.make("default"), name: PoolName.make("p") },
    sessionId,
    size,
    labels: {},
    startedAt: 0
  })
  provider.attach((delta) => deliver(delta))
  const scheduler = new PoolScheduler({
    provider,
    now: () => world.now,
    arm: () => {},
    repair: () => {},
    event: () => {},
    adoptedTask: () => {},
    fenced: () => {},
    warn: () => {}
  }, { sessionId, poolName: "p", size })
  deliver = (delta) => scheduler.observe(delta)
  scheduler.listed(scheduler.listing(), [])
  const core: SchedulerCore = new SchedulerCore({
    now: () => world.now,
    arm: () => {},
    scheduler,
    ask: (_, __, done) => world.asked.push(done),
    warn: () => {},
    storage: {
      pollReady: (max) => world.lanes.ready.splice(0, max),
      pollCommitReady: (max) => world.lanes.commit.splice(0, max),
      pollCleanupReady: (max) => world.lanes.cleanup.splice(0, max),
      jobState: (_, __, done) => world.jobStates.push(done)
    }
  }, { sessionId, policy, ...rest })
  let messages = 0
  const put = (
    lane: LaneName,
    session: number,
    tasks: ReadonlyArray<string>,
    more: { readonly id?: string; readonly shard?: number } = {}
  ) => {
    const id = more.id ?? `m${messages++}`
    world.lanes[lane].push({
      lane,
      id,
      ack: () => world.acked.push(id),
      batch: {
        owner: MemberId.make("co"),
        groups: [{
          shard: Shard.make(more.shard ?? 0),
          session: SessionId.make(session),
          entries: tasks.map((task) => ({
            instance: InstanceId.make(task.slice(0, 1)),
            taskInstanceId: TaskInstanceId.make(`${task}:0:0`),
            type: "noop",
            priority: 5,
            taskPriority: 5,
            enqueuedAt: world.now
          }))
        }]
      }
    })
    core.wake()
    return id
  }
  const answers: Array<ReadonlyArray<TaskAssignment> | undefined> = []
  /** What a poll is answered with; parked ones answer into `answers`. */
  const poll = (max = 10, startup = "s1"): ReadonlyArray<TaskAssignment> => {
    const before = answers.length
    core.dequeue(
      { executor: executor.executor, startup: StartupId.make(startup), max, until: world.now + 1_000 },
      (assignments) => answers.push(assignments)
    )
    return answers.length > before ? answers.at(-1) ?? [] : []
  }
  const settle = (
    what: Partial<Record<"registered" | "dropped" | "returned" | "released" | "lost", ReadonlyArray<TaskAssignment>>>
  ) => {
    const ids = (assignments: ReadonlyArray<TaskAssignment> = []) => assignments.map((_) => _.claimId)
    const request: SettleRequest = {
      ...executor,
      registered: ids(what.registered),
      dropped: ids(what.dropped),
      returned: ids(what.returned),
      released: ids(what.released),
      lost: ids(what.lost)
    }
    core.settle(request)
  }
  const tickAt = (at: number) => {
    world.now = at
    scheduler.tick(at)
    return core.tick(at)
  }
  return { world, core, scheduler, put, poll, answers, settle, tickAt }
}
const names = (assignments: ReadonlyArray<TaskAssignment>) => assignments.map((_) => _.taskInstanceId.split(":")[0])

describe("SchedulerCore", () => {
  it("! 2 a lane message is acknowledged when every entry of it is registered or dropped, and not before", () => {
    const { poll, put, scheduler, settle, world } = setup()
    put("ready", 1, ["a1", "a2", "b1"])
    assert.deepStrictEqual(world.acked, [])
    const got = poll()
    assert.strictEqual(got.length, 3)
    settle({ registered: got.slice(0, 1), dropped: got.slice(1, 2) })
    assert.deepStrictEqual(world.acked, [])
    settle({ registered: got.slice(2) })
    assert.deepStrictEqual(world.acked, ["m0"])
    assert.strictEqual(scheduler.snapshot().claimed, 2, "what runs holds its sandbox")
    settle({ released: got })
    settle({ released: got, dropped: got, returned: got, lost: got })
    assert.deepInclude(scheduler.snapshot(), { claimed: 0, idleReady: 4 })
    assert.deepStrictEqual(world.acked, ["m0"], "settling is idempotent")
  })

  it("no sandbox is claimed before an executor asks; those that nobody takes are given back", () => {
    const { core, poll, put, scheduler, tickAt } = setup({ prefetch: 2 })
    put("ready", 1, ["a1", "a2", "a3"])
    assert.strictEqual(scheduler.snapshot().claimed, 0)
    assert.strictEqual(poll(1).length, 1)
    assert.strictEqual(core.dispatch.size, 2, "prefetched")
    tickAt(3_000)
    assert.deepInclude(scheduler.snapshot(), { claimed: 1, idleReady: 3 })
    assert.deepStrictEqual(names(poll(2)), ["a2", "a3"], "in their old order")
  })

  it("what is returned goes back to its place, before what came after it", () => {
    const { poll, put, settle } = setup({ size: 1 })
    put("ready", 1, ["a1", "a2"])
    const first = poll(1)
    assert.deepStrictEqual(names(first), ["a1"])
    settle({ returned: first })
    assert.deepStrictEqual(names(poll(1)), ["a1"])
  })

  it("! 2 an executor that is gone strands no task: unregistered ones come again, its sandboxes are free", () => {
    const { core, poll, put, scheduler, settle } = setup()
    put("ready", 1, ["a1", "a2"])
    const got = poll()
    settle({ registered: got.slice(0, 1) })
    core.executorLost(executor.startup)
    assert.deepInclude(scheduler.snapshot(), { claimed: 0, idleReady: 4 })
    assert.deepStrictEqual(names(poll(10, "s2")), ["a2"])
  })

  it("! 2 an answer that was lost strands no task: the executor is asked, and what it never had comes again", () => {
    const { poll, put, tickAt, world } = setup({ overdueMs: 5_000 })
    put("ready", 1, ["a1", "a2"])
    poll()
    tickAt(6_000)
    assert.strictEqual(world.asked.length, 2)
    world.asked[0]?.("Unknown")
    world.asked[1]?.("Held")
    assert.deepStrictEqual(names(poll()), ["a1"], "the one that is held stays where it is")
    tickAt(11_000)
    assert.isAbove(world.asked.length, 2, "and is asked about again")
  })

  it("! 2 a transport error ends nothing: what nobody answers is asked again, and the task goes on", () => {
    const { answers, poll, put, scheduler, tickAt, world } = setup({ overdueMs: 5_000, jobStateAfterMs: 1_000 })
    put("ready", 1, ["a1"])
    put("ready", 1, ["b1"])
    // Nobody tells what became of the jobs: as good as running.
    tickAt(3_000)
    poll()
    assert.strictEqual(world.jobStates.length, 2)
    for (const tell of world.jobStates) tell(undefined)
    poll()
    assert.deepStrictEqual(names(answers.flatMap((one) => one ?? [])), ["a1", "b1"])
    // The executor says nothing: neither lost nor settled, but asked again.
    tickAt(9_000)
    assert.strictEqual(world.asked.length, 2)
    for (const answer of world.asked) answer("NoAnswer")
    assert.deepStrictEqual([names(poll()), world.acked, scheduler.snapshot().claimed], [[], [], 2])
    tickAt(15_000)
    assert.strictEqual(world.asked.length, 4)
    world.asked[2]?.("Unknown")
    poll()
    world.jobStates.at(-1)?.(undefined)
    assert.deepStrictEqual(names(answers.at(-1) ?? []), ["a1"])
  })

  it("a message that comes again is the same message; a task told twice is one task", () => {
    const { core, poll, put, settle, world } = setup()
    put("ready", 1, ["a1"], { id: "x" })
    put("ready", 1, ["a1"], { id: "x" })
    put("ready", 1, ["a1"], { id: "y" })
    assert.deepStrictEqual(world.acked, ["y"])
    const got = poll()
    assert.deepStrictEqual(names(got), ["a1"])
    settle({ registered: got })
    assert.deepStrictEqual([world.acked, core.open], [["y", "x"], 0])
  })

  it("! 2 a newer session clears what is buffered and queued of that shard and no other; an older group is dropped whole", () => {
    const { core, poll, put, scheduler, world } = setup({ size: 1 })
    put("ready", 1, ["a1", "a2"])
    put("ready", 1, ["z1"], { shard: 7 })
    put("ready", 2, ["a2", "a3"])
    assert.deepStrictEqual(world.acked, ["m0"])
    put("ready", 1, ["a9"])
    assert.deepStrictEqual(world.acked, ["m0", "m3"])
    assert.strictEqual(core.open, 3)
    const delivered = poll(1)
    put("ready", 3, ["a2"])
    // What an executor has already is the executor's to settle: its registration is refused, and the sandbox comes back then.
    assert.strictEqual(scheduler.snapshot().claimed, 1)
    assert.strictEqual(delivered.length, 1)
  })

  it("a task told again under a newer session runs, though the older one is still with an executor", () => {
    const { poll, put, settle, world } = setup()
    put("ready", 1, ["a1"])
    const old = poll()
    put("ready", 2, ["a1"])
    const again = poll()
    assert.deepStrictEqual([names(old), names(again)], [["a1"], ["a1"]])
    assert.strictEqual(again[0]?.session, 2)
    settle({ dropped: old })
    assert.notInclude(world.acked, "m1")
    settle({ registered: again })
    assert.include(world.acked, "m1")
  })

  it("! 2 commit and cleanup take turns with ready: neither starves the other", () => {
    const { poll, put } = setup({ size: 30 })
    put("ready", 1, Array.from({ length: 10 }, (_, i) => `r${i}`))
    put("commit", 1, Array.from({ length: 10 }, (_, i) => `c${i}`))
    put("cleanup", 1, Array.from({ length: 10 }, (_, i) => `u${i}`))
    const first = names(poll(9)).map((_) => _?.[0])
    assert.deepStrictEqual(first.sort(), ["c", "c", "c", "r", "r", "r", "u", "u", "u"])
  })

  it("tasks and direct claims compete for the same sandboxes", () => {
    const { poll, put, scheduler } = setup({ size: 1 })
    const outcomes: Array<string> = []
    const direct = (id: string) =>
      scheduler.enqueue(
        { claimId: ClaimId.make(id), holder: "", team: "default", priority: 5, deadlineAt: Infinity, ttlMs: 1_000 },
        (settled) => outcomes.push(settled.outcome)
      )
    direct("first")
    put("ready", 1, ["a1"])
    assert.deepStrictEqual(poll(1), [])
    direct("second")
    scheduler.release(ClaimId.make("first"))
    assert.deepStrictEqual(outcomes, ["Claimed"], "the task came before the second claim")
    assert.strictEqual(scheduler.snapshot().claimed, 1)
  })

  it("hand-off: many tasks may follow while nothing else waits, a few while only equals do", () => {
    const { poll, put, settle } = setup({ size: 2, handOffMax: 16 })
    put("ready", 1, ["a1", "a2", "a3"])
    const busy = poll(2)
    assert.deepStrictEqual(busy.map((_) => _.handOff), [handOffBusyMax, handOffBusyMax])
    settle({ released: busy })
    assert.deepStrictEqual(poll(2).map((_) => _.handOff), [16])
  })

  it("an entry that waited long is asked about first; a job that is over is dropped, one that nobody knows of goes on", () => {
    const { poll, put, tickAt, world } = setup({ jobStateAfterMs: 1_000 })
    put("ready", 1, ["a1"])
    put("ready", 1, ["b1"])
    tickAt(3_000)
    assert.deepStrictEqual(poll(), [])
    assert.strictEqual(world.jobStates.length, 2)
    world.jobStates[0]?.(["Dead"])
    assert.deepStrictEqual(world.acked, ["m0"])
    world.jobStates[1]?.(undefined)
    assert.deepStrictEqual(names(poll()), [])
    assert.strictEqual(world.acked.length, 1)
  })

  it("withdrawn entries do not run, wherever they are", () => {
    const { core, poll, put, world } = setup({ size: 1 })
    put("ready", 1, ["a1", "a2"])
    core.withdraw(InstanceId.make("a"), [TaskInstanceId.make("a1:0:0")])
    assert.deepStrictEqual(names(poll()), ["a2"])
    assert.deepStrictEqual(world.acked, [])
  })

  it("a sandbox lost before its task was registered: the task comes again and the sandbox is replaced", () => {
    const { poll, put, scheduler, settle } = setup({ size: 1 })
    put("ready", 1, ["a1"])
    const got = poll()
    settle({ lost: got })
    const again = poll()
    assert.deepStrictEqual(names(again), ["a1"])
    assert.notStrictEqual(again[0]?.sandbox.uid, got[0]?.sandbox.uid)
    settle({ registered: again })
    settle({ lost: again })
    assert.deepInclude(scheduler.snapshot(), { claimed: 0, idleReady: 1, total: 1 })
  })

  it("when it closes, polls are told and queued assignments give their sandboxes back, unacknowledged", () => {
    const { answers, core, poll, put, scheduler, world } = setup({ prefetch: 2 })
    put("ready", 1, ["a1", "a2"])
    poll(1)
    assert.strictEqual(core.dispatch.size, 1)
    core.close()
    poll(1)
    assert.isUndefined(answers.at(-1))
    assert.strictEqual(scheduler.snapshot().claimed, 1)
    assert.deepStrictEqual(world.acked, [])
  })
})
