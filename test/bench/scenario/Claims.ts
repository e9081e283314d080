/** Claims against the simulated provider: 20,000 sandboxes, 20,000 claims with 64 in flight, then all of them released. */
import type { ClaimResult } from "../../../shared/protocol/Claim.ts"
import { namespaceDefault, type PoolSpec } from "../../../shared/protocol/Pool.ts"
import { rpc } from "../../../shared/protocol/Subject.ts"
import { PoolName } from "../../../shared/protocol/Token.ts"
import * as Samples from "../Samples.ts"
import type { Scenario } from "../Scenario.ts"
import { inFlight } from "../WorkflowClient.ts"
import { request } from "./RoundTrip.ts"

const count = 20_000
const most = 64
const pool = { namespace: namespaceDefault, name: PoolName.make("bench-claims") }
const claimSubject = rpc.pool(pool, "claim")
const releaseSubject = rpc.pool(pool, "release")

const sizeOf = (quick: boolean): number => quick ? 40 : count
const specOf = (quick: boolean): typeof PoolSpec.Encoded => ({
  name: pool.name,
  provider: "simulated",
  size: sizeOf(quick)
})

type Answer = Pick<ClaimResult, "claimId" | "outcome" | "sandbox" | "error">

export const claims: Scenario = {
  name: "claims",
  group: "claim",
  what: "20,000 claims of a simulated pool, 64 in flight, then their releases",
  figures: [
    { name: "claims", unit: "/s" },
    { name: "p50", unit: "ms" },
    { name: "p99", unit: "ms" },
    { name: "releases", unit: "/s" }
  ],
  pieces: sizeOf,
  pools: (quick) => [specOf(quick)],
  prepare: async ({ connection, mesh, quick }) => {
    const total = sizeOf(quick)
    const ask = async (subject: string, body: string, wanted: Answer["outcome"]): Promise<Answer> => {
      const answer: Answer = JSON.parse(await request(connection, subject, body))
      if (answer.outcome !== wanted) throw new Error(`${subject} ${body} was answered ${JSON.stringify(answer)}`)
      return answer
    }
    const round = async (claimed: number): Promise<Record<string, number>> => {
      const times = new Float64Array(claimed)
      const ids: Array<string> = []
      const sandboxes = new Set<string>()
      const from = performance.now()
      await inFlight(claimed, most, async (at) => {
        const sent = performance.now()
        const { claimId, sandbox } = await ask(claimSubject, "{}", "Claimed")
        times[at] = performance.now() - sent
        ids.push(claimId)
        sandboxes.add(sandbox?.uid ?? "")
      })
      const claimedAt = performance.now()
      // All are held at this moment, so no two may be the same.
      if (sandboxes.size !== claimed) throw new Error(`${claimed} claims hold ${sandboxes.size} sandboxes`)
      await inFlight(claimed, most, async (at) => {
        await ask(releaseSubject, JSON.stringify({ claimId: ids[at] }), "Released")
      })
      const releasedAt = performance.now()
      await mesh.awaitIdle(pool, total)
      return {
        claims: claimed / (claimedAt - from) * 1_000,
        p50: Samples.percentile(times, 0.5),
        p99: Samples.percentile(times, 0.99),
        releases: claimed / (releasedAt - claimedAt) * 1_000
      }
    }
    await round(quick ? 10 : 5_000)
    return { run: () => round(total) }
  }
}
