import { assert, describe, it } from "@effect/vitest"
import * as Kv from "./Kv.ts"
import * as RpcService from "./RpcService.ts"
import * as StoredMessage from "./StoredMessage.ts"

describe("StoredMessage", () => {
  it("reads both forms of a delivery's reply subject", () => {
    const expected = { deliveryCount: 2, sequence: 30, timeMs: 1_700_000_000_000, pending: 5 }
    assert.deepStrictEqual(StoredMessage.parseAckReply("$JS.ACK.S.C.2.30.4.1700000000000000000.5"), expected)
    assert.deepStrictEqual(
      StoredMessage.parseAckReply("$JS.ACK._.hash.S.C.2.30.4.1700000000000000000.5.token"),
      expected
    )
    assert.strictEqual(StoredMessage.parseAckReply("_INBOX.abc.1"), undefined)
  })
  it("reads header blocks", () => {
    assert.deepStrictEqual(StoredMessage.parseHeaders("NATS/1.0\r\nA: 1\r\nB:x:y\r\nA: 2\r\n\r\n"), {
      A: "1",
      B: "x:y"
    })
  })
})

describe("Kv.removalOf", () => {
  const of = (headers: Readonly<Record<string, string>>) => Kv.removalOf((name) => headers[name])
  it("tells expiry from removal", () => {
    assert.deepStrictEqual([
      of({ "Nats-Marker-Reason": "MaxAge" }),
      of({ "KV-Operation": "DEL" }),
      of({ "KV-Operation": "PURGE" }),
      of({ "Nats-Marker-Reason": "Purge" }),
      of({})
    ], [
      "Expired",
      "Deleted",
      "Deleted",
      "Deleted",
      undefined
    ])
  })
})

describe("RpcService.matchTokens", () => {
  it("gives what stands at the wildcards", () => {
    assert.deepStrictEqual(RpcService.matchTokens("heddle.rpc.pool.*.*.claim", "heddle.rpc.pool.ns.gpu.claim"), [
      "ns",
      "gpu"
    ])
    assert.deepStrictEqual(RpcService.matchTokens("a.b", "a.b"), [])
    assert.strictEqual(RpcService.matchTokens("a.*", "a.b.c"), undefined)
    assert.strictEqual(RpcService.matchTokens("a.*.c", "a.b.d"), undefined)
  })
})
