import { assert, it } from "@effect/vitest"
import { MemberId, StartupId } from "../../shared/protocol/Token.ts"
import type { AppendOutcome, JournalAppend } from "./JournalAppend.ts"
import { Ledger, type LedgerEnd, type Turn } from "./Ledger.ts"

/** A broker that does what the test says: each append waits until it is answered by hand. */
const scripted = () => {
  const appends: Array<
    {
      readonly body: string
      readonly expected: number
      readonly done: (outcome: AppendOutcome) => void
      readonly reply: string | undefined
    }
  > = []
  const reads: Array<(last: { readonly sequence: number; readonly id: string | undefined }) => void> = []
  const journal: JournalAppend = {
    append: (body, expected, _timeoutMs, done, reply) => void appends.push({ body, expected, done, reply }),
    last: (done) => void reads.push(done)
  }
  return { journal, appends, reads }
}

const setUp = (broker: ReturnType<typeof scripted>) => {
  const waiting: Array<string> = []
  const log: Array<string> = []
  const ends: Array<LedgerEnd> = []
  const turnOf = (records: ReadonlyArray<string>): Turn => ({
    records,
    acked: (sequence) => void log.push(`${records.join("+")}@${sequence}`),
    lost: () => void log.push(`${records.join("+")} lost`)
  })
  const ledger = new Ledger({
    journal: broker.journal,
    startup: StartupId.make("s"),
    openedAt: 10,
    source: { collect: () => waiting.length === 0 ? undefined : turnOf(waiting.splice(0)) },
    onEnd: (end) => void ends.push(end)
  })
  const offer = (...records: ReadonlyArray<string>): void => {
    waiting.push(...records)
    ledger.wake()
  }
  return { ledger, offer, log, ends, turnOf }
}
const microtasks = () => Promise.resolve()
const idIn = (body: string): string => (JSON.parse(body) as { readonly id: string }).id

it("what waits while an append is in flight goes into the next one, expecting the sequence of the first", async () => {
  const broker = scripted()
  const { offer, log } = setUp(broker)
  offer("1", "2")
  await microtasks()
  offer("3")
  offer("4")
  await microtasks()
  assert.strictEqual(broker.appends.length, 1, "one in flight")
  assert.strictEqual(broker.appends[0]?.expected, 10)
  broker.appends[0]?.done({ _tag: "Acked", sequence: 12 })
  assert.deepStrictEqual(log, ["1+2@12"])
  assert.strictEqual(broker.appends[1]?.expected, 12)
  assert.deepStrictEqual(JSON.parse(broker.appends[1]?.body ?? "").records, [3, 4])
})

it("what may start while the broker writes is told when the append has gone out, once, however often it has to be sent", async () => {
  const broker = scripted()
  const order: Array<string> = []
  const turns: Array<Turn> = [{
    records: ["1"],
    sent: () => void order.push(`sent after ${broker.appends.length} append`),
    acked: () => void order.push("acked"),
    lost: () => void order.push("lost")
  }]
  const ledger = new Ledger({
    journal: broker.journal,
    startup: StartupId.make("s"),
    openedAt: 10,
    source: { collect: () => turns.shift() },
    onEnd: () => {}
  })
  ledger.wake()
  await microtasks()
  assert.deepStrictEqual(order, ["sent after 1 append"])
  broker.appends[0]?.done({ _tag: "Unknown", reason: "time-out" })
  broker.reads[0]?.({ sequence: 10, id: undefined })
  assert.strictEqual(broker.appends.length, 2)
  broker.appends[1]?.done({ _tag: "Acked", sequence: 11 })
  assert.deepStrictEqual(order, ["sent after 1 append", "acked"])
})

it("unknown, stored: it is ours and counts as acknowledged, nothing is sent twice", async () => {
  const broker = scripted()
  const { offer, log } = setUp(broker)
  offer("1")
  await microtasks()
  broker.appends[0]?.done({ _tag: "Unknown", reason: "time-out" })
  broker.reads[0]?.({ sequence: 15, id: idIn(broker.appends[0]?.body ?? "{}") })
  assert.deepStrictEqual(log, ["1@15"])
  assert.strictEqual(broker.appends.length, 1)
})

it("unknown, not stored: the same body is sent again with the same expected sequence", async () => {
  const broker = scripted()
  const { offer, log } = setUp(broker)
  offer("1")
  await microtasks()
  broker.appends[0]?.done({ _tag: "Unknown", reason: "time-out" })
  broker.reads[0]?.({ sequence: 10, id: undefined })
  assert.deepStrictEqual(broker.appends[1]?.body, broker.appends[0]?.body)
  assert.strictEqual(broker.appends[1]?.expected, 10)
  // the first one arrived late after all: the second is refused, and the last message is ours
  broker.appends[1]?.done({ _tag: "Fenced", lastSequence: 11 })
  broker.reads[1]?.({ sequence: 11, id: idIn(broker.appends[0]?.body ?? "{}") })
  assert.deepStrictEqual(log, ["1@11"])
})

