/** One task of a run at the moment shown: its attempts, why it has not run, and what it can be told. */
import * as Api from "../Api.ts"
import { write } from "../Route.ts"
import * as RunAt from "../RunAt.ts"
import { clock, length, ms } from "../Time.ts"
import type { Question } from "./Confirm.tsx"
import { State } from "./State.tsx"

const verbs = [["run", "Run this task again"], ["force-success", "Count it as succeeded"]] as const

export const TaskDetail = ({ at, logsHref, moment, onAsk, runPath, task }: {
  readonly task: Api.TaskOfView
  readonly at: number | undefined
  readonly moment: number
  readonly runPath: string
  readonly logsHref: string
  readonly onAsk: (question: Question) => void
}) => {
  const seen = RunAt.taskAt(task, moment, at === undefined)
  const attempts = task.attempts.flatMap((attempt) => {
    const state = RunAt.attemptState(attempt, moment)
    return state === undefined ? [] : [{ attempt, state }]
  })
  return (
    <section class="detail" aria-label={`Task ${task.name}`}>
      <h2>
        {task.name} <State state={seen.state} /> <small>{task.type}</small>
      </h2>
      {at === undefined && task.why !== undefined ? <p class="note">{task.why}</p> : null}
      <p class="buttons">
        <a href={logsHref}>Logs</a>
        {at === undefined
          ? verbs.map(([verb, title]) => (
            <button
              type="button"
              key={verb}
              onClick={() =>
                onAsk({
                  title: `${title}: ${task.name}?`,
                  verb,
                  act: (reason) =>
                    Api.post(
                      `${runPath}/tasks/${Api.segment(task.name)}/${verb}`,
                      reason === undefined ? {} : { reason }
                    )
                })}
            >
              {verb}
            </button>
          ))
          : null}
      </p>
      {attempts.length === 0 ? null : (
        <table>
          <thead>
            <tr>
              <th>Attempt</th>
              <th>State</th>
              <th>Submitted</th>
              <th>Waited</th>
              <th>Ran</th>
              <th>Executor</th>
              <th>Sandbox</th>
              <th>Exit</th>
              <th>Reason</th>
            </tr>
          </thead>
          <tbody>
            {attempts.map(({ attempt, state }) => {
              const isOver = attempt.endedAt !== undefined && ms(attempt.endedAt) <= moment
              const end = isOver && attempt.endedAt !== undefined ? ms(attempt.endedAt) : moment
              const started = attempt.startedAt === undefined || ms(attempt.startedAt) > moment
                ? undefined
                : ms(attempt.startedAt)
              return (
                <tr key={`${attempt.item ?? ""}:${attempt.attempt}:${attempt.submittedAt}`}>
                  <td>{attempt.attempt}{attempt.item === undefined ? "" : ` [${attempt.item}]`}</td>
                  <td>
                    <State state={state} />
                  </td>
                  <td>
                    <time dateTime={attempt.submittedAt}>{clock(attempt.submittedAt)}</time>
                  </td>
                  <td>{length((started ?? end) - ms(attempt.submittedAt))}</td>
                  <td>{started === undefined ? "" : length(end - started)}</td>
                  <td>{attempt.executor ?? ""}</td>
                  <td>
                    {attempt.sandbox ?? (attempt.child === undefined
                      ? ""
                      : <a href={write({ page: "run", id: attempt.child, tab: "graph" })}>{attempt.child}</a>)}
                  </td>
                  <td>{isOver ? attempt.exitCode ?? "" : ""}</td>
                  <td class="long">{isOver ? attempt.reason ?? "" : ""}</td>
                </tr>
              )
            })}
          </tbody>
        </table>
      )}
      {at !== undefined || task.outputs === undefined || Object.keys(task.outputs).length === 0 ? null : (
        <details>
          <summary>Outputs</summary>
          <pre>{JSON.stringify(task.outputs, undefined, 2)}</pre>
        </details>
      )}
    </section>
  )
}
