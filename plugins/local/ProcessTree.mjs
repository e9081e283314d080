/**
 * Which processes belong to a sandbox, and ending all of them: also daemons that left their process group by a double fork and setsid.
 *
 * On Linux a process belongs to a mark (`NAME=value` in its environment, inherited by everything it starts), to a folder (its working directory is inside, and it
 * has no terminal: somebody who looks around there with a shell is no part of it) or to a root process (descendants by parent id). Elsewhere only process groups are known. A process that clears its environment, leaves the folder and is
 * no descendant any more escapes: nothing but a container or a cgroup holds such a one.
 *
 * Plain JavaScript without dependencies: the agent must start in a few milliseconds.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs"

const isLinux = process.platform === "linux"

/** Ids of all processes; empty where there is no /proc. */
export const processIds = () => {
  if (!isLinux) return []
  try {
    return readdirSync("/proc").filter((name) => name.charCodeAt(0) >= 49 && name.charCodeAt(0) <= 57).map(Number)
  } catch {
    return []
  }
}

/** Of `/proc/<pid>/stat`, from the state letter on; `undefined` when there is no such process. */
const statFields = (pid) => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1")
    return text.slice(text.lastIndexOf(")") + 2).split(" ")
  } catch {
    return undefined
  }
}

/** State letter, parent id, process group, session and start (clock ticks since the boot) of a live process; `undefined` when it is gone or a zombie. */
const statOf = (pid) => {
  const fields = statFields(pid)
  return fields === undefined || fields[0] === "Z" || fields[0] === "X"
    ? undefined
    : {
      state: fields[0],
      parent: Number(fields[1]),
      group: Number(fields[2]),
      session: Number(fields[3]),
      hasTerminal: fields[4] !== "0",
      startedAt: fields[19]
    }
}

/** Tells a process from a later one of the same number; `undefined` where there is none, or no way to know. */
export const startOf = (pid) => isLinux ? statFields(pid)?.[19] : undefined

/** Roots whose number is not another process's by now: that one, its group and what it starts would be taken for theirs. */
const rootsOf = ({ known, roots = [] }) =>
  roots.filter((root) => {
    const start = known?.get(root)
    const now = start === undefined ? undefined : startOf(root)
    return now === undefined || now === start
  })

/** A mark that ends in `-` stands for all that begin so. `undefined`: it has no environment at this moment (it may be about to run a program). */
const carries = (pid, mark) => {
  try {
    const environ = readFileSync(`/proc/${pid}/environ`, "latin1")
    if (environ === "") return undefined
    const text = mark.endsWith("-") ? mark : `${mark}\0`
    return environ.startsWith(text) || environ.includes(`\0${text}`)
  } catch {
    // Gone, or somebody else's.
    return false
  }
}

const isWithin = (pid, folder) => {
  try {
    const cwd = readlinkSync(`/proc/${pid}/cwd`)
    return cwd === folder || cwd.startsWith(`${folder}/`)
  } catch {
    return false
  }
}

/**
 * `found`: members; they come into `known` too, where they stay members: a process that is ending has no environment and no folder any more, and is not gone yet.
 * `foreign`: ids that are certainly none, to be skipped the next time. `unclear`: how many may be one, seen in the middle of starting a program.
 */
const look = ({ folder, known, mark, roots, skip }) => {
  const wanted = new Set(rootsOf({ known, roots }))
  const found = []
  const others = new Map()
  const foreign = new Set()
  let unclear = 0
  for (const pid of processIds()) {
    if (skip?.has(pid)) foreign.add(pid)
    if (pid === process.pid || skip?.has(pid)) continue
    const stat = statOf(pid)
    if (stat === undefined) continue
    const isRelated = wanted.has(pid) || wanted.has(stat.group) || wanted.has(stat.session) ||
      known?.get(pid) === stat.startedAt
    const isMarked = isRelated || mark === undefined ? isRelated : carries(pid, mark)
    if (isMarked || (folder !== undefined && !stat.hasTerminal && isWithin(pid, folder))) {
      found.push({ pid, group: stat.group })
      known?.set(pid, stat.startedAt)
      wanted.add(pid)
    } else {
      others.set(pid, stat)
      // A kernel thread never has an environment.
      if (isMarked === false || stat.parent === 2 || pid === 2) foreign.add(pid)
      else unclear++
    }
  }
  // Children of what was found, until no more come.
  for (let isGrown = true; isGrown;) {
    isGrown = false
    for (const [pid, stat] of others) {
      if (!wanted.has(stat.parent)) continue
      others.delete(pid)
      foreign.delete(pid)
      wanted.add(pid)
      known?.set(pid, stat.startedAt)
      found.push({ pid, group: stat.group })
      isGrown = true
    }
  }
  return { found, foreign, unclear }
}

