/**
 * The scheduler's side of the local provider: a pool of warm child processes (agents) on this machine, and the state of each.
 *
 * Keeps true: a sandbox's state changes only here, under a version that grows, so a claim is a compare-and-set in memory; between two holders the agent
 * has killed what ran, wiped the folders and moved to another socket (an address is good for one holder); an agent that dies or cannot be reset is Gone
 * together with everything it started; closing the pool's scope ends every process of it. Follows design/04 section 1 and shared/plugin/PoolProvider.ts.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Schema from "effect/Schema"
import { type ChildProcess, spawn } from "node:child_process"
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import {
  type ClaimMark,
  type ClaimOutcome,
  type ClaimWrite,
  type CreateOutcome,
  type CreateWrite,
  type DeleteOutcome,
  type DeleteWrite,
  type OpenContext,
  outcome,
  type PauseOutcome,
  type PauseWrite,
  ProviderError,
  type ProviderPool,
  type ReadBackOutcome,
  type ReleaseOutcome,
  type ReleaseWrite,
  type SandboxDelta,
  type SandboxState
} from "../../shared/plugin/PoolProvider.ts"
import type { Labels, SandboxPhase } from "../../shared/protocol/Sandbox.ts"
import { type ClaimId, SandboxUid, type SessionId } from "../../shared/protocol/Token.ts"
import * as Leftovers from "./Leftovers.ts"
import * as ProcessTree from "./ProcessTree.mjs"

/** A pool's `config` when its provider is `local`. */
export const LocalConfig = Schema.Struct({
  /** Where the sandboxes' folders are made; the system's temporary folder when not given. */
  directory: Schema.optionalKey(Schema.String),
  /** Variables that every process of the pool gets. */
  env: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  /** Names of the service's own variables to hand on, beside PATH, LANG, LC_*, TZ, USER, LOGNAME. Nothing else of its environment gets in. */
  passEnv: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Agents started at the same time. */
  startConcurrency: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 64 })))
})
export type LocalConfig = typeof LocalConfig.Type

const startConcurrencyDefault = 4
const startTimeoutMs = 30_000
const resetTimeoutMs = 15_000
/** How long an agent has to end by itself when its stdin is closed. */
const endTimeoutMs = 5_000
/** The longest socket path that every system takes (104 bytes on macOS, 108 on Linux, with the end mark). */
const socketPathBytesMax = 103
/** Room that `/<number>/s<generation>` takes in a socket's path. */
const socketSuffixBytes = 24
/** Kept of what an agent says on stderr, for the reason when it dies. */
const stderrCharactersMax = 2_000

const inherited = new Set(["PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME"])
/** The clean environment: an allow-list of the service's variables, then the pool's own. */
export const cleanEnv = (service: NodeJS.ProcessEnv, config: LocalConfig): Record<string, string> => {
  const env: Record<string, string> = { SHELL: "/bin/sh" }
  for (const [name, value] of Object.entries(service)) {
    if (value === undefined) continue
    if (inherited.has(name) || name.startsWith("LC_") || config.passEnv?.includes(name) === true) env[name] = value
  }
  return { ...env, ...config.env }
}

const AgentMessage = Schema.Struct({
  ready: Schema.optionalKey(Schema.String),
  reset: Schema.optionalKey(Schema.Int),
  env: Schema.optionalKey(Schema.Int),
  address: Schema.optionalKey(Schema.String),
  broken: Schema.optionalKey(Schema.String)
})
const decodeMessage = Schema.decodeUnknownResult(AgentMessage)

/** Job control is a thing of POSIX systems. */
export const canPause = process.platform !== "win32"

const agentPath = fileURLToPath(new URL("agent.mjs", import.meta.url))
/** The runtime that runs this service runs the agents too. */
const runtimeArguments = "Deno" in globalThis
  ? ["run", "--quiet", "--no-config", "--no-lock", "-A", agentPath]
  : [agentPath]

