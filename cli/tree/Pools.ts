/** `heddle pools`. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { sizeMax } from "../../shared/protocol/Pool.ts"
import * as Lazy from "../Lazy.ts"
import { example, flag, pool, text, whole } from "./Parts.ts"

export const pools = Command.make("pools").pipe(
  Command.withDescription("Pools of sandboxes"),
  Command.withSubcommands([
    Command.make("ls", {}, Lazy.handler(() => import("../command/Pools.ts").then((_) => () => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("All pools with their counters"),
      Command.withExamples([example("pools ls -o json", "For a program")])
    ),
    Command.make(
      "describe",
      { pool },
      Lazy.handler(
        () => import("../command/Pools.ts").then((_) => _.describe)
      )
    ).pipe(
      Command.withDescription("One pool: what it is made of, its owner, its counters"),
      Command.withExamples([example("pools describe default", "Everything about one pool")])
    ),
    Command.make("apply", {
      file: text("file", "path", "YAML or JSON of one pool, or of several as a list or as documents").pipe(
        Flag.withAlias("f")
      ),
      name: Argument.String("name").pipe(
        Argument.withDescription("Without a file: name, or namespace/name"),
        Argument.optional
      ),
      provider: text("provider", "name", "Without a file: pool provider; local when not given"),
      size: whole("size", "Without a file: how many sandboxes", [0, sizeMax])
    }, Lazy.handler(() => import("../command/Pools.ts").then((_) => _.apply))).pipe(
      Command.withDescription("Create a pool, or change it"),
      Command.withExamples([
        example("pools apply quick --provider inline --size 2", "From flags"),
        example("pools apply -f pools.yaml", "From a file")
      ])
    ),
    Command.make("scale", {
      pool,
      size: Argument.Int("size").pipe(Argument.withDescription("How many sandboxes"), Argument.optional),
      min: whole("min", "Of a pool that follows its demand: never fewer", [0, sizeMax]),
      max: whole("max", "Of a pool that follows its demand: never more", [0, sizeMax]),
      minIdle: whole("min-idle", "Of a pool that follows its demand: kept idle beyond it", [0, sizeMax])
    }, Lazy.handler(() => import("../command/Pools.ts").then((_) => _.scale))).pipe(
      Command.withDescription("Change how many sandboxes a pool keeps"),
      Command.withExamples([
        example("pools scale default 16", "Idle sandboxes are added or taken away"),
        example("pools scale auto --max 50 --min-idle 5", "Other bounds for a pool that follows its demand")
      ])
    ),
    Command.make("drain", {
      pool,
      undo: flag("undo", "Give sandboxes out again"),
      wait: flag("wait", "Until the last claim has ended and no sandbox is left")
    }, Lazy.handler(() => import("../command/Pools.ts").then((_) => _.drain))).pipe(
      Command.withDescription("Stop giving sandboxes out, and let them go as their claims end"),
      Command.withExamples([example("pools drain gpu --wait", "Before its machines are taken away")])
    ),
    Command.make("delete", {
      pool,
      yes: flag("yes", "Also when sandboxes are claimed: they go with it")
    }, Lazy.handler(() => import("../command/Pools.ts").then((_) => _.remove))).pipe(
      Command.withDescription("Remove a pool and its sandboxes; who waits for one is answered"),
      Command.withExamples([example("pools delete quick", "After heddle pools drain quick --wait")])
    ),
    Command.make("why", {
      pool
    }, Lazy.handler(() => import("../command/Pools.ts").then((_) => _.why))).pipe(
      Command.withDescription("Why claims to a pool wait, and what would help"),
      Command.withExamples([example("pools why gpu", "All in use, a quota, no owner, ...")])
    ),
    Command.make("top", {
      pool: Argument.String("pool").pipe(
        Argument.withDescription("name, or namespace/name; all when not given"),
        Argument.optional
      ),
      interval: text("interval", "duration", "Between two looks; 1s when not given"),
      count: whole(
        "count",
        "End after so many looks; on a terminal it goes on until Ctrl-C, elsewhere it looks once",
        [1, Number.MAX_SAFE_INTEGER]
      )
    }, Lazy.handler(() => import("../command/Pools.ts").then((_) => _.top))).pipe(
      Command.withDescription("Counters of pools, live"),
      Command.withExamples([example("pools top default --interval 500ms", "Twice a second")])
    )
  ])
)
