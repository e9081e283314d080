import { assert, it } from "@effect/vitest"
import * as Run from "./Run.ts"

it("a parameter that the definition does not declare is told, where it declares any", () => {
  assert.deepStrictEqual(Run.undeclared({ nme: 1, name: 2 }, { name: "world" }), ["nme"])
  assert.deepStrictEqual(Run.undeclared({ toString: 1 }, { name: "world" }), ["toString"])
  assert.deepStrictEqual(Run.undeclared({ any: 1 }, {}), [])
})
