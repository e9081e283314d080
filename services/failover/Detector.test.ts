import { assert, describe, it } from "@effect/vitest"
import type { Member, MemberRole } from "../../shared/protocol/Member.ts"
import type { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { Ledger, MemberId, StartupId } from "../../shared/protocol/Token.ts"
import * as Detector from "./Detector.ts"

const member = (role: MemberRole, name: string, startup: string, startedAt = "2026-11-21T10:00:00.000Z"): Member => ({
  role,
  member: MemberId.make(name),
  startup: StartupId.make(startup),
  host: "here",
  pid: 1,
  version: "1.0.0",
  startedAt,
  ...(role === "coordinator" ? { ledger: Ledger.make(`${name}-${startup}`) } : {})
})
const ownerOf = (one: Member, revision = 1): Detector.Owner => ({
  role: one.role,
  member: one.member,
  startup: one.startup,
  revision,
  ...(one.ledger === undefined ? {} : { ledger: one.ledger })
})
const joined = (one: Member): Detector.Input => ({ _tag: "Joined", member: one })
const left = (one: Member, reason: "Closed" | "Expired" | "Replaced" | "Gone"): Detector.Input => ({
  _tag: "Left",
  member: one,
  reason
})
const owned = (key: string, one: Member | undefined, revision = 1): Detector.Input => ({
  _tag: "Owned",
  key,
  owner: one === undefined ? undefined : ownerOf(one, revision)
})
const tick: Detector.Input = { _tag: "Tick" }
const caughtUp: ReadonlyArray<Detector.Input> = [
  { _tag: "UpToDate" },
  { _tag: "CaughtUp", source: "owners" },
  { _tag: "CaughtUp", source: "bus" }
]

/** Runs inputs at their times and gives the ids of what was decided, with the time of each. */
const decided = (
  timed: ReadonlyArray<readonly [now: number, input: Detector.Input]>,
  before: ReadonlyArray<Detector.Input> = []
) => {
  let detector = Detector.make(10_000)
  const events: Array<SystemEvent> = []
  const take = (input: Detector.Input, now: number) => {
    const [next, found] = Detector.step(detector, input, now)
    detector = next
    events.push(...found)
  }
  for (const input of [...before, ...caughtUp]) take(input, 0)
  for (const [now, input] of timed) take(input, now)
  return { detector, events, ids: events.map((event) => `${event.at} ${event.id}`) }
}

const c1 = member("coordinator", "c1", "s1")
const c2 = member("coordinator", "c2", "s2", "2026-11-21T10:00:01.000Z")
const e1 = member("task-executor", "e1", "x1")
const p1 = member("pool-scheduler", "p1", "y1")
const global = (startup: string): Detector.Input => ({
  _tag: "Published",
  event: {
    _tag: "GLOBAL_MASTER_FAILOVER",
    id: `GLOBAL_MASTER_FAILOVER.${startup}`,
    at: 0,
    startup: StartupId.make(startup)
  }
})
/** A mesh that runs: two coordinators, an executor, a scheduler; its start was announced. */
const running = [joined(c1), joined(c2), joined(e1), joined(p1), global("s1")]

describe("suspicion and grace", () => {
  it("an expired registration becomes an event after the grace period, not before, and once", () => {
    const { detector } = decided([[5_000, left(e1, "Expired")]], running)
    assert.strictEqual(Detector.nextDue(detector), 15_000)
    const { ids } = decided([[5_000, left(e1, "Expired")], [14_999, tick], [15_000, tick], [99_000, tick]], running)
    assert.deepStrictEqual(ids, ["15000 WORKER_FAILOVER.e1.x1"])
  })

  it("the same incarnation back within the grace period was never gone", () => {
    const { detector, ids } = decided([[5_000, left(c1, "Expired")], [14_000, joined(c1)], [60_000, tick]], running)
    assert.deepStrictEqual(ids, [])
    assert.isUndefined(Detector.nextDue(detector))
  })

  it("each role has its kind, with incarnation, cause and ledger", () => {
    const { events } = decided([
      [0, left(c2, "Expired")],
      [0, left(e1, "Gone")],
      [0, left(p1, "Expired")],
      [10_000, tick]
    ], running)
    const kinds = events.map((event) => event._tag).sort()
    assert.deepStrictEqual(kinds, ["MASTER_FAILOVER", "SCHEDULER_FAILOVER", "WORKER_FAILOVER"])
    const master = events.find((event) => event._tag === "MASTER_FAILOVER")
    assert.deepStrictEqual(master, {
      _tag: "MASTER_FAILOVER",
      id: "MASTER_FAILOVER.c2.s2",
      at: 10_000,
      member: c2.member,
      startup: c2.startup,
      ledger: Ledger.make("c2-s2"),
      cause: "its registration expired"
    })
  })

  it("gateways and failover services are no failover", () => {
    const gateway = member("gateway", "g1", "z1")
    assert.deepStrictEqual(
      decided([[0, left(gateway, "Expired")], [60_000, tick]], [...running, joined(gateway)]).ids,
      []
    )
  })
})

describe("another startup of the same name", () => {
  it("ends the wait: the old incarnation is gone at once, the new one is fine", () => {
    const again = member("task-executor", "e1", "x2")
    const { ids } = decided([[1_000, left(e1, "Expired")], [2_000, joined(again)], [60_000, tick]], running)
    assert.deepStrictEqual(ids, ["2000 WORKER_FAILOVER.e1.x1"])
  })

  it("replaced before it had left: gone at once", () => {
    const again = member("coordinator", "c1", "s9")
    const { ids } = decided([[1_000, left(c1, "Replaced")], [1_000, joined(again)], [60_000, tick]], running)
    assert.deepStrictEqual(ids, ["1000 MASTER_FAILOVER.c1.s1"])
  })

  it("an owner of that name with an older startup is gone at once", () => {
    const old = member("pool-scheduler", "p9", "old")
    const again = member("pool-scheduler", "p9", "new")
    const { ids } = decided([[3_000, joined(again)]], [...running, owned("pool default/a", old)])
    assert.deepStrictEqual(ids, ["3000 SCHEDULER_FAILOVER.p9.old"])
  })
})

describe("a clean end", () => {
  it("an executor that closed is reported without grace", () => {
    assert.deepStrictEqual(decided([[7, left(e1, "Closed")]], running).ids, ["7 WORKER_FAILOVER.e1.x1"])
  })

  it("a coordinator or scheduler that closed is reported only while it owns something", () => {
    assert.deepStrictEqual(decided([[7, left(c1, "Closed")], [60_000, tick]], running).ids, [])
    const { events } = decided([[7, left(c1, "Closed")], [8, left(p1, "Closed")]], [
      ...running,
      owned("shard.3", c1),
      owned("pool default/a", p1)
    ])
    assert.deepStrictEqual(events.map((event) => event.id), ["MASTER_FAILOVER.c1.s1", "SCHEDULER_FAILOVER.p1.y1"])
    const [master] = events
    assert.isTrue(master?._tag === "MASTER_FAILOVER" && master.cause.includes("shard.3"))
  })

  it("what was handed over before is not its any more", () => {
    const { ids } = decided([[5, owned("shard.3", c2, 2)], [7, left(c1, "Closed")], [60_000, tick]], [
      ...running,
      owned("shard.3", c1)
    ])
    assert.deepStrictEqual(ids, [])
  })
})

describe("what happened while nobody looked", () => {
  it("an owner that is not registered is suspected at the start, and gone after the grace period", () => {
    const dead = member("coordinator", "c7", "s7")
    const before = [...running, owned("shard.1", dead), owned("shard.2", dead), owned("shard.3", c1)]
    assert.deepStrictEqual(decided([[9_999, tick]], before).ids, [])
    assert.deepStrictEqual(decided([[10_000, tick]], before).ids, ["10000 MASTER_FAILOVER.c7.s7"])
    assert.deepStrictEqual(decided([[5_000, joined(dead)], [60_000, tick]], before).ids, [], "it only registered late")
  })

  it("an executor of the last roster that is not there is suspected; one that was replaced is gone at once", () => {
    const again = member("task-executor", "e3", "new")
    const before: ReadonlyArray<Detector.Input> = [
      ...running,
      joined(again),
      {
        _tag: "Roster",
        members: [member("task-executor", "e2", "x2"), member("task-executor", "e3", "old"), e1].map((
          { member, role, startup }
        ) => ({ member, role, startup }))
      }
    ]
    assert.deepStrictEqual(decided([[10_000, tick]], before).ids, [
      "0 WORKER_FAILOVER.e3.old",
      "10000 WORKER_FAILOVER.e2.x2"
    ])
  })

  it("what the bus holds already is not published again", () => {
    const dead = member("coordinator", "c7", "s7")
    const published: Detector.Input = {
      _tag: "Published",
      event: {
        _tag: "MASTER_FAILOVER",
        id: "MASTER_FAILOVER.c7.s7",
        at: 0,
        member: dead.member,
        startup: dead.startup,
        ledger: Ledger.make("c7-s7"),
        cause: "x"
      }
    }
    assert.deepStrictEqual(
      decided([[1, left(dead, "Expired")], [60_000, tick]], [...running, joined(dead), published]).ids,
      []
    )
    assert.deepStrictEqual(
      decided([[1, left(dead, "Expired")], [5_000, published], [60_000, tick]], [...running, joined(dead)]).ids,
      [],
      "another replica was faster"
    )
  })

  it("a delayed write that names an incarnation reported gone is a failover of its own", () => {
    const { ids } = decided([
      [0, left(c1, "Expired")],
      [10_000, tick],
      [11_000, owned("shard.5", c1, 77)],
      [20_999, tick],
      [21_000, tick],
      [60_000, tick]
    ], running)
    assert.deepStrictEqual(ids, ["10000 MASTER_FAILOVER.c1.s1", "21000 MASTER_FAILOVER.c1.s1.77"])
  })

  it("nothing is decided before registry, owners and bus are known", () => {
    let detector = Detector.make(10_000)
    const found: Array<SystemEvent> = []
    const inputs: ReadonlyArray<Detector.Input> = [
      joined(c1),
      owned("shard.1", c2),
      { _tag: "UpToDate" },
      { _tag: "CaughtUp", source: "owners" },
      tick
    ]
    for (const input of inputs) {
      const [next, events] = Detector.step(detector, input, 1_000_000)
      detector = next
      found.push(...events)
    }
    assert.deepStrictEqual([found, Detector.nextDue(detector)], [[], undefined])
    const [ready, events] = Detector.step(detector, { _tag: "CaughtUp", source: "bus" }, 1_000_000)
    assert.deepStrictEqual(events.map((event) => event.id), ["GLOBAL_MASTER_FAILOVER.s1"])
    assert.strictEqual(Detector.nextDue(ready), 1_010_000)
  })
})

describe("an interrupted connection", () => {
  it("decides nothing while it lasts, and gives a full grace period after", () => {
    const { ids } = decided([
      [1_000, left(e1, "Expired")],
      [2_000, { _tag: "Disconnected" }],
      [50_000, tick],
      [60_000, { _tag: "Reconnected" }],
      [69_999, tick]
    ], running)
    assert.deepStrictEqual(ids, [])
    const back = decided([
      [1_000, left(e1, "Expired")],
      [2_000, { _tag: "Disconnected" }],
      [60_000, { _tag: "Reconnected" }],
      [61_000, joined(e1)],
      [99_000, tick]
    ], running)
    assert.deepStrictEqual(back.ids, [])
    const gone = decided([
      [1_000, left(e1, "Expired")],
      [2_000, { _tag: "Disconnected" }],
      [60_000, { _tag: "Reconnected" }],
      [70_000, tick]
    ], running)
    assert.deepStrictEqual(gone.ids, ["70000 WORKER_FAILOVER.e1.x1"])
  })
})

describe("GLOBAL_MASTER_FAILOVER", () => {
  it("once when the first coordinator starts, not for the second", () => {
    assert.deepStrictEqual(decided([[1, joined(c1)], [2, joined(c2)], [3, joined(c1)]]).ids, [
      "1 GLOBAL_MASTER_FAILOVER.s1"
    ])
  })

  it("the first of those that stood there, when its start was not announced; not while one of them was", () => {
    assert.deepStrictEqual(decided([], [joined(c2), joined(c1)]).ids, ["0 GLOBAL_MASTER_FAILOVER.s1"])
    assert.deepStrictEqual(decided([], [joined(c2), joined(c1), global("s2")]).ids, [])
    const roster: Detector.Input = {
      _tag: "Roster",
      members: [{ role: "coordinator", member: c2.member, startup: c2.startup }]
    }
    assert.deepStrictEqual(
      decided([], [joined(c2), roster]).ids,
      [],
      "this mesh has been running since the last service looked"
    )
  })

  it("again when the mesh starts again after all coordinators were gone", () => {
    const c3 = member("coordinator", "c3", "s3")
    const { ids } = decided([
      [0, left(c1, "Expired")],
      [0, left(c2, "Expired")],
      [10_000, tick],
      [20_000, joined(c3)]
    ], running)
    assert.deepStrictEqual(ids, [
      "10000 MASTER_FAILOVER.c1.s1",
      "10000 MASTER_FAILOVER.c2.s2",
      "20000 GLOBAL_MASTER_FAILOVER.s3"
    ])
  })

  it("not while the last coordinator is only suspected: its own event follows", () => {
    const { ids } = decided([[0, left(c1, "Closed")], [0, left(c2, "Expired")], [
      5_000,
      joined(member("coordinator", "c3", "s3"))
    ], [
      10_000,
      tick
    ]], running)
    assert.deepStrictEqual(ids, ["10000 MASTER_FAILOVER.c2.s2"])
  })
})

it("two replicas that see the same in another order decide the same events", () => {
  const inputs = [left(c1, "Expired"), left(e1, "Expired"), left(p1, "Closed"), owned("shard.9", c1, 5)]
  const idsOf = (order: ReadonlyArray<Detector.Input>) =>
    decided([...order.map((input, index) => [index, input] as const), [60_000, tick]], [
      ...running,
      owned("pool default/a", p1)
    ])
      .events.map((event) => event.id).sort()
  const expected = idsOf(inputs)
  assert.strictEqual(expected.length, 3)
  assert.deepStrictEqual(idsOf(inputs.toReversed()), expected)
  assert.deepStrictEqual(
    idsOf([inputs[3], inputs[0], inputs[2], inputs[1]].filter((one) => one !== undefined)),
    expected
  )
})

it("what is remembered as published is bounded, the oldest go first", () => {
  let detector = Detector.make()
  for (let i = 0; i <= Detector.publishedMax; i++) {
    const [next] = Detector.step(detector, global(`s${i}`), 0)
    detector = next
  }
  assert.strictEqual(detector.publishedOrder.length, Detector.publishedMax)
  assert.strictEqual(detector.publishedOrder[0], "GLOBAL_MASTER_FAILOVER.s1")
})
