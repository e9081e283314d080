import { assert, describe, it } from "@effect/vitest"
import * as PoolPast from "./PoolPast.ts"

const pool = { namespace: "default", name: "p" }
const adopted = (owner: string, at: number) => ({ _tag: "ADOPTED", pool, owner, startup: "s", at })
const claims = (...events: ReadonlyArray<readonly [kind: string, id: string, at: number]>) => ({
  _tag: "CLAIMS",
  session: 1,
  batch: 1,
  events: events.map(([kind, claimId, at]) => ({
    kind,
    at,
    claimId,
    holder: "me",
    sandbox: `u-${claimId}`,
    name: claimId
  }))
})
const read = (at: number, messages: ReadonlyArray<object>) => {
  const reader = new PoolPast.Reader(at)
  let taken = 0
  for (const [index, message] of messages.entries()) {
    taken = index + 1
    if (!reader.take(index + 1, JSON.stringify(message))) break
  }
  const { past, since } = reader
  return {
    since,
    taken,
    past,
    held: past?.claims.map(({ claimId, isStale }) => `${claimId}${isStale ? "?" : ""}`).join(" ")
  }
}
const record = [
  adopted("one", 1_000),
  claims(["Claimed", "a", 2_000], ["Claimed", "b", 3_000]),
  claims(["Released", "a", 4_000], ["Claimed", "c", 5_000]),
  adopted("two", 6_000),
  claims(["Adopted", "c", 7_000]),
  claims(["Expired", "b", 8_000], ["Lost", "c", 9_000])
]

describe("PoolPast", () => {
  it("who owned it and what was held, at each moment; what the new owner has not told of is shown apart", () => {
    const cases: ReadonlyArray<readonly [number, string | undefined, string | undefined]> = [
      [999, undefined, undefined],
      [1_000, "one", ""],
      [3_000, "one", "a b"],
      [4_500, "one", "b"],
      [6_000, "two", "b? c?"],
      [7_000, "two", "b? c"],
      [8_000, "two", "c"],
      [99_000, "two", ""]
    ]
    for (const [at, owner, held] of cases) {
      const found = read(at, record)
      assert.deepStrictEqual([found.past?.owner, found.held], [owner, held], String(at))
      if (found.past !== undefined) assert.isTrue(found.past.isComplete)
    }
    assert.strictEqual(read(4_500, record).taken, 4, "nothing is read beyond the moment")
    assert.strictEqual(read(6_000, record).past?.session, 4)
  })
  it("a record that begins in the middle says from when on it is; complete again from a take-over on", () => {
    const cut = record.slice(2)
    assert.deepStrictEqual(read(3_000, cut), {
      since: "1970-01-01T00:00:04.000Z",
      taken: 1,
      past: undefined,
      held: undefined
    })
    const middle = read(5_000, cut)
    assert.deepStrictEqual([middle.past?.isComplete, middle.past?.owner, middle.held], [false, undefined, "c"])
    assert.isTrue(read(7_000, cut).past?.isComplete)
    assert.isUndefined(read(1, []).since)
  })
  it("what this version does not know does no harm", () => {
    assert.strictEqual(
      read(9_000, [adopted("one", 1), { _tag: "LATER", at: 2, x: [] }, claims(["Renewed", "z", 3])]).held,
      ""
    )
  })
})
