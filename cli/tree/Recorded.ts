/** `heddle replay`, `at`, `diff`: what JetStream has recorded, looked at afterwards. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Lazy from "../Lazy.ts"
import { argument, example, flag, text } from "./Parts.ts"

const recorded = (name: string) => argument(name, "Id of a workflow instance, or a file of `heddle workflows export`")

export const replay = Command.make("replay", {
  instance: recorded("instance"),
  until: text("until", "sequence|time", "Stop after this stream sequence, time (RFC 3339) or so long ago (10m)"),
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
      + "Needs no service, only the NATS server; for a file not even that."
  ),
  Command.withExamples([
    example("replay i-7", "All steps"),
    example("replay i-7 --until 2026-11-21T10:00:00Z", "The state at that moment"),
    example("replay i-7 --verify", "Is the log whole, and does it follow from the rules?"),
    example("replay ./i-7.jsonl --step", "Somebody else's run, out of a file")
  ])
)

export const at = Command.make("at", {
  time: argument("time", "RFC 3339 (2026-11-21T10:00:00Z), a date, or how long ago (10m)"),
  kind: Argument.Literals("kind", ["pool", "workflow"]).pipe(Argument.withDescription("Of what")),
  name: argument(
    "name",
    "The pool's name, or namespace/name; the instance's id, or a file of `heddle workflows export`"
  )
}, Lazy.handler(() => import("../command/At.ts").then((_) => _.run))).pipe(
  Command.withShortDescription("What was, at a moment in the past"),
  Command.withDescription(
    "A run: every task as it was then, and what came next. A pool: its owner and the claims that were held, as far as its events tell; "
      + "what is not recorded is named. From JetStream, without any service; exit code 3 when the record does not reach back."
  ),
  Command.withExamples([
    example("at 2026-11-21T10:00:00Z workflow i-7", "Which task hung at ten o'clock?"),
    example("at 10m pool gpu", "Who had the sandboxes ten minutes ago?")
  ])
)

export const diff = Command.make(
  "diff",
  { a: recorded("a"), b: recorded("b") },
  Lazy.handler(
    () => import("../command/Diff.ts").then((_) => _.run)
  )
).pipe(
  Command.withShortDescription("Two runs beside each other"),
  Command.withDescription(
    "Where the engine first decided otherwise, and the params and tasks that differ: state, attempts, outputs; and times, where one took half as long again. "
      + "Exit code 0 when nothing but times differs, 1 when something does."
  ),
  Command.withExamples([
    example("diff nightly-2026-11-20 nightly-2026-11-21", "Yesterday it worked"),
    example("diff ./theirs.jsonl i-7 -o json", "A run out of a file, and one of this mesh")
  ])
)