it("fenced by another: the ledger ends, its turns are lost, nothing is appended any more", async () => {
  const broker = scripted()
  const { ends, ledger, log, offer, turnOf } = setUp(broker)
  offer("1")
  await microtasks()
  assert.isTrue(ledger.append(turnOf(["adopted"])))
  broker.appends[0]?.done({ _tag: "Fenced", lastSequence: 13 })
  broker.reads[0]?.({ sequence: 13, id: undefined })
  assert.deepStrictEqual(ends, [{ _tag: "Fenced", lastSequence: 13 }])
  assert.deepStrictEqual(log, ["adopted lost", "1 lost"])
  offer("2")
  await microtasks()
  assert.strictEqual(broker.appends.length, 1)
  assert.isFalse(ledger.append(turnOf(["released"])))
})

it("ownership records go before the turns that wait", async () => {
  const broker = scripted()
  const { ledger, log, offer, turnOf } = setUp(broker)
  offer("1")
  await microtasks()
  offer("2")
  ledger.append(turnOf(["adopted"]))
  broker.appends[0]?.done({ _tag: "Acked", sequence: 11 })
  broker.appends[1]?.done({ _tag: "Acked", sequence: 12 })
  broker.appends[2]?.done({ _tag: "Acked", sequence: 13 })
  assert.deepStrictEqual(log, ["1@11", "adopted@12", "2@13"])
})

it("closing waits for the append in flight", async () => {
  const broker = scripted()
  const { ends, ledger, log, offer } = setUp(broker)
  offer("1")
  await microtasks()
  ledger.close(() => void log.push("closed"))
  assert.deepStrictEqual(log, [])
  broker.appends[0]?.done({ _tag: "Acked", sequence: 11 })
  assert.deepStrictEqual(log, ["1@11", "closed"])
  assert.deepStrictEqual(ends, [{ _tag: "Closed" }])
})

it("while the connection is down nothing is appended; after it the ledger is looked at first", async () => {
  const broker = scripted()
  const { ledger, log, offer } = setUp(broker)
  ledger.pause()
  offer("1")
  await microtasks()
  assert.strictEqual(broker.appends.length, 0)
  ledger.resume()
  broker.reads[0]?.({ sequence: 10, id: undefined })
  assert.strictEqual(broker.appends.length, 1)
  broker.appends[0]?.done({ _tag: "Acked", sequence: 11 })
  assert.deepStrictEqual(log, ["1@11"])
})

it("a broker that has lost what it acknowledged ends the ledger, even if another message has the same sequence", async () => {
  const broker = scripted()
  const { ends, ledger, offer } = setUp(broker)
  offer("1")
  await microtasks()
  broker.appends[0]?.done({ _tag: "Acked", sequence: 11 })
  ledger.pause()
  ledger.resume()
  broker.reads[0]?.({ sequence: 11, id: "somebody:1" })
  assert.deepStrictEqual(ends, [{ _tag: "Fenced", lastSequence: 11 }])
})

it("an append of unknown outcome is not settled, let alone repeated, before the reconnect was looked at", async () => {
  const broker = scripted()
  const { ledger, log, offer } = setUp(broker)
  offer("1")
  await microtasks()
  ledger.pause()
  broker.appends[0]?.done({ _tag: "Unknown", reason: "connection lost" })
  assert.strictEqual(broker.reads.length, 0)
  ledger.resume()
  assert.strictEqual(broker.reads.length, 1)
  // the connection goes again while the answer is on its way
  ledger.pause()
  broker.reads[0]?.({ sequence: 10, id: undefined })
  assert.strictEqual(broker.appends.length, 1)
  ledger.resume()
  broker.reads[1]?.({ sequence: 10, id: undefined })
  assert.strictEqual(broker.appends[1]?.body, broker.appends[0]?.body)
  broker.appends[1]?.done({ _tag: "Acked", sequence: 11 })
  assert.deepStrictEqual(log, ["1@11"])
})

it("answers that go ahead of the append leave before it, under the subject of its acknowledgement; a repetition has none", async () => {
  const broker = scripted()
  const log: Array<string> = []
  const turns: Array<Turn> = [{
    records: ["1"],
    early: {
      reader: MemberId.make("executor-1"),
      send: (subject) => void log.push(`${subject} ${broker.appends.length}`)
    },
    acked: (sequence) => void log.push(`acked ${sequence}`),
    lost: () => void log.push("lost")
  }]
  const ledger = new Ledger({
    journal: broker.journal,
    startup: StartupId.make("s"),
    openedAt: 10,
    source: { collect: () => turns.shift() },
    onEnd: () => {}
  })
  ledger.wake()
  await microtasks()
  assert.deepStrictEqual(log, ["heddle.ack.executor-1.s.1 0"], "before the append")
  assert.strictEqual(broker.appends[0]?.reply, "heddle.ack.executor-1.s.1")
  broker.appends[0]?.done({ _tag: "Unknown", reason: "time-out" })
  broker.reads[0]?.({ sequence: 10, id: undefined })
  assert.strictEqual(broker.appends[1]?.reply, undefined, "whoever waited has asked again")
  broker.appends[1]?.done({ _tag: "Acked", sequence: 11 })
  assert.deepStrictEqual(log, ["heddle.ack.executor-1.s.1 0", "acked 11"])
})
