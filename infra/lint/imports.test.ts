import { assert, describe, it } from "@effect/vitest"
import { check } from "./imports.ts"

const rulesBroken = (files: Record<string, string>) =>
  check(new Map(Object.entries(files))).map((violation) => violation.rule)

const forbidden: ReadonlyArray<[name: string, from: string, source: string, rule: RegExp]> = [
  [
    "a service imports another",
    "services/gateway/Http.ts",
    `import { a } from "../coordinator/Ledger.ts"`,
    /each other/
  ],
  [
    "a service imports a type of another",
    "services/gateway/Http.ts",
    `import type { A } from "../coordinator/A.ts"`,
    /each other/
  ],
  ["a service re-exports another", "services/gateway/Http.ts", `export * from "../coordinator/A.ts"`, /each other/],
  ["a service imports another later", "services/gateway/Http.ts", `await import("../coordinator/A.ts")`, /each other/],
  ["a service imports a plugin", "services/gateway/Http.ts", `import "../../plugins/shell/main.ts"`, /only shared/],
  [
    "shared imports a service",
    "shared/registry/Registry.ts",
    `import { a } from "../../services/gateway/Http.ts"`,
    /shared\/ imports no/
  ],
  [
    "shared imports the cli",
    "shared/config/Config.ts",
    `import { a } from "../../cli/heddle.ts"`,
    /shared\/ imports no/
  ],
  [
    "a plugin imports the broker layer",
    "plugins/shell/main.ts",
    `import { a } from "../../shared/jetstream/Nats.ts"`,
    /plugins import only/
  ],
  ["a plugin imports another", "plugins/shell/main.ts", `import { a } from "../http/main.ts"`, /plugins import only/],
  [
    "the engine runs effects",
    "services/coordinator/engine/decide.ts",
    `import * as Effect from "effect/Effect"`,
    /pure/
  ],
  [
    "the engine runs effects by the barrel",
    "services/coordinator/engine/decide.ts",
    `import { Option, Queue } from "effect"`,
    /pure/
  ],
  ["the engine reads files", "services/coordinator/engine/decide.ts", `import { readFileSync } from "node:fs"`, /pure/],
  ["the engine knows the shell", "services/coordinator/engine/decide.ts", `import { a } from "../Ledger.ts"`, /pure/],
  [
    "the engine knows the broker",
    "services/coordinator/engine/decide.ts",
    `import { connect } from "@nats-io/transport-node"`,
    /pure/
  ],
  [
    "a service knows the client",
    "services/gateway/Http.ts",
    `import { connect } from "@nats-io/transport-node"`,
    /@nats-io/
  ],
  ["a command imports a service", "cli/claim.ts", `import { a } from "../services/gateway/main.ts"`, /cli\/dev/],
  ["dev reaches into a service", "cli/dev.ts", `import { a } from "../services/gateway/Http.ts"`, /cli\/dev/],
  ["the product imports a test", "cli/dev.ts", `import { a } from "../test/e2e/Broker.ts"`, /no test/]
]

const allowed: ReadonlyArray<[from: string, source: string]> = [
  ["services/gateway/Http.ts", `import { a } from "../../shared/protocol/Claim.ts"; import { b } from "./Live.ts"`],
  [
    "services/coordinator/engine/decide.ts",
    `import { Option, Schema } from "effect"; import * as M from "effect/HashMap"`
  ],
  [
    "services/coordinator/engine/decide.ts",
    `import { a } from "./graph/Graph.ts"; import type { B } from "../../../shared/protocol/Task.ts"`
  ],
  [
    "services/coordinator/engine/decide.test.ts",
    `import { it } from "@effect/vitest"; import * as Effect from "effect/Effect"`
  ],
  ["shared/jetstream/Nats.ts", `import { connect } from "@nats-io/transport-node"`],
  [
    "plugins/shell/main.ts",
    `import { definePlugin } from "../../shared/plugin/Plugin.ts"; import { a } from "./Process.ts"`
  ],
  ["cli/dev.ts", `import { layer } from "../services/gateway/main.ts"`],
  ["cli/serve/All.ts", `import { layer } from "../../services/gateway/main.ts"`],
  ["services/gateway/Text.ts", `// import { a } from "../coordinator/A.ts"\nconst s = 'import "../coordinator/A.ts"'`]
]

describe("imports", () => {
  for (const [name, from, source, rule] of forbidden) {
    it(`refuses: ${name}`, () => {
      const broken = rulesBroken({ [from]: source })
      assert.isTrue(broken.some((text) => rule.test(text)), broken.join("; "))
    })
  }

  for (const [from, source] of allowed) {
    it(`allows: ${from}: ${source}`, () => assert.deepStrictEqual(rulesBroken({ [from]: source }), []))
  }

  it("finds a circle and says its way", () => {
    const broken = rulesBroken({
      "shared/a/A.ts": `import { b } from "./B.ts"`,
      "shared/a/B.ts": `import { c } from "../c/C.ts"`,
      "shared/c/C.ts": `export { a } from "../a/A.ts"`
    })
    assert.deepStrictEqual(broken, [
      "circular import: shared/a/A.ts -> shared/a/B.ts -> shared/c/C.ts -> shared/a/A.ts"
    ])
  })

  const circles: ReadonlyArray<[name: string, back: string]> = [
    ["of a type", `import type { A } from "./A.ts"`],
    ["of a type among values", `import { type A, a } from "./A.ts"`],
    ["of a type that is exported again", `export type { A } from "./A.ts"`],
    ["that is closed later", `export const a = () => import("./A.ts")`]
  ]
  for (const [name, back] of circles) {
    for (const folder of ["services/s", "shared/a", "plugins/p", "cli", "infra/i", "test/t"]) {
      it(`refuses a circle ${name} in ${folder}`, () => {
        assert.deepStrictEqual(
          rulesBroken({ [`${folder}/A.ts`]: `import { b } from "./B.ts"`, [`${folder}/B.ts`]: back }),
          [`circular import: ${folder}/A.ts -> ${folder}/B.ts -> ${folder}/A.ts`]
        )
      })
    }
  }

  it("tells a circle once, and each of two", () => {
    const broken = rulesBroken({
      "shared/a/Top.ts": `import "./A.ts"; import "./C.ts"; import "./B.ts"`,
      "shared/a/A.ts": `import type { B } from "./B.ts"`,
      "shared/a/B.ts": `import { a } from "./A.ts"`,
      "shared/a/C.ts": `import { c } from "./C.ts"`
    })
    assert.deepStrictEqual(broken, [
      "circular import: shared/a/A.ts -> shared/a/B.ts -> shared/a/A.ts",
      "circular import: shared/a/C.ts -> shared/a/C.ts"
    ])
  })

  it("lets several files import one, by several ways", () =>
    assert.deepStrictEqual(
      rulesBroken({
        "shared/a/Top.ts": `import { a } from "./A.ts"; import type { B } from "./B.ts"`,
        "shared/a/A.ts": `import type { C } from "./C.ts"`,
        "shared/a/B.ts": `import { c } from "./C.ts"`
      }),
      []
    ))
})