/**
 * Live processes that belong to `mark`, `folder` or `roots`, or were found at an earlier look with the same `known`; never this process. `skip`: ids known to be foreign, which saves
 * reading them.
 */
export const members = (selection) => look(selection).found.map((_) => _.pid)

const isGone = (error) => error !== null && typeof error === "object" && error.code === "ESRCH"

/** One signal to a process, or to a group when the id is negative. False when there is none. */
export const signalOne = (pid, signal) => {
  try {
    process.kill(pid, signal)
    return true
  } catch (error) {
    if (isGone(error)) return false
    // EPERM: it took on other rights (setuid); nothing this user could do.
    return false
  }
}

/** Is any process left in this group? */
export const isGroupAlive = (group) => signalOne(-group, 0)

const signal = (selection, name) => {
  const roots = rootsOf(selection)
  const seen = look(selection)
  const groups = roots.filter((root) => signalOne(-root, name))
  for (const { group, pid } of seen.found) if (!roots.includes(group)) signalOne(pid, name)
  return { ...seen, count: isLinux ? seen.found.length : groups.length }
}

/** One signal to the groups of `roots` and to every other member, none gets it twice. Returns how many there were. */
export const signalAll = (selection, name) => signal(selection, name).count

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const unclearRoundsMax = 5

/**
 * SIGKILL until none is left: a process may fork between the look and the signal. `left`: the number that remains after `roundsMax` (0 but for the unkillable).
 * `foreign`: ids of all other processes, as seen last.
 */
export const killAll = async (asked, roundsMax = 200) => {
  const selection = { ...asked, known: asked.known ?? new Map() }
  let seen = signal(selection, "SIGKILL")
  for (let round = 0, unclear = 0; round < roundsMax; round++) {
    if (seen.count === 0 && (seen.unclear === 0 || ++unclear > unclearRoundsMax)) break
    await sleep(Math.min(1 + round, 20))
    seen = signal(selection, "SIGKILL")
  }
  return { left: seen.count, foreign: seen.foreign }
}

/**
 * SIGSTOP until every member stands still: the kernel stops a process only when it next leaves the kernel, and one may fork between the look and the signal. One that waits in the
 * kernel uninterruptibly (D: for a disk, or for its vfork child, which may be stopped) counts once it has the signal: it runs nothing of its own before it stops.
 * `left`: how many still run after `roundsMax`. Gives up early once `isWanted` says no.
 */
export const stopAll = async (selection, isWanted, roundsMax = 100) => {
  if (!isLinux) {
    signalAll(selection, "SIGSTOP")
    return { left: 0 }
  }
  const signalled = new Set()
  const isRunning = ({ pid }) => {
    const state = statOf(pid)?.state
    return state !== undefined && state !== "T" && state !== "t" && !(state === "D" && signalled.has(pid))
  }
  let left = 0
  // Twice in a row none: a child that was being forked at one look is there at the next.
  for (let round = 0, stillCount = 0; round < roundsMax && stillCount < 2 && isWanted(); round++) {
    const running = look(selection).found.filter(isRunning)
    left = running.length
    stillCount = left === 0 ? stillCount + 1 : 0
    for (const { pid } of running) {
      signalOne(pid, "SIGSTOP")
      signalled.add(pid)
    }
    if (left > 0) await sleep(Math.min(1 + round, 20))
  }
  return { left }
}
