/**
 * A service with a local pool of two sandboxes and nothing else, for the test that kills it: claims each and prints it as one line of JSON.
 * Arguments: the pool's open context as JSON, the folder.
 */
import * as Effect from "effect/Effect"
import { ClaimId } from "../../shared/protocol/Token.ts"
import { local } from "./plugin.ts"

const [context = "{}", directory = ""] = process.argv.slice(2)
const service = Effect.gen(function*() {
  const open = JSON.parse(context)
  const pool = yield* local.open(open, { directory })
  yield* pool.watch((delta) => {
    if (delta._tag !== "Upsert" || delta.state.phase !== "Idle") return
    const { sandbox, version } = delta.state
    const mark = { claimId: ClaimId.make("c"), holder: "test", sessionId: open.sessionId, ttlMs: 0 }
    pool.claim({ uid: sandbox.uid, version, mark }, () => console.log(JSON.stringify(sandbox)))
  })
  for (const name of ["a", "b"]) pool.create({ name, sessionId: open.sessionId }, () => {})
  return yield* Effect.never
})
Effect.runFork(Effect.scoped(service))
