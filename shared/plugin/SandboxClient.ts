/**
 * What the holder of a claimed sandbox can do with it: run processes in it. A pool provider's `connect(sandbox)` makes one, on the executor's and on the CLI's side.
 *
 * Promises of every implementation: output is never buffered without bound (a reader that stops reading stops the process's writes);
 * closing the scope of `exec`, or interrupting it, ends the whole process tree before the scope is closed; a sandbox that vanishes is a
 * `SandboxLost`, never a hang and never an exit code. Follows design/04 sections 1 and 3.
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"

/** The sandbox is gone, broken or does not answer: its task fails over, the sandbox is replaced (design/05 SANDBOX_LOST). */
export class SandboxLost extends Schema.TaggedError<SandboxLost>()("SandboxLost", {
  sandbox: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `the sandbox ${this.sandbox} is lost: ${this.reason}`
  }
}

/** Bytes of a file that a process may leave behind for its caller (outputs), and of one exec request. */
export const collectBytesMax = 256 * 1024
export const execBytesMax = 1024 * 1024

/** How long a process tree has after SIGINT, then after SIGTERM, before SIGKILL. */
export interface KillGrace {
  readonly sigintMs: number
  readonly sigtermMs: number
}
export const killGraceDefault: KillGrace = { sigintMs: 5_000, sigtermMs: 5_000 }

export interface ExecRequest {
  /** A program with its arguments, or a script that `shell` (`/bin/sh` when not given) runs with `-c`. */
  readonly command: ReadonlyArray<string> | { readonly script: string; readonly shell?: string }
  /** Added to the sandbox's own clean environment. */
  readonly env: Readonly<Record<string, string>>
  /** Within the sandbox, relative to its working directory; that directory when not given. */
  readonly cwd?: string
  /** A fresh file whose path the process finds in the variable `env`; its text comes with the exit. */
  readonly collect?: { readonly env: string; readonly bytesMax: number }
  readonly grace?: KillGrace
}

export type ExitStatus =
  | { readonly _tag: "Exited"; readonly code: number; readonly collected: Collected | undefined }
  /** By a signal, asked for or not. */
  | { readonly _tag: "Signalled"; readonly signal: string; readonly collected: Collected | undefined }
  /** It never ran: no such program, no right to run it, no such directory. */
  | { readonly _tag: "NotStarted"; readonly reason: string }

/** `truncated`: the file was larger than `bytesMax`; `text` is its beginning. */
export interface Collected {
  readonly text: string
  readonly truncated: boolean
}

export interface OutputChunk {
  readonly stream: "stdout" | "stderr"
  readonly bytes: Uint8Array
}

export interface SandboxProcess {
  /** What the process writes, in order of arrival, until both streams have ended. To be read once; what is not read holds the process up. */
  readonly output: Stream.Stream<OutputChunk, SandboxLost>
  /** How it ended, known after all output has been read. May be awaited any number of times. */
  readonly exit: Effect.Effect<ExitStatus, SandboxLost>
  /** SIGINT, then SIGTERM, then SIGKILL to the whole tree, with `grace`; returns when nothing of it is left. */
  readonly kill: Effect.Effect<void, SandboxLost>
}

export interface SandboxClient {
  readonly exec: (request: ExecRequest) => Effect.Effect<SandboxProcess, SandboxLost, Scope.Scope>
}
