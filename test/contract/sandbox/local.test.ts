/** The local provider's SandboxClient: a sandbox is an agent process of this machine. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { local } from "../../../plugins/local/plugin.ts"
import type { ClaimOutcome, SandboxState } from "../../../shared/plugin/PoolProvider.ts"
import { ClaimId, Namespace, PoolName, SessionId } from "../../../shared/protocol/Token.ts"
import { contract, run } from "./Contract.ts"

const sessionId = SessionId.make(1)

contract(
  "local",
  Effect.fnUntraced(function*(env) {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-test-"))),
      (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
    )
    const pool = yield* local.open({
      pool: { namespace: Namespace.make("default"), name: PoolName.make("p") },
      sessionId,
      size: 1,
      labels: {},
      startedAt: 0
    }, { directory })
    const idle = yield* Queue.unbounded<SandboxState>()
    yield* pool.watch((delta) => {
      if (delta._tag === "Upsert" && delta.state.phase === "Idle") Queue.offerUnsafe(idle, delta.state)
    })
    pool.create({ name: "a", sessionId }, () => undefined)
    const state = yield* Queue.take(idle)
    yield* Effect.callback<ClaimOutcome>((resume) =>
      pool.claim({
        uid: state.sandbox.uid,
        version: state.version,
        mark: { claimId: ClaimId.make("c"), holder: "test", sessionId, ttlMs: 0 },
        env
      }, (outcome) => resume(Effect.succeed(outcome)))
    )
    const client = yield* local.connect(state.sandbox)
    const agent = Number((yield* run(client, { command: { script: "echo $PPID" } })).stdout)
    return {
      client,
      folder: join(dirname((state.sandbox.address ?? "").slice("unix:".length)), "home"),
      vanish: Effect.sync(() => {
        process.kill(agent, "SIGKILL")
      })
    }
  })
)
