/**
 * Visits every state that a model can reach, breadth first, and stops at the first one that breaks a property: the trace it gives back is a
 * shortest one.
 *
 * Knows nothing about sessions. A model is data (its first states) and three pure functions; two states are the same state when their keys are
 * equal. With `fingerprints: "hashed"` only 52 bits of each key are kept: a state could then be taken for another, with the odds that the
 * outcome tells. Used by the model check of design/01 section 3.
 */

/** One step of a model: what happened, and the state it led to. */
export interface Step<S> {
  readonly label: string
  readonly state: S
}

/** `violated` says which property a state breaks, and how; `undefined` when it is sound. */
export interface Model<S> {
  readonly initial: ReadonlyArray<S>
  readonly next: (state: S) => Iterable<Step<S>>
  readonly key: (state: S) => string
  readonly violated: (state: S) => string | undefined
}

export interface Limits {
  /** Ends the search as `Unfinished`. */
  readonly statesMax: number
  readonly fingerprints: "exact" | "hashed"
}

interface Counts {
  readonly states: number
  readonly transitions: number
  /** Steps from a first state to the farthest one reached. */
  readonly depth: number
}

/** `missedOdds`: the chance that some state was taken for another and not looked at; 0 with exact fingerprints. */
export type Outcome<S> =
  | Counts & { readonly _tag: "Holds"; readonly missedOdds: number }
  | Counts & { readonly _tag: "Unfinished" }
  | Counts & { readonly _tag: "Violated"; readonly property: string; readonly trace: ReadonlyArray<Step<S>> }

/** 52 bits of a text: two rounds of multiply and xor with different constants. */
const hash52 = (text: string): number => {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    a = Math.imul(a ^ unit, 2654435761)
    b = Math.imul(b ^ unit, 1597334677)
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909)
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909)
  return (b >>> 6) * 2 ** 26 + (a >>> 6)
}

/** The steps that lead to state `index`, found again by walking its parents and taking the same turns. */
const traceTo = <S>(
  model: Model<S>,
  parents: ReadonlyArray<number>,
  turns: ReadonlyArray<number>,
  index: number
): ReadonlyArray<Step<S>> => {
  const path: Array<number> = []
  let at = index
  while ((parents[at] ?? -1) >= 0) {
    path.unshift(turns[at] ?? 0)
    at = parents[at] ?? -1
  }
  const trace: Array<Step<S>> = []
  let state = model.initial[turns[at] ?? 0]
  for (const turn of path) {
    if (state === undefined) break
    let position = 0
    for (const step of model.next(state)) {
      if (position++ !== turn) continue
      trace.push(step)
      state = step.state
      break
    }
  }
  return trace
}

export const explore = <S>(model: Model<S>, limits: Limits): Outcome<S> => {
  const seen = new Set<string | number>()
  const fingerprint = limits.fingerprints === "exact" ? (key: string) => key : hash52
  // Of a visited state only its parent and which of the parent's steps led here are kept, so memory goes with the frontier.
  const parents: Array<number> = []
  const turns: Array<number> = []
  let frontier: Array<{ readonly index: number; readonly state: S }> = []
  let transitions = 0
  let depth = 0
  const counts = (): Counts => ({ states: parents.length, transitions, depth })
  const visit = (state: S, parent: number, turn: number, onto: Array<{ index: number; state: S }>) => {
    const print = fingerprint(model.key(state))
    if (seen.has(print)) return undefined
    seen.add(print)
    const index = parents.length
    parents.push(parent)
    turns.push(turn)
    onto.push({ index, state })
    const property = model.violated(state)
    return property === undefined ? undefined : { property, index }
  }
  for (const [turn, state] of model.initial.entries()) {
    const bad = visit(state, -1, turn, frontier)
    if (bad !== undefined) return { _tag: "Violated", ...counts(), property: bad.property, trace: [] }
  }
  while (frontier.length > 0) {
    const following: typeof frontier = []
    for (const { index, state } of frontier) {
      let turn = 0
      for (const step of model.next(state)) {
        transitions++
        const bad = visit(step.state, index, turn++, following)
        if (bad !== undefined) {
          return {
            _tag: "Violated",
            ...counts(),
            depth: depth + 1,
            property: bad.property,
            trace: traceTo(model, parents, turns, bad.index)
          }
        }
      }
      if (parents.length > limits.statesMax) return { _tag: "Unfinished", ...counts() }
    }
    frontier = following
    if (frontier.length > 0) depth++
  }
  const n = parents.length
  return { _tag: "Holds", ...counts(), missedOdds: limits.fingerprints === "exact" ? 0 : (n * n) / 2 ** 53 }
}
