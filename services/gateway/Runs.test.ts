import { assert, describe, it } from "@effect/vitest"
import type { Entry } from "../../shared/protocol/Journal.ts"
import { keyOf, type Run, Runs } from "./Runs.ts"

type EntryRead = typeof Entry.Encoded

const entry = (instance: string, n: number, at: number, ...transitions: EntryRead["transitions"]): EntryRead => ({
  _tag: "Entry",
  shard: 0,
  instance,
  n,
  prev: 0,
  at,
  cause: [{
    _tag: "WORKFLOW_START",
    start: { definition: { namespace: "default", name: instance.slice(0, 1), version: 1, hash: "h" } }
  }],
  transitions,
  effects: [],
  hash: ""
})
const started = (instance: string, at: number) => entry(instance, 1, at, { _tag: "STARTED", of: 0 })

/** The same numbers in every run of the test; a failure names the seed. */
const random = (seed: number) => () => {
  seed = Math.imul(seed ^ (seed >>> 15), 0x2c1b3c6d) + 0x9e3779b9 | 0
  return ((seed ^ (seed >>> 13)) >>> 0) / 2 ** 32
}

const pagesOf = (runs: Runs, query: Omit<Parameters<Runs["page"]>[0], "next">): ReadonlyArray<Run> => {
  const found: Array<Run> = []
  let next: string | undefined
  do {
    const page = runs.page(next === undefined ? query : { ...query, next })
    found.push(...page.items)
    next = page.next
  } while (next !== undefined)
  return found
}

describe("Runs", () => {
  it("pages hold what a sorted list of everything holds, whatever comes in which order", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const next = random(seed)
      const pick = <A>(list: ReadonlyArray<A>): A => list[Math.floor(next() * list.length)] as A // not empty
      const runs = new Runs(1_000)
      const model = new Map<string, { startedAt: number; state: string; n: number }>()
      for (let step = 0; step < 60; step++) {
        const at = 1_700_000_000_000 + step * 10 - Math.floor(next() * 40)
        const instance = `${pick(["a", "b"])}${Math.floor(next() * 15)}`
        const known = model.get(instance)
        if (known === undefined) {
          runs.apply(started(instance, at), step)
          model.set(instance, { startedAt: at, state: "RUNNING", n: 1 })
        } else if (next() < 0.2) {
          known.n += 1
          runs.apply(entry(instance, known.n, at, { _tag: "RERUN", of: 0 }), step)
          Object.assign(known, { startedAt: at, state: "RUNNING" })
        } else {
          const status = pick(["SUCCEEDED", "FAILED", "READY_STOP"] as const)
          known.n += 1
          runs.apply(entry(instance, known.n, at, { _tag: "WORKFLOW", status }), step)
          known.state = status
          // the same again, as after a reconnect, changes nothing
          runs.apply(entry(instance, known.n, at, { _tag: "WORKFLOW", status: "RUNNING" }), step)
        }
      }
      const expected = (state?: string, prefix = "") =>
        [...model].filter(([id, one]) => (state === undefined || one.state === state) && id.startsWith(prefix))
          .map(([instanceId, { startedAt }]) => keyOf({ instanceId, startedAt })).toSorted().toReversed()
      const limit = 1 + Math.floor(next() * 7)
      assert.deepStrictEqual(pagesOf(runs, { limit }).map(keyOf), expected(), `seed ${seed}`)
      const failed = pagesOf(runs, { limit, states: new Set(["FAILED"]), prefix: "a" })
      assert.deepStrictEqual(failed.map(keyOf), expected("FAILED", "a"), `seed ${seed}`)
      const counts = new Map([...runs.counts()].map(({ byState, name }) => [name, byState.get("FAILED") ?? 0]))
      assert.strictEqual(counts.get("a") ?? 0, expected("FAILED", "a").length, `seed ${seed}`)
    }
  })

  it("holds the newest and says since when it holds all", () => {
    const runs = new Runs(100)
    for (let at = 1; at <= 1_000; at++) {
      runs.apply(started(`r${at}`, at), at)
      assert.isAtMost(runs.size, 100)
    }
    const since = runs.since ?? 0
    assert.deepStrictEqual(
      pagesOf(runs, { limit: 1_000 }).map(({ startedAt }) => startedAt),
      Array.from({ length: 1_001 - since }, (_, n) => 1_000 - n)
    )
    assert.strictEqual([...runs.counts()].reduce((sum, { total }) => sum + total, 0), runs.size)
    runs.apply(entry("r1", 2, 2_000, { _tag: "WORKFLOW", status: "FAILED" }), 2_000)
    assert.isUndefined(runs.get("r1"), "what left does not come back")
  })

  it("an old run that begins anew is held once it is known what it is one of", () => {
    const runs = new Runs()
    runs.startAt(1_000)
    assert.deepStrictEqual(runs.apply(entry("old", 9, 2_000, { _tag: "RERUN", of: 0 }), 1), {
      instance: "old",
      shard: 0
    })
    assert.isUndefined(runs.apply(entry("old", 10, 2_100, { _tag: "WORKFLOW", status: "FAILED" }), 2))
    assert.isUndefined(runs.get("old"))
    runs.define("old", { definition: { namespace: "default", name: "o", version: 3 } }, 2)
    assert.deepInclude(runs.get("old"), { state: "FAILED", startedAt: 2_000, endedAt: 2_100, n: 10 })
    runs.apply(entry("other", 4, 2_200, { _tag: "WORKFLOW", status: "FAILED" }), 3)
    assert.isUndefined(runs.get("other"), "it started before, so the coordinators list it")
  })
})
