/** `heddle completion`: scripts made from the command tree, so they know every command and flag. */
import type * as Command from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import * as Effect from "effect/Effect"
import { Output } from "../Output.ts"

export const print = (root: Command.Command.Any) => (input: { readonly shell: "bash" | "zsh" | "fish" }) =>
  Effect.gen(function*() {
    const output = yield* Output
    yield* output.line(Completions.generate("heddle", input.shell, Completions.fromCommand(root)).trimEnd())
  })
