/** How a run ended, for people; and what that is to the shell. */
import type { WorkflowResult } from "../shared/protocol/Workflow.ts"
import * as Output from "./Output.ts"

/** 0 only for a run that succeeded. */
export const exitOf = (state: WorkflowResult["state"]): number => state === "SUCCEEDED" ? 0 : 1

/** `nightly@3`; a definition that came with its start has no version. */
export const definitionName = ({ name, version }: { readonly name: string; readonly version: number }): string =>
  version === 0 ? `${name} (inline)` : `${name}@${version}`

const shown = (value: unknown): string => typeof value === "string" ? value : JSON.stringify(value)

/** Outputs one a line; a text of several lines stands below its name, as it is. */
export const outputs = (values: Readonly<Record<string, unknown>>, style: Output.Style): ReadonlyArray<string> =>
  Object.entries(values).flatMap(([name, value]) => {
    const text = shown(value).trimEnd()
    return text.includes("\n") ? [`${style.dim(name)}:`, text] : [`${style.dim(name)}: ${text}`]
  })

export const describe = (result: WorkflowResult, style: Output.Style): string => {
  const took = result.endedAt === undefined
    ? ""
    : ` in ${Output.duration(Date.parse(result.endedAt) - Date.parse(result.startedAt))}`
  const reason = result.reason === undefined ? "" : `: ${result.reason}`
  return [`${result.instanceId} ${style.state(result.state)}${took}${reason}`, ...outputs(result.outputs, style)].join(
    "\n"
  )
}
