import { assert, it } from "@effect/vitest"
import type { PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import { MemberId, SessionId } from "../../shared/protocol/Token.ts"
import type { Api, Request } from "./ApiClient.ts"
import { at, listAt } from "./Json.ts"
import { heartbeatMs, StatusTeller } from "./StatusTeller.ts"

const status = (more: Partial<PoolStatus> = {}): PoolStatus => ({
  pendingRequests: 0,
  idle: 1,
  claimed: 0,
  creating: 0,
  total: 1,
  target: 1,
  sessionId: SessionId.make(4),
  isDraining: false,
  ...more
})

/** An API that takes every write, and a clock that is moved by hand. */
const stage = () => {
  let now = Date.UTC(2026, 0, 1)
  let isFenced = false
  const due: Array<{ readonly at: number; readonly run: () => void }> = []
  const sent: Array<Request> = []
  const api: Api = {
    send: (_, request, done) => {
      sent.push(request)
      done({ _tag: "Answered", status: 200, body: {}, retryAfterMs: undefined })
      return () => {}
    },
    watch: () => ({ close: () => {} })
  }
  const teller = new StatusTeller({
    api,
    target: { apiVersion: "heddle.dev/v1alpha1", kind: "SandboxPool", path: "/web", name: "web", uid: "1" },
    owner: MemberId.make("ps-1"),
    selector: "heddle.dev/pool=web",
    now: () => now,
    phases: () => ({ starting: 0, idle: 1, running: 0, stopping: 0 }),
    isFenced: () => isFenced
  }, {
    later: (afterMs, run) => due.push({ at: now + afterMs, run }),
    warn: () => {}
  })
  const pass = (ms: number): void => {
    now += ms
    for (const one of due.splice(0)) {
      if (one.at <= now) one.run()
      else due.push(one)
    }
  }
  const shown = () => {
    const last = at(sent.at(-1)?.body, "status")
    const [ready] = listAt(last, "conditions")
    return {
      heartbeat: at(last, "lastHeartbeatTime"),
      ready: at(ready, "status"),
      reason: at(ready, "reason"),
      since: at(ready, "lastTransitionTime")
    }
  }
  return { teller, pass, sent, shown, fence: () => (isFenced = true) }
}

it("the owner writes at once, then every minute that it is still there; one that was replaced writes no more", () => {
  const { fence, pass, sent, shown, teller } = stage()
  teller.tell(status())
  assert.deepStrictEqual(shown(), {
    heartbeat: "2026-01-01T00:00:00.000Z",
    ready: "True",
    reason: "Serving",
    since: "2026-01-01T00:00:00.000Z"
  })
  for (let minute = 1; minute <= 3; minute++) {
    pass(heartbeatMs)
    assert.lengthOf(sent, 1 + minute)
    assert.strictEqual(shown().heartbeat, `2026-01-01T00:0${minute}:00.000Z`)
    assert.strictEqual(shown().since, "2026-01-01T00:00:00.000Z")
  }
  fence()
  pass(heartbeatMs)
  assert.lengthOf(sent, 4)
})

it("a pool that is drained is not ready, since then", () => {
  const { pass, shown, teller } = stage()
  teller.tell(status())
  pass(5_000)
  teller.tell(status({ isDraining: true }))
  assert.deepInclude(shown(), { ready: "False", reason: "Draining", since: "2026-01-01T00:00:05.000Z" })
})
