/**
 * What a scenario is: a name, the figures that it gives, and how it is prepared and run once. The benchmark runs it at least three times and takes
 * the median of each figure.
 */
import type { Connection } from "../../shared/jetstream/Nats.ts"
import type { PoolSpec } from "../../shared/protocol/Pool.ts"
import type { Mesh } from "../e2e/Mesh.ts"
import type { FloorKey } from "./Floor.ts"
import type { WorkflowClient } from "./WorkflowClient.ts"

export interface Figure {
  readonly name: string
  readonly unit: "ms" | "/s"
  /** The figure of the floor to hold it against. */
  readonly floor?: FloorKey
}

/** What a scenario may use. `quick`: sizes for a smoke test; figures then mean nothing. */
export interface Bench {
  readonly mesh: Mesh
  readonly connection: Connection
  readonly workflows: WorkflowClient
  readonly quick: boolean
  /** A process of the benchmark's own: `test/bench/<file>` with these arguments; ended with the bench. */
  readonly launch: (file: string, args: ReadonlyArray<string>) => Promise<void>
}

/** One run: a value for each figure, in the figure's unit. */
export type Values = Readonly<Record<string, number>>

export interface Prepared {
  /** Rejects when a result is not right. */
  readonly run: () => Promise<Values>
  /** After all runs: checks what can only be checked at the end. */
  readonly check?: () => Promise<void>
}

export interface Scenario {
  readonly name: string
  /** Scenarios of one group share a mesh, which holds nothing that the group does not need. */
  readonly group: "workflow" | "claim"
  /** One line for the table's reader. */
  readonly what: string
  readonly figures: ReadonlyArray<Figure>
  /** Pieces of work in one run. When given, the report shows what one costs each process (CPU, messages) and the processes' peak memory. */
  readonly pieces?: (quick: boolean) => number
  /** Applied when the mesh starts. */
  readonly pools?: (quick: boolean) => ReadonlyArray<typeof PoolSpec.Encoded>
  /** Definitions, warm-up: nothing of it is measured. */
  readonly prepare: (bench: Bench) => Promise<Prepared>
}
