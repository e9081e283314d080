/** What starts runs by the clock. */
import { useState } from "preact/hooks"
import * as Api from "../Api.ts"
import { useEvents, useLoaded } from "../Loading.ts"
import { Confirm, type Question } from "../part/Confirm.tsx"
import { Problem } from "../part/Problem.tsx"
import { write } from "../Route.ts"
import { clock } from "../Time.ts"

export const Schedules = () => {
  const { failure, reload, value } = useLoaded<Api.Schedules>("schedules", (ended) => Api.get("schedules", {}, ended))
  const [question, setQuestion] = useState<Question>()
  useEvents({ kinds: "run" }, (event) => event === "run" && reload(), reload)
  return (
    <>
      <h1>Schedules</h1>
      <Problem failure={failure} />
      {question === undefined ? null : (
        <Confirm
          question={question}
          onClose={(isDone) => {
            setQuestion(undefined)
            if (isDone) reload()
          }}
        />
      )}
      {value === undefined ? null : value.items.length === 0
        ? (
          <p class="empty">
            No schedules. <code>npx heddle schedules --help</code> says how to make one.
          </p>
        )
        : (
          <table>
            <thead>
              <tr>
                <th>Name</th>
                <th>State</th>
                <th>Next</th>
                <th>Last run</th>
                <th class="number">Started</th>
                <th class="number">Left out</th>
                <th>Problem</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {value.items.map((schedule) => {
                const verb = schedule.state === "Paused" ? "resume" : "pause"
                return (
                  <tr key={schedule.name}>
                    <td>{schedule.name}</td>
                    <td>{schedule.state}</td>
                    <td>{schedule.nextAt === undefined ? "" : clock(schedule.nextAt)}</td>
                    <td>
                      {schedule.lastInstance === undefined
                        ? ""
                        : (
                          <a href={write({ page: "run", id: schedule.lastInstance, tab: "graph" })}>
                            {schedule.lastInstance}
                          </a>
                        )}
                    </td>
                    <td class="number">{schedule.started}</td>
                    <td class="number">{schedule.skipped}</td>
                    <td class="long">{schedule.problem?.message ?? schedule.reason ?? ""}</td>
                    <td class="buttons">
                      {schedule.state === "Ended" ? null : (
                        <button
                          type="button"
                          onClick={() =>
                            setQuestion({
                              title: `${verb} ${schedule.name}?`,
                              verb,
                              act: (reason) =>
                                Api.post(
                                  `schedules/${Api.segment(schedule.name)}/${verb}`,
                                  reason === undefined ? {} : { reason }
                                )
                            })}
                        >
                          {verb}
                        </button>
                      )}
                    </td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        )}
    </>
  )
}
