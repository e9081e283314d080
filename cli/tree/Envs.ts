/** `heddle envs`. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Lazy from "../Lazy.ts"
import { argument, example, text } from "./Parts.ts"

export const envs = Command.make("envs").pipe(
  Command.withDescription("Several pools under one name"),
  Command.withSubcommands([
    Command.make("ls", {}, Lazy.handler(() => import("../command/Envs.ts").then((_) => () => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("All envs with the best of their members"),
      Command.withExamples([example("envs ls", "Which there are")])
    ),
    Command.make(
      "describe",
      { env: argument("env", "name, or namespace/name") },
      Lazy.handler(() => import("../command/Envs.ts").then((_) => _.describe))
    ).pipe(
      Command.withDescription("One env: its members as a claim would find them now, best first"),
      Command.withExamples([example("envs describe gpus", "Who is idle, who is full")])
    ),
    Command.make("apply", {
      file: text("file", "path", "YAML or JSON of one env, or of several as a list or as documents").pipe(
        Flag.withAlias("f")
      ),
      name: Argument.String("name").pipe(
        Argument.withDescription("Without a file: name, or namespace/name"),
        Argument.optional
      ),
      member: Flag.String("member").pipe(
        Flag.withMetavar("<pool[=priority]>"),
        Flag.withDescription("Without a file: a member pool; can be passed multiple times"),
        Flag.atLeast(0)
      )
    }, Lazy.handler(() => import("../command/Envs.ts").then((_) => _.apply))).pipe(
      Command.withDescription("Create an env, or change it"),
      Command.withExamples([
        example("envs apply gpus --member a100=1 --member t4", "a100 first, t4 when it is full"),
        example("envs apply -f envs.yaml", "From a file, with selectors and weights")
      ])
    ),
    Command.make("delete", {
      env: argument("env", "name, or namespace/name")
    }, Lazy.handler(() => import("../command/Envs.ts").then((_) => _.remove))).pipe(
      Command.withDescription("Remove an env; its pools stay"),
      Command.withExamples([example("envs delete gpus", "Claims to it are refused from then on")])
    )
  ])
)
