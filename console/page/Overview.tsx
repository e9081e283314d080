/** How the mesh is: runs by state, pools, what failed last. */
import * as Api from "../Api.ts"
import { useEvents, useLoaded } from "../Loading.ts"
import { Problem } from "../part/Problem.tsx"
import { toneOf, wordOf } from "../part/State.tsx"
import { write } from "../Route.ts"
import { PoolTable } from "./Pools.tsx"
import { RunTable } from "./Runs.tsx"

export const Overview = () => {
  const counts = useLoaded<Api.RunCounts>("counts", (ended) => Api.get("workflows/counts", {}, ended))
  const failed = useLoaded<Api.RunList>("failed", (ended) => Api.get("workflows", { state: "FAILED", limit: 5 }, ended))
  const pools = useLoaded<Api.Pools>("pools", (ended) => Api.get("pools", {}, ended))
  const info = useLoaded<Api.Info>("info", (ended) => Api.get("info", {}, ended))
  const reload = () => {
    counts.reload()
    failed.reload()
    pools.reload()
  }
  useEvents({ kinds: "run,claim,pool" }, (event) => {
    if (event === "run") {
      counts.reload()
      failed.reload()
    } else if (event !== "hello") pools.reload()
  }, reload)
  return (
    <>
      <h1>Overview</h1>
      <Problem failure={counts.failure ?? pools.failure ?? info.failure} />
      <section aria-label="Runs by state" class="cards">
        <a class="card" href={write({ page: "runs" })}>
          <b>{counts.value?.total ?? "–"}</b> runs
        </a>
        {Object.entries(counts.value?.byState ?? {}).filter(([, count]) => count > 0).map(([state, count]) => (
          <a key={state} class={`card ${toneOf(state)}`} href={write({ page: "runs", state })}>
            <b>{count}</b> {wordOf(state)}
          </a>
        ))}
      </section>
      {failed.value === undefined || failed.value.items.length === 0 ? null : (
        <section>
          <h2>Last failures</h2>
          <RunTable runs={failed.value.items} />
        </section>
      )}
      <section>
        <h2>Pools</h2>
        <PoolTable pools={pools.value?.items} />
      </section>
      {info.value === undefined ? null : (
        <p class="facts">
          <span>heddle {info.value.version}</span>
          <span>nats-server {info.value.natsServer}</span>
          {info.value.durability === undefined ? null : <span>durability: {info.value.durability}</span>}
        </p>
      )}
    </>
  )
}
