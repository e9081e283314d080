import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as PullConsumer from "../../shared/jetstream/PullConsumer.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type RunningBroker, startBroker } from "../../shared/testing/Broker.ts"

let broker: RunningBroker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker.stop())

const open = Effect.fn("open")(function*(name: string) {
  const nats = yield* Nats.open({ url: broker.url, name })
  yield* Streams.ensure(nats)
  return nats
})
/** Waits for a state that messages bring about; the test's own time-out bounds it. */
const until = (isThere: () => boolean) =>
  Effect.suspend(() => isThere() ? Effect.void : Effect.fail("not yet")).pipe(
    Effect.retry({ schedule: Schedule.spaced(5) })
  )
/**
 * Holds if one of five rounds holds: what a round takes is the product's own waits, and whatever else this machine does meanwhile; a wait that is too long is too long in each.
 */
const takesAtMost = <E, R>(mostMs: number, round: (n: number) => Effect.Effect<number, E, R>) =>
  Effect.gen(function*() {
    const tookMs: Array<number> = []
    for (let n = 0; n < 5 && !tookMs.some((ms) => ms < mostMs); n++) tookMs.push(yield* round(n))
    assert.isBelow(Math.min(...tookMs), mostMs)
  })
const consumersOf = (nats: Nats.Connection, stream: string) =>
  Effect.map(Streams.info(nats, stream), (info) => Option.isSome(info) ? info.value.state.consumer_count : -1)

/** Message n with text n on the n-th subject, in order, each acknowledged (a server that is killed keeps acknowledged messages only). */
const publishAll = (nats: Nats.Connection, subjects: ReadonlyArray<string>) =>
  Effect.forEach(subjects, (subject, n) => Append.publish(nats, subject, String(n)), {
    concurrency: 500,
    discard: true
  })

