import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { layout, simpleFrom } from "./GraphLayout.ts"
import { type GraphTask, nodeHeight, nodeWidth } from "./GraphPlaces.ts"

/** Of each task, which earlier ones it depends on; one in 17 is not there. */
const Depends = Schema.Array(
  Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 200 }))).check(Schema.isMaxLength(4))
)
  .check(Schema.isMinLength(1), Schema.isMaxLength(25))

const graphOf = (depends: typeof Depends.Type) =>
  depends.map((list, at): GraphTask => ({
    name: `t${at}`,
    dependsOn: list.map((each) => each % 17 === 16 ? "elsewhere" : `t${each % Math.max(1, at)}`).filter((from) =>
      from !== `t${at}`
    )
  }))

const check = (tasks: ReadonlyArray<GraphTask>) => {
  const { edges, height, nodes, width } = layout(tasks)
  assert.deepStrictEqual(nodes.map(({ name }) => name), tasks.map(({ name }) => name))
  for (const { x, y } of nodes) {
    assert.isTrue(x >= nodeWidth / 2 - 1 && x <= width - nodeWidth / 2 + 1, `x ${x} of ${width}`)
    assert.isTrue(y >= nodeHeight / 2 - 1 && y <= height - nodeHeight / 2 + 1, `y ${y} of ${height}`)
  }
  const at = new Map(nodes.map((node) => [node.name, node]))
  const overlaps = nodes.flatMap((a, index) =>
    nodes.slice(index + 1).filter((b) => Math.abs(a.x - b.x) < nodeWidth - 1 && Math.abs(a.y - b.y) < nodeHeight - 1)
      .map((b) => [a.name, b.name])
  )
  assert.deepStrictEqual(overlaps, [])
  for (const { from, points, to } of edges) {
    assert.isBelow(at.get(from)?.x ?? Infinity, at.get(to)?.x ?? -Infinity, `${from} -> ${to} goes left`)
    assert.isAtLeast(points.length, 2)
  }
  const known = new Set(tasks.map(({ name }) => name))
  assert.strictEqual(
    edges.length,
    tasks.reduce((sum, { dependsOn }) => sum + new Set(dependsOn.filter((from) => known.has(from))).size, 0)
  )
}

it.prop(
  "every task has a place of its own inside the picture, and what comes later stands further right",
  [Depends],
  ([depends]) => check(graphOf(depends))
)

it("a graph too large for that is laid out by depth, with the same promises", () => {
  const tasks = Array.from({ length: simpleFrom + 200 }, (_, at): GraphTask => ({
    name: `t${at}`,
    dependsOn: at === 0 ? [] : [`t${Math.floor((at - 1) / 3)}`, `t${Math.max(0, at - 7)}`]
  }))
  check(tasks)
})

it("no tasks, no picture", () => {
  assert.deepStrictEqual(layout([]), { width: 0, height: 0, nodes: [], edges: [] })
})
