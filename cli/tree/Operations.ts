/** `heddle doctor` and what else operators ask. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Lazy from "../Lazy.ts"
import * as PluginFlag from "../PluginFlag.ts"
import { example, flag, whole } from "./Parts.ts"

export const doctor = Command.make(
  "doctor",
  { quiet: flag("quiet", "Only problems; silent when all is well").pipe(Flag.withAlias("q")), plugin: PluginFlag.flag },
  Lazy.handler(
    () => import("../command/Doctor.ts").then((_) => PluginFlag.given(_.run))
  )
).pipe(
  Command.withShortDescription("What is wrong, and what to do"),
  Command.withDescription(
    "Checks the tools of this machine, your plugins, the NATS server, JetStream, every stream and bucket, the durability level, the members of the mesh and the pools. "
      + "One line for each problem with its fix; exit code 1 when there is one, 6 when no server answers."
  ),
  Command.withExamples([example("doctor -q && heddle run nightly", "Go on only when all is well")])
)
export const members = Command.make(
  "members",
  {},
  Lazy.handler(() => import("../command/Members.ts").then((_) => () => _.run))
)
  .pipe(
    Command.withDescription("Processes of the mesh"),
    Command.withExamples([example("members", "Role, name, since when")])
  )
export const failovers = Command.make(
  "failovers",
  {},
  Lazy.handler(() => import("../command/Failovers.ts").then((_) => () => _.run))
).pipe(
  Command.withDescription("Failovers: cause, what was taken over, how long it took"),
  Command.withExamples([example("failovers -o json", "For a program")])
)
export const plugins = Command.make("plugins", {
  kind: Flag.Literals("kind", [
    "task-type",
    "pool-provider",
    "placement-policy",
    "scale-policy",
    "alert-sink",
    "pool-source"
  ]).pipe(Flag.withDescription("Only of this kind"), Flag.optional),
  plugin: PluginFlag.flag
}, Lazy.handler(() => import("../command/Plugins.ts").then((_) => PluginFlag.given(_.run)))).pipe(
  Command.withShortDescription("What is installed: task types, pool providers, policies, alert sinks"),
  Command.withDescription(
    "What is installed, by kind and name: from which plugin, of which version, and where that is from (heddle, or a module or package of yours); what it takes (a task under `with`, a pool under `config`; *: must be given), "
      + "and the config of the plugin itself, with the variable that services take it from. Needs no server."
  ),
  Command.withExamples([
    example("plugins", "All of them"),
    example("plugins --kind task-type -o json", "What the type of a task may be"),
    example("plugins --plugin ./kafka.ts", "With a plugin of your own: does it load, and what does it offer?")
  ])
)
export const errors = Command.make("errors", {
  code: Argument.String("code").pipe(Argument.withDescription("Only this one"), Argument.optional)
}, Lazy.handler(() => import("../command/Errors.ts").then((_) => _.run))).pipe(
  Command.withDescription("Every error code, what it means and what to do"),
  Command.withExamples([example("errors NoSuchPool", "Look one up"), example("errors -o json", "All of them")])
)
export const bench = Command.make("bench", {
  what: Argument.String("what").pipe(
    Argument.withDescription(
      "claim or workflow: all scenarios of it; or the name of one. All when not given; further arguments of the program after --"
    ),
    Argument.variadic()
  ),
  quick: flag("quick", "Tiny sizes: shows that everything works; its figures mean nothing"),
  runs: whole("runs", "Of each scenario; the median is shown; 3 when not given", [1, 1_000]),
  sync: Flag.Literals("sync", ["interval", "always", "both"]).pipe(
    Flag.withDescription("When the NATS server that it starts writes to disk; both when not given"),
    Flag.optional
  )
}, Lazy.handler(() => import("../command/Bench.ts").then((_) => _.run))).pipe(
  Command.withShortDescription("Measure claims and workflows of this checkout"),
  Command.withDescription(
    "Starts a NATS server and the services of its own, and measures from outside: claims, workflows, and the floor that the machine sets (npm run bench). "
      + "With -o json the figures alone are on standard output."
  ),
  Command.withExamples([
    example("bench claim --quick", "Does it work here?"),
    example("bench workflow --sync always -o json", "Figures with every acknowledgement on disk, for a program"),
    example("bench -- diamonds-64 --profile", "One scenario, with a CPU profile of each service")
  ])
)
