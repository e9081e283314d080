export interface Selection {
  /** `NAME=value` in the environment. */
  readonly mark?: string
  /** Absolute, without links. */
  readonly folder?: string
  /** Processes (group leaders) whose groups, sessions and descendants belong. */
  readonly roots?: ReadonlyArray<number>
  /** Ids that are foreign. */
  readonly skip?: ReadonlySet<number>
  /** Members seen so far, id to start (`startOf`); each look adds to it. A root that is in it is one only while the process of this number is the same. */
  readonly known?: Map<number, string>
}
export const processIds: () => ReadonlyArray<number>
export const startOf: (pid: number) => string | undefined
export const members: (selection: Selection) => ReadonlyArray<number>
export const signalOne: (pid: number, signal: NodeJS.Signals | 0) => boolean
export const isGroupAlive: (group: number) => boolean
export const signalAll: (selection: Selection, signal: NodeJS.Signals | 0) => number
export const killAll: (
  selection: Selection,
  roundsMax?: number
) => Promise<{ readonly left: number; readonly foreign: ReadonlySet<number> }>
export const stopAll: (
  selection: Selection,
  isWanted: () => boolean,
  roundsMax?: number
) => Promise<{ readonly left: number }>
