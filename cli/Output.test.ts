import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Output from "./Output.ts"

const screenOf = (isTty: boolean) => {
  const written: Array<string> = []
  const errors: Array<string> = []
  const screen: Output.Screen = {
    write: (text) => void written.push(text),
    writeError: (text) => void errors.push(text),
    isTty,
    isErrorTty: isTty,
    columns: 80
  }
  return { screen, text: () => written.join(""), errors: () => errors.join("") }
}

const items = [{ name: "a", state: "SUCCEEDED", count: 3 }, { name: "longer", state: "FAILED", count: 12 }]
const columns: ReadonlyArray<Output.Column<typeof items[number]>> = [
  { title: "NAME", value: (item) => item.name },
  { title: "STATE", value: (item) => item.state },
  { title: "N", value: (item) => String(item.count), alignRight: true }
]

const printed = (format: Output.Format, isTty = false, env: Record<string, string> = {}) => {
  const { errors, screen, text } = screenOf(isTty)
  const output = Output.make(screen, format, "auto", env)
  return Effect.map(output.page({ items, next: "t" }, columns, "none"), () => ({ text: text(), errors: errors() }))
}

it.effect("off a terminal there is no escape byte, and columns line up", () =>
  Effect.gen(function*() {
    const { text } = yield* printed("table")
    assert.strictEqual(text, "NAME    STATE       N\na       SUCCEEDED   3\nlonger  FAILED     12\n")
  }))

it.effect("json is one document and one line off a terminal, jsonl a line for each item, yaml the same document", () =>
  Effect.gen(function*() {
    const json = (yield* printed("json")).text
    assert.strictEqual(json.split("\n").length, 2)
    assert.deepStrictEqual(JSON.parse(json), { items, next: "t" })
    const lines = (yield* printed("jsonl")).text.trimEnd().split("\n")
    assert.deepStrictEqual(lines.map((line) => JSON.parse(line) as unknown), items)
    assert.include((yield* printed("yaml")).text, "next: t\n")
    assert.isAbove((yield* printed("json", true)).text.split("\n").length, 5)
  }))

it.effect("an empty table says so on standard error and leaves standard output empty", () =>
  Effect.gen(function*() {
    const { errors, screen, text } = screenOf(false)
    yield* Output.make(screen, "table", "auto", {}).page({ items: [] }, columns, "nothing here")
    assert.strictEqual(text(), "")
    assert.strictEqual(errors(), "nothing here\n")
  }))

it("colours: on a terminal only, NO_COLOR and TERM=dumb turn them off, --color always wins", () => {
  assert.isTrue(Output.hasColour("auto", true, {}))
  assert.isFalse(Output.hasColour("auto", false, {}))
  assert.isFalse(Output.hasColour("auto", true, { NO_COLOR: "1" }))
  assert.isTrue(Output.hasColour("auto", true, { NO_COLOR: "" }))
  assert.isFalse(Output.hasColour("auto", true, { TERM: "dumb" }))
  assert.isFalse(Output.hasColour("never", true, {}))
  assert.isTrue(Output.hasColour("always", false, { NO_COLOR: "1" }))
})

it("colour does not move columns, and a state stays a word", () => {
  const plain = Output.table(columns, items, Output.style(false))
  const painted = Output.table(
    [columns[0]!, { title: "STATE", value: (item) => Output.style(true).state(item.state) }, columns[2]!], // three columns above
    items,
    Output.style(false)
  )
  assert.include(painted, "\u001b[")
  // oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
  assert.strictEqual(painted.replace(/\u001b\[[0-9;]*m/g, ""), plain)
})

it("durations read well at every size", () => {
  assert.deepStrictEqual(
    [0, 0.04, 0.25, 9.96, 12.4, 999, 1_500, 61_000, 3_661_000].map(Output.duration),
    ["0 ms", "0 ms", "0.3 ms", "10 ms", "12 ms", "999 ms", "1.5 s", "1 m 1 s", "1 h 1 m"]
  )
})

it("a cut line has the asked width and closes its colours", () => {
  assert.strictEqual(Output.cut("abc", 5), "abc")
  assert.strictEqual(Output.cut("abcdef", 3), "abc")
  assert.strictEqual(Output.cut("a\u001b[31mbcd\u001b[39mef", 3), "a\u001b[31mbc\u001b[39m")
})

it("a picture is redrawn on a terminal only, and never where NO_COLOR or TERM=dumb rules escape bytes out", () => {
  const isLive = (isTty: boolean, env: Record<string, string>, format: Output.Format = "table") =>
    Output.make(screenOf(isTty).screen, format, "auto", env).isLive
  assert.isTrue(isLive(true, {}))
  assert.isFalse(isLive(false, {}))
  assert.isFalse(isLive(true, { NO_COLOR: "1" }))
  assert.isFalse(isLive(true, { TERM: "dumb" }))
  assert.isFalse(isLive(true, {}, "json"))
})

it.effect("an event without an end is a line, or a document, of the asked format", () =>
  Effect.gen(function*() {
    const shown = (format: Output.Format, isTty: boolean) => {
      const { screen, text } = screenOf(isTty)
      return Effect.map(
        Output.make(screen, format, "auto", {}).event({ ready: true, pools: [{ name: "a" }] }, () => "ready"),
        text
      )
    }
    for (const isTty of [true, false]) {
      assert.strictEqual(yield* shown("table", isTty), "ready\n")
      assert.strictEqual(yield* shown("json", isTty), "{\"ready\":true,\"pools\":[{\"name\":\"a\"}]}\n")
      assert.strictEqual(yield* shown("jsonl", isTty), "{\"ready\":true,\"pools\":[{\"name\":\"a\"}]}\n")
      assert.strictEqual(yield* shown("yaml", isTty), "---\nready: true\npools:\n  - name: a\n")
    }
  }))
