import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { connect } from "node:net"
import { Meters, Telemetry } from "./Meters.ts"
import { ProcessReadiness, Readiness } from "./Readiness.ts"
import * as StatusServer from "./StatusServer.ts"

const options = { host: "127.0.0.1", port: 0, service: "coordinator", version: "1.2.3" }

const get = (port: number, path: string, method = "GET") =>
  Effect.promise(async () => {
    // A connection of its own: an idle one could end while the next question is on its way.
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { connection: "close" } })
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() }
  })

/** With numbers and readiness of its own. */
const alone = <A, E, R>(effect: Effect.Effect<A, E, R>, readiness = new Readiness()) =>
  effect.pipe(
    Effect.provideService(Telemetry, new Meters()),
    Effect.provideService(ProcessReadiness, readiness)
  )

it.live("readyz says what keeps the process from its work, livez does not care", () =>
  Effect.suspend(() => {
    const readiness = new Readiness()
    return alone(
      Effect.gen(function*() {
        let reason: string | undefined = "it is starting"
        yield* readiness.addScoped("part", () => reason)
        const removeOther = readiness.add("other", () => "it waits")
        const { port } = yield* StatusServer.serve(options)
        const before = yield* get(port, "/readyz")
        assert.strictEqual(before.status, 503)
        assert.deepStrictEqual(JSON.parse(before.text), {
          ready: false,
          service: "coordinator",
          reasons: [{ check: "part", reason: "it is starting" }, { check: "other", reason: "it waits" }]
        })
        const live = yield* get(port, "/livez")
        assert.strictEqual(live.status, 200)
        assert.deepInclude(JSON.parse(live.text), { live: true, service: "coordinator", version: "1.2.3" })
        assert.include((yield* get(port, "/metrics")).text, "\nheddle_ready 0\n")

        reason = undefined
        removeOther()
        const after = yield* get(port, "/readyz")
        assert.deepStrictEqual([after.status, JSON.parse(after.text)], [200, { ready: true, service: "coordinator" }])
        const metrics = yield* get(port, "/metrics")
        assert.strictEqual(metrics.type, "text/plain; version=0.0.4; charset=utf-8")
        assert.include(metrics.text, "\nheddle_ready 1\n")
        assert.match(
          metrics.text,
          /^heddle_build_info\{service="coordinator",version="1\.2\.3",runtime="\w+ [\d.]+"\} 1$/m
        )
        assert.match(metrics.text, /^process_cpu_seconds_total \d/m)
      }).pipe(Effect.scoped),
      readiness
    )
  }))

it.live("it changes nothing and has nothing else: 405 for other methods, 404 for other paths", () =>
  alone(
    Effect.gen(function*() {
      const { port } = yield* StatusServer.serve(options)
      assert.strictEqual((yield* get(port, "/livez", "POST")).status, 405)
      assert.strictEqual((yield* get(port, "/livez", "HEAD")).status, 200)
      assert.strictEqual((yield* get(port, "/readyz?verbose")).status, 200)
      const nowhere = yield* get(port, "/debug")
      assert.strictEqual(nowhere.status, 404)
      assert.deepStrictEqual(JSON.parse(nowhere.text), { paths: ["/livez", "/readyz", "/metrics"] })
    }).pipe(Effect.scoped)
  ))

it.live("a port that another has: Unavailable, and what to do", () =>
  alone(
    Effect.gen(function*() {
      const { port } = yield* StatusServer.serve(options)
      const error = yield* Effect.flip(StatusServer.serve({ ...options, port }))
      assert.strictEqual(error.code, "Unavailable")
      assert.include(error.message, `127.0.0.1:${port}`)
      assert.include(error.message, "--status-port")
    }).pipe(Effect.scoped)
  ))

it.live("whoever is connected, and in the middle of a request, does not hold up the end", () =>
  alone(
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(StatusServer.serve(options), scope)
      const socket = connect(port, "127.0.0.1")
      const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()))
      socket.on("error", () => {}) // its end is what counts
      yield* Effect.promise(() => new Promise<void>((resolve) => socket.once("connect", () => resolve())))
      socket.write("GET /readyz HTTP/1.1\r\nHost: a\r\n") // the rest never comes
      // the server has it: a whole request after it is answered
      yield* get(port, "/livez")
      yield* Scope.close(scope, Exit.void)
      yield* Effect.promise(() => closed)
    })
  ))
