/**
 * In what order tasks can run, by their dependencies alone: positions of tasks, no names.
 *
 * Kept true here: each question takes time in proportion to tasks and edges, whatever somebody has written.
 */

/** Kahn's order; those on or behind a cycle are not in it. */
export const topological = (
  predecessorCount: ReadonlyArray<number>,
  successors: ReadonlyArray<ReadonlyArray<number>>
) => {
  const left = predecessorCount.slice()
  const order: Array<number> = []
  for (let i = 0; i < left.length; i++) if (left[i] === 0) order.push(i)
  for (let head = 0; head < order.length; head++) {
    for (const next of successors[order[head] ?? -1] ?? []) {
      const count = (left[next] ?? 0) - 1
      left[next] = count
      if (count === 0) order.push(next)
    }
  }
  return order
}

/** One cycle for each back edge of a depth-first walk over the nodes that no order reaches; at most `cyclesMax`. */
export const cycles = (
  unordered: ReadonlySet<number>,
  predecessors: ReadonlyArray<ReadonlyArray<number>>,
  cyclesMax: number
): ReadonlyArray<ReadonlyArray<number>> => {
  const found: Array<ReadonlyArray<number>> = []
  const done = new Set<number>()
  for (const start of unordered) {
    if (done.has(start)) continue
    const path = [start]
    const next = [0]
    const place = new Map([[start, 0]])
    while (path.length > 0 && found.length < cyclesMax) {
      const top = path.length - 1
      const node = path[top] ?? -1
      const before = predecessors[node]?.[next[top] ?? 0]
      next[top] = (next[top] ?? 0) + 1
      if (before === undefined) {
        done.add(node)
        place.delete(node)
        path.pop()
        next.pop()
      } else if (place.has(before)) found.push(path.slice(place.get(before)).reverse())
      else if (unordered.has(before) && !done.has(before)) {
        place.set(before, path.length)
        path.push(before)
        next.push(0)
      }
    }
  }
  return found
}

/** Which of the wanted pairs (earlier task, later task `by`) are not ordered by the graph. 32 earlier tasks share one walk over the graph. */
export const unordered = <Later extends { readonly by: number }>(
  order: ReadonlyArray<number>,
  predecessors: ReadonlyArray<ReadonlyArray<number>>,
  wanted: ReadonlyMap<number, ReadonlyArray<Later>>
): ReadonlyArray<readonly [earlier: number, later: Later]> => {
  const missing: Array<readonly [number, Later]> = []
  const sources = [...wanted.keys()]
  for (let from = 0; from < sources.length; from += 32) {
    const block = sources.slice(from, from + 32)
    const own = new Int32Array(predecessors.length)
    block.forEach((source, bit) => {
      own[source] = (own[source] ?? 0) | (1 << bit)
    })
    const before = new Int32Array(predecessors.length)
    for (const node of order) {
      let bits = 0
      for (const predecessor of predecessors[node] ?? []) bits |= (before[predecessor] ?? 0) | (own[predecessor] ?? 0)
      before[node] = bits
    }
    block.forEach((source, bit) => {
      for (const later of wanted.get(source) ?? []) {
        if (((before[later.by] ?? 0) & (1 << bit)) === 0) missing.push([source, later])
      }
    })
  }
  return missing
}
