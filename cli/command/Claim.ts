/**
 * `heddle claim`: one request, or one that is used and given back at once (`--exec`). design/02 "Claims".
 *
 * The claim's id is chosen here, so that an interrupted wait can be cancelled and a lost answer asked for again. With `--exec` the lease is renewed
 * while the command runs, and the sandbox is released whatever happens to the command.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { randomUUID } from "node:crypto"
import { constants, hostname, userInfo } from "node:os"
import * as AgentLinkOf from "../../shared/jetstream/AgentLink.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import { AgentLink } from "../../shared/plugin/AgentLink.ts"
import {
  claimDeadlineDefaultMs,
  type ClaimOutcome,
  ClaimRequest,
  ClaimResult,
  claimTtlDefaultMs
} from "../../shared/protocol/Claim.ts"
import { EnvList } from "../../shared/protocol/Env.ts"
import { poolKey, type PoolRef, type Sandbox } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { ClaimId } from "../../shared/protocol/Token.ts"
import * as Connection from "../Connection.ts"
import { CliFailure, Ended } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import * as Output from "../Output.ts"
import * as Pairs from "../Pairs.ts"
import * as Sandboxes from "../Sandboxes.ts"

export interface Input {
  readonly pool: string
  readonly command: ReadonlyArray<string>
  readonly exec: boolean
  readonly ttl: Option.Option<string>
  readonly deadline: Option.Option<string>
  readonly count: Option.Option<number>
  readonly fromEnv: boolean
  readonly node: Option.Option<string>
  readonly zone: Option.Option<string>
  readonly id: Option.Option<string>
  readonly priority: Option.Option<number>
  readonly team: Option.Option<string>
  readonly label: ReadonlyArray<string>
  readonly env: ReadonlyArray<string>
}

const decodeClaim = Decode.valueDecoder(ClaimRequest)

/** What a claim's outcome is to the shell. */
export const exitOf = (outcome: ClaimOutcome): number =>
  outcome === "Claimed" || outcome === "Released"
    ? 0
    : outcome === "Invalid"
    ? 2
    : outcome === "NoSuchPool"
    ? 3
    : outcome === "DeadlineExceeded"
    ? 5
    : 1

export const describe = (result: ClaimResult, style: Output.Style): string => {
  const lines: Array<readonly [string, string]> = [["claim", result.claimId], ["outcome", style.state(result.outcome)]]
  const { error, leaseExpiresAt, sandbox, sandboxes } = result
  if (result.pool !== undefined) lines.push(["pool", poolKey(result.pool)])
  for (const one of sandboxes ?? []) {
    lines.push([
      "sandbox",
      `${one.name} (${one.provider}, uid ${one.uid}${one.address === undefined ? "" : `, ${one.address}`})`
    ])
  }
  if (result.isPaused === true) lines.push(["paused", "it stands still; its lease runs on"])
  if (sandbox !== undefined) {
    lines.push(["sandbox", `${sandbox.name} (${sandbox.provider}, uid ${sandbox.uid})`])
    if (sandbox.address !== undefined) lines.push(["address", sandbox.address])
    const labels = Object.entries(sandbox.labels).map(([key, value]) => `${key}=${value}`)
    if (labels.length > 0) lines.push(["labels", labels.join(", ")])
  }
  if (leaseExpiresAt !== undefined) lines.push(["lease", `until ${leaseExpiresAt}`])
  lines.push([
    "times",
    `queued ${Output.duration(result.queuedMs)}, write ${Output.duration(result.casMs)}, ${result.attempts} ${
      result.attempts === 1 ? "attempt" : "attempts"
    }`
  ])
  if (error !== undefined) lines.push(["error", `${error.code}: ${error.message}`])
  return lines.map(([name, value]) => `${style.dim(name.padEnd(8))} ${value}`).join("\n")
}

const signalNumber = (signal: string): number =>
  Object.entries(constants.signals).find(([name]) => name === signal)?.[1] ?? 0

const write = (stream: NodeJS.WriteStream, bytes: Uint8Array) =>
  Effect.callback<void>((resume) => {
    if (stream.write(bytes)) resume(Effect.void)
    else stream.once("drain", () => resume(Effect.void))
  })

/** Runs the command with its output passed through; the effect's value is what the shell should see. */
const execute = (sandbox: Sandbox, command: ReadonlyArray<string>, env: Readonly<Record<string, string>>) =>
  Effect.scoped(Effect.gen(function*() {
    // For sandboxes in agent mode: the way to their agents.
    const link = AgentLinkOf.make(yield* Connection.nats)
    const client = yield* Effect.provideService(Sandboxes.connect(sandbox), AgentLink, link)
    const running = yield* client.exec({ command, env })
    yield* Stream.runForEach(
      running.output,
      (chunk) => write(chunk.stream === "stdout" ? process.stdout : process.stderr, chunk.bytes)
    )
    const exit = yield* running.exit
    if (exit._tag === "Exited") return exit.code
    if (exit._tag === "Signalled") return 128 + signalNumber(exit.signal)
    return yield* new Ended({ exit: 127 }).pipe(
      Effect.tapError(() =>
        Effect.sync(() => process.stderr.write(`heddle: ${command[0] ?? ""} did not start: ${exit.reason}\n`))
      )
    )
  })).pipe(
    Effect.catchTag("SandboxLost", (lost) => Effect.fail(new CliFailure({ exit: 1, message: lost.message })))
  )