/** One sandbox as this pool keeps it. */
interface Kept {
  readonly uid: SandboxUid
  readonly name: string
  readonly directory: string
  child: ChildProcess | undefined
  phase: SandboxPhase
  version: number
  address: string | undefined
  labels: Labels
  mark: ClaimMark | undefined
  /** Its holder's processes stand still. */
  isPaused: boolean
  /** Who released it last: a repeated release is answered `Done`. */
  released: ClaimId | undefined
  /** Number of the newest message that awaits an answer of the agent, and what to do with it. */
  awaited: number
  onEnv: (() => void) | undefined
  stderr: string
  /** Completed when nothing of it is left. */
  readonly gone: Deferred.Deferred<void>
}

/** Opens the pool: makes its private folder, removes what an earlier process left behind. Sandboxes come by `create`. */
export const open = Effect.fnUntraced(function*(context: OpenContext, config: LocalConfig) {
  const pool = `${context.pool.namespace}/${context.pool.name}`
  const parent = config.directory ?? tmpdir()
  yield* Effect.promise(() => Leftovers.sweep(parent))
  const directory = yield* Effect.acquireRelease(
    Effect.try({
      try: () => {
        const made = realpathSync(mkdtempSync(join(parent, Leftovers.prefix)))
        chmodSync(made, 0o700)
        writeFileSync(join(made, Leftovers.ownerFile), Leftovers.ownerText(), { mode: 0o600 })
        return made
      },
      catch: (cause) =>
        new ProviderError({
          provider: "local",
          message: `pool ${pool}: cannot make a folder in ${parent}. Set config.directory to one that is writable.`,
          cause
        })
    }),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true, maxRetries: 3 }))
  )
  if (Buffer.byteLength(directory) + socketSuffixBytes > socketPathBytesMax) {
    return yield* new ProviderError({
      provider: "local",
      message: `pool ${pool}: ${directory} is too long for a socket's path. Set config.directory to a shorter one.`
    })
  }
  // Runs the few effects that belong to callbacks (deadlines, ends); ended after all sandboxes are.
  const fibers = yield* FiberSet.make<void, never>()
  const fork = yield* FiberSet.runtime(fibers)<never>()
  const sandboxes = new Map<SandboxUid, Kept>()
  const names = new Map<string, Kept>()
  const starting: Array<Kept> = []
  const listeners = new Set<(delta: SandboxDelta) => void>()
  const startConcurrency = config.startConcurrency ?? startConcurrencyDefault
  const identity = `${basename(directory).slice(Leftovers.prefix.length)}-${
    (yield* Clock.currentTimeMillis).toString(36)
  }`
  const env = cleanEnv(process.env, config)
  let session: SessionId = context.sessionId
  let count = 0
  let startsInFlight = 0
  let isClosing = false

  const stateOf = (kept: Kept): SandboxState => ({
    sandbox: {
      uid: kept.uid,
      name: kept.name,
      namespace: context.pool.namespace,
      provider: "local",
      labels: kept.labels,
      ...(kept.address === undefined ? {} : { address: kept.address })
    },
    phase: kept.phase,
    version: kept.version,
    ...(kept.mark === undefined ? {} : { claim: kept.mark }),
    ...(kept.isPaused ? { isPaused: true } : {})
  })
  const tell = (delta: SandboxDelta) => {
    for (const listener of listeners) listener(delta)
  }
  const change = (kept: Kept, phase: SandboxPhase) => {
    kept.phase = phase
    kept.version++
    tell({ _tag: "Upsert", state: stateOf(kept) })
  }
  /** `undefined` when the write's session is good, and noted. */
  const fence = (sessionId: SessionId) => {
    if (sessionId < session) return outcome.fenced(session)
    session = sessionId
    return undefined
  }
  const send = (kept: Kept, message: object) => {
    if (kept.child?.stdin?.writable === true) kept.child.stdin.write(`${JSON.stringify(message)}\n`)
  }

  const startNext = () => {
    if (startsInFlight >= startConcurrency || isClosing) return
    const kept = starting.shift()
    if (kept === undefined) return
    if (kept.phase === "Starting") start(kept)
    startNext()
  }

  const start = (kept: Kept) => {
    startsInFlight++
    let isStarted = false
    const onStarted = () => {
      if (isStarted) return
      isStarted = true
      startsInFlight--
      startNext()
    }
    let child: ChildProcess
    try {
      mkdirSync(kept.directory, { mode: 0o700 })
      child = spawn(process.execPath, [
        ...runtimeArguments,
        JSON.stringify({ uid: kept.uid, directory: kept.directory, env })
      ], {
        cwd: kept.directory,
        detached: true,
        env: { ...env, HEDDLE_SANDBOX: kept.uid },
        stdio: ["pipe", "pipe", "pipe"]
      })
    } catch (error) {
      kept.stderr = String(error)
      onStarted()
      remove(kept)
      return
    }
    kept.child = child
    // A write to an agent that has just died: its exit tells the rest.
    child.stdin?.on("error", () => {})
    child.stderr?.setEncoding("utf8")
    child.stderr?.on("data", (text: string) => {
      kept.stderr = (kept.stderr + text).slice(-stderrCharactersMax)
    })
    let pending = ""
    child.stdout?.setEncoding("utf8")
    child.stdout?.on("data", (text: string) => {
      pending += text
      for (let at = pending.indexOf("\n"); at >= 0; at = pending.indexOf("\n")) {
        const line = pending.slice(0, at)
        pending = pending.slice(at + 1)
        onLine(kept, line, onStarted)
      }
    })
    child.once("error", (error) => {
      kept.stderr = error.message
      onStarted()
      remove(kept)
    })
    child.once("exit", () => {
      onStarted()
      remove(kept)
    })
    fork(
      Deferred.await(kept.gone).pipe(
        Effect.timeoutOrElse({
          duration: startTimeoutMs,
          orElse: () =>
            Effect.sync(() => {
              if (kept.phase !== "Starting") return
              kept.stderr = `not ready within ${startTimeoutMs} ms`
              remove(kept)
            })
        })
      )
    )
  }

  const onLine = (kept: Kept, line: string, onStarted: () => void) => {
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      value = undefined
    }
    const decoded = decodeMessage(value)
    if (decoded._tag === "Failure") {
      kept.stderr = `its agent said what is no message: ${line.slice(0, 200)}`
      return remove(kept)
    }
    const message = decoded.success
    if (message.broken !== undefined) {
      kept.stderr = message.broken
      return remove(kept)
    }
    if (message.ready !== undefined && kept.phase === "Starting") {
      kept.address = message.ready
      onStarted()
      return change(kept, "Idle")
    }
    if (message.reset !== undefined && message.reset === kept.awaited && kept.phase === "Stopping") {
      kept.address = message.address
      kept.mark = undefined
      kept.labels = context.labels
      return change(kept, "Idle")
    }
    if (message.env !== undefined && message.env === kept.awaited) {
      const onEnv = kept.onEnv
      kept.onEnv = undefined
      onEnv?.()
    }
  }

  /** Gone, at once for everybody who looks; its processes end in the background. */
  const remove = (kept: Kept) => {
    if (kept.phase === "Gone") return
    const wasExpected = isClosing || kept.released === undefined && kept.phase === "Stopping"
    change(kept, "Gone")
    sandboxes.delete(kept.uid)
    names.delete(kept.name)
    kept.onEnv = undefined
    tell({ _tag: "Removed", uid: kept.uid })
    if (!wasExpected && kept.stderr !== "") {
      fork(Effect.logWarning(`pool ${pool}: the sandbox ${kept.name} is gone: ${kept.stderr.trim()}`))
    }
    fork(end(kept))
  }

  const end = Effect.fnUntraced(function*(kept: Kept) {
    const child = kept.child
    if (child?.pid !== undefined) {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = yield* Deferred.make<void>()
        child.once("exit", () => Deferred.doneUnsafe(ended, Effect.void))
        child.stdin?.end()
        yield* Deferred.await(ended).pipe(Effect.timeoutOption(endTimeoutMs))
        child.kill("SIGKILL")
      }
      const { left } = yield* Effect.promise(() =>
        ProcessTree.killAll({ mark: `HEDDLE_SANDBOX=${kept.uid}`, folder: kept.directory })
      )
      if (left > 0) {
        yield* Effect.logError(`pool ${pool}: ${left} processes of the sandbox ${kept.name} cannot be killed`)
      }
    }
    yield* Effect.sync(() => rmSync(kept.directory, { recursive: true, force: true, maxRetries: 3 })).pipe(
      Effect.catchDefect((cause) => Effect.logWarning(`pool ${pool}: ${kept.directory} cannot be removed`, cause))
    )
    Deferred.doneUnsafe(kept.gone, Effect.void)
  }, Effect.uninterruptible)

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isClosing = true
      const all = Array.from(sandboxes.values())
      for (const kept of all) remove(kept)
      return Effect.forEach(all, (kept) => Deferred.await(kept.gone), { concurrency: "unbounded", discard: true })
    })
  )

  const createSync = (write: CreateWrite): CreateOutcome => {
    const fenced = fence(write.sessionId)
    if (fenced !== undefined) return fenced
    if (isClosing) return outcome.hardError("the pool is closing", true)
    if (names.has(write.name)) return { _tag: "Done" }
    const number = ++count
    const kept: Kept = {
      uid: SandboxUid.make(`${identity}-${number}`),
      name: write.name,
      directory: join(directory, String(number)),
      child: undefined,
      phase: "Starting",
      version: 0,
      address: undefined,
      labels: context.labels,
      mark: undefined,
      isPaused: false,
      released: undefined,
      awaited: 0,
      onEnv: undefined,
      stderr: "",
      gone: Deferred.makeUnsafe()
    }
    sandboxes.set(kept.uid, kept)
    names.set(kept.name, kept)
    change(kept, "Starting")
    starting.push(kept)
    startNext()
    return { _tag: "Done" }
  }

  const claim = (write: ClaimWrite, done: (outcome: ClaimOutcome) => void) => {
    const fenced = fence(write.mark.sessionId)
    if (fenced !== undefined) return done(fenced)
    if (write.images !== undefined && Object.keys(write.images).length > 0) {
      return done(outcome.refused("a local sandbox has no container images; claim without `images`"))
    }
    const kept = sandboxes.get(write.uid)
    if (kept === undefined) return done(outcome.gone)
    if (kept.phase !== "Idle") return done(outcome.wrongPhase)
    if (kept.version !== write.version) return done(outcome.conflict)
    kept.mark = write.mark
    kept.isPaused = false
    kept.released = undefined
    if (write.labels !== undefined) kept.labels = { ...kept.labels, ...write.labels }
    change(kept, "Running")
    const { version } = kept
    if (write.env === undefined || Object.keys(write.env).length === 0) return done(outcome.success(version))
    // The variables are there before the holder is told; if the sandbox goes before, the write's deadline reads back `Gone`.
    kept.onEnv = () => done(outcome.success(version))
    send(kept, { env: write.env, number: ++kept.awaited })
  }

  const readBack = (uid: SandboxUid, claimId: ClaimId, done: (outcome: ReadBackOutcome) => void) => {
    const kept = sandboxes.get(uid)
    return done(
      kept === undefined
        ? { _tag: "Gone" }
        : kept.mark?.claimId === claimId && kept.phase === "Running"
        ? { _tag: "Ours", version: kept.version }
        : { _tag: "NotOurs", state: stateOf(kept) }
    )
  }

  const release = (write: ReleaseWrite, done: (outcome: ReleaseOutcome) => void) => {
    const fenced = fence(write.sessionId)
    if (fenced !== undefined) return done(fenced)
    const kept = sandboxes.get(write.uid)
    if (kept === undefined) return done({ _tag: "Gone" })
    if (kept.released === write.claimId) return done({ _tag: "Done" })
    if (kept.mark?.claimId !== write.claimId || kept.phase !== "Running") return done({ _tag: "NotOurs" })
    kept.released = write.claimId
    change(kept, "Stopping")
    if (write.mode === "delete") remove(kept)
    else {
      const number = ++kept.awaited
      kept.onEnv = undefined
      send(kept, { reset: number })
      fork(
        Effect.sleep(resetTimeoutMs).pipe(
          Effect.andThen(Effect.sync(() => {
            if (kept.phase !== "Stopping" || kept.awaited !== number) return
            kept.stderr = `not reset within ${resetTimeoutMs} ms`
            remove(kept)
          }))
        )
      )
    }
    done({ _tag: "Done" })
  }

  /** Everything that its holder has started stands still, or goes on; the agent itself does not, so that it can be released meanwhile. */
  const signalClaim = (signal: "SIGSTOP" | "SIGCONT", write: PauseWrite, done: (outcome: PauseOutcome) => void) => {
    const fenced = fence(write.sessionId)
    if (fenced !== undefined) return done(fenced)
    const kept = sandboxes.get(write.uid)
    if (kept === undefined) return done({ _tag: "Gone" })
    if (kept.mark?.claimId !== write.claimId || kept.phase !== "Running") return done({ _tag: "NotOurs" })
    const selection = {
      mark: `HEDDLE_SANDBOX=${kept.uid}`,
      folder: kept.directory,
      skip: new Set(kept.child?.pid === undefined ? [] : [kept.child.pid])
    }
    if (signal === "SIGCONT") {
      kept.isPaused = false
      ProcessTree.signalAll(selection, signal)
      // One that was being forked at the first look.
      ProcessTree.signalAll(selection, signal)
      change(kept, "Running")
      return done({ _tag: "Done" })
    }
    // Answered when all of it stands still; what comes meanwhile (a release, a resume) goes first.
    kept.isPaused = true
    const isOurs = () => kept.mark?.claimId === write.claimId && kept.phase === "Running"
    fork(
      Effect.promise(() => ProcessTree.stopAll(selection, () => kept.isPaused && isOurs())).pipe(
        Effect.map(({ left }) => {
          if (!isOurs()) return done({ _tag: "NotOurs" })
          if (kept.isPaused && left > 0) {
            return done({ _tag: "Unknown", reason: `${left} of its processes do not stand still yet` })
          }
          change(kept, "Running")
          done({ _tag: "Done" })
        })
      )
    )
  }

  const deleteSync = (write: DeleteWrite): DeleteOutcome => {
    const fenced = fence(write.sessionId)
    if (fenced !== undefined) return fenced
    const kept = sandboxes.get(write.uid)
    if (kept === undefined) return { _tag: "Done" }
    if (write.version !== undefined && write.version !== kept.version) return { _tag: "Conflict" }
    change(kept, "Stopping")
    remove(kept)
    return { _tag: "Done" }
  }

  const opened: ProviderPool = {
    list: Effect.sync(() => Array.from(sandboxes.values(), stateOf)),
    watch: (onDelta) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => listeners.add(onDelta)),
        () => Effect.sync(() => listeners.delete(onDelta))
      )),
    claim,
    readBack,
    release,
    create: (write, done) => done(createSync(write)),
    delete: (write, done) => done(deleteSync(write)),
    failure: Effect.andThen(FiberSet.join(fibers), Effect.never),
    ...(canPause
      ? {
        pause: (write: PauseWrite, done: (outcome: PauseOutcome) => void) => signalClaim("SIGSTOP", write, done),
        resume: (write: PauseWrite, done: (outcome: PauseOutcome) => void) => signalClaim("SIGCONT", write, done)
      }
      : {})
  }
  return opened
})
