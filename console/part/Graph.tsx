/**
 * The graph of a run: every task, also those not reached, with its state at the time cursor. Drag to move, wheel or buttons to zoom; each task is a link to what its attempts did.
 */
import { useEffect, useMemo, useRef, useState } from "preact/hooks"
import { type GraphTask, type Layout, nodeHeight, nodeWidth } from "../GraphPlaces.ts"
import type { TaskAt } from "../RunAt.ts"
import { toneOf, wordOf } from "./State.tsx"

/** Asks the worker; `undefined` until it has answered. */
const useLayout = (tasks: ReadonlyArray<GraphTask>): Layout | undefined => {
  const key = JSON.stringify(tasks)
  const [found, setFound] = useState<{ key: string; layout: Layout }>()
  useEffect(() => {
    const worker = new Worker(new URL("../GraphLayout.worker.ts", import.meta.url), { type: "module" })
    worker.addEventListener("message", ({ data }: MessageEvent<Layout>) => {
      setFound({ key, layout: data })
      worker.terminate()
    })
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker has one listener, and no origins
    worker.postMessage(tasks)
    return () => worker.terminate()
  }, [key])
  return found?.layout
}

const pathOf = (points: Layout["edges"][number]["points"]): string => {
  const [first, ...rest] = points
  if (first === undefined) return ""
  let path = `M${first.x},${first.y}`
  let last = first
  for (const point of rest) {
    const middle = (last.x + point.x) / 2
    path += `C${middle},${last.y} ${middle},${point.y} ${point.x},${point.y}`
    last = point
  }
  return path
}

const margin = 16
const short = (text: string): string => text.length > 22 ? `${text.slice(0, 21)}…` : text

export interface GraphProps {
  readonly tasks: ReadonlyArray<GraphTask & { readonly type: string }>
  /** `undefined`: a graph that is not of a run. */
  readonly stateOf: ((name: string) => TaskAt | undefined) | undefined
  readonly selected: string | undefined
  readonly hrefOf: (name: string) => string
}

export const Graph = ({ hrefOf, selected, stateOf, tasks }: GraphProps) => {
  const shape = useMemo(() => tasks.map(({ dependsOn, name }) => ({ name, dependsOn })), [tasks])
  const layout = useLayout(shape)
  const [view, setView] = useState({ x: 0, y: 0, zoom: 1 })
  const drag = useRef<{ x: number; y: number; from: { x: number; y: number } } | undefined>(undefined)
  const frame = useRef<SVGSVGElement>(null)
  const zoomBy = (factor: number) =>
    setView((old) => ({ ...old, zoom: Math.min(4, Math.max(0.05, old.zoom * factor)) }))
  const fit = () => {
    const box = frame.current?.getBoundingClientRect()
    if (layout === undefined || box === undefined || box.width === 0) return
    const zoom = Math.min(1.2, box.width / (layout.width + 2 * margin), box.height / (layout.height + 2 * margin))
    setView({
      x: (box.width / zoom - layout.width) / 2,
      y: (box.height / zoom - layout.height) / 2,
      zoom
    })
  }
  useEffect(fit, [layout])
  if (tasks.length === 0) return <p class="empty">This run has no tasks.</p>
  if (layout === undefined) return <p class="empty">Laying out {tasks.length} tasks…</p>
  const types = new Map(tasks.map(({ name, type }) => [name, type]))
  return (
    <div class="graph">
      <div class="tools">
        <button type="button" onClick={() => zoomBy(1.25)} aria-label="Zoom in">+</button>
        <button type="button" onClick={() => zoomBy(0.8)} aria-label="Zoom out">−</button>
        <button type="button" onClick={fit}>Fit</button>
      </div>
      <svg
        ref={frame}
        style={{ height: `clamp(150px, ${1.2 * (layout.height + 2 * margin)}px, 60vh)` }}
        role="group"
        aria-label={`Graph of ${tasks.length} tasks`}
        onWheel={(event) => {
          event.preventDefault()
          zoomBy(event.deltaY < 0 ? 1.1 : 0.9)
        }}
        onPointerDown={(event) => {
          drag.current = { x: event.clientX, y: event.clientY, from: view }
        }}
        onPointerMove={(event) => {
          const from = drag.current
          if (from === undefined || event.buttons === 0) return
          setView((old) => ({
            ...old,
            x: from.from.x + (event.clientX - from.x) / old.zoom,
            y: from.from.y + (event.clientY - from.y) / old.zoom
          }))
        }}
        onPointerUp={() => {
          drag.current = undefined
        }}
      >
        <g transform={`scale(${view.zoom}) translate(${view.x},${view.y})`}>
          {layout.edges.map(({ from, points, to }) => <path key={`${from}>${to}`} class="edge" d={pathOf(points)} />)}
          {layout.nodes.map(({ name, x, y }) => {
            const task = stateOf?.(name)
            const state = task?.state
            const items = task?.items
            const note = stateOf === undefined
              ? types.get(name) ?? ""
              : items === undefined
              ? wordOf(state) + (task !== undefined && task.attempts > 1 ? `, ${task.attempts} attempts` : "")
              : [...items].map(([each, count]) => `${count} ${wordOf(each)}`).join(", ")
            return (
              <a key={name} href={hrefOf(name)} aria-label={`${name}: ${note}`}>
                <g
                  class={`node ${toneOf(state)} ${selected === name ? "selected" : ""}`}
                  data-task={name}
                  data-state={state ?? ""}
                  transform={`translate(${x - nodeWidth / 2},${y - nodeHeight / 2})`}
                >
                  <title>{`${name} (${types.get(name)}): ${note}`}</title>
                  <rect width={nodeWidth} height={nodeHeight} rx={6} />
                  <rect class="mark" width={5} height={nodeHeight} rx={2} />
                  <text x={14} y={17}>{short(name)}</text>
                  <text class="note" x={14} y={32}>{short(note)}</text>
                </g>
              </a>
            )
          })}
        </g>
      </svg>
    </div>
  )
}
