import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { elsewhere, notBuilt, numbers } from "./Cases.ts"

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, "..", "..")
/** Case numbers that tests of this folder begin with. */
const tested = readdirSync(here).filter((file) => file.endsWith(".test.ts")).flatMap((file) =>
  [...readFileSync(join(here, file), "utf8").matchAll(/\bit(?:\.\w+)*\(\s*["`]([A-D]\d\d) /g)].map(([, number]) =>
    number ?? ""
  )
)

describe("every case of the conformance list", () => {
  it("has one test, here or elsewhere, or a reason why it has none", () => {
    const wrong = numbers.flatMap((number) => {
      const tests = tested.filter((each) => each === number).length
      const stands = [tests === 1, number in elsewhere, number in notBuilt].filter(Boolean).length
      return tests <= 1 && stands === 1 ? [] : [`${number}: ${tests} tests, ${stands} of test, elsewhere, notBuilt`]
    })
    assert.deepStrictEqual(wrong, [])
  })
  it("and there is no case that the list does not have", () => {
    const known = new Set(numbers)
    const others = [...tested, ...Object.keys(elsewhere), ...Object.keys(notBuilt)].filter((each) => !known.has(each))
    assert.deepStrictEqual(others, [])
  })
  it("tests elsewhere are there", () => {
    for (const [number, { file, name }] of Object.entries(elsewhere)) {
      assert.include(readFileSync(join(root, file), "utf8"), `"${name}`, number)
    }
  })
})
