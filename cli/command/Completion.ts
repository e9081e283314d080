/** `heddle completion`: scripts made from the command tree, so they know every command and flag. */
import type * as Command from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import * as Effect from "effect/Effect"
import { Output } from "../Output.ts"

export const print = (root: Command.Command.Any) => (input: { readonly shell: "bash" | "zsh" | "fish" }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const script = Completions.generate("heddle", input.shell, Completions.fromCommand(root)).trimEnd()
    // The comment at its top names a flag of the parser's, which is this command here.
    yield* output.line(script.replaceAll("heddle --completions ", "heddle completion "))
  })
