/** `heddle groups`. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Lazy from "../Lazy.ts"
import { argument, example, instance, limit, next } from "./Parts.ts"

const group = argument("group", "name, or namespace/name")
export const groups = Command.make("groups").pipe(
  Command.withDescription("Concurrency groups: named slots that tasks share"),
  Command.withSubcommands([
    Command.make("ls", {
      limit,
      next
    }, Lazy.handler(() => import("../command/Groups.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("Groups of all namespaces: slots, how many hold one, how many wait"),
      Command.withExamples([example("groups ls", "Is one the bottleneck?")])
    ),
    Command.make("get", { group }, Lazy.handler(() => import("../command/Groups.ts").then((_) => _.get))).pipe(
      Command.withDescription("Which tasks hold a slot, and which wait, in the order in which they are let in"),
      Command.withExamples([example("groups get warehouse", "Who is next")])
    ),
    Command.make("set", {
      group,
      slots: Argument.String("slots").pipe(
        Argument.withDescription("How many hold a slot at once; 0: nobody begins; auto: as definitions say")
      )
    }, Lazy.handler(() => import("../command/Groups.ts").then((_) => _.set))).pipe(
      Command.withDescription("Set the slots of a group, whatever definitions say; what holds one keeps it"),
      Command.withExamples([
        example("groups set warehouse 4", "Four at once from now on"),
        example("groups set warehouse 0", "Nothing new for now"),
        example("groups set warehouse auto", "As the definitions say again")
      ])
    ),
    Command.make("prioritize", {
      group,
      instance,
      task: argument("task", "Name of the task"),
      priority: Argument.Int("priority").pipe(Argument.withDescription("0 lowest to 9 highest"))
    }, Lazy.handler(() => import("../command/Groups.ts").then((_) => _.prioritize))).pipe(
      Command.withDescription("Another priority for a task that waits for a slot"),
      Command.withExamples([example("groups prioritize warehouse i-7 load 9", "Next in line")])
    )
  ])
)
