import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { Entry } from "../shared/protocol/Journal.ts"
import * as Journal from "./Journal.ts"
import * as Output from "./Output.ts"
import * as ReplayStep from "./ReplayStep.ts"

const at = Date.parse("2026-11-21T10:00:00.000Z")
const record = (
  n: number,
  cause: ReadonlyArray<unknown>,
  transitions: ReadonlyArray<unknown>,
  effects: ReadonlyArray<string> = []
) => ({
  _tag: "Entry",
  shard: 1,
  instance: "i-1",
  n,
  prev: n === 1 ? 0 : 10 + n - 1,
  at: at + n,
  cause,
  transitions,
  effects,
  hash: "x"
})
const recorded = (
  n: number,
  ...rest: [ReadonlyArray<unknown>, ReadonlyArray<unknown>, ReadonlyArray<string>?]
): Journal.Recorded => ({
  sequence: 10 + n,
  ledger: "coordinator-a",
  entry: Schema.decodeUnknownSync(Entry)(record(n, ...rest))
})

it("a step says when, why, what changed from what, and what was to be done", () => {
  const states: ReplayStep.States = new Map()
  const look = Output.style(false)
  ReplayStep.lines(
    recorded(1, [{ _tag: "TASK_RUNNING", id: "a:1:1" }], [{ _tag: "RUNNING", id: "a:1:1", of: 0 }]),
    undefined,
    states,
    look
  )
  const lines = ReplayStep.lines(
    recorded(
      2,
      [{
        _tag: "TASK_FAILED",
        id: "a:1:1",
        reason: "no",
        exitCode: 3,
        by: { executor: "e1", startup: "s", sequence: 1, at }
      }],
      [{ _tag: "FAILED", id: "a:1:1", of: 0, reason: "no", due: at + 5_000 }, { _tag: "WORKFLOW", status: "FAILED" }],
      ["timer:a"]
    ),
    at + 1,
    states,
    look
  )
  assert.deepStrictEqual(lines, [
    "step 2  2026-11-21T10:00:00.002Z  +1 ms  journal 12, ledger coordinator-a",
    "  why      TASK_FAILED a:1:1, exit code 3: no told by e1",
    "  change   a:1:1  RUNNING -> FAILED: no, again at 2026-11-21T10:00:05.000Z",
    "  change   workflow  FAILED",
    "  effects  timer:a"
  ])
})

it("entries of other instances and other records are left out; the journal sequence is the message's", () => {
  const text = JSON.stringify({
    v: 1,
    records: [
      { _tag: "Opened", member: "m", startup: "s", at },
      record(1, [], []),
      { ...record(1, [], []), instance: "i-2" },
      record(2, [], [])
    ]
  })
  const found = Journal.entriesOf({ sequence: 7, subject: "heddle.journal.m-s", time: "", headers: {}, text }, "i-1")
  assert.deepStrictEqual(found.map(({ entry, ledger, sequence }) => [entry.n, ledger, sequence]), [[1, "m-s", 7], [
    2,
    "m-s",
    7
  ]])
})

it("the newest sequence that history knows is found", () => {
  assert.strictEqual(
    Journal.newestSequence(
      JSON.stringify({ v: 1, entries: [{ seq: 4, entry: { n: 1 } }, { seq: 9, entry: { n: 2 } }] })
    ),
    9
  )
  assert.strictEqual(Journal.newestSequence("{}"), 0)
})

it("the start of a fork says of what it is one, and what was taken over", () => {
  const start = {
    definition: { namespace: "default", name: "nightly", version: 3, hash: "h" },
    fork: { instance: "i-0", seq: 77, tasks: [{ task: "a", as: "SUCCEEDED" }, { task: "b", as: "NOT_TAKEN" }] }
  }
  const lines = ReplayStep.lines(
    recorded(1, [{ _tag: "WORKFLOW_START", start }, { _tag: "WORKFLOW_PAUSE", request: "r-1" }], [
      { _tag: "STARTED", of: 0 },
      { _tag: "REQUESTED", of: 1 }
    ]),
    undefined,
    new Map(),
    Output.style(false)
  )
  assert.deepStrictEqual(lines.slice(1), [
    "  why      WORKFLOW_START of nightly@3, a fork of i-0 at 77",
    "  why      WORKFLOW_PAUSE",
    "  taken    a  SUCCEEDED",
    "  taken    b  NOT_TAKEN",
    "  change   workflow  STARTED",
    "  change   workflow  the request's id is remembered"
  ])
})
