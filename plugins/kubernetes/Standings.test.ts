import { assert, it } from "@effect/vitest"
import type { PoolStanding } from "../../shared/plugin/PoolSource.ts"
import { MemberId, Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { Standings, takeOverDefaultMs } from "./Standings.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("web") }
const served = (owner: string): PoolStanding => ({ _tag: "Served", owner: MemberId.make(owner), isDraining: false })

it("between two owners the first is shown, until nobody has taken over for too long", () => {
  let now: PoolStanding = served("a")
  const standings = new Standings(() => now)
  assert.deepStrictEqual(standings.of(pool, 0), { standing: served("a") })
  now = { _tag: "NoOwner" }
  assert.deepStrictEqual(standings.of(pool, 1_000), { standing: served("a"), again: 1_000 + takeOverDefaultMs })
  assert.deepStrictEqual(standings.of(pool, 5_000), { standing: served("a"), again: 1_000 + takeOverDefaultMs })
  now = served("b")
  assert.deepStrictEqual(standings.of(pool, 6_000), { standing: served("b") })
  now = { _tag: "NoOwner" }
  assert.strictEqual(standings.of(pool, 20_000).again, 20_000 + takeOverDefaultMs)
  assert.deepStrictEqual(standings.of(pool, 20_000 + takeOverDefaultMs), { standing: { _tag: "NoOwner" } })
})

it("nothing is said of a pool that has just come; one that is gone or not asked about begins anew", () => {
  let now: PoolStanding = { _tag: "NoOwner" }
  const standings = new Standings(() => now)
  assert.deepStrictEqual(standings.of(pool, 0), { standing: undefined, again: takeOverDefaultMs })
  assert.deepStrictEqual(standings.of(pool, takeOverDefaultMs), { standing: { _tag: "NoOwner" } })
  now = { _tag: "Absent" }
  assert.deepStrictEqual(standings.of(pool, 50_000), { standing: { _tag: "Absent" } })
  now = { _tag: "NoOwner" }
  assert.strictEqual(standings.of(pool, 60_000).standing, undefined)
  standings.keep(new Set())
  assert.strictEqual(standings.of(pool, 80_000).standing, undefined)
})
