/** That workflows really ran: a benchmark of wrong answers is worth nothing. */
import * as Schema from "effect/Schema"
import { rpc } from "../../../shared/protocol/Subject.ts"
import { WorkflowView } from "../../../shared/protocol/Workflow.ts"
import type { Mesh } from "../../e2e/Mesh.ts"

const decode = Schema.decodeUnknownSync(WorkflowView)
const looksMax = 5

/** A few of the instances, newest and oldest: each of `tasks` tasks ran once and succeeded. */
export const check = async (mesh: Mesh, instances: ReadonlySet<string>, tasks: number): Promise<void> => {
  const all = [...instances]
  const some = new Set([...all.slice(0, looksMax), ...all.slice(-looksMax)])
  for (const instanceId of some) {
    const view = decode(await mesh.ask(rpc.workflow("get"), { instanceId }))
    const wrong = view.tasks.filter((task) => task.state !== "SUCCEEDED" || task.attempts.length !== 1)
    if (view.state !== "SUCCEEDED" || view.tasks.length !== tasks || wrong.length > 0) {
      throw new Error(`${instanceId} did not run as it should: ${JSON.stringify(view)}`)
    }
  }
}