describe("Consume", () => {
  it.live("delivers in order, acknowledges, and goes on where it was after the server was killed", () =>
    Effect.gen(function*() {
      const nats = yield* open("restart")
      const seen: Array<string> = []
      const consumer = yield* Consume.consume(nats, Streams.name.commands, {
        durable: "restart",
        filter: "heddle.wf.1.*.cmd"
      }, (delivery) => {
        seen.push(delivery.text)
        delivery.ack()
      })
      for (let n = 0; n < 100; n++) yield* Append.publish(nats, `heddle.wf.1.i${n % 7}.cmd`, `before ${n}`)
      yield* until(() => seen.length === 100)
      yield* Effect.promise(() => broker.restart())
      for (let n = 0; n < 100; n++) {
        yield* Append.publish(nats, `heddle.wf.1.i${n % 7}.cmd`, `after ${n}`, { msgId: `after-${n}`, timeoutMs: 500 })
          .pipe(Effect.retry({ schedule: Schedule.spaced(20) }))
      }
      yield* until(() => seen.includes("after 99"))
      // At least once: a message whose acknowledgement was lost comes twice, none is missing, the first deliveries are in order.
      const first = [...new Set(seen)]
      assert.deepStrictEqual(
        first,
        [...Array(100).keys()].map((n) => `before ${n}`).concat([...Array(100).keys()].map((n) => `after ${n}`))
      )
      assert.isTrue(consumer.status().some((status) => status._tag === "Recreated"))
    }))

  it.live("delivers again within 2 s of a restart of the server", () =>
    Effect.gen(function*() {
      const nats = yield* open("soon")
      const seen: Array<string> = []
      yield* Consume.consume(
        nats,
        Streams.name.commands,
        { durable: "soon", filter: "heddle.wf.7.*.cmd" },
        (delivery) => {
          seen.push(delivery.text)
          delivery.ack()
        }
      )
      yield* takesAtMost(2_000, (round) =>
        Effect.gen(function*() {
          yield* Effect.promise(() => broker.restart())
          const back = performance.now()
          yield* Append.publish(nats, "heddle.wf.7.a.cmd", String(round), { msgId: `soon-${round}`, timeoutMs: 500 })
            .pipe(Effect.retry({ schedule: Schedule.spaced(20) }))
          yield* until(() => seen.includes(String(round)))
          return performance.now() - back
        }))
    }))

  it.live("comes back within 2 s when the consumer is deleted", () =>
    Effect.gen(function*() {
      const nats = yield* open("deleted")
      const seen: Array<string> = []
      const consumer = yield* Consume.consume(nats, Streams.name.commands, {
        durable: "deleted",
        filter: "heddle.wf.2.*.cmd"
      }, (delivery) => {
        seen.push(delivery.text)
        delivery.ack()
      })
      yield* Append.publish(nats, "heddle.wf.2.a.cmd", "one")
      yield* until(() => seen.length === 1)
      yield* PullConsumer.remove(nats, Streams.name.commands, "deleted")
      yield* Append.publish(nats, "heddle.wf.2.a.cmd", "two")
      yield* until(() => seen.length === 2)
      assert.deepStrictEqual(consumer.status().map((status) => status._tag), ["Recreated", "Lost", "Started"])
      yield* takesAtMost(2_000, (round) =>
        Effect.gen(function*() {
          yield* PullConsumer.remove(nats, Streams.name.commands, "deleted")
          const started = performance.now()
          yield* Append.publish(nats, "heddle.wf.2.a.cmd", `again ${round}`)
          yield* until(() => seen.includes(`again ${round}`))
          return performance.now() - started
        }))
    }))

  it.live(
    "comes back every time: the server may still be at the deletion when the consumer is made again",
    () =>
      Effect.gen(function*() {
        const nats = yield* open("deleted-often")
        const seen = new Set<string>()
        const consumer = yield* Consume.consume(nats, Streams.name.commands, {
          durable: "deleted-often",
          filter: "heddle.wf.8.*.cmd"
        }, (delivery) => {
          seen.add(delivery.text)
          delivery.ack()
        })
        const rounds = Effect.gen(function*() {
          for (let n = 0; n < 60; n++) {
            yield* PullConsumer.removeIfThere(nats, Streams.name.commands, "deleted-often")
            yield* Append.publish(nats, "heddle.wf.8.a.cmd", String(n))
            yield* until(() => seen.has(String(n)))
          }
        })
        yield* Effect.raceFirst(rounds, consumer.failure)
      }),
    180_000
  )

  it.live("memory streams and their consumers come back after a restart", () =>
    Effect.gen(function*() {
      const nats = yield* Nats.open({ url: broker.url, name: "memory" })
      yield* Streams.maintain(nats)
      const seen: Array<string> = []
      yield* Consume.consume(
        nats,
        Streams.name.ready,
        { durable: "memory", filter: "heddle.pool.a.b.lane.ready" },
        (delivery) => {
          seen.push(delivery.text)
          delivery.ack()
        }
      )
      yield* Effect.promise(() => broker.restart())
      yield* Append.publish(nats, "heddle.pool.a.b.lane.ready", "x", { timeoutMs: 500 }).pipe(
        Effect.retry({ schedule: Schedule.spaced(20) })
      )
      yield* until(() => seen.includes("x"))
      assert.isAtLeast(seen.length, 1)
    }))

  it.live("pause stops the intake at what was asked for, resume goes on", () =>
    Effect.gen(function*() {
      const nats = yield* open("pause")
      const seen: Array<number> = []
      const consumer = yield* Consume.consume(nats, Streams.name.commands, {
        durable: "pause",
        filter: "heddle.wf.3.*.cmd",
        maxMessages: 10
      }, (delivery) => {
        seen.push(delivery.sequence)
        if (seen.length === 5) consumer.pause()
        delivery.ack()
      })
      for (let n = 0; n < 50; n++) yield* Append.publish(nats, "heddle.wf.3.a.cmd", String(n))
      yield* until(() => seen.length === 10)
      // Everything that was asked for is there; a round trip through the server shows that no more comes.
      yield* nats.flush
      assert.strictEqual(seen.length, 10)
      consumer.resume()
      yield* until(() => seen.length === 50)
      assert.deepStrictEqual(seen, [...seen].toSorted((a, b) => a - b))
    }))

  it.live("maxAckPending holds back what is not acknowledged; nak delivers again, term never", () =>
    Effect.gen(function*() {
      const nats = yield* open("pending")
      const held: Array<Consume.Delivery> = []
      yield* Consume.consume(nats, Streams.name.commands, {
        durable: "pending",
        filter: "heddle.wf.4.*.cmd",
        maxAckPending: 3
      }, (delivery) => {
        held.push(delivery)
      })
      for (let n = 0; n < 6; n++) yield* Append.publish(nats, "heddle.wf.4.a.cmd", String(n))
      yield* until(() => held.length === 3)
      yield* nats.flush
      assert.strictEqual(held.length, 3)
      held[0]?.ack()
      held[1]?.nak(10)
      held[2]?.term("no use")
      yield* until(() => held.some((delivery) => delivery.text === "1" && delivery.deliveryCount === 2))
      assert.isFalse(held.slice(3).some((delivery) => delivery.text === "2"))
    }))

  it.live(
    "what a holder took and left without a word is delivered again at once to one that takes over",
    () =>
      Effect.gen(function*() {
        const nats = yield* open("successor")
        const options = { durable: "left", filter: "heddle.wf.9.*.cmd", ackWaitMs: 60_000 }
        for (let n = 0; n < 20; n++) yield* Append.publish(nats, `heddle.wf.9.i${n}.cmd`, String(n))
        const taken: Array<string> = []
        // a holder that is killed gives nothing back: its consumer keeps what it took
        yield* PullConsumer.create(nats, Streams.name.commands, {
          name: options.durable,
          durable_name: options.durable,
          deliver_policy: "all",
          ack_policy: "explicit",
          ack_wait: PullConsumer.nanos(options.ackWaitMs),
          filter_subject: options.filter
        })
        const killed = PullConsumer.start(nats, {
          stream: Streams.name.commands,
          consumer: options.durable,
          maxMessages: 100,
          onMessage: (message) => void taken.push(message.text),
          onEnd: () => {}
        })
        yield* until(() => taken.length === 20)
        killed.stop()
        const again: Array<string> = []
        const from = performance.now()
        yield* Consume.consume(nats, Streams.name.commands, { ...options, takesOver: true }, (delivery) => {
          again.push(delivery.text)
          delivery.ack()
        })
        yield* until(() => again.length === 20)
        assert.isBelow(performance.now() - from, 30_000, "long before the acknowledgement wait")
      }).pipe(Effect.scoped),
    180_000
  )

  it.live("without acknowledgements: what the server sent and this process never heard is sent again, each message once, and no consumer is left over", () =>
    Effect.gen(function*() {
      const nats = yield* open("unheard")
      const publish = (from: number, to: number) =>
        Effect.forEach(
          Array.from({ length: to - from }, (_, at) => at + from),
          (n) => Append.publish(nats, "heddle.system.UNHEARD", String(n))
        )
      yield* publish(0, 5)
      const before = yield* consumersOf(nats, Streams.name.system)
      const all = Array.from({ length: 10 }, (_, n) => String(n))
      yield* Effect.scoped(
        Effect.forEach(
          [
            { from: "all", heard: 0, expected: all },
            { from: "all", heard: 3, expected: all },
            { from: "new", heard: 0, expected: all.slice(5) },
            { from: "new", heard: 2, expected: all.slice(5) }
          ] as const,
          ({ expected, from, heard }) =>
            Effect.gen(function*() {
              // the first inbox goes deaf after `heard` messages
              let inboxes = 0
              const deaf: Nats.Connection = Object.create(nats, {
                subscribeUnsafe: {
                  value: ((subject, handler, options) => {
                    let left = ++inboxes === 1 ? heard : Infinity
                    return nats.subscribeUnsafe(subject, (message) => {
                      if (left-- > 0) handler(message)
                    }, options)
                  }) satisfies Nats.Connection["subscribeUnsafe"]
                }
              })
              const seen: Array<string> = []
              const consumer = yield* Consume.consume(
                deaf,
                Streams.name.system,
                { filter: "heddle.system.UNHEARD", from, acknowledge: "none" },
                (delivery) => seen.push(delivery.text)
              )
              return { consumer, seen, expected }
            })
        ).pipe(
          Effect.tap(() => publish(5, 10)),
          Effect.tap(Effect.forEach(({ consumer, expected, seen }) =>
            Effect.gen(function*() {
              yield* Effect.raceFirst(until(() => seen.length >= expected.length), consumer.failure)
              assert.deepStrictEqual(seen, expected)
              assert.include(consumer.status().map((status) => status._tag), "Lost")
            }), { concurrency: "unbounded" }))
        )
      )
      yield* Effect.map(consumersOf(nats, Streams.name.system), (count) => count === before).pipe(
        Effect.repeat({ until: (isSo) => isSo, schedule: Schedule.spaced(20) })
      )
    }))

  it.live("an ephemeral consumer is deleted with its scope", () =>
    Effect.gen(function*() {
      const nats = yield* open("ephemeral")
      const before = yield* consumersOf(nats, Streams.name.system)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Consume.consume(nats, Streams.name.system, { filter: "heddle.system.*" }, () => {})
        assert.strictEqual(yield* consumersOf(nats, Streams.name.system), before + 1)
      }))
      assert.strictEqual(yield* consumersOf(nats, Streams.name.system), before)
    }))

  it.live("a defect in what looks after the consumers takes the connection's users down with a reason", () =>
    Effect.gen(function*() {
      const nats = yield* open("watched")
      yield* PullConsumer.everyHeartbeat(nats, () => {
        throw new Error("a broken invariant")
      })
      const error = yield* Effect.flip(nats.failure).pipe(Effect.timeout(30_000))
      assert.include(String(error.cause), "a broken invariant")
    }))

  it.live("a handler that throws takes the connection's users down with a reason", () =>
    Effect.gen(function*() {
      const nats = yield* open("throws")
      yield* Consume.consume(nats, Streams.name.commands, { durable: "throws", filter: "heddle.wf.5.*.cmd" }, () => {
        throw new Error("a bug")
      })
      yield* Append.publish(nats, "heddle.wf.5.a.cmd", "x")
      const failed = yield* Effect.flip(nats.failure)
      assert.include(failed.message, "a bug")
    }))
})

