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

/** Parent id, process group and session of a live process; `undefined` when it is gone or a zombie. */
const statOf = (pid) => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1")
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
    return fields[0] === "Z" || fields[0] === "X"
      ? undefined
      : {
        parent: Number(fields[1]),
        group: Number(fields[2]),
        session: Number(fields[3]),
        hasTerminal: fields[4] !== "0"
      }
  } catch {
    return undefined
  }
}

/** A mark that ends in `-` stands for all that begin so. */
const carries = (pid, mark) => {
  try {
    const environ = readFileSync(`/proc/${pid}/environ`, "latin1")
    const text = mark.endsWith("-") ? mark : `${mark}\0`
    return environ.startsWith(text) || environ.includes(`\0${text}`)
  } catch {
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

const look = ({ except, folder, mark, roots = [], skip }) => {
  const wanted = new Set(roots)
  const found = []
  const others = new Map()
  for (const pid of processIds()) {
    if (pid === process.pid || except?.has(pid) || skip?.has(pid)) continue
    const stat = statOf(pid)
    if (stat === undefined) continue
    if (
      wanted.has(pid) || wanted.has(stat.group) || wanted.has(stat.session) ||
      (mark !== undefined && carries(pid, mark)) ||
      (folder !== undefined && !stat.hasTerminal && isWithin(pid, folder))
    ) {
      found.push({ pid, group: stat.group })
      wanted.add(pid)
    } else others.set(pid, stat)
  }
  // Children of what was found, until no more come.
  for (let isGrown = true; isGrown;) {
    isGrown = false
    for (const [pid, stat] of others) {
      if (!wanted.has(stat.parent)) continue
      others.delete(pid)
      wanted.add(pid)
      found.push({ pid, group: stat.group })
      isGrown = true
    }
  }
  return found
}

/**
 * Live processes that belong to `mark`, `folder` or `roots`; never this process nor one of `except`. `skip`: ids known to be foreign (alive before the first
 * process of this tree was started), which saves reading them.
 */
export const members = (selection) => look(selection).map((_) => _.pid)

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

/** One signal to the groups of `roots` and to every other member, none gets it twice. Returns how many there were. */
export const signalAll = (selection, signal) => {
  const roots = selection.roots ?? []
  const found = look(selection)
  const groups = roots.filter((root) => signalOne(-root, signal))
  for (const { group, pid } of found) if (!roots.includes(group)) signalOne(pid, signal)
  return isLinux ? found.length : groups.length
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

/** SIGKILL until none is left: a process may fork between the look and the signal. Resolves to the number left after `roundsMax` (0 but for the unkillable). */
export const killAll = async (selection, roundsMax = 200) => {
  for (let round = 0; round < roundsMax; round++) {
    if (signalAll(selection, "SIGKILL") === 0) return 0
    await sleep(Math.min(1 + round, 20))
  }
  return signalAll(selection, "SIGKILL")
}
