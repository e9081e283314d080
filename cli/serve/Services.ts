/**
 * The services as layers, and what each is started with: the one place where the command knows them. `heddle serve` takes one, `heddle dev` all.
 *
 * Order matters when they share a scope: what is built last ends first, and an executor reports its last facts to coordinators that are still there.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { DurabilityOptions } from "../../shared/jetstream/Durability.ts"
import type { Nats } from "../../shared/jetstream/Nats.ts"
import type { StreamsOptions } from "../../shared/jetstream/Streams.ts"
import type { PluginHost } from "../../shared/plugin/Plugin.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"
import * as Plugins from "../Plugins.ts"
import { version } from "../Version.ts"

export const order = ["failover", "coordinator", "pool-scheduler", "task-executor", "gateway"] as const
export type ServiceName = typeof order[number]

/** Where a gateway listens. `listening`: told its URL. */
export interface HttpConfig {
  readonly host: string
  /** 0: a free one. */
  readonly port: number
  readonly listening: (url: string) => void
}

export interface ServiceConfig {
  readonly member: MemberId
  /** Of the registry entry. */
  readonly ttlMs: number | undefined
  /** failover: from suspicion to event. */
  readonly graceMs: number | undefined
  /** task-executor. */
  readonly slots: number | undefined
  readonly pools: ReadonlyArray<PoolRef> | "all"
  /** coordinator: what is known of the server's fsync. */
  readonly durability: DurabilityOptions
  readonly streams: StreamsOptions
  /** task-executor: how long running tasks may go on at the end. */
  readonly finishMs: number | undefined
  /** gateway. */
  readonly http: HttpConfig | undefined
}

/** A running service: what breaks it later fails the connection (`Nats.failure`). */
export type ServiceLayer = Layer.Layer<never, ContractError, Nats | PluginHost>

const ofEnvironment = (error: { readonly message: string }) =>
  new ContractError({ code: "InvalidMessage", message: `The environment is not valid: ${error.message}` })

const given = <K extends string, A>(key: K, value: A | undefined) =>
  value === undefined ? {} : { [key]: value } as { readonly [_ in K]: A } // one key

const load = async (name: ServiceName, config: ServiceConfig): Promise<ServiceLayer> => {
  const common = { member: config.member, version, ...given("ttlMs", config.ttlMs) }
  switch (name) {
    case "coordinator": {
      const coordinator = await import("../../services/coordinator/main.ts")
      return Layer.effectDiscard(
        Effect.flatMap(
          Effect.all({ alerts: Plugins.alerts, taskTypes: Plugins.argumentSchemas, settings: coordinator.settings }),
          ({ alerts, settings, taskTypes }) =>
            Layer.build(
              coordinator.layer({
                ...common,
                durability: config.durability,
                streams: config.streams,
                alerts,
                taskTypes,
                ...settings
              })
            )
        )
      )
    }
    case "pool-scheduler":
      return Layer.effectDiscard(Layer.build(
        (await import("../../services/pool-scheduler/main.ts")).layer({ ...common, streams: config.streams })
      ))
    case "task-executor":
      return Layer.effectDiscard(Layer.build(
        (await import("../../services/task-executor/main.ts")).layer({
          ...common,
          pools: config.pools,
          ...given("slots", config.slots),
          ...given("finishMs", config.finishMs)
        })
      ))
    case "failover":
      return Layer.effectDiscard(Layer.build(
        (await import("../../services/failover/main.ts")).layer({ ...common, ...given("graceMs", config.graceMs) })
      ))
    case "gateway": {
      const gateway = await import("../../services/gateway/main.ts")
      return Layer.effectDiscard(
        Effect.flatMap(
          Effect.mapError(Effect.suspend(() => gateway.settings), ofEnvironment),
          (settings) =>
            Layer.build(
              gateway.layer({
                ...common,
                ...settings,
                ...config.http ?? httpDefault,
                durability: config.durability
              })
            )
        )
      )
    }
  }
}

/** Of a gateway that nobody told where to listen. */
const httpDefault: HttpConfig = { host: "127.0.0.1", port: 0, listening: () => undefined }

/** Reads the service's code when it is built, not before. */
export const layer = (name: ServiceName, config: ServiceConfig): ServiceLayer =>
  Layer.unwrap(Effect.promise(() => load(name, config)))