describe("Read", () => {
  it.live("ranges of one and of several subjects, bounded, in stream order, leaving no consumer behind", () =>
    Effect.gen(function*() {
      const nats = yield* open("ranges")
      const sequences: Array<{ readonly subject: string; readonly sequence: number }> = []
      for (let n = 0; n < 1_500; n++) sequences.push({ subject: `heddle.journal.range${n % 3}`, sequence: n })
      yield* publishAll(nats, sequences.map(({ subject }) => subject))
      const from = Option.match(yield* Read.nextMessage(nats, Streams.name.journal, "heddle.journal.range0", 1), {
        onNone: () => 0,
        onSome: (message) => message.sequence
      })
      const run = (
        filter: string | ReadonlyArray<string>,
        options: { readonly from?: number; readonly upTo?: number; readonly batch?: number } = {}
      ) =>
        Stream.runCollect(Read.readRange(nats, Streams.name.journal, { filter, from: 1, ...options })).pipe(
          Effect.map((all) => Array.from(all, (message) => Number(message.text)))
        )
      const expected = (...kinds: ReadonlyArray<number>) =>
        sequences.map((_, n) => n).filter((n) => kinds.includes(n % 3))
      assert.deepStrictEqual(yield* run("heddle.journal.range1"), expected(1))
      assert.deepStrictEqual(yield* run("heddle.journal.range1", { batch: 7 }), expected(1))
      assert.deepStrictEqual(
        yield* run(["heddle.journal.range0", "heddle.journal.range2"], { batch: 100 }),
        expected(0, 2)
      )
      assert.deepStrictEqual(
        yield* run(["heddle.journal.range0", "heddle.journal.range2"], { from: from + 300, upTo: from + 600 }),
        expected(0, 2).filter((n) => n >= 300 && n <= 600)
      )
      assert.deepStrictEqual(
        yield* run("heddle.journal.range1", { from: from + 300, upTo: from + 600, batch: 10 }),
        expected(1).filter((n) => n >= 300 && n <= 600)
      )
      assert.deepStrictEqual(yield* run("heddle.journal.none"), [])
      assert.deepStrictEqual(yield* run(["heddle.journal.none", "heddle.journal.neither"]), [])
      assert.deepStrictEqual(yield* run("heddle.journal.range1", { from: 10_000_000 }), [])
      assert.strictEqual(yield* consumersOf(nats, Streams.name.journal), 0)
    }))

  it.live("a range has no gap where the server sent what this process did not hear in time", () =>
    Effect.gen(function*() {
      const nats = yield* open("gaps")
      const subjects = Array.from({ length: 30 }, (_, n) => `heddle.journal.gap${n % 2}`)
      for (const [n, subject] of subjects.entries()) yield* Append.publish(nats, subject, String(n))
      // the inbox of the first page goes deaf after four messages, as it does when the process stands still until the page's time is over
      let inboxes = 0
      const deaf: Nats.Connection = Object.create(nats, {
        subscribeUnsafe: {
          value: ((subject, handler, options) => {
            let left = ++inboxes === 1 ? 4 : Infinity
            return nats.subscribeUnsafe(subject, (message) => {
              if (left-- > 0) handler(message)
            }, options)
          }) satisfies Nats.Connection["subscribeUnsafe"]
        }
      })
      const before = yield* consumersOf(nats, Streams.name.journal)
      const read = yield* Stream.runCollect(
        Read.readRange(deaf, Streams.name.journal, {
          filter: ["heddle.journal.gap0", "heddle.journal.gap1"],
          from: 1,
          batch: 10
        })
      )
      assert.deepStrictEqual(read.map(({ text }) => text), subjects.map((_, n) => String(n)))
      assert.strictEqual(yield* consumersOf(nats, Streams.name.journal), before)
    }))

  it.live("a reader that stops early leaves no consumer behind either", () =>
    Effect.gen(function*() {
      const nats = yield* open("early")
      yield* publishAll(nats, Array.from({ length: 1_000 }, (_, n) => `heddle.journal.early${n % 2}`))
      const some = yield* Stream.runCollect(
        Read.readRange(nats, Streams.name.journal, {
          filter: ["heddle.journal.early0", "heddle.journal.early1"],
          from: 1,
          batch: 50
        }).pipe(Stream.take(60))
      )
      assert.strictEqual(Array.from(some).length, 60)
      assert.strictEqual(yield* consumersOf(nats, Streams.name.journal), 0)
    }))

  it.live("a range goes on through a restart of the server", () =>
    Effect.gen(function*() {
      const nats = yield* open("through")
      yield* publishAll(nats, Array.from({ length: 2_000 }, (_, n) => `heddle.journal.through${n % 2}`))
      let isRestarted = false
      const all: Array<number> = []
      yield* Read.readRange(nats, Streams.name.journal, {
        filter: ["heddle.journal.through0", "heddle.journal.through1"],
        from: 1,
        batch: 100
      }).pipe(
        Stream.runForEach((message) =>
          Effect.suspend(() => {
            all.push(Number(message.text))
            if (isRestarted || all.length < 500) return Effect.void
            isRestarted = true
            return Effect.promise(() => broker.restart())
          })
        )
      )
      assert.deepStrictEqual(all, [...Array(2_000).keys()])
    }))

  it.live("one message by sequence, the last one of a wildcard, headers and time", () =>
    Effect.gen(function*() {
      const nats = yield* open("single")
      const stored = yield* Append.publish(nats, "heddle.journal.single", "text ü", {
        headers: { "Heddle-Session": "7" }
      })
      const read = yield* Read.messageAt(nats, Streams.name.journal, stored.sequence)
      assert.isTrue(
        read._tag === "Some" && read.value.text === "text ü" && read.value.headers["Heddle-Session"] === "7" &&
          read.value.subject === "heddle.journal.single"
      )
      assert.strictEqual(
        Result.isSuccess(yield* Effect.result(Read.lastMessage(nats, Streams.name.journal, "heddle.journal.*"))),
        true
      )
      assert.strictEqual((yield* Read.messageAt(nats, Streams.name.journal, 99_999_999))._tag, "None")
      assert.strictEqual((yield* Read.lastMessage(nats, Streams.name.journal, "heddle.journal.absent"))._tag, "None")
    }))
})
