/**
 * `heddle.rpc.schedule.*`: changes and triggers are carried out where the schedule's home shard is served; reads are answered by any coordinator. design/02 "Workflows".
 */
import * as Effect from "effect/Effect"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import {
  PutSchedule,
  ScheduleListQuery,
  SchedulePreviewQuery,
  ScheduleRef,
  ScheduleTrigger
} from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { atHome } from "./HomeEntities.ts"
import type { Schedules } from "./Schedules.ts"

const pageDefault = 100
const nameOf = (request: { readonly name: string }): string => request.name

export const endpoints = (schedules: Schedules): ReadonlyArray<RpcService.Endpoint> => [
  RpcService.endpoint({
    name: "schedule-put",
    subject: Subject.rpc.schedule("put"),
    request: PutSchedule,
    handler: atHome(schedules.home, (request: PutSchedule) => request.metadata.name, schedules.put)
  }),
  RpcService.endpoint({
    name: "schedule-get",
    subject: Subject.rpc.schedule("get"),
    request: ScheduleRef,
    handler: ({ name }) => schedules.get(name)
  }),
  RpcService.endpoint({
    name: "schedule-list",
    subject: Subject.rpc.schedule("list"),
    request: ScheduleListQuery,
    handler: ({ limit, next }) => Effect.sync(() => schedules.list(limit ?? pageDefault, next))
  }),
  RpcService.endpoint({
    name: "schedule-delete",
    subject: Subject.rpc.schedule("delete"),
    request: ScheduleRef,
    handler: atHome(schedules.home, nameOf, ({ name }: typeof ScheduleRef.Type) => schedules.delete(name))
  }),
  RpcService.endpoint({
    name: "schedule-pause",
    subject: Subject.rpc.schedule("pause"),
    request: ScheduleRef,
    handler: atHome(
      schedules.home,
      nameOf,
      ({ name, reason }: typeof ScheduleRef.Type) => schedules.pause(name, reason)
    )
  }),
  RpcService.endpoint({
    name: "schedule-resume",
    subject: Subject.rpc.schedule("resume"),
    request: ScheduleRef,
    handler: atHome(schedules.home, nameOf, ({ name }: typeof ScheduleRef.Type) => schedules.resume(name))
  }),
  RpcService.endpoint({
    name: "schedule-trigger",
    subject: Subject.rpc.schedule("trigger"),
    request: ScheduleTrigger,
    handler: atHome(schedules.home, nameOf, schedules.trigger)
  }),
  RpcService.endpoint({
    name: "schedule-preview",
    subject: Subject.rpc.schedule("preview"),
    request: SchedulePreviewQuery,
    handler: schedules.preview
  })
]
