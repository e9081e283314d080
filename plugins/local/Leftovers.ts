/**
 * What a pool leaves behind when its service and its agents are all killed at once: processes and a folder. The next pool on this machine removes them.
 *
 * Each pool's folder holds the identity of the process that owns it (id and start time, so that a reused id is no mistake). Only folders of this user whose
 * owner is gone are touched.
 */
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import * as ProcessTree from "./ProcessTree.mjs"

/** Names of pool folders begin so. */
export const prefix = "heddle-local-"
export const ownerFile = "owner"

/** Start time of a process in clock ticks since the boot; empty where that is not known. */
const startedAt = (pid: number): string => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1")
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? ""
  } catch {
    return ""
  }
}

/** Identity of this process. */
export const ownerText = (): string => `${process.pid} ${startedAt(process.pid)}`

const isOwnerAlive = (text: string): boolean => {
  const [pid = "", started = ""] = text.trim().split(" ")
  const id = Number(pid)
  return Number.isInteger(id) && id > 0 && ProcessTree.signalOne(id, 0) && startedAt(id) === started
}

/** Removes abandoned pool folders in `parent`, and the processes that belong to them. A folder that cannot be read is left alone. */
export const sweep = async (parent: string): Promise<void> => {
  for (const name of namesIn(parent)) {
    const folder = join(parent, name)
    try {
      if (statSync(folder).uid !== process.getuid?.()) continue
      if (isOwnerAlive(readFileSync(join(folder, ownerFile), "utf8"))) continue
      await ProcessTree.killAll({ mark: `HEDDLE_SANDBOX=${name.slice(prefix.length)}-`, folder })
      rmSync(folder, { recursive: true, force: true })
    } catch {
      // Being made or being removed by somebody else at this moment: the next pool looks again.
    }
  }
}

const namesIn = (parent: string): ReadonlyArray<string> => {
  try {
    return readdirSync(parent).filter((name) => name.startsWith(prefix))
  } catch {
    return []
  }
}
