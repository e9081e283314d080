/**
 * Replay: the state as the fold of an instance's entries. Verify: whether today's `decide` would have written the same. design/03 section 2.
 *
 * Kept true here: `replay` never decides, so a journal means what it meant when it was written; `verify` decides every turn from the replayed state before it, so that
 * one difference does not spoil the turns after it.
 */
import type { Entry } from "../../../shared/protocol/Journal.ts"
import * as Decide from "./Decide.ts"
import * as Evolve from "./Evolve.ts"
import { initial } from "./Initial.ts"
import type { WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** The fold of one instance's entries from `n` = 1, oldest first. Undefined for none. */
export const replay = (entries: ReadonlyArray<Entry>, graph: WorkflowGraph): WorkflowState | undefined => {
  const first = entries[0]
  if (first === undefined) return undefined
  let state = initial(graph, first.instance, first.shard)
  for (const entry of entries) state = Evolve.foldEntry(state, entry)
  return state
}

/** One entry for which `decide` now gives something else than was recorded: both sides. */
export interface Difference {
  readonly n: number
  readonly part: "cause" | "transitions" | "effects" | "fold"
  readonly recorded: unknown
  readonly decided: unknown
}

/** Key order does not count: an entry may have come through a decoder. */
const sorted = (_key: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
    : value
const text = (value: unknown): string => JSON.stringify(value, sorted)

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

/** Entries as for `replay`. Poisoned entries are the trace of a defect: they are folded, not decided. */
export const verify = (entries: ReadonlyArray<Entry>, graph: WorkflowGraph): ReadonlyArray<Difference> => {
  const first = entries[0]
  if (first === undefined) return []
  const differences: Array<Difference> = []
  let state = initial(graph, first.instance, first.shard)
  for (const entry of entries) {
    if (!entry.transitions.some((transition) => transition._tag === "POISONED")) {
      const compare = (part: Difference["part"], recorded: unknown, decided: unknown) => {
        if (text(recorded) !== text(decided)) differences.push({ n: entry.n, part, recorded, decided })
      }
      try {
        const { cause, effects, transitions } = Decide.decide(state, entry.cause, entry.at)
        compare("cause", entry.cause, cause)
        compare("transitions", entry.transitions, transitions)
        compare("effects", entry.effects, effects.map((effect) => effect.id))
      } catch (error) {
        // a state that only a changed journal folds to
        compare("transitions", entry.transitions, messageOf(error))
      }
    }
    try {
      state = Evolve.foldEntry(state, entry)
    } catch (error) {
      differences.push({
        n: entry.n,
        part: "fold",
        recorded: entry.transitions,
        decided: messageOf(error)
      })
      return differences
    }
  }
  return differences
}
