/**
 * What commands of several groups have in common: arguments and flags with their words, and examples. Pure, as all of the tree is.
 */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"

export const example = (command: string, description: string) => ({ command: `heddle ${command}`, description })

export const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(`<${metavar}>`), Flag.withDescription(description), Flag.optional)
export const flag = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))
/** Both bounds included. */
export const whole = (name: string, description: string, [least, most]: readonly [number, number]) =>
  Flag.Int(name).pipe(
    Flag.withMetavar("<n>"),
    Flag.withDescription(description),
    Flag.filter((found) => found >= least && found <= most, () => `a whole number from ${least} to ${most}`),
    Flag.optional
  )
export const priority = (description: string) =>
  Flag.Int("priority").pipe(
    Flag.withMetavar("<n>"),
    Flag.withDescription(description),
    Flag.filter((found) => found >= 0 && found <= 9, () => "0 (lowest) to 9 (highest)"),
    Flag.optional
  )
export const argument = (name: string, description: string) =>
  Argument.String(name).pipe(Argument.withDescription(description))
export const instance = argument("instance", "Id of the workflow instance")
export const reason = text("reason", "text", "Why; kept in the instance's journal")
export const requestId = text(
  "id",
  "requestId",
  "Idempotency key: the same command with it again is done once; made up when not given"
)
export const limit = whole("limit", "At most so many, 1 to 1000", [1, 1_000])
export const next = text("next", "token", "The page after the one that gave this token")
export const all = flag("all", "All pages")
export const pool = argument("pool", "name, or namespace/name")
export const param = Flag.String("param").pipe(
  Flag.withAlias("p"),
  Flag.withMetavar("<key=value>"),
  Flag.withDescription("A parameter; JSON when it parses as JSON, else text. Can be passed multiple times"),
  Flag.atLeast(0)
)
