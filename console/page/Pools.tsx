/** The pools with their sandboxes; counters change as claims come and go. */
import * as Api from "../Api.ts"
import { useEvents, useLoaded } from "../Loading.ts"
import { Problem } from "../part/Problem.tsx"
import { write } from "../Route.ts"

/** Of a pool's sandboxes: claimed, idle, being made. */
const Bar = ({ snapshot }: { readonly snapshot: Api.PoolSnapshot }) => {
  const creating = snapshot.creating ?? 0
  const all = Math.max(1, snapshot.total, snapshot.claimed + snapshot.idleReady + creating)
  const part = (count: number) => `${100 * count / all}%`
  return (
    <span
      class="meter"
      role="img"
      aria-label={`${snapshot.claimed} claimed, ${snapshot.idleReady} idle, ${creating} in creation`}
    >
      <b class="busy" style={{ width: part(snapshot.claimed) }} />
      <b class="good" style={{ width: part(snapshot.idleReady) }} />
      <b class="waiting" style={{ width: part(creating) }} />
    </span>
  )
}

export const PoolTable = ({ pools }: { readonly pools: ReadonlyArray<Api.PoolOfList> | undefined }) =>
  pools === undefined ? null : pools.length === 0 ?
    (
      <p class="empty">
        No pools. <code>npx heddle pools apply FILE</code> makes one.
      </p>
    ) :
    (
      <table>
        <thead>
          <tr>
            <th>Pool</th>
            <th>Provider</th>
            <th>Sandboxes</th>
            <th class="number">Idle</th>
            <th class="number">Claimed</th>
            <th class="number">Waiting</th>
            <th class="number">Tasks waiting</th>
            <th>Owner</th>
          </tr>
        </thead>
        <tbody>
          {pools.map(({ name, namespace, owner, provider, size, snapshot }) => (
            <tr key={`${namespace}/${name}`}>
              <td>
                <a href={write({ page: "pool", namespace, name })}>{namespace}/{name}</a>
              </td>
              <td>{provider}</td>
              <td>
                {snapshot === undefined ? `of ${size}` : (
                  <>
                    <Bar snapshot={snapshot} /> {snapshot.total} of {snapshot.target ?? size}
                  </>
                )}
              </td>
              <td class="number">{snapshot?.idleReady ?? ""}</td>
              <td class="number">{snapshot?.claimed ?? ""}</td>
              <td class="number">{snapshot?.queueLen ?? ""}</td>
              <td class="number">{snapshot === undefined ? "" : snapshot.laneQueued + snapshot.dispatchQueued}</td>
              <td>{owner ?? <span class="problem">nobody</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    )

export const Pools = () => {
  const { failure, reload, value } = useLoaded<Api.Pools>("pools", (ended) => Api.get("pools", {}, ended))
  useEvents({ kinds: "claim,pool" }, (event) => event !== "hello" && reload(), reload)
  return (
    <>
      <h1>Pools</h1>
      <Problem failure={failure} />
      <PoolTable pools={value?.items} />
    </>
  )
}
