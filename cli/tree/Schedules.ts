/** `heddle schedules`. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Lazy from "../Lazy.ts"
import { argument, example, limit, next, param, text, whole } from "./Parts.ts"

const scheduleName = argument("name", "Name of the schedule")
const ofSchedule = (name: string, verb: "get" | "remove" | "resume", description: string, shown: string) =>
  Command.make(
    name,
    { name: scheduleName },
    Lazy.handler(() => import("../command/Schedules.ts").then((_) => _[verb]))
  ).pipe(
    Command.withDescription(description),
    Command.withExamples([example(`schedules ${name} nightly`, shown)])
  )

export const schedules = Command.make("schedules").pipe(
  Command.withDescription("Workflows that start by the clock"),
  Command.withSubcommands([
    Command.make("ls", { limit, next }, Lazy.handler(() => import("../command/Schedules.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("All schedules: when they fire next, what they started last"),
      Command.withExamples([example("schedules ls", "By name")])
    ),
    ofSchedule("get", "get", "One schedule", "With -o yaml: its whole specification"),
    Command.make(
      "put",
      { file: argument("file", "YAML or JSON of a schedule; - for standard input") },
      Lazy.handler(() => import("../command/Schedules.ts").then((_) => _.put))
    ).pipe(
      Command.withDescription("Make a schedule, or change it: it fires from now on"),
      Command.withExamples([example("schedules put examples/schedule.yaml", "Prints when it fires next")])
    ),
    ofSchedule("delete", "remove", "Delete a schedule; what it started goes on", "It fires no more"),
    Command.make(
      "pause",
      { name: scheduleName, reason: text("reason", "text", "Why; shown until it is resumed") },
      Lazy.handler(() => import("../command/Schedules.ts").then((_) => _.pause))
    ).pipe(
      Command.withDescription("No firing until it is resumed; those times are not made up for"),
      Command.withExamples([example("schedules pause nightly --reason maintenance", "Off for now")])
    ),
    ofSchedule("resume", "resume", "Fire again, from now on", "On again"),
    Command.make("trigger", {
      name: scheduleName,
      at: text(
        "at",
        "time",
        "As though it were this time (RFC 3339 UTC): repeatable, the instance that a firing at that time makes"
      ),
      id: text("id", "instanceId", "Id of the instance; made of the schedule's name and the time when not given"),
      param
    }, Lazy.handler(() => import("../command/Schedules.ts").then((_) => _.trigger))).pipe(
      Command.withDescription("Start its workflow now, whether it is paused or not"),
      Command.withExamples([
        example("schedules trigger nightly", "Prints the id of the instance"),
        example("schedules trigger nightly --at 2026-11-21T01:00:00Z", "Make up for one firing")
      ])
    ),
    Command.make("preview", {
      name: Argument.String("name").pipe(Argument.withDescription("Name of the schedule"), Argument.optional),
      cron: text("cron", "expression", "Instead of a schedule: a cron expression"),
      timezone: text("timezone", "name", "With --cron: IANA name of the time zone; UTC when not given"),
      after: text("after", "time", "After this time (RFC 3339 UTC); now when not given"),
      count: whole("count", "How many times; 10 when not given", [1, 1_000])
    }, Lazy.handler(() => import("../command/Schedules.ts").then((_) => _.preview))).pipe(
      Command.withDescription("The next times"),
      Command.withExamples([
        example("schedules preview nightly", "The next ten"),
        example("schedules preview --cron '30 2 * * *' --timezone Europe/Berlin --count 3", "Before you put it")
      ])
    )
  ])
)
