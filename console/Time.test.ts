import { assert, it } from "@effect/vitest"
import { clock, length } from "./Time.ts"

it("a length of time has one or two units", () => {
  assert.deepStrictEqual(
    [-5, 0, 830, 999.6, 4_200, 59_900, 60_000, 200_000, 3_600_000, 7_500_000, 273_600_000].map(length),
    ["0 ms", "0 ms", "830 ms", "1000 ms", "4.2 s", "60 s", "1 m 0 s", "3 m 20 s", "1 h 0 m", "2 h 5 m", "3 d 4 h"]
  )
})

it("a time of another day says the day", () => {
  const noon = new Date(2026, 10, 21, 12, 3, 9)
  assert.strictEqual(clock(noon.toISOString(), noon.getTime()), "12:03:09")
  assert.strictEqual(clock(noon.toISOString(), noon.getTime() + 86_400_000), "2026-11-21 12:03:09")
})
