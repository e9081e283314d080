import { assert, it } from "@effect/vitest"
import type { PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import { SessionId } from "../../shared/protocol/Token.ts"
import { matters, StatusRule } from "./StatusRule.ts"

const status = (pendingRequests: number, more: Partial<PoolStatus> = {}): PoolStatus => ({
  pendingRequests,
  idle: 0,
  claimed: 0,
  creating: 0,
  total: 0,
  target: 0,
  sessionId: SessionId.make(1),
  isDraining: false,
  ...more
})

it("! 1.9 the status is written at most every 3 s, when pendingRequests crosses zero or changes by a fifth, or the rest changes", () => {
  assert.isTrue(matters(status(0), status(1)))
  assert.isTrue(matters(status(1), status(0)))
  assert.isFalse(matters(status(100), status(119)))
  assert.isTrue(matters(status(100), status(120)))
  assert.isTrue(matters(status(100), status(80)))
  assert.isFalse(matters(status(100), status(81)))
  assert.isTrue(matters(status(5), status(5, { claimed: 1 })))
  const rule = new StatusRule()
  assert.deepStrictEqual(rule.look(status(0), 0), { write: true, lookAt: Infinity })
  assert.deepStrictEqual(rule.look(status(7), 1_000), { write: false, lookAt: 3_000 })
  assert.deepStrictEqual(rule.look(status(7), 3_000), { write: true, lookAt: Infinity })
  assert.deepStrictEqual(rule.look(status(8), 9_000), { write: false, lookAt: Infinity })
})
