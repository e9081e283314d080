import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Coordinator from "../../services/coordinator/main.ts"
import { Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { StartAnswer } from "../../shared/protocol/Workflow.ts"
import { Broker } from "../../shared/testing/Broker.ts"

const shell = Schema.Struct({ run: Schema.String }) as Schema.Codec<unknown, unknown>
const definition = (argument: unknown, name = "w") => ({
  metadata: { name },
  spec: {
    tasks: [
      { name: "a", type: "shell", with: argument },
      { name: "b", type: "elsewhere", with: { what: 1 }, dependsOn: ["c"] },
      { name: "c", type: "shell", with: { run: "true" } }
    ]
  }
})
const build = (
  url: string,
  member: string,
  taskTypes: ReadonlyMap<string, Schema.Codec<unknown, unknown>> | undefined
) =>
  Layer.build(
    Coordinator.layer({
      member: MemberId.make(member),
      version: "test",
      shardCount: 4,
      ttlMs: 30_000,
      ...(taskTypes === undefined ? {} : { taskTypes })
    }).pipe(Layer.provide(Nats.layer({ url, name: member })))
  )

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("arguments of new definitions", (it) => {
  it.effect("put, validate and an inline start refuse the same, with every path; what is stored already starts as before", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* open({ url, name: "test" })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* build(url, "co-1", undefined)
        yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, definition({ run: 1 }, "old"))
      }))
      yield* build(url, "co-2", new Map([["shell", shell]]))
      const call = (subject: string, body: object) =>
        Rpc.callPatiently(nats, subject, Schema.Unknown, body, { timeoutMs: 60_000, isRepeatable: true })
      const bad = definition({ run: 1 })
      for (
        const [subject, body] of [
          [Subject.rpc.definition("put"), bad],
          [Subject.rpc.definition("validate"), bad],
          [Subject.rpc.workflow("start"), { inline: bad, instanceId: "i-1" }]
        ] as const
      ) {
        const refused = yield* Effect.flip(call(subject, body))
        assert.strictEqual(refused.code, "InvalidDefinition", subject)
        assert.strictEqual(refused.path, "spec.tasks[0].with.run", subject)
        assert.deepNestedInclude(refused, { "details[0].path": "spec.tasks[0].with.run", "details[0].value": 1 })
      }
      const cycle = { ...bad, spec: { tasks: [...bad.spec.tasks, { name: "a", type: "noop" }] } }
      const both = yield* Effect.flip(call(Subject.rpc.definition("put"), cycle))
      assert.strictEqual((both.details as ReadonlyArray<unknown>).length, 2, "beside the problems of the graph")
      yield* call(Subject.rpc.definition("put"), definition({ run: "${{ params.x }}" }))
      yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { definition: "old", instanceId: "i-2" })
    }))
})
