/**
 * Holds the sandbox of a live claim still, or lets it go on, where the pool's provider can: one write with a deadline, answered once; the lease runs on meanwhile.
 */
import type { PauseOutcome } from "../../shared/plugin/PoolProvider.ts"
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import * as Alarms from "./Alarms.ts"
import type { Claim } from "./Claim.ts"
import type { DeskAlarm, ProviderDesk } from "./ProviderDesk.ts"
import type { Settled } from "./Settled.ts"

const reasonOf = (outcome: Exclude<PauseOutcome, { readonly _tag: "Done" }>): string => {
  switch (outcome._tag) {
    case "HardError":
      return outcome.message
    case "Unknown":
      return outcome.reason
    case "Fenced":
      return "the pool has another owner"
    default:
      return "the sandbox is not this claim's any more"
  }
}

/** `done` gets the claim's record, `undefined` when it holds no sandbox, or an error. */
export const set = (
  desk: ProviderDesk,
  claim: Claim | undefined,
  isPaused: boolean,
  done: (result: Settled | ErrorBody | undefined) => void
): void => {
  if (claim === undefined || claim.phase !== "Claimed" || claim.uid === undefined) return done(undefined)
  const act = isPaused ? desk.provider.pause : desk.provider.resume
  if (act === undefined) {
    return done({ code: "Unsupported", message: "the provider of this pool cannot hold a sandbox still" })
  }
  let isAnswered = false
  const answered = (outcome: PauseOutcome): void => {
    if (isAnswered) return
    isAnswered = true
    desk.clearAlarm(overdue)
    if (outcome._tag === "Fenced") desk.fenced(outcome.current)
    if (outcome._tag !== "Done") {
      return done({
        code: "Unavailable",
        message: `the sandbox was not ${isPaused ? "paused" : "resumed"}: ${reasonOf(outcome)}`
      })
    }
    claim.isPaused = isPaused
    if (claim.settled !== undefined) claim.settled = { ...claim.settled, isPaused }
    done(claim.settled)
  }
  const overdue: DeskAlarm = Alarms.make({
    run: () => answered({ _tag: "Unknown", reason: `no answer within ${desk.writeDeadlineMs} ms` })
  })
  desk.setAlarm(overdue, desk.now() + desk.writeDeadlineMs)
  act.call(desk.provider, { uid: claim.uid, claimId: claim.spec.claimId, sessionId: desk.sessionId }, answered)
}
