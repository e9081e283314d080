/**
 * Tells one pool what became of its assignments: registered, dropped, returned, released, lost. Repeated until the pool has answered.
 *
 * Keeps true: what is told is what waited while the last batch was on its way; a batch that got no answer is told again, as it was, before anything newer
 * (telling is idempotent per claim). A registration may be put off for `putOffMs`: when its task has ended by then, `released` says both, and when it was lost, both are
 * told together, the registration first. Follows shared/protocol/Dispatch.ts.
 */
import * as Result from "effect/Result"
import { SettleAnswer, type SettleRequest } from "../../shared/protocol/Dispatch.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { poolKey } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { ClaimId } from "../../shared/protocol/Token.ts"
import type { Identity } from "./Attempt.ts"
import type { Later } from "./Later.ts"
import * as Wire from "./Wire.ts"

export type Settlement = "registered" | "dropped" | "returned" | "released" | "lost"

const batchMax = 2_000
const timeoutMs = 5_000
/** How long the registration of a task that ends at once may wait for its end to be acknowledged; short against the time after which a pool asks (5 s). */
export const putOffMs = 250
const backoffFirstMs = 100
const backoffMaxMs = 5_000

const settle = Wire.question(SettleAnswer)

type Batch = Record<Settlement, Array<ClaimId>>
const emptyBatch = (): Batch => ({ registered: [], dropped: [], returned: [], released: [], lost: [] })

export class Settler {
  private readonly pool: PoolRef
  private readonly identity: Identity
  private readonly wire: Wire.Wire
  private readonly later: Later
  private waiting = emptyBatch()
  private waitingCount = 0
  private readonly putOff = new Set<ClaimId>()
  private isPutOff = false
  private isBusy = false
  private isScheduled = false
  private failures = 0

  constructor(pool: PoolRef, identity: Identity, wire: Wire.Wire, later: Later) {
    this.pool = pool
    this.identity = identity
    this.wire = wire
    this.later = later
  }

  get isIdle(): boolean {
    return !this.isBusy && this.waitingCount === 0 && this.putOff.size === 0
  }

  /** `registered`, of a task whose `released` will probably follow soon and says the same. */
  tellRegisteredLater(claimId: ClaimId): void {
    this.putOff.add(claimId)
    if (this.isPutOff) return
    this.isPutOff = true
    this.later.after(putOffMs, () => {
      this.isPutOff = false
      const overdue = Array.from(this.putOff)
      this.putOff.clear()
      for (const one of overdue) this.tell("registered", one)
    })
  }

  tell(what: Settlement, claimId: ClaimId): void {
    if (this.putOff.delete(claimId) && what !== "released") this.add("registered", claimId)
    this.add(what, claimId)
    if (this.waitingCount >= batchMax) return this.flush()
    if (this.isBusy || this.isScheduled) return
    this.isScheduled = true
    queueMicrotask(() => {
      this.isScheduled = false
      this.flush()
    })
  }

  private add(what: Settlement, claimId: ClaimId): void {
    this.waiting[what].push(claimId)
    this.waitingCount++
  }

  private flush(): void {
    if (this.isBusy || this.waitingCount === 0) return
    const batch = this.waiting
    this.waiting = emptyBatch()
    this.waitingCount = 0
    this.isBusy = true
    const request: SettleRequest = { executor: this.identity.member, startup: this.identity.startup, ...batch }
    this.send(JSON.stringify(request))
  }

  private send(body: string): void {
    this.wire.ask(settle, Subject.rpc.pool(this.pool, "settle"), body, timeoutMs, (result) => {
      if (Result.isSuccess(result)) {
        this.failures = 0
        this.isBusy = false
        return this.flush()
      }
      this.failures++
      if (this.failures === 5) {
        this.later.warn(`pool ${poolKey(this.pool)} does not take settlements: ${Wire.reasonOf(result.failure)}`)
      }
      this.later.after(this.later.backoffMs(this.failures, backoffFirstMs, backoffMaxMs), () => this.send(body))
    })
  }
}
