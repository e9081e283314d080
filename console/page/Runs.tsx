/** The runs, newest first; rows change as the runs do. */
import { useState } from "preact/hooks"
import * as Api from "../Api.ts"
import { useEvents, useLoaded } from "../Loading.ts"
import { Problem } from "../part/Problem.tsx"
import { State, wordOf } from "../part/State.tsx"
import { type Route, write } from "../Route.ts"
import { clock, length, ms } from "../Time.ts"

const states = ["RUNNING", "FAILED", "PAUSED", "STOPPED", "SUCCEEDED", "SERIAL_WAIT", "WAIT_TO_RUN"]
const pageSize = 100

export const RunTable = ({ runs }: { readonly runs: ReadonlyArray<Api.Run> }) => (
  <table>
    <thead>
      <tr>
        <th>State</th>
        <th>Run</th>
        <th>Definition</th>
        <th>Started</th>
        <th>Took</th>
        <th>Reason</th>
      </tr>
    </thead>
    <tbody>
      {runs.map((run) => (
        <tr key={run.instanceId}>
          <td>
            <State state={run.state} />
          </td>
          <td>
            <a href={write({ page: "run", id: run.instanceId, tab: "graph" })}>{run.instanceId}</a>
          </td>
          <td>
            <a href={write({ page: "definition", name: run.definition.name, namespace: run.definition.namespace })}>
              {run.definition.name}
            </a>
            {run.definition.version > 0 ? <small>@{run.definition.version}</small> : null}
          </td>
          <td>
            <time dateTime={run.startedAt}>{clock(run.startedAt)}</time>
          </td>
          <td>{run.endedAt === undefined ? "" : length(ms(run.endedAt) - ms(run.startedAt))}</td>
          <td class="long">{run.reason ?? ""}</td>
        </tr>
      ))}
    </tbody>
  </table>
)

export const Runs = ({ route }: { readonly route: Extract<Route, { page: "runs" }> }) => {
  const [pages, setPages] = useState(1)
  const query = { state: route.state, definition: route.definition, prefix: route.prefix }
  const { failure, reload, value } = useLoaded<{ items: ReadonlyArray<Api.Run>; hasMore: boolean }>(
    JSON.stringify({ query, pages }),
    async (ended) => {
      const items: Array<Api.Run> = []
      let next: string | undefined
      for (let page = 0; page < pages; page++) {
        const answer = await Api.get<Api.RunList>("workflows", { ...query, limit: pageSize, next }, ended)
        if (!answer.ok) return answer
        items.push(...answer.value.items)
        next = answer.value.next
        if (next === undefined) break
      }
      return { ok: true, value: { items, hasMore: next !== undefined } }
    }
  )
  useEvents({ kinds: "run" }, (event) => event === "run" && reload(), reload)
  const go = (change: Partial<typeof query>) => {
    location.hash = write({
      page: "runs",
      ...Object.fromEntries(
        Object.entries({ ...query, ...change }).filter(([, text]) => text !== undefined && text !== "")
      )
    })
  }
  return (
    <>
      <h1>Runs</h1>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          State
          <select value={route.state ?? ""} onChange={(event) => go({ state: event.currentTarget.value })}>
            <option value="">any</option>
            {states.map((state) => <option key={state} value={state}>{wordOf(state)}</option>)}
          </select>
        </label>
        <label>
          Definition
          <input value={route.definition ?? ""} onChange={(event) => go({ definition: event.currentTarget.value })} />
        </label>
        <label>
          Id begins with
          <input value={route.prefix ?? ""} onChange={(event) => go({ prefix: event.currentTarget.value })} />
        </label>
      </form>
      <Problem failure={failure} />
      {value === undefined ? null : value.items.length === 0
        ? (
          <p class="empty">
            No runs {Object.values(query).some((text) => text !== undefined) ? "match" : "yet"}. Start one:{" "}
            <code>npx heddle run examples/hello.yaml</code>
          </p>
        )
        : <RunTable runs={value.items} />}
      {value?.hasMore === true ? <button type="button" onClick={() => setPages(pages + 1)}>More</button> : null}
    </>
  )
}
