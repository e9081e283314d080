/**
 * What is checked: situations, small enough for every test run, each with a deeper version (`main.ts --deep`), and for every step of the protocol
 * the situation in which leaving it out shows.
 */
import type { Budget, Defect, Property, Scenario } from "./SessionModel.ts"

const budget = (change: Partial<Budget> & Pick<Budget, "takes">): Budget => ({
  entries: 0,
  losses: 0,
  releases: 0,
  checkpoints: 0,
  restarts: 0,
  tailLosses: 0,
  ...change
})
/** A serves one shard, B is there. */
const pair = { coordinators: 2, servedBy: [0], handOver: "mark", checkpoint: "key" } as const

const takeOver: Scenario = { ...pair, budget: budget({ entries: 2, losses: 1, takes: [1, 1], restarts: 1 }) }
const race: Scenario = { ...pair, coordinators: 3, budget: budget({ entries: 2, losses: 1, takes: [0, 1, 1] }) }
const handOver: Scenario = { ...pair, budget: budget({ entries: 1, losses: 1, takes: [1, 1], releases: 2 }) }
/** The key could not be marked in time, and the owner takes back what it released. */
const unmarked: Scenario = { ...pair, budget: budget({ entries: 1, losses: 2, takes: [1, 1], releases: 1 }) }
const chain: Scenario = {
  coordinators: 3,
  servedBy: [0, 1],
  handOver: "mark",
  checkpoint: "key",
  budget: budget({ entries: 1, takes: [0, 1, 2] })
}
const checkpoint: Scenario = { ...pair, budget: budget({ entries: 2, losses: 1, takes: [1, 1], checkpoints: 1 }) }
const pages: Scenario = {
  ...pair,
  coordinators: 3,
  checkpoint: "pages",
  budget: budget({ entries: 1, takes: [0, 1, 1], checkpoints: 2 })
}
const tailLoss: Scenario = { ...pair, budget: budget({ entries: 2, takes: [1, 2], tailLosses: 1 }) }

/** In all of these the whole protocol must hold. */
export const sound: ReadonlyArray<{ readonly name: string; readonly small: Scenario; readonly deep: Scenario }> = [
  {
    name: "take-over from an owner that is dead, slow or starts again",
    small: takeOver,
    deep: { ...pair, budget: budget({ entries: 2, losses: 2, takes: [2, 2], restarts: 1 }) }
  },
  {
    name: "two candidates race for the shard of a third",
    small: race,
    deep: { ...race, budget: budget({ entries: 2, losses: 1, takes: [1, 1, 1], restarts: 1 }) }
  },
  {
    name: "hand-over alive, there and back",
    small: handOver,
    deep: { ...pair, budget: budget({ entries: 2, losses: 1, takes: [1, 2], releases: 2, restarts: 1 }) }
  },
  {
    name: "hand-over alive without a mark in the key",
    small: { ...handOver, handOver: "direct", budget: budget({ entries: 1, losses: 1, takes: [1, 1], releases: 1 }) },
    deep: {
      ...pair,
      handOver: "direct",
      budget: budget({ entries: 2, losses: 1, takes: [1, 2], releases: 2, restarts: 1 })
    }
  },
  {
    name: "two shards in one ledger",
    small: { ...pair, servedBy: [0, 0], budget: budget({ entries: 2, losses: 1, takes: [0, 2] }) },
    deep: { ...pair, servedBy: [0, 0], budget: budget({ entries: 2, losses: 1, takes: [1, 2], releases: 1 }) }
  },
  {
    name: "a candidate that is sealed itself while it takes a shard",
    small: chain,
    deep: { ...chain, budget: budget({ entries: 2, losses: 1, takes: [0, 1, 2] }) }
  },
  {
    name: "first start: no key yet",
    small: { ...pair, servedBy: [null], budget: budget({ entries: 1, losses: 1, takes: [2, 1] }) },
    deep: { ...pair, servedBy: [null], budget: budget({ entries: 2, losses: 2, takes: [2, 2], restarts: 1 }) }
  },
  {
    name: "checkpoints",
    small: checkpoint,
    deep: { ...pair, budget: budget({ entries: 2, losses: 1, takes: [1, 2], checkpoints: 2, releases: 1 }) }
  },
  {
    name: "checkpoints in pages, with a head of their own",
    small: pages,
    deep: { ...pages, budget: budget({ entries: 2, takes: [1, 1, 1], checkpoints: 2 }) }
  },
  {
    name: "released, and taken back",
    small: unmarked,
    deep: { ...pair, budget: budget({ entries: 2, losses: 2, takes: [2, 2], releases: 1 }) }
  },
  {
    name: "released, and the successor is gone",
    small: { ...pair, coordinators: 3, budget: budget({ entries: 1, takes: [0, 1, 1], releases: 1 }) },
    deep: {
      ...pair,
      coordinators: 3,
      budget: budget({ entries: 1, takes: [0, 1, 1], releases: 1, losses: 1, restarts: 1 })
    }
  },
  {
    name: "the broker loses the newest messages (power loss)",
    small: tailLoss,
    deep: { ...pair, coordinators: 3, budget: budget({ entries: 2, takes: [1, 1, 1], tailLosses: 1 }) }
  }
]

