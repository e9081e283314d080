/**
 * Where the tasks of a graph stand, left to right along what depends on what. The layout is d3-dag's (its interface after dagre's); this says what goes in and comes out. Pure.
 *
 * Kept true: every task has a place, two never the same; edges to tasks that the graph does not have are left out. Above `simpleFrom` tasks the columns are by depth alone, each in the order of the
 * definition: the layout would take seconds there, and nobody reads crossings in such a graph.
 */
import { dagre } from "d3-dag"
import { type GraphTask, type Layout, nodeHeight, nodeWidth, type Point } from "./GraphPlaces.ts"
const gapX = 56
const gapY = 14
export const simpleFrom = 400

/** Edges leave a task in the middle of its right side and reach one in the middle of its left. */
const exit = ({ x, y }: Point): Point => ({ x: x + nodeWidth / 2, y })
const entry = ({ x, y }: Point): Point => ({ x: x - nodeWidth / 2, y })

const edgesOf = (tasks: ReadonlyArray<GraphTask>) => {
  const names = new Set(tasks.map(({ name }) => name))
  return tasks.flatMap(({ dependsOn, name }) =>
    [...new Set(dependsOn)].filter((from) => names.has(from)).map((from) => ({ from, to: name }))
  )
}

const layered = (tasks: ReadonlyArray<GraphTask>): Layout => {
  const edges = edgesOf(tasks)
  const depth = new Map(tasks.map(({ name }) => [name, 0]))
  const waits = new Map(tasks.map(({ name }) => [name, 0]))
  const next = new Map<string, Array<string>>()
  for (const { from, to } of edges) {
    waits.set(to, (waits.get(to) ?? 0) + 1)
    next.set(from, [...(next.get(from) ?? []), to])
  }
  const ready = tasks.flatMap(({ name }) => waits.get(name) === 0 ? [name] : [])
  for (let at = 0; at < ready.length; at++) {
    const name = ready[at] ?? ""
    for (const to of next.get(name) ?? []) {
      depth.set(to, Math.max(depth.get(to) ?? 0, (depth.get(name) ?? 0) + 1))
      const left = (waits.get(to) ?? 0) - 1
      waits.set(to, left)
      if (left === 0) ready.push(to)
    }
  }
  const rows = new Map<number, number>()
  const nodes = tasks.map(({ name }) => {
    const column = depth.get(name) ?? 0
    const row = rows.get(column) ?? 0
    rows.set(column, row + 1)
    return {
      name,
      x: nodeWidth / 2 + column * (nodeWidth + gapX),
      y: nodeHeight / 2 + row * (nodeHeight + gapY)
    }
  })
  const places = new Map(nodes.map((node) => [node.name, node]))
  return {
    width: Math.max(nodeWidth, ...[...rows.keys()].map((column) => (column + 1) * (nodeWidth + gapX) - gapX)),
    height: Math.max(nodeHeight, ...[...rows.values()].map((row) => row * (nodeHeight + gapY) - gapY)),
    nodes,
    edges: edges.flatMap(({ from, to }) => {
      const a = places.get(from)
      const b = places.get(to)
      return a === undefined || b === undefined
        ? []
        : [{ from, to, points: [exit(a), entry(b)] }]
    })
  }
}

export const layout = (tasks: ReadonlyArray<GraphTask>): Layout => {
  if (tasks.length === 0) return { width: 0, height: 0, nodes: [], edges: [] }
  if (tasks.length >= simpleFrom) return layered(tasks)
  // Laid out from top to bottom and turned afterwards.
  const graph = new dagre.graphlib.Graph()
  graph.setGraph({ rankdir: "TB", nodesep: gapY, ranksep: gapX })
  graph.setDefaultEdgeLabel(() => ({}))
  for (const { name } of tasks) graph.setNode(name, { width: nodeHeight, height: nodeWidth })
  const edges = edgesOf(tasks)
  for (const { from, to } of edges) graph.setEdge(from, to)
  dagre.layout(graph)
  const places = new Map(tasks.map(({ name }) => {
    const { x: y = 0, y: x = 0 } = graph.node(name)
    return [name, { name, x, y }]
  }))
  const { height: width = nodeWidth, width: height = nodeHeight } = graph.graph()
  return {
    width,
    height,
    nodes: [...places.values()],
    edges: edges.flatMap(({ from, to }) => {
      const a = places.get(from)
      const b = places.get(to)
      if (a === undefined || b === undefined) return []
      const between = (graph.edge(from, to).points ?? []).map(({ x, y }) => ({ x: y, y: x }))
        .filter(({ x }) => x > exit(a).x + 1 && x < entry(b).x - 1)
      return [{ from, to, points: [exit(a), ...between, entry(b)] }]
    })
  }
}
