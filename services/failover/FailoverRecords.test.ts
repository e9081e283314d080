import { assert, it } from "@effect/vitest"
import type { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { Ledger, MemberId, StartupId } from "../../shared/protocol/Token.ts"
import * as FailoverRecords from "./FailoverRecords.ts"

const gone = (n: number, at = 1_000): SystemEvent => ({
  _tag: "MASTER_FAILOVER",
  id: `MASTER_FAILOVER.c${n}.s`,
  at,
  member: MemberId.make(`c${n}`),
  startup: StartupId.make("s"),
  ledger: Ledger.make(`c${n}-s`),
  cause: "its registration expired"
})
const progress = (
  by: string,
  at: number,
  done: boolean,
  counts: readonly [shards: number, instances: number, tasks: number]
): SystemEvent => ({
  _tag: "FAILOVER_PROGRESS",
  id: `p.${by}.${at}`,
  at,
  by: MemberId.make(by),
  of: "MASTER_FAILOVER.c1.s",
  shards: counts[0],
  instances: counts[1],
  tasks: counts[2],
  done
})
const recordOf = (events: ReadonlyArray<SystemEvent>) =>
  FailoverRecords.list(events.reduce(FailoverRecords.apply, FailoverRecords.empty))[0]

it("a record follows its failover from the event to the last report", () => {
  assert.deepStrictEqual(recordOf([gone(1)]), {
    id: "MASTER_FAILOVER.c1.s",
    kind: "MASTER_FAILOVER",
    at: "1970-01-01T00:00:01.000Z",
    subject: "c1/s",
    cause: "its registration expired",
    shards: 0,
    instances: 0,
    tasks: 0,
    state: "Published"
  })
  const half = [gone(1), progress("c2", 3_000, true, [3, 30, 300]), progress("c3", 4_000, false, [1, 5, 0])]
  assert.deepInclude(recordOf(half), { state: "Running", shards: 4, instances: 35, tasks: 300, recoveredMs: 3_000 })
  assert.deepInclude(recordOf([...half, progress("c3", 6_500, true, [1, 5, 7])]), {
    state: "Done",
    shards: 5,
    instances: 40,
    tasks: 307,
    recoveredMs: 5_500
  })
})

it("the same events twice or in another order give the same record", () => {
  const reports = [
    progress("c2", 2_000, false, [1, 1, 1]),
    progress("c2", 3_000, true, [3, 30, 300]),
    progress("c3", 4_000, true, [1, 5, 0])
  ]
  const once = recordOf([gone(1), ...reports])
  assert.deepStrictEqual(recordOf([gone(1), ...reports, ...reports, gone(1)]), once)
  assert.deepStrictEqual(recordOf([gone(1), ...reports.toReversed()]), once)
})

it("newest first, bounded; progress of what is not known changes nothing", () => {
  let records = FailoverRecords.empty
  for (let n = 0; n <= FailoverRecords.recordsMax; n++) records = FailoverRecords.apply(records, gone(n, n))
  const list = FailoverRecords.list(records)
  assert.deepStrictEqual([list.length, list[0]?.subject, list.at(-1)?.subject], [1_000, "c1000/s", "c1/s"])
  assert.strictEqual(FailoverRecords.list(records, 3).length, 3)
  assert.strictEqual(
    FailoverRecords.apply(FailoverRecords.empty, progress("c2", 1, true, [1, 1, 1])),
    FailoverRecords.empty
  )
})
