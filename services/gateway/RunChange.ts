/**
 * What one journal entry changes of a run as lists show it. docs/reference/journal.md, design/03 section 4.
 *
 * Kept true: it follows from the entry alone, so every gateway says the same of it, now or when it reads the entry again; the fold of an instance's changes is what
 * `workflow.list` says of it (tested with the journals of the corpus and with the engine's own fold).
 */
import type { Entry } from "../../shared/protocol/Journal.ts"
import type { EpochMs, InstanceId } from "../../shared/protocol/Token.ts"
import type { WorkflowStatus } from "../../shared/protocol/Workflow.ts"

export interface RunDefinition {
  readonly namespace: string
  readonly name: string
  readonly version: number
}

/** A field that is not there stays as it was. */
export interface RunChange {
  /** Of the first entry: what the run is one of. */
  readonly begun?: { readonly definition: RunDefinition; readonly parent?: InstanceId }
  /** Everything begins again, as another run of the instance. */
  readonly isRerun?: true
  readonly startedAt?: EpochMs
  readonly state?: WorkflowStatus
  /** `null`: it goes on (again). */
  readonly endedAt?: EpochMs | null
  readonly reason?: string | null
}

/** What holds the slots of groups and serial definitions has a journal as runs have, and is none. */
const slotsPrefix = "__slots_"
export const isRun = (instance: string): boolean => !instance.startsWith(slotsPrefix)

const resting: ReadonlySet<WorkflowStatus> = new Set(["PAUSED", "STOPPED", "FAILED", "SUCCEEDED"])
const again = { state: "RUNNING", endedAt: null, reason: null } as const

/** `undefined`: nothing that lists show. */
export const of = (entry: typeof Entry.Encoded): RunChange | undefined => {
  if (!isRun(entry.instance)) return undefined
  let change: RunChange | undefined
  const add = (more: RunChange): void => {
    change = change === undefined ? more : { ...change, ...more }
  }
  for (const transition of entry.transitions) {
    switch (transition._tag) {
      case "STARTED": {
        const cause = entry.cause[transition.of]
        if (cause?._tag !== "WORKFLOW_START") break // no entry of the engine's: without its start it is nobody's run
        const { definition: { name, namespace, version }, parent } = cause.start
        add({
          begun: {
            definition: { namespace, name, version },
            ...(parent === undefined ? {} : { parent: parent.instance as InstanceId }) // checked with the entry
          },
          startedAt: entry.at,
          ...again
        })
        break
      }
      case "RERUN":
        add({ isRerun: true, startedAt: entry.at, ...again })
        break
      case "RECOVERED":
      case "RUN_TASK":
        add(again)
        break
      case "WORKFLOW":
        add({
          state: transition.status,
          endedAt: resting.has(transition.status) ? entry.at : null,
          ...(transition.reason === undefined ? {} : { reason: transition.reason })
        })
        break
      case "ENDING":
        if (transition.reason !== undefined) add({ reason: transition.reason })
        break
      case "POISONED":
        add({ state: "FAILED", endedAt: entry.at, reason: transition.reason })
        break
      case "SERIAL":
        add({ state: "SERIAL_WAIT" })
        break
      case "SERIAL_GRANTED":
        add({ state: "RUNNING" })
        break
    }
  }
  return change
}
