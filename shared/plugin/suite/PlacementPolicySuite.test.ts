import { assert, describe, it } from "vitest"
import { Heap } from "../Heap.ts"
import type { Offered, Placement, PlacementPolicy } from "../PlacementPolicy.ts"
import * as PlacementPolicySuite from "./PlacementPolicySuite.ts"
import * as Suite from "./Suite.ts"

/** Order of arrival and nothing else; `change` breaks it. */
const policyOf = (
  change: (placement: Placement<Offered>) => Partial<Placement<Offered>> = () => ({})
): PlacementPolicy => ({
  name: "double",
  // the suite offers its own entries, which are `Offered` and nothing more
  make: <Entry extends Offered>() => {
    const heap = new Heap<Entry>((a, b) => a.place < b.place)
    let arrivals = 0
    const sound: Placement<Entry> = {
      get size() {
        return heap.size
      },
      offer: (entry) => {
        entry.place = ++arrivals
        heap.push(entry)
      },
      next: () => heap.shift(),
      putBack: (entry) => heap.push(entry),
      remove: (entry) => void heap.delete(entry)
    }
    const changed = change(sound as unknown as Placement<Offered>) as Partial<Placement<Entry>> // Entry is Offered here
    return Object.defineProperties({} as Placement<Entry>, { // all of it is defined here
      ...Object.getOwnPropertyDescriptors(sound),
      ...Object.getOwnPropertyDescriptors(changed)
    })
  }
})
const inTurn = PlacementPolicySuite.rivalsWaiting + 1
const goesWithin = { job: inTurn, team: inTurn, taskPriority: inTurn, priority: inTurn, teamWithPriority: inTurn }
const subject = (
  policy: PlacementPolicy,
  more: Partial<PlacementPolicySuite.Subject> = {}
): PlacementPolicySuite.Subject => ({
  policy,
  goesWithin,
  weights: "ignored",
  runs: 100,
  ...more
})
const noticed = async (of: PlacementPolicySuite.Subject) =>
  (await Suite.brokenOf(PlacementPolicySuite.promises(of))).map(({ promise, seen }) => `${promise}: ${String(seen)}`)
    .join("\n")

describe("a placement policy that does not keep its promises is noticed", () => {
  it("one that keeps them is not", async () => {
    assert.strictEqual(await noticed(subject(policyOf())), "")
  })

  const doubles: Readonly<
    Record<string, readonly [of: PlacementPolicySuite.Subject, seen: ReadonlyArray<RegExp>]>
  > = {
    "it loses what comes back": [
      subject(policyOf(() => ({ putBack: () => {} }))),
      [/every entry .*(has nothing|size is)/s, /what comes back/]
    ],
    "it gives an entry twice": [
      subject(policyOf(({ next, putBack }) => {
        let picks = 0
        return {
          next: () => {
            const entry = next()
            if (entry !== undefined && ++picks % 5 === 0) putBack(entry)
            return entry
          }
        }
      })),
      [/every entry .*(size is|does not wait|has nothing|nothing waits|in the place of)/s]
    ],
    "it puts what comes back to the end": [
      subject(policyOf(({ offer }) => ({ putBack: offer }))),
      [/every entry .*in the place of/s, /what comes back/]
    ],
    "it puts what comes back to the front, the last one first": [
      subject(policyOf(({ putBack }) => {
        let front = 0
        return {
          putBack: (entry) => {
            entry.place = --front
            putBack(entry)
          }
        }
      })),
      [/every entry .*in the place of/s]
    ],
    "it does not take out what is withdrawn": [
      subject(policyOf(() => ({ remove: () => {} }))),
      [/every entry .*size is/s]
    ],
    "it counts an unknown removal": [
      subject(policyOf((sound) => {
        let gone = 0
        return {
          get size() {
            return Math.max(0, sound.size - gone)
          },
          offer: sound.offer,
          remove: (entry) => {
            const { size } = sound
            sound.remove(entry)
            if (sound.size === size) gone++
          }
        }
      })),
      [/every entry .*size is/s]
    ],
    "it starves what it says it does not": [
      subject(policyOf(({ offer }) => ({
        offer: (entry) => {
          offer(entry)
          entry.place -= entry.priority * 1_000_000
        }
      }))),
      [/a job of a priority that is higher by one does not hold .* still waits/, /another team with the highest/]
    ],
    "it lets through what it says it does not": [
      subject(policyOf(), { goesWithin: { ...goesWithin, priority: "never" } }),
      [/higher by one goes first .* it went at turn 65/]
    ],
    "it does not know weights": [
      subject(policyOf(), { weights: "honoured" }),
      [/teams go as often .* weight 3 had 200/]
    ],
    "it looks through all for a withdrawal": [
      subject(policyOf(({ offer, remove }) => {
        const all: Array<Offered> = []
        return {
          offer: (entry) => {
            all.push(entry)
            offer(entry)
          },
          remove: (entry) => all.includes(entry) ? remove(entry) : undefined
        }
      })),
      [/goes over all entries that wait \(one job\): .* times as many/]
    ],
    "it compares all for the next": [
      subject(policyOf(({ next, offer, remove }) => {
        const all = new Set<Offered>()
        return {
          offer: (entry) => {
            all.add(entry)
            offer(entry)
          },
          next: () => {
            const entry = next()
            if (entry !== undefined) all.delete(entry)
            let best: Offered | undefined
            for (const one of all) if (best === undefined || one.place < best.place) best = one
            return entry
          },
          remove: (entry) => {
            all.delete(entry)
            remove(entry)
          }
        }
      })),
      [/goes over all entries that wait \(every priority\): .* times as many/]
    ]
  }
  for (const [what, [of, seen]] of Object.entries(doubles)) {
    it(what, async () => {
      const found = await noticed(of)
      for (const pattern of seen) assert.match(found, pattern, found)
    })
  }

  it("a sequence that shows it is short", async () => {
    const found = await noticed(subject(policyOf(() => ({ remove: () => {} }))))
    assert.isAtMost(found.match(/_tag/g)?.length ?? 99, 3, found)
  })

  it("after a count, arrays and maps are as they were", async () => {
    const before = [Array.prototype.indexOf, Map.prototype.values, Array.prototype[Symbol.iterator]]
    await noticed(subject(policyOf(() => ({
      next: () => {
        throw new Error("broken")
      }
    }))))
    assert.isTrue(
      before.every((one, index) =>
        one === [Array.prototype.indexOf, Map.prototype.values, Array.prototype[Symbol.iterator]][index]
      )
    )
  })
})
