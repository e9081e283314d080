/** One pool: its counters, and its claims as they come and go while the page is open. */
import { useState } from "preact/hooks"
import * as Api from "../Api.ts"
import { useEvents, useLoaded } from "../Loading.ts"
import { Problem } from "../part/Problem.tsx"
import { clock } from "../Time.ts"

interface ClaimEvent {
  readonly seq: number
  readonly at: string
  readonly kind: string
  readonly claimId: string
  readonly holder?: string
  readonly name?: string
  readonly leaseExpiresAt?: string
}
const isClaimEvent = (data: unknown): data is ClaimEvent =>
  typeof data === "object" && data !== null && "claimId" in data && "kind" in data && "at" in data

const eventsMax = 200

export const Pool = ({ name, namespace }: { readonly name: string; readonly namespace: string }) => {
  const path = `pools/${Api.segment(namespace)}/${Api.segment(name)}`
  const { failure, reload, value } = useLoaded<Api.PoolSnapshot>(path, (ended) => Api.get(path, {}, ended))
  const [claims, setClaims] = useState<ReadonlyArray<ClaimEvent>>([])
  useEvents({ pool: `${namespace}/${name}`, kinds: "claim,pool" }, (event, data) => {
    if (event === "claim" && isClaimEvent(data)) setClaims((old) => [data, ...old].slice(0, eventsMax))
    if (event !== "hello") reload()
  }, reload)
  return (
    <>
      <h1>Pool {namespace}/{name}</h1>
      <Problem failure={failure} />
      {value === undefined ? null : (
        <section class="cards" aria-label="Counters">
          {([
            ["idle", value.idleReady],
            ["claimed", value.claimed],
            ["in creation", value.creating ?? 0],
            ["sandboxes", value.total],
            ["meant to be", value.target ?? value.total],
            ["claims waiting", value.queueLen],
            ["waiting for a quota", value.quotaBlocked ?? 0],
            ["writes under way", value.inflightCas],
            ["tasks waiting", value.laneQueued + value.dispatchQueued]
          ] as const).map(([word, count]) => (
            <span class="card" key={word}>
              <b>{count}</b> {word}
            </span>
          ))}
        </section>
      )}
      <h2>Claims since this page is open</h2>
      {claims.length === 0 ?
        (
          <p class="empty">
            None yet. <code>npx heddle claim {namespace === "default" ? name : `${namespace}/${name}`}</code> makes one.
          </p>
        ) :
        (
          <table>
            <thead>
              <tr>
                <th>Time</th>
                <th>What</th>
                <th>Claim</th>
                <th>Holder</th>
                <th>Sandbox</th>
                <th>Lease until</th>
              </tr>
            </thead>
            <tbody>
              {claims.map((claim) => (
                <tr key={`${claim.seq} ${claim.claimId} ${claim.kind}`}>
                  <td>{clock(claim.at)}</td>
                  <td>{claim.kind}</td>
                  <td>{claim.claimId}</td>
                  <td>{claim.holder ?? ""}</td>
                  <td>{claim.name ?? ""}</td>
                  <td>{claim.leaseExpiresAt === undefined ? "" : clock(claim.leaseExpiresAt)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
    </>
  )
}
