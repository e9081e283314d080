import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { Cache } from "./Cache.ts"

/** What happens to three objects, in the order of versions: an object is changed, or deleted. */
const History = Schema.Array(
  Schema.Struct({ uid: Schema.Literals(["a", "b", "c"]), isDeleted: Schema.Boolean, lateBy: Schema.Int })
).check(Schema.isMaxLength(40))

it.prop(
  "lists, watch and answers in any order: never an older version, never one that is gone, and in the end the truth",
  [History],
  ([history]) => {
    const cache = new Cache<{ readonly uid: string; readonly version: number }>()
    const truth = new Map<string, number>()
    const dead = new Set<string>()
    /** Messages that are late: answers and lists of an earlier time. */
    const late: Array<() => void> = []
    const shown = new Map<string, number>()
    const look = (): void => {
      for (const { uid, version } of cache.values()) {
        assert.isAtLeast(version, shown.get(uid) ?? 0)
        shown.set(uid, version)
        assert.isFalse(dead.has(uid), `${uid} came back`)
      }
    }
    let incarnation = 0
    history.forEach(({ isDeleted, lateBy, uid: name }, index) => {
      const version = index + 1
      const uid = [...truth.keys()].find((one) => one.startsWith(name)) ?? `${name}${incarnation++}`
      if (isDeleted) {
        truth.delete(uid)
        dead.add(uid)
        cache.gone(uid, version)
      } else {
        truth.set(uid, version)
        if (lateBy % 3 === 0) cache.told({ uid, version })
        else late.push(() => cache.told({ uid, version }))
        cache.watched({ uid, version })
      }
      const list = [...truth].map(([of, at]) => ({ uid: of, version: at }))
      if (lateBy % 2 === 0) late.push(() => cache.listed(list, version))
      look()
      if (late.length > 3) late.splice(Math.abs(lateBy) % late.length, 1)[0]?.()
      look()
    })
    for (const one of late) one()
    look()
    assert.deepStrictEqual(new Map([...cache.values()].map((one) => [one.uid, one.version])), truth)
  }
)

it("a cluster that was put back to an earlier state is told anew", () => {
  const cache = new Cache<{ readonly uid: string; readonly version: number }>()
  cache.listed([{ uid: "a", version: 90 }, { uid: "b", version: 95 }], 100)
  const { changed, removed } = cache.listed([{ uid: "a", version: 40 }], 50, cache.seen)
  assert.deepStrictEqual([changed.map((_) => _.uid), removed.map((_) => _.uid)], [["a"], ["a", "b"]])
  assert.strictEqual(cache.get("a")?.version, 40)
  assert.strictEqual(cache.seen, 50)
})
