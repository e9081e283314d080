import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Append from "./Append.ts"
import { Message } from "./Message.ts"
import { ConnectionLost, NoResponders, RequestTimeout } from "./Nats.ts"

const answer = (value: unknown): Result.Result<Message, never> => {
  const data = new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value))
  return Result.succeed(
    new Message(
      { data, subject: "s", reply: "", headers: undefined } as unknown as ConstructorParameters<typeof Message>[0],
      () => false
    )
  ) // only data is read
}
const outcome = (result: Parameters<typeof Append.outcomeOf>[0]) => Append.outcomeOf(result)

describe("Append.outcomeOf", () => {
  it("acknowledged, and fenced by 10071 with the server's last sequence", () => {
    assert.deepStrictEqual(outcome(answer({ stream: "S", seq: 7 })), { _tag: "Acked", sequence: 7 })
    assert.deepStrictEqual(
      outcome(
        answer({ error: { code: 400, err_code: 10071, description: "wrong last sequence: 12" }, stream: "S", seq: 0 })
      ),
      {
        _tag: "Fenced",
        lastSequence: 12
      }
    )
    assert.deepStrictEqual(outcome(answer({ error: { err_code: 10071, description: "other words" } })), {
      _tag: "Fenced",
      lastSequence: undefined
    })
  })
  it("10164 and everything else is unknown", () => {
    for (
      const result of [
        answer({ error: { code: 400, err_code: 10164, description: "wrong last sequence" } }),
        answer({ error: { code: 503, err_code: 10008, description: "jetstream system temporarily unavailable" } }),
        answer({ stream: "S" }),
        answer("not json"),
        answer("7"),
        Result.fail(new NoResponders({ subject: "s" })),
        Result.fail(new RequestTimeout({ subject: "s", timeoutMs: 1 })),
        Result.fail(new ConnectionLost({ subject: "s", sent: false })),
        Result.fail(new ConnectionLost({ subject: "s", sent: true }))
      ]
    ) assert.strictEqual(outcome(result)._tag, "Unknown")
  })
})
