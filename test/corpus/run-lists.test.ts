/**
 * The gateway's lists of runs from the journals of the corpus: each run is listed as the engine's own fold of its journal says.
 */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as View from "../../services/coordinator/engine/View.ts"
import * as LiveEvent from "../../services/gateway/LiveEvent.ts"
import * as RunChange from "../../services/gateway/RunChange.ts"
import { Runs } from "../../services/gateway/Runs.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { finalStatuses } from "../../shared/protocol/Workflow.ts"
import * as Corpus from "./Corpus.ts"

const files = readdirSync(Corpus.folder).filter((name) => name.endsWith(".jsonl"))

describe.each(files)("%s", (file) => {
  const lines = Corpus.linesOf(readFileSync(join(Corpus.folder, file), "utf8"))
  const messages = lines.map(({ message, sequence }) => ({ text: JSON.stringify(message), sequence }))

  it("every run is listed as the engine knows it, and nothing else is", () => {
    const runs = new Runs()
    for (const { sequence, text } of messages) {
      const entries = LiveEvent.entriesOf(text)
      assert.isDefined(entries)
      for (const entry of entries ?? []) assert.isUndefined(runs.apply(entry, sequence))
    }
    const expected = [...Corpus.instancesOf(lines)].filter(([instance]) => RunChange.isRun(instance)).map(
      ([, recorded]) => {
        const state = Corpus.replayed(recorded)
        return {
          ...View.summary(state),
          reason: state.reason,
          runNumber: state.run,
          parent: state.parent?.instance,
          seq: recorded.sequences.at(-1)
        }
      }
    )
    const listed = runs.all().map((
      { definition, endedAt, instanceId, parent, reason, runNumber, seq, startedAt, state }
    ) => ({
      instanceId,
      state,
      definition,
      startedAt: timestamp(startedAt),
      ...(endedAt === undefined ? {} : { endedAt: timestamp(endedAt) }),
      reason,
      runNumber,
      parent,
      seq
    }))
    assert.sameDeepMembers<unknown>(listed, expected)
    const counted = [...runs.counts()].reduce((sum, { total }) => sum + total, 0)
    assert.strictEqual(counted, expected.length)
  })

  it("the events of a run end with the state in which the engine leaves it", () => {
    const events = messages.flatMap(({ sequence, text }) => LiveEvent.ofJournal(text, sequence))
    for (const [instance, recorded] of Corpus.instancesOf(lines)) {
      if (!RunChange.isRun(instance)) continue
      const state = Corpus.replayed(recorded)
      const states = events.filter((event) => event.kind === "run" && event.instance === instance)
        .map(({ json }) => JSON.parse(json) as { readonly state?: string; readonly endedAt?: string })
      const last = states.findLast((one) => one.state !== undefined)
      assert.strictEqual(last?.state, state.status)
      assert.strictEqual(last?.endedAt !== undefined, finalStatuses.has(state.status))
    }
  })
})
