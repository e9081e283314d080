/** What the tasks of a run print, as it comes. The newest `linesMax` lines are kept. */
import { useEffect, useRef, useState } from "preact/hooks"
import type { LogList } from "../Api.ts"
import * as Live from "../Live.ts"
import { ms } from "../Time.ts"

const linesMax = 5_000
type Line = LogList["items"][number]

const isLine = (data: unknown): data is Line =>
  typeof data === "object" && data !== null && "seq" in data && "text" in data && "taskId" in data && "at" in data

export const Logs = ({ id, task, until }: {
  readonly id: string
  readonly task: string | undefined
  readonly until: number | undefined
}) => {
  const [lines, setLines] = useState<ReadonlyArray<Line>>([])
  const [search, setSearch] = useState("")
  const [isCut, setIsCut] = useState(false)
  const end = useRef<HTMLDivElement>(null)
  useEffect(() => {
    let waiting: Array<Line> = []
    let timer: ReturnType<typeof setTimeout> | undefined
    const show = () => {
      timer = undefined
      const come = waiting
      waiting = []
      setLines((old) => {
        if (old.length + come.length > linesMax) setIsCut(true)
        return [...old, ...come].slice(-linesMax)
      })
    }
    setLines([])
    setIsCut(false)
    const close = Live.open({
      path: `workflows/${encodeURIComponent(id)}/logs/live`,
      query: { task },
      onEvent: (event, data) => {
        if (event !== "log" || !isLine(data)) return
        waiting.push(data)
        timer ??= setTimeout(show, 50)
      },
      onGap: () => setLines([])
    })
    return () => {
      close()
      clearTimeout(timer)
    }
  }, [id, task])
  const shown = lines.filter((line) =>
    (until === undefined || ms(line.at) <= until) && (search === "" || line.text.includes(search))
  )
  useEffect(() => end.current?.scrollIntoView({ block: "nearest" }), [shown.length])
  return (
    <section aria-label="Logs">
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          Contains <input value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
        </label>
        <span>{task === undefined ? "all tasks" : <>only {task}</>}</span>
      </form>
      {isCut
        ? (
          <p class="note">
            The newest {linesMax} lines; <code>heddle workflows logs {id}</code> has all.
          </p>
        )
        : null}
      <div class="log" role="log">
        {shown.map((line) => (
          <div key={line.seq} class={line.stream === "stderr" ? "stderr" : ""}>
            <i>{line.taskId}</i> <span>{line.text}</span>
            {line.dropped === undefined ? null : <b>{line.dropped} bytes were dropped here</b>}
          </div>
        ))}
        {shown.length === 0 ? <p class="empty">No output.</p> : null}
        <div ref={end} />
      </div>
    </section>
  )
}
