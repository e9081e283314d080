/** `heddle backfill`. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { parallelismMax } from "../../shared/protocol/Backfill.ts"
import * as Lazy from "../Lazy.ts"
import { argument, example, flag, limit, next, param, text, whole } from "./Parts.ts"

const backfillName = argument("name", "Name of the backfill")
export const backfill = Command.make("backfill").pipe(
  Command.withDescription("One workflow for each date of a range"),
  Command.withSubcommands([
    Command.make("start", {
      definition: Argument.String("definition").pipe(
        Argument.withDescription("name[@version] of a stored definition; or --file"),
        Argument.optional
      ),
      file: text("file", "path", "YAML or JSON of a backfill, instead of flags").pipe(Flag.withAlias("f")),
      name: text("name", "name", "Idempotency key: the same name and content again is the same backfill"),
      from: text("from", "date", "First date, such as 2026-11-01"),
      to: text("to", "date", "Last date, included"),
      date: Flag.String("date").pipe(
        Flag.withMetavar("<date>"),
        Flag.withDescription("Instead of --from and --to: one date; can be passed multiple times"),
        Flag.atLeast(0)
      ),
      cron: text("cron", "expression", "The times of these dates that match; the start of each date when not given"),
      timezone: text("timezone", "name", "IANA name of the time zone; UTC when not given"),
      parallel: whole("parallel", "How many run at once; 1 when not given", [1, parallelismMax]),
      descending: flag("descending", "The last date first"),
      skipFailed: flag("skip-failed", "Go on after a date that failed; else no further date is started"),
      param,
      wait: flag("wait", "Wait for the end; exit code 1 when a date did not succeed")
    }, Lazy.handler(() => import("../command/Backfills.ts").then((_) => _.start))).pipe(
      Command.withDescription(
        "Start a backfill: an instance for each date, with the params date, scheduledAt and previous"
      ),
      Command.withExamples([
        example("backfill start nightly --from 2026-11-01 --to 2026-11-20 --parallel 4 --wait", "Four at a time"),
        example("backfill start -f examples/backfill.yaml", "From a file")
      ])
    ),
    Command.make("ls", { limit, next }, Lazy.handler(() => import("../command/Backfills.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("Backfills, also those that have ended in the last 90 days"),
      Command.withExamples([example("backfill ls", "How far each is")])
    ),
    Command.make(
      "get",
      { name: backfillName },
      Lazy.handler(() => import("../command/Backfills.ts").then((_) => _.get))
    ).pipe(
      Command.withDescription("One backfill: what runs, what failed"),
      Command.withExamples([example("backfill get nightly-1f3a", "Its instances under way and those that failed")])
    ),
    Command.make(
      "stop",
      { name: backfillName, stopRuns: flag("stop-runs", "Stop the runs under way as well; else they go to their end") },
      Lazy.handler(() => import("../command/Backfills.ts").then((_) => _.stop))
    ).pipe(
      Command.withDescription("Start no further date"),
      Command.withExamples([example("backfill stop nightly-1f3a --stop-runs", "End it at once")])
    )
  ])
)