/** From every state of these, any coordinator that is left alone comes to serve any shard. */
export const unstuck: ReadonlyArray<{ readonly name: string; readonly scenario: Scenario }> = [
  { name: "take-over", scenario: takeOver },
  { name: "hand-over", scenario: { ...pair, budget: budget({ entries: 1, losses: 1, takes: [1, 1], releases: 1 }) } },
  {
    name: "first start",
    scenario: { ...pair, servedBy: [null], budget: budget({ entries: 1, losses: 1, takes: [1, 1] }) }
  },
  {
    name: "power loss of the broker",
    scenario: { ...pair, budget: budget({ entries: 1, takes: [1, 1], tailLosses: 1 }) }
  }
]

/** Each step that is left out or done wrong, where it shows, and the property that breaks. */
export const defects: ReadonlyArray<
  { readonly defect: Defect; readonly scenario: Scenario; readonly breaks: Property }
> = [
  { defect: "no seal before the CAS", scenario: takeOver, breaks: "nothing lost" },
  { defect: "seal without expected sequence", scenario: race, breaks: "seal is last" },
  { defect: "read before the seal", scenario: takeOver, breaks: "nothing lost" },
  { defect: "read before the CAS, revision read again at the CAS", scenario: race, breaks: "nothing lost" },
  { defect: "read from a lagging replica", scenario: takeOver, breaks: "nothing lost" },
  { defect: "read up to the seal", scenario: chain, breaks: "nothing lost" },
  { defect: "key written without CAS", scenario: race, breaks: "one owner" },
  { defect: "serve before ADOPTED is acknowledged", scenario: takeOver, breaks: "order" },
  { defect: "no ADOPTED", scenario: takeOver, breaks: "order" },
  { defect: "blind retry with refreshed sequence", scenario: takeOver, breaks: "once" },
  { defect: "blind retry with refreshed sequence", scenario: takeOver, breaks: "one owner" },
  { defect: "unknown taken for success", scenario: takeOver, breaks: "client answer after log" },
  { defect: "not stopping on fenced", scenario: takeOver, breaks: "one owner" },
  { defect: "append without expected sequence", scenario: takeOver, breaks: "one owner" },
  { defect: "client answered before the log", scenario: takeOver, breaks: "client answer after log" },
  { defect: "hand-over without RELEASED", scenario: handOver, breaks: "nothing lost" },
  { defect: "hand-over before RELEASED is acknowledged", scenario: handOver, breaks: "nothing lost" },
  { defect: "CAS not naming the release", scenario: handOver, breaks: "one owner" },
  { defect: "take back without a CAS", scenario: unmarked, breaks: "one owner" },
  { defect: "CAS settled by the owner's name alone", scenario: unmarked, breaks: "one owner" },
  { defect: "restart trusts its name in the key", scenario: takeOver, breaks: "order" },
  { defect: "restart on the old ledger", scenario: takeOver, breaks: "seal is last" },
  {
    defect: "adoption finished under a new ledger",
    scenario: { ...pair, coordinators: 3, budget: budget({ entries: 1, losses: 1, takes: [0, 1, 1] }) },
    breaks: "one owner"
  },
  { defect: "checkpoint written without CAS", scenario: checkpoint, breaks: "nothing lost" },
  { defect: "checkpoint pages named by generation only", scenario: pages, breaks: "nothing lost" },
  { defect: "reconnect is not checked", scenario: tailLoss, breaks: "one owner" },
  { defect: "reconnect checks the ledger only", scenario: tailLoss, breaks: "one owner" },
  { defect: "take-over goes on after a reconnect", scenario: tailLoss, breaks: "one owner" }
]

/** Deviations that broke none of the properties named here: what the step is for is told in docs/design/session-protocol.md. */
export const harmless: ReadonlyArray<
  { readonly defect: Defect; readonly scenario: Scenario; readonly except: ReadonlyArray<Property> }
> = [
  { defect: "seal without expected sequence", scenario: race, except: ["seal is last"] },
  { defect: "read before the CAS", scenario: race, except: [] },
  { defect: "fenced answer after a retry taken for the end", scenario: takeOver, except: [] }
]
