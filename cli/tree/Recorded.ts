/** `heddle replay`: what JetStream has recorded, looked at afterwards. design/02 "CLI". */
import * as Command from "effect/cli/Command"
import * as Lazy from "../Lazy.ts"
import { example, flag, instance, text } from "./Parts.ts"

export const replay = Command.make("replay", {
  instance,
  until: text("until", "sequence|time", "Stop after this stream sequence or time (RFC 3339)"),
  step: flag("step", "Wait for Enter after each step"),
  speed: text("speed", "1|10|max", "1: as it went, 10: ten times as fast, max: at once; max when not given"),
  verify: flag(
    "verify",
    "Check the hash chain, and that the engine decides the same again; exit code 1 at a difference"
  )
}, Lazy.handler(() => import("../command/Replay.ts").then((_) => _.run))).pipe(
  Command.withShortDescription("Go through a run again, step by step"),
  Command.withDescription(
    "Reads the journal of an instance from JetStream and shows each step: when, why, what changed, what was sent out; then the final state. "
      + "Needs no service, only the NATS server."
  ),
  Command.withExamples([
    example("replay i-7", "All steps"),
    example("replay i-7 --until 2026-11-21T10:00:00Z", "The state at that moment"),
    example("replay i-7 --verify", "Is the log whole, and does it follow from the rules?")
  ])
)
