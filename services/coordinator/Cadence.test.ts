import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Cadence from "./Cadence.ts"

const cadence = (spec: Cadence.CadenceSpec) => Result.getOrThrow(Cadence.make(spec))
const at = (text: string): number => Date.parse(text)
const times = (of: Cadence.Cadence, after: string, count: number): ReadonlyArray<string> => {
  const found: Array<string> = []
  let last: number | undefined = at(after)
  while (found.length < count) {
    last = of.next(last)
    if (last === undefined) break
    found.push(new Date(last).toISOString().slice(0, 19))
  }
  return found
}
const problem = (spec: Cadence.CadenceSpec): string => {
  const made = Cadence.make(spec)
  assert.isTrue(Result.isFailure(made))
  return Result.isFailure(made) ? `${made.failure.path ?? ""}: ${made.failure.message}` : ""
}

describe("times of a cron expression", () => {
  it("with and without seconds, and by nickname", () => {
    assert.deepStrictEqual(times(cadence({ cron: "*/5 * * * * *" }), "2026-11-21T10:00:00.500Z", 3), [
      "2026-11-21T10:00:05",
      "2026-11-21T10:00:10",
      "2026-11-21T10:00:15"
    ])
    assert.deepStrictEqual(times(cadence({ cron: "0 6 * * 1" }), "2026-11-21T10:00:00Z", 2), [
      "2026-11-23T06:00:00",
      "2026-11-30T06:00:00"
    ])
    assert.deepStrictEqual(times(cadence({ cron: "@daily" }), "2026-11-21T00:00:00Z", 1), ["2026-11-22T00:00:00"])
  })

  it("a local time that the change to summer time leaves out fires once, right after the gap", () => {
    const berlin = cadence({ cron: "30 2 * * *", timezone: "Europe/Berlin" })
    assert.deepStrictEqual(times(berlin, "2026-03-28T00:00:00Z", 3), [
      "2026-03-28T01:30:00",
      "2026-03-29T01:00:00", // 03:00 local: there is no 02:30
      "2026-03-30T00:30:00"
    ])
    assert.strictEqual(berlin.previous(at("2026-03-30T00:30:00Z")), at("2026-03-29T01:00:00Z"))
    assert.strictEqual(berlin.date(at("2026-03-29T01:00:00Z")), "2026-03-29")
  })

  it("a local time that the change to winter time repeats fires once; every half hour goes on in real time", () => {
    const fixed = cadence({ cron: "30 2 * * *", timezone: "Europe/Berlin" })
    assert.deepStrictEqual(times(fixed, "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00", "2026-10-26T01:30:00"])
    const hourly = cadence({ cron: "30 * * * *", timezone: "Europe/Berlin" })
    assert.deepStrictEqual(times(hourly, "2026-10-24T23:00:00Z", 4), [
      "2026-10-24T23:30:00",
      "2026-10-25T00:30:00",
      "2026-10-25T01:30:00",
      "2026-10-25T02:30:00"
    ])
  })

  it("previous is the inverse of next, over the changes of a year", () => {
    for (const timezone of ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]) {
      const of = cadence({ cron: "15 1,2,3 * * *", timezone })
      let last = of.next(at("2026-01-01T00:00:00Z"))
      for (let i = 0; i < 1_095 && last !== undefined; i++) {
        const next = of.next(last)
        assert.isDefined(next)
        if (next === undefined) break
        assert.isAbove(next, last)
        assert.strictEqual(of.previous(next), last, `${timezone} before ${new Date(next).toISOString()}`)
        last = next
      }
    }
  })

  it("none outside of start and end", () => {
    const of = cadence({ cron: "0 * * * *", startAt: "2026-11-21T10:00:00Z", endAt: "2026-11-21T12:00:00Z" })
    assert.deepStrictEqual(times(of, "2026-01-01T00:00:00Z", 9), [
      "2026-11-21T10:00:00",
      "2026-11-21T11:00:00",
      "2026-11-21T12:00:00"
    ])
    assert.isUndefined(of.previous(at("2026-11-21T10:00:00Z")))
    assert.strictEqual(of.previous(at("2027-01-01T00:00:00Z")), at("2026-11-21T12:00:00Z"))
  })

  it("what is wrong is said with its path and what to write", () => {
    assert.match(problem({ cron: "0 25 * * *" }), /^cron: "0 25 \* \* \*" is no cron expression: .*hour/)
    assert.match(problem({ cron: "2026-01-01T00:00:00" }), /^cron: .*5 fields/)
    assert.match(problem({ cron: "@reboot" }), /^cron: .*@hourly/)
    assert.match(problem({ cron: "0 0 31 2 *" }), /^cron: .*never matches/)
    assert.match(problem({ cron: "@daily", timezone: "Mars/Phobos" }), /^timezone: "Mars\/Phobos".*Europe\/Berlin/)
    assert.match(
      problem({ cron: "@daily", startAt: "2026-01-02T00:00:00Z", endAt: "2026-01-01T00:00:00Z" }),
      /^endAt:/
    )
  })
})
