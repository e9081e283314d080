/** `heddle release`: gives claims back; a claim that is released already is no error. */
import * as Effect from "effect/Effect"
import { ClaimResult, type ClaimResult as Result } from "../../shared/protocol/Claim.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as ClaimSearch from "../ClaimSearch.ts"
import * as Connection from "../Connection.ts"
import { Ended } from "../ExitCode.ts"
import { Output } from "../Output.ts"

export const run = (input: { readonly claim: ReadonlyArray<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const { ids, pool } = yield* ClaimSearch.placed(input.claim)
    const results: Array<Result> = []
    for (const claimId of ids) {
      const result = yield* Connection.call(Subject.rpc.pool(pool, "release"), ClaimResult, { claimId })
      results.push(result)
      if (output.format === "table") yield* output.line(`${result.claimId} ${output.style.state(result.outcome)}`)
    }
    if (output.format === "jsonl") yield* output.page({ items: results }, [], "")
    else if (output.format !== "table") yield* output.value(results.length === 1 ? results[0] : { results }, () => "")
    const isDone = results.every((result) => result.outcome === "Released" || result.outcome === "Expired")
    return isDone ? undefined : yield* new Ended({ exit: 1 })
  }).pipe(Connection.provide)
