/**
 * `heddle.rpc.backfill.*`: changes are carried out where the backfill's home shard is served; reads are answered by any coordinator. design/02 "Workflows".
 */
import * as Effect from "effect/Effect"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import { BackfillListQuery, BackfillRef, BackfillStop, StartBackfill } from "../../shared/protocol/Backfill.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { Backfills } from "./Backfills.ts"
import { atHome } from "./HomeEntities.ts"

const pageDefault = 100

export const endpoints = (backfills: Backfills): ReadonlyArray<RpcService.Endpoint> => [
  RpcService.endpoint({
    name: "backfill-start",
    subject: Subject.rpc.backfill("start"),
    request: StartBackfill,
    handler: atHome(backfills.home, (request: StartBackfill) => request.metadata.name, backfills.start)
  }),
  RpcService.endpoint({
    name: "backfill-get",
    subject: Subject.rpc.backfill("get"),
    request: BackfillRef,
    handler: ({ name }) => backfills.get(name)
  }),
  RpcService.endpoint({
    name: "backfill-list",
    subject: Subject.rpc.backfill("list"),
    request: BackfillListQuery,
    handler: ({ limit, next }) => Effect.sync(() => backfills.list(limit ?? pageDefault, next))
  }),
  RpcService.endpoint({
    name: "backfill-stop",
    subject: Subject.rpc.backfill("stop"),
    request: BackfillStop,
    handler: atHome(
      backfills.home,
      ({ name }: typeof BackfillStop.Type) => name,
      ({ name, stopRuns }) => backfills.stop(name, stopRuns ?? false)
    )
  })
]
