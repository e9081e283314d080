/** `heddle definitions`. design/02 "CLI". */
import * as Command from "effect/cli/Command"
import * as Lazy from "../Lazy.ts"
import * as PluginFlag from "../PluginFlag.ts"
import { argument, example, flag, limit, next } from "./Parts.ts"

const file = argument("file", "YAML or JSON of a workflow; - for standard input")
export const definitions = Command.make("definitions").pipe(
  Command.withAlias("def"),
  Command.withDescription("Stored workflow definitions"),
  Command.withSubcommands([
    Command.make(
      "ls",
      { limit, next },
      Lazy.handler(
        () => import("../command/Definitions.ts").then((_) => _.ls)
      )
    ).pipe(
      Command.withAlias("list"),
      Command.withDescription("Names and newest versions"),
      Command.withExamples([example("definitions ls", "All of the namespace")])
    ),
    Command.make(
      "get",
      { name: argument("name", "name or name@version") },
      Lazy.handler(
        () => import("../command/Definitions.ts").then((_) => _.get)
      )
    ).pipe(
      Command.withDescription("One definition"),
      Command.withExamples([example("definitions get nightly@3 -o yaml", "As a file")])
    ),
    Command.make(
      "put",
      { file, plugin: PluginFlag.flag },
      Lazy.handler(
        () => import("../command/Definitions.ts").then((_) => PluginFlag.given(_.put))
      )
    ).pipe(
      Command.withDescription("Store a definition; the same content again is the same version"),
      Command.withExamples([example("definitions put examples/diamond.yaml", "Prints name and version")])
    ),
    Command.make(
      "delete",
      { name: argument("name", "name") },
      Lazy.handler(
        () => import("../command/Definitions.ts").then((_) => _.remove)
      )
    ).pipe(
      Command.withDescription("Delete a definition: nothing new starts from it; instances that run keep their version"),
      Command.withExamples([example("definitions delete nightly", "All its versions")])
    ),
    Command.make(
      "validate",
      {
        file,
        local: flag("local", "Without a server: structure, graph and expressions"),
        plugin: PluginFlag.flag
      },
      Lazy.handler(
        () => import("../command/Definitions.ts").then((_) => PluginFlag.given(_.validate))
      )
    ).pipe(
      Command.withDescription("Every problem of a definition with its line and column; exit code 2 when there is one"),
      Command.withExamples([
        example("definitions validate examples/diamond.yaml", "Silent but for one line when it is good")
      ])
    )
  ])
)