const renewAndRelease = (pool: PoolRef, claimId: ClaimId, ttlMs: number) => ({
  renewing: Connection.call(Subject.rpc.pool(pool, "renew"), ClaimResult, { claimId, ttl: ttlMs }).pipe(
    Effect.delay(Math.max(1_000, ttlMs / 3)),
    Effect.repeat(Schedule.forever),
    Effect.andThen(Effect.never)
  ),
  releasing: Connection.call(Subject.rpc.pool(pool, "release"), ClaimResult, { claimId })
})

/** Which member an env's claim waits in is told only with its result: it is taken back wherever it is. */
const cancelInMembers = <E, R>(env: PoolRef, cancelIn: (pool: PoolRef) => Effect.Effect<unknown, E, R>) =>
  Effect.gen(function*() {
    // Whoever interrupts waits for no more errors, and most members never had the claim; one that cannot be told lets it go at its deadline.
    const { items } = yield* Connection.call(Subject.rpc.envs("list"), EnvList, {})
    const found = items.find((one) => one.namespace === env.namespace && one.name === env.name as string) // named as a pool is
    yield* Effect.forEach(
      found?.members ?? [],
      (member) => Effect.ignore(cancelIn({ namespace: env.namespace, name: member.pool })),
      { concurrency: 8 }
    )
  })

export const run = (input: Input) =>
  Effect.gen(function*() {
    const output = yield* Output.Output
    const pool = yield* Globals.poolOf(input.pool)
    const count = Option.getOrElse(input.count, () => 1)
    if (input.exec && input.command.length === 0) {
      return yield* Globals.usage("--exec needs a command.", `write: heddle claim ${input.pool} --exec -- cmd args.`)
    }
    if (!input.exec && input.command.length > 0) {
      return yield* Globals.usage(
        `${JSON.stringify(input.command[0])} is too much.`,
        `to run a command in the sandbox, write: heddle claim ${input.pool} --exec -- ${input.command.join(" ")}`
      )
    }
    if (input.exec && count !== 1) {
      return yield* Globals.usage("--exec runs in one sandbox; --count does not go with it.")
    }
    const deadline = Option.isSome(input.deadline)
      ? yield* Globals.durationMs("--deadline", input.deadline.value)
      : claimDeadlineDefaultMs
    const ttl = Option.isSome(input.ttl) ? yield* Globals.durationMs("--ttl", input.ttl.value, 1) : claimTtlDefaultMs
    const claimId = ClaimId.make(
      Option.isSome(input.id) ? yield* Globals.checkToken("--id", input.id.value) : `c-${randomUUID().slice(0, 18)}`
    )
    const selector = yield* Pairs.texts("--label", input.label)
    const env = yield* Pairs.texts("--env", input.env)
    const holder = `${userInfo().username}@${hostname()}`
    const body = yield* Effect.fromResult(decodeClaim({
      claimId,
      holder,
      deadline,
      ttl,
      ...(Object.keys(selector).length > 0 ? { selector } : {}),
      ...(count === 1 ? {} : { count }),
      ...(Option.isNone(input.node) && Option.isNone(input.zone) ? {} : {
        affinity: {
          preferred: {
            ...(Option.isSome(input.node) ? { node: input.node.value } : {}),
            ...(Option.isSome(input.zone) ? { zone: input.zone.value } : {})
          }
        }
      }),
      ...(Option.isSome(input.priority) ? { priority: input.priority.value } : {}),
      ...(Option.isSome(input.team) ? { team: input.team.value } : {})
    })).pipe(Effect.mapError((error) => Globals.usage(`The claim is not valid: ${error.message}`)))

    // A wait that is interrupted is taken back, so that no sandbox is held for a caller who has gone.
    const cancelIn = (of: PoolRef) => Connection.call(Subject.rpc.pool(of, "cancel"), ClaimResult, { claimId })
    const cancelling = (input.fromEnv ? cancelInMembers(pool, cancelIn) : cancelIn(pool)).pipe(
      Effect.timeoutOption("2 seconds"),
      Effect.ignore
    )
    const subject = input.fromEnv ? Subject.rpc.env(pool.namespace, pool.name) : Subject.rpc.pool(pool, "claim")
    const result = yield* Connection.call(subject, ClaimResult, body, { extraMs: deadline }).pipe(
      Effect.onInterrupt(() => cancelling)
    )
    const { sandbox } = result
    if (result.outcome !== "Claimed") {
      yield* output.value(result, () => describe(result, output.style))
      return yield* new Ended({ exit: exitOf(result.outcome) || 1 })
    }
    if (!input.exec || sandbox === undefined) {
      yield* output.value(result, () => describe(result, output.style))
      if (output.format === "table" && output.screen.isTty) {
        yield* output.note(
          `Give it back: heddle release ${
            result.pool === undefined ? input.pool : poolKey(result.pool)
          } ${result.claimId}`
        )
      }
      return undefined
    }
    const { releasing, renewing } = renewAndRelease(result.pool ?? pool, result.claimId, ttl)
    const code = yield* Effect.raceFirst(execute(sandbox, input.command, env), renewing).pipe(
      Effect.ensuring(releasing.pipe(
        Effect.catch((error) => output.note(`heddle: the claim ${result.claimId} was not released: ${error.message}`))
      ))
    )
    return code === 0 ? undefined : yield* new Ended({ exit: code })
  }).pipe(Connection.provide)
