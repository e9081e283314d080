/**
 * Text for `/bin/sh` of a sandbox, whichever shell that is: words quoted, any text written to a file byte for byte, a program asked for before it is run.
 *
 * Pure. For task types that need more of a sandbox than to start one program.
 */

/** One word, taken as it stands. */
export const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** One argument of a program holds 128 KiB on Linux, for shells whose `printf` is one; a character has at most 4 bytes. */
const partCharactersMax = 30_000

/**
 * Commands that write the text to standard output. No here-document: dash 0.5.12 loses bytes of a line that begins as the document's end does and goes on with a character that is not ASCII.
 */
export const write = (text: string): string =>
  (text.match(new RegExp(`[^]{1,${partCharactersMax}}`, "gu")) ?? []).map((part) => `printf %s ${quote(part)}`).join(
    " && "
  ) || ":"

const noProgram = "heddle: this sandbox has no program "
const noProgramExitCode = 127

/** Ends the shell, with a line that `missingProgram` knows, when the program is not there. */
export const requireProgram = (program: string): string =>
  `command -v ${quote(program)} >/dev/null 2>&1 || { printf '%s\\n' ${
    quote(`${noProgram}${program}`)
  } >&2; exit ${noProgramExitCode}; }`

/** What `requireProgram` has said: `this sandbox has no program x`. */
export const missingProgram = (exitCode: number, lastLine: string): string | undefined =>
  exitCode === noProgramExitCode && lastLine.startsWith(noProgram) ? lastLine.slice("heddle: ".length) : undefined
