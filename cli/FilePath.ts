/**
 * Files and folders that flags and arguments name: read, written and made, and what is wrong with one said in words, with the flag.
 *
 * Kept true: nothing here waits for ever. Node's recursive `mkdir` does not return below a folder that takes no others (`/proc/x`), so folders are made one by one.
 */
import * as Effect from "effect/Effect"
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { CliFailure } from "./ExitCode.ts"

const words: Readonly<Record<string, string>> = {
  EISDIR: "it is a folder",
  ENOTDIR: "what stands above it, or it itself, is no folder",
  EEXIST: "it is no folder",
  EACCES: "this user may not",
  EPERM: "this user may not",
  EROFS: "nothing can be written there",
  ENOSPC: "no space is left there",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "its links go in a circle"
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : ""

/** What the system says about a file, for people. `missing`: what ENOENT means here. */
export const reason = (cause: unknown, missing = "it is not there"): string => {
  const code = codeOf(cause)
  const said = code === "ENOENT" ? missing : words[code]
  return said === undefined ? cause instanceof Error ? cause.message : String(cause) : `${said} (${code})`
}

const labelled = (of: string | undefined, path: string): string => of === undefined ? path : `${of} ${path}`

const refuseEmpty = (of: string | undefined, path: string): Effect.Effect<void, CliFailure> =>
  path === ""
    ? Effect.fail(
      new CliFailure({
        exit: 2,
        message: of === undefined ? "The name of the file is empty." : `${of} is empty.`,
        fix: "name a file."
      })
    )
    : Effect.void

export interface ReadOptions {
  /** The flag; not given: an argument. */
  readonly of?: string
  /** `-` is standard input, unless this is false. */
  readonly isStdin?: boolean
  /** Of a file that is not there; 3 when not given. */
  readonly exit?: 2 | 3
  readonly fix?: string
}

/** The text of a file. Fails with exit code 3 when there is none, and with 2 when what is named is no file that can be read. */
export const read = (path: string, options: ReadOptions = {}): Effect.Effect<string, CliFailure> => {
  const { exit = 3, fix, isStdin = true, of } = options
  return Effect.andThen(
    refuseEmpty(of, path),
    Effect.try({
      try: () => readFileSync(isStdin && path === "-" ? 0 : path, "utf8"),
      catch: (cause) => {
        const code = codeOf(cause)
        const hint = fix ?? (of === undefined ? undefined : `correct ${of}.`)
        return code === "ENOENT"
          ? new CliFailure({
            exit,
            message: `There is no file ${path}.`,
            ...(hint === undefined ? {} : { fix: hint })
          })
          : new CliFailure({
            exit: 2,
            message: `${labelled(of, path)} cannot be read: ${reason(cause)}.`,
            fix: code === "EISDIR" ? "name a file in it." : "name a file that this user may read."
          })
      }
    })
  )
}

/** Writes the file, or replaces it. */
export const write = (path: string, text: string, of: string): Effect.Effect<void, CliFailure> =>
  Effect.andThen(
    refuseEmpty(of, path),
    Effect.try({
      try: () => writeFileSync(path, text),
      catch: (cause) =>
        new CliFailure({
          exit: 2,
          message: `${labelled(of, path)} cannot be written: ${
            reason(cause, "its folder does not exist, or takes no files")
          }.`,
          fix: `name another file with ${of}.`
        })
    })
  )

/** Makes the folder and what is missing above it; throws what the system says. */
export const makeFolder = (path: string): void => {
  const missing: Array<string> = []
  for (let at = path; !existsSync(at); at = dirname(at)) missing.push(at)
  for (const folder of missing.toReversed()) {
    try {
      mkdirSync(folder)
    } catch (cause) {
      if (codeOf(cause) !== "EEXIST") throw cause // somebody else's in the same moment
    }
  }
  if (!statSync(path).isDirectory()) throw Object.assign(new Error(`${path} is no folder`), { code: "ENOTDIR" })
}
