import * as Effect from "effect/Effect"
import { assert, describe, it } from "vitest"
import { AlertFailed, type AlertSink } from "../AlertSink.ts"
import * as AlertSinkSuite from "./AlertSinkSuite.ts"
import * as Suite from "./Suite.ts"

const deliver: AlertSink["deliver"] = (alert, { publish }) => publish("alerts", JSON.stringify(alert))
const sinkOf = (deliver: AlertSink["deliver"], description = "A double."): AlertSink => ({
  sink: "double",
  description,
  deliver
})
const sound = sinkOf(deliver)
const failed = (isPermanent: boolean) => Effect.fail(new AlertFailed({ message: "no", isPermanent }))
const permanent = sinkOf(() => failed(true))

const noticed = async (subject: Partial<AlertSinkSuite.Subject>) =>
  (await Suite.brokenOf(AlertSinkSuite.promises({
    up: Effect.succeed({ sink: sound }),
    refused: Effect.succeed(permanent),
    silent: Effect.succeed(sound),
    ...subject
  }))).map(({ promise, seen }) => `${promise}: ${String(seen)}`)
const up = (sink: AlertSink): Partial<AlertSinkSuite.Subject> => ({ up: Effect.succeed({ sink }) })

describe("an alert sink that does not keep its promises is noticed", () => {
  it("one that keeps them is not", async () => {
    assert.deepStrictEqual(await noticed({}), [])
  })

  let count = 0
  const doubles: Readonly<Record<string, readonly [subject: Partial<AlertSinkSuite.Subject>, seen: RegExp]>> = {
    "it has no description": [up(sinkOf(deliver, "")), /no name or no description/],
    "it delivers nothing": [up(sinkOf(() => Effect.void)), /1 deliveries, and 0 have arrived/],
    "it is done before the other side has it": [
      up(sinkOf((alert, context) => Effect.asVoid(Effect.forkDetach(Effect.delay(deliver(alert, context), "1 hour"))))),
      /0 have arrived/
    ],
    "it tells no kind": [
      up(sinkOf(({ id, message }, { publish }) => publish("alerts", `${id} ${message}`))),
      /the kind TaskTimeout is not in/
    ],
    "it tells no reason": [
      up(sinkOf(({ id, kind }, { publish }) => publish("alerts", `${id} ${kind}`))),
      /the message is not in/
    ],
    "it garbles odd characters": [
      up(sinkOf((alert, { publish }) => publish("alerts", JSON.stringify(alert).replace(/[^ -~]/gu, "?")))),
      /with every field.* is not in/
    ],
    "it makes a new alert of a repeated one": [
      up(sinkOf((alert, { publish }) => publish("alerts", JSON.stringify({ ...alert, id: `${count++}` })))),
      /once more arrives as the same.*then/
    ],
    "it loses some of many": [
      up(sinkOf((alert, context) => alert.id === "suite-13/alert" ? Effect.void : deliver(alert, context))),
      /19 of 20 have arrived; not 13/
    ],
    "it takes a failure for a delivery": [
      up(sinkOf((alert, context) => Effect.ignore(deliver(alert, context)))),
      /away a delivery fails.*it is delivered/
    ],
    "it gives up at once": [{ down: Effect.succeed(permanent) }, /no other try would do better/],
    "it dies where it should fail": [
      { down: Effect.succeed(sinkOf(() => Effect.die(new Error("ECONNREFUSED")))) },
      /away a delivery fails.*ECONNREFUSED/
    ],
    "it never gives up": [{ refused: Effect.succeed(sinkOf(() => failed(false))) }, /another try would do better/]
  }
  for (const [what, [subject, seen]] of Object.entries(doubles)) {
    it(what, async () => {
      const found = (await noticed(subject)).join("\n")
      assert.match(found, seen, found)
    })
  }
})
