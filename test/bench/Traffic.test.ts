import { assert, describe, it } from "@effect/vitest"
import * as Traffic from "./Traffic.ts"

const connection = (name: string, messages: number) => ({
  cid: 7,
  name,
  in_msgs: messages,
  out_msgs: 2 * messages,
  in_bytes: 10 * messages,
  out_bytes: 20 * messages
})

describe("Traffic", () => {
  it("sums connections of one name; what the client sent is what the server took in", () => {
    const traffic = Traffic.parse({ connections: [connection("a", 1), connection("b", 5), connection("a", 2)] })
    assert.deepStrictEqual(traffic.get("a"), { sent: 3, received: 6, bytesSent: 30, bytesReceived: 60 })
    assert.deepStrictEqual([...traffic.keys()], ["a", "b"])
  })

  it("a connection that is new since the first look counts from 0", () => {
    const before = Traffic.parse({ connections: [connection("a", 10)] })
    const after = Traffic.parse({ connections: [connection("a", 14), connection("b", 1)] })
    assert.deepStrictEqual([...Traffic.since(before, after)].map(([name, { sent }]) => [name, sent]), [["a", 4], [
      "b",
      1
    ]])
  })
})
