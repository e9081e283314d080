/** Answers every request on a subject with its own body: `node test/bench/echo.ts NATS_URL SUBJECT`. Prints `ready` when the server knows it; ends with its input. */
import * as Effect from "effect/Effect"
import * as Nats from "../../shared/jetstream/Nats.ts"

const [url, subject] = process.argv.slice(2)
if (url === undefined || subject === undefined) throw new Error("usage: echo.ts NATS_URL SUBJECT")

const program = Effect.gen(function*() {
  const nats = yield* Nats.open({ url, name: "heddle-bench-echo" })
  yield* nats.subscribe(subject, (message) => void message.respond(message.data))
  process.stdout.write("ready\n")
  // The benchmark holds the other end: when it is gone, however it went, this ends.
  const inputEnds = Effect.callback<void>((resume) => {
    process.stdin.once("close", () => resume(Effect.void)).resume()
  })
  yield* Effect.race(inputEnds, nats.failure)
})
await Effect.runPromise(Effect.scoped(program))
