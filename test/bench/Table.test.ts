import { assert, describe, it } from "@effect/vitest"
import * as Table from "./Table.ts"

describe("Table", () => {
  it("columns are as wide as their widest cell", () => {
    const text = Table.render(
      [{ title: "name", align: "left" }, { title: "n", align: "right" }],
      [["a", "1"], ["longer", "1,000"], ["without"]]
    )
    assert.deepStrictEqual(text.split("\n"), [
      "name         n",
      "-------  -----",
      "a            1",
      "longer   1,000",
      "without"
    ])
  })
})
