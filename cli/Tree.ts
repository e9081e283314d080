/**
 * The whole command tree: the one source of the parser, `--help`, the completions and docs/reference/cli.md. Names, flags, help and examples of each group stand in `tree/`.
 *
 * Pure: a handler is loaded when its command runs, so `heddle --help` reads these files and no service. Follows design/02 "CLI".
 */
import * as Argument from "effect/cli/Argument"
import * as CliConfig from "effect/cli/CliConfig"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Globals from "./Globals.ts"
import * as Lazy from "./Lazy.ts"
import * as Backfill from "./tree/Backfill.ts"
import * as Claims from "./tree/Claims.ts"
import * as Definitions from "./tree/Definitions.ts"
import * as Envs from "./tree/Envs.ts"
import * as Groups from "./tree/Groups.ts"
import * as Operations from "./tree/Operations.ts"
import * as Parts from "./tree/Parts.ts"
import * as Pools from "./tree/Pools.ts"
import * as Programs from "./tree/Programs.ts"
import * as Recorded from "./tree/Recorded.ts"
import * as Schedules from "./tree/Schedules.ts"
import * as Tasks from "./tree/Tasks.ts"
import * as Workflows from "./tree/Workflows.ts"

/** Named apart, since the tree holds the command that prints it. */
const self = (): Command.Command.Any => root
const completion = Command.make("completion", {
  shell: Argument.Literals("shell", ["bash", "zsh", "fish"]).pipe(Argument.withDescription("For which shell"))
}, Lazy.handler(() => import("./command/Completion.ts").then((_) => _.print(self())))).pipe(
  Command.withDescription("Print a completion script"),
  Command.withExamples([
    Parts.example("completion bash > ~/.local/share/bash-completion/completions/heddle", "Bash"),
    Parts.example("completion zsh > ~/.zfunc/_heddle", "Zsh, with ~/.zfunc in fpath"),
    Parts.example("completion fish > ~/.config/fish/completions/heddle.fish", "Fish")
  ])
)

/** Flags of the parser itself; `--log-level` and `completion` are ours. */
export const parserConfig = CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })

/** Long: what a person with no idea sees first. */
export const root = Command.make("heddle").pipe(
  Command.withDescription("Durable workflows on warm sandboxes, over NATS JetStream."),
  Command.withExamples([
    Parts.example("dev", "Start everything on this machine"),
    Parts.example("claim default --exec -- uname -a", "Run a command in a warm sandbox"),
    Parts.example("run examples/hello.yaml --watch", "Run a workflow and look on")
  ]),
  Command.withSubcommands([
    { group: "Start", commands: [Programs.dev, Programs.serve] },
    { group: "Sandboxes", commands: [Claims.claim, Claims.release, Claims.claims, Pools.pools, Envs.envs] },
    {
      group: "Workflows",
      commands: [
        Workflows.run,
        Workflows.fork,
        Workflows.workflows,
        Tasks.tasks,
        Groups.groups,
        Definitions.definitions,
        Schedules.schedules,
        Backfill.backfill
      ]
    },
    { group: "Afterwards", commands: [Recorded.replay, Recorded.at, Recorded.diff] },
    {
      group: "Operations",
      commands: [
        Operations.doctor,
        Operations.members,
        Operations.failovers,
        Operations.plugins,
        Operations.errors,
        Operations.bench,
        completion
      ]
    }
  ]),
  Command.withGlobalFlags(Globals.all)
)
