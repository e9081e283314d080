/** One run: its graph, timeline, history and logs at one moment, and what can be done with it. */
import { useEffect, useMemo, useState } from "preact/hooks"
import * as Api from "../Api.ts"
import { useEvents, useLoaded } from "../Loading.ts"
import { Confirm, type Question } from "../part/Confirm.tsx"
import { Graph } from "../part/Graph.tsx"
import { History } from "../part/History.tsx"
import { Logs } from "../part/Logs.tsx"
import { Problem } from "../part/Problem.tsx"
import { State, wordOf } from "../part/State.tsx"
import { TaskDetail } from "../part/TaskDetail.tsx"
import { TimeCursor } from "../part/TimeCursor.tsx"
import { Timeline } from "../part/Timeline.tsx"
import { type Route, runTabs, write } from "../Route.ts"
import * as RunAt from "../RunAt.ts"
import { clock, length, ms } from "../Time.ts"

/** What a run in this state can be told. design/03 section 4. */
const verbsOf = (state: string): ReadonlyArray<string> => {
  switch (state) {
    case "RUNNING":
    case "WAIT_TO_RUN":
    case "SERIAL_WAIT":
      return ["pause", "stop"]
    case "READY_PAUSE":
      return ["stop"]
    case "PAUSED":
      return ["resume", "stop"]
    case "FAILED":
    case "STOPPED":
      return ["recover", "rerun"]
    case "SUCCEEDED":
      return ["rerun"]
    default:
      return []
  }
}

export const Run = ({ route }: { readonly route: Extract<Route, { page: "run" }> }) => {
  const { id, tab, task: selected } = route
  const path = `workflows/${Api.segment(id)}`
  const { failure, reload, value: view } = useLoaded<Api.View>(id, (ended) => Api.get(path, {}, ended))
  useEvents({ instance: id, kinds: "run,task" }, (event) => event !== "hello" && reload(), reload)
  const [at, setAt] = useState<number>()
  const [question, setQuestion] = useState<Question>()
  const [now, setNow] = useState(Date.now())
  const isEnded = view?.endedAt !== undefined
  useEffect(() => {
    if (isEnded) return
    const timer = setInterval(() => setNow(Date.now()), 1_000)
    return () => clearInterval(timer)
  }, [isEnded])
  const moments = useMemo(() => view === undefined ? [] : RunAt.momentsOf(view), [view])
  const tasks = useMemo(
    () => view?.tasks.map(({ dependsOn, name, type }) => ({ name, type, dependsOn: dependsOn ?? [] })) ?? [],
    [view?.definition.name, view?.definition.version, view?.tasks.length, view?.runNumber]
  )
  if (view === undefined) {
    return (
      <>
        <h1>{id}</h1>
        {failure === undefined ? <p class="empty">Loading…</p> : <Problem failure={failure} />}
      </>
    )
  }
  const span = RunAt.spanOf(view, now)
  const moment = at ?? span.to
  const states = new Map(view.tasks.map((task) => [task.name, RunAt.taskAt(task, moment, at === undefined)]))
  const hrefOf = (task: string) => write({ ...route, task })
  const detail = view.tasks.find(({ name }) => name === selected)
  return (
    <>
      <h1>
        {id} <State state={view.state} />
      </h1>
      <p class="facts">
        <span>
          definition <a href={write({ page: "definition", name: view.definition.name })}>{view.definition.name}</a>
          {view.definition.version > 0 ? `@${view.definition.version}` : ""}
        </span>
        <span>started {clock(view.startedAt)}</span>
        <span>
          {view.endedAt === undefined
            ? `running for ${length(now - ms(view.startedAt))}`
            : `took ${length(ms(view.endedAt) - ms(view.startedAt))}`}
        </span>
        {view.runNumber > 1 ? <span>run {view.runNumber}</span> : null}
        {view.parent === undefined ? null : (
          <span>
            part of <a href={write({ page: "run", id: view.parent, tab: "graph" })}>{view.parent}</a>
          </span>
        )}
        {view.forkOf === undefined ? null : (
          <span>
            fork of{" "}
            <a href={write({ page: "run", id: view.forkOf.instanceId, tab: "graph" })}>{view.forkOf.instanceId}</a>
          </span>
        )}
      </p>
      {view.reason === undefined ? null : <p class={view.state === "FAILED" ? "problem" : "note"}>{view.reason}</p>}
      <Problem failure={failure} />
      <p class="buttons">
        {verbsOf(view.state).map((verb) => (
          <button
            type="button"
            key={verb}
            onClick={() =>
              setQuestion({
                title: `${wordOf(verb)} ${id}?`,
                verb,
                act: (reason) => Api.post(`${path}/${verb}`, reason === undefined ? {} : { reason })
              })}
          >
            {verb}
          </button>
        ))}
      </p>
      {question === undefined ? null : (
        <Confirm
          question={question}
          onClose={(isDone) => {
            setQuestion(undefined)
            if (isDone) reload()
          }}
        />
      )}
      <nav class="tabs" aria-label="Parts of the run">
        {runTabs.map((each) => (
          <a key={each} href={write({ ...route, tab: each })} aria-current={each === tab ? "page" : undefined}>
            {each}
          </a>
        ))}
      </nav>
      <TimeCursor at={at} from={span.from} to={span.to} moments={moments} onChange={setAt} />
      {tab === "graph"
        ? <Graph tasks={tasks} stateOf={(name) => states.get(name)} selected={selected} hrefOf={hrefOf} />
        : tab === "timeline"
        ? <Timeline bars={RunAt.barsOf(view, moment)} from={span.from} to={span.to} hrefOf={hrefOf} />
        : tab === "history"
        ? <History id={id} seq={view.seq} until={at} onMoment={setAt} />
        : <Logs id={id} task={selected} until={at} />}
      {detail === undefined || tab === "logs" ? null : (
        <TaskDetail
          task={detail}
          at={at}
          moment={moment}
          runPath={path}
          logsHref={write({ ...route, tab: "logs" })}
          onAsk={setQuestion}
        />
      )}
      {Object.keys(view.outputs).length === 0 ? null : (
        <details>
          <summary>Outputs</summary>
          <pre>{JSON.stringify(view.outputs, undefined, 2)}</pre>
        </details>
      )}
      {Object.keys(view.params).length === 0 ? null : (
        <details>
          <summary>Parameters</summary>
          <pre>{JSON.stringify(view.params, undefined, 2)}</pre>
        </details>
      )}
    </>
  )
}
