/**
 * `heddle.rpc.definition.*`: any coordinator answers, the bucket is the truth. design/02 "Workflows".
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import { DefinitionListQuery, DefinitionQuery } from "../../shared/protocol/Definition.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { Definitions } from "./Definitions.ts"

const pageDefault = 100

/** `put` and `validate` take the body as it is, so that what is stored and hashed is what was sent; `Definitions` checks it. */
const Body = Schema.Record(Schema.String, Schema.Unknown)

export const endpoints = (definitions: Definitions): ReadonlyArray<RpcService.Endpoint> => [
  RpcService.endpoint({
    name: "put",
    subject: Subject.rpc.definition("put"),
    request: Body,
    handler: (body) => definitions.put(body)
  }),
  RpcService.endpoint({
    name: "validate",
    subject: Subject.rpc.definition("validate"),
    request: Body,
    handler: (body) => definitions.validate(body)
  }),
  RpcService.endpoint({
    name: "get",
    subject: Subject.rpc.definition("get"),
    request: DefinitionQuery,
    handler: ({ name, namespace, version }) => definitions.get(namespace ?? namespaceDefault, name, version)
  }),
  RpcService.endpoint({
    name: "list",
    subject: Subject.rpc.definition("list"),
    request: DefinitionListQuery,
    handler: ({ limit, namespace, next }) => Effect.sync(() => definitions.list(namespace, limit ?? pageDefault, next))
  }),
  RpcService.endpoint({
    name: "delete",
    subject: Subject.rpc.definition("delete"),
    request: DefinitionQuery,
    // Instances pin versions, so one version alone stays: who names one must not lose all of them.
    handler: ({ name, namespace, version }) =>
      version === undefined
        ? definitions.delete(namespace ?? namespaceDefault, name)
        : Effect.fail(
          new ContractError({
            code: "InvalidMessage",
            message: "one version alone cannot be deleted: leave `version` out to delete the name with all of them",
            path: "version"
          })
        )
  })
]
