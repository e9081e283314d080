/**
 * What a process has used: CPU seconds and the largest memory, read from outside so that the process itself does nothing for it.
 *
 * Linux only (`/proc`); elsewhere, and for a process that has ended, there is no figure and nothing fails.
 */
import { readFileSync, writeFileSync } from "node:fs"

/** `cpuSeconds`: user and system since its start. `peakMb`: largest resident set (10^6 bytes) since its start or the last `resetPeak`. */
export interface ProcessUsage {
  readonly cpuSeconds: number
  readonly peakMb: number
}

/** Linux gives times to user space in hundredths of a second on every architecture. */
const ticksPerSecond = 100

/** The text of `/proc/<pid>/stat` and of `/proc/<pid>/status`. */
export const parse = (stat: string, status: string): ProcessUsage | undefined => {
  // The second field is the program's name in parentheses and may hold blanks and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const ticks = Number(fields[11]) + Number(fields[12])
  const peakKb = Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1])
  return Number.isNaN(ticks) || Number.isNaN(peakKb)
    ? undefined
    : { cpuSeconds: ticks / ticksPerSecond, peakMb: peakKb * 1024 / 1e6 }
}

/** What `pid` has used so far. */
export const read = (pid: number): ProcessUsage | undefined => {
  try {
    return parse(readFileSync(`/proc/${pid}/stat`, "latin1"), readFileSync(`/proc/${pid}/status`, "latin1"))
  } catch {
    return undefined
  }
}

/** From here on the peak is the largest since now. `false` where the system does not do that: then it stays the one since its start. */
export const resetPeak = (pid: number): boolean => {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, "5")
    return true
  } catch {
    return false
  }
}
