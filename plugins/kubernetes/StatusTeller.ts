/**
 * What the owner of a pool tells on its SandboxPool: counters, and that it serves.
 *
 * Keeps true: whatever stands there is written again every minute with the time of the writing, so that what somebody else has changed does not stay, and a reader sees from an old
 * `lastHeartbeatTime` that nobody is left who could say more; an owner that has been replaced writes no more. Follows docs/design/kubernetes.md, "Objects".
 */
import type { PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"
import type { Api } from "./ApiClient.ts"
import * as PoolObject from "./PoolObject.ts"
import { type StatusPorts, type StatusTarget, StatusWriter } from "./StatusWriter.ts"

export const heartbeatMs = 60_000

export interface StatusTellerOptions {
  readonly api: Api
  readonly target: StatusTarget
  readonly owner: MemberId | undefined
  /** Selects the pool's pods. */
  readonly selector: string
  readonly now: () => number
  readonly phases: () => PoolObject.Phases
  /** Another owner has been seen. */
  readonly isFenced: () => boolean
}

export class StatusTeller {
  private readonly options: StatusTellerOptions
  private readonly ports: StatusPorts
  private readonly writer: StatusWriter
  private latest: PoolStatus | undefined
  private since = 0

  constructor(options: StatusTellerOptions, ports: StatusPorts) {
    this.options = options
    this.ports = ports
    this.writer = new StatusWriter(options.api, options.target, "heddle-pool", ports)
  }

  tell(status: PoolStatus): void {
    const { latest } = this
    if (latest?.isDraining !== status.isDraining) this.since = this.options.now()
    this.latest = status
    this.write(status)
    if (latest === undefined) this.beat()
  }

  private beat(): void {
    this.ports.later(heartbeatMs, () => {
      if (this.latest !== undefined && !this.options.isFenced()) this.write(this.latest)
      this.beat()
    })
  }

  private write(status: PoolStatus): void {
    const { now, owner, phases, selector } = this.options
    this.writer.write(PoolObject.ownerStatus(status, phases(), { owner, selector, since: this.since, now: now() }))
  }
}
