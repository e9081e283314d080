/** The services that are there, and what failovers did. */
import * as Api from "../Api.ts"
import { useEvents, useLoaded } from "../Loading.ts"
import { Problem } from "../part/Problem.tsx"
import { clock, length } from "../Time.ts"

const ways = ["coordinator", "pool-scheduler", "task-executor", "failover", "gateway"]

export const Mesh = () => {
  const members = useLoaded<Api.Members>("members", (ended) => Api.get("members", {}, ended))
  const failovers = useLoaded<Api.Failovers>("failovers", (ended) => Api.get("failovers", {}, ended))
  const reload = () => {
    members.reload()
    failovers.reload()
  }
  useEvents({ kinds: "failover,pool" }, (event) => event !== "hello" && reload(), reload)
  const items = members.value?.items.toSorted((a, b) =>
    ways.indexOf(a.role) - ways.indexOf(b.role) || a.member.localeCompare(b.member)
  )
  return (
    <>
      <h1>Mesh</h1>
      <Problem failure={members.failure ?? failovers.failure} />
      {items === undefined ? null : (
        <table>
          <thead>
            <tr>
              <th>Service</th>
              <th>Member</th>
              <th>Host</th>
              <th class="number">Pid</th>
              <th>Version</th>
              <th>Since</th>
              <th class="number">Slots</th>
              <th>Durability</th>
              <th>Problems</th>
            </tr>
          </thead>
          <tbody>
            {items.map((member) => (
              <tr key={`${member.role} ${member.member}`}>
                <td>{member.role}</td>
                <td>{member.member}</td>
                <td>{member.host}</td>
                <td class="number">{member.pid}</td>
                <td>{member.version}</td>
                <td>{clock(member.startedAt)}</td>
                <td class="number">{member.slots ?? ""}</td>
                <td>{member.durability ?? ""}</td>
                <td class="long">{member.problems?.join("; ") ?? ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <h2>Failovers</h2>
      {failovers.value === undefined ? null : failovers.value.items.length === 0 ? <p class="empty">None.</p> : (
        <table>
          <thead>
            <tr>
              <th>Time</th>
              <th>Kind</th>
              <th>Of</th>
              <th>Cause</th>
              <th>State</th>
              <th class="number">Shards</th>
              <th class="number">Runs</th>
              <th class="number">Tasks</th>
              <th>Took</th>
            </tr>
          </thead>
          <tbody>
            {failovers.value.items.map((record) => (
              <tr key={record.id}>
                <td>{clock(record.at)}</td>
                <td>{record.kind}</td>
                <td>{record.subject}</td>
                <td class="long">{record.cause}</td>
                <td>{record.state}</td>
                <td class="number">{record.shards}</td>
                <td class="number">{record.instances}</td>
                <td class="number">{record.tasks}</td>
                <td>{record.recoveredMs === undefined ? "" : length(record.recoveredMs)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  )
}
