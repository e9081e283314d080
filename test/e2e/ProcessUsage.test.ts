import { assert, describe, it } from "@effect/vitest"
import * as ProcessUsage from "./ProcessUsage.ts"

const stat = "4242 (a ) b (c) S 1 1 1 0 -1 4194560 5 6 7 8 250 50 1 2 20 0 11 0 900 1 2 3"

describe("ProcessUsage", () => {
  it("reads the times after a name that holds blanks and parentheses", () => {
    assert.deepStrictEqual(ProcessUsage.parse(stat, "Name:\ta\nVmPeak:\t 9 kB\nVmHWM:\t  100000 kB\n"), {
      cpuSeconds: 3,
      peakMb: 102.4
    })
  })

  it("a process without memory, such as one that has ended, has no figures", () => {
    assert.isUndefined(ProcessUsage.parse(stat, "Name:\ta\n"))
    assert.isUndefined(ProcessUsage.read(2 ** 30))
  })

  it.skipIf(process.platform !== "linux")("this process has used something", () => {
    const usage = ProcessUsage.read(process.pid)
    assert.isAbove(usage?.cpuSeconds ?? 0, 0)
    assert.isAbove(usage?.peakMb ?? 0, 10)
  })
})
