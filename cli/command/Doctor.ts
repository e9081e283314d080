/**
 * `heddle doctor`: everything that must be so for heddle to work, one line each, and for what is not so the fix.
 *
 * A check that depends on one that failed is left out: its problem would only be a consequence.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { findNatsServer } from "../../infra/bootstrap/nats-server.mjs"
import * as Durability from "../../shared/jetstream/Durability.ts"
import * as ServerVersion from "../../shared/jetstream/ServerVersion.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { MemberList, type MemberList as Members } from "../../shared/protocol/Member.ts"
import { PoolList } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as Connection from "../Connection.ts"
import { type CliFailure, Ended } from "../ExitCode.ts"
import { Output } from "../Output.ts"
import * as Plugins from "../Plugins.ts"
import { version } from "../Version.ts"

export interface Check {
  readonly check: string
  /** `warning`: works, but not as one would wish. */
  readonly state: "ok" | "warning" | "problem"
  readonly detail: string
  readonly fix?: string
}

const ok = (check: string, detail: string): Check => ({ check, state: "ok", detail })
const problem = (check: string, detail: string, fix: string): Check => ({ check, state: "problem", detail, fix })
const warning = (check: string, detail: string, fix: string): Check => ({ check, state: "warning", detail, fix })

/** Node's version alone; the rest of the tool chain is the bootstrap's business. */
export const nodeCheck = (version: string): Check =>
  Number(version.split(".")[0]) >= 24
    ? ok("node", version)
    : problem(
      "node",
      `${version} is too old`,
      "install Node 24, or run `npm ci` in the checkout, which brings its own."
    )

/** Why none was found, from the bootstrap's message: a line for each place that it looked in. */
export const noBinary = (message: string, isNamed: boolean): Check => {
  const places = message.split("\n").filter((line) => line.startsWith("  - ")).map((line) => line.slice(4))
  return warning(
    "nats-server binary",
    `none that can be used${places.length === 0 ? "" : ` (${places.join("; ")})`}; only \`heddle dev\` needs it`,
    isNamed
      ? "correct HEDDLE_NATS_SERVER; or unset it, `npm run bootstrap` gets one where there is none."
      : "`npm run bootstrap` gets one, or set HEDDLE_NATS_SERVER."
  )
}

const natsServerCheck = Effect.tryPromise({
  try: () => findNatsServer({ install: false, log: () => undefined }),
  catch: (cause) => cause instanceof Error ? cause.message : String(cause)
}).pipe(
  Effect.match({
    onSuccess: (found) => ok("nats-server binary", `${found.version} at ${found.path}`),
    onFailure: (message) => noBinary(message, (process.env["HEDDLE_NATS_SERVER"] ?? "") !== "")
  })
)

/** What is wrong, without the advice after it: a check gives its own. */
export const firstSentence = (message: string): string => message.split(/\. (?=[A-Z`])/, 1)[0] ?? message

/** No server answered: where it is another's fault than a missing server's (it refuses us, the URL is none), the error itself says what to do. */
export const unreachable = (error: ContractError | CliFailure): Check => {
  const detail = firstSentence(error.message)
  const said = error.message.slice(detail.length + 2)
  return problem(
    "nats",
    detail,
    error._tag === "CliFailure"
      ? error.fix ?? "correct the command line."
      : detail.startsWith("no NATS server") || said === ""
      ? "start one with `heddle dev`, or name it: --nats URL."
      : said
  )
}

const pluginProblem = ({ fix, message, problems = [] }: CliFailure): Check =>
  problem("plugins", [message.replace(/\.$/, ""), ...problems].join("; "), fix ?? "correct HEDDLE_PLUGINS.")

/** What the streams lack, from what the server has under their names. */
export const streamChecks = (
  found: ReadonlyArray<readonly [name: string, config: Parameters<typeof Streams.differences>[1] | undefined]>,
  serverVersion: string
): ReadonlyArray<Check> => {
  const isServerOld = ServerVersion.isOlder(serverVersion, ServerVersion.least)
  const wanted = new Map(Streams.definitions().map((definition) => [definition.name, definition]))
  const missing = found.filter(([, config]) => config === undefined).map(([name]) => name)
  if (missing.length === found.length && found.length > 0) {
    return [
      problem(
        "streams",
        "none of heddle's streams exists",
        "start a service (`heddle dev`, `heddle serve coordinator`): it makes them."
      )
    ]
  }
  const checks: Array<Check> = missing.map((name) =>
    problem(
      "streams",
      `${name} is missing`,
      `if it was never there (the services are of an older version than this heddle, ${version}), start a service of this version: it makes what is missing. If it was there, its data is gone: restore its backup first.`
    )
  )
  for (const [name, config] of found) {
    const definition = wanted.get(name)
    if (config === undefined || definition === undefined) continue
    for (const difference of Streams.differences(definition, config)) {
      checks.push(problem(
        "streams",
        `${name} has ${difference.field} ${JSON.stringify(difference.found)}, heddle needs ${
          JSON.stringify(difference.wanted)
        }`,
        Streams.fixOf(difference, isServerOld)
      ))
    }
  }
  return checks.length === 0 ? [ok("streams", `${found.length} streams and buckets as they should be`)] : checks
}

const journalFix =
  "let only coordinators publish on heddle.journal.> (permissions: docs/design/session-protocol.md). JournalUnreadable: start a coordinator of the newest version, or restore the journal's backup."
const rolesNeeded = ["coordinator", "pool-scheduler", "task-executor", "failover"] as const

export const memberChecks = (members: typeof Members.Type): ReadonlyArray<Check> => {
  const missing = rolesNeeded.filter((role) => !members.items.some((member) => member.role === role))
  const counts = rolesNeeded.map((role) => `${members.items.filter((member) => member.role === role).length} ${role}`)
    .join(", ")
  const found: Array<Check> = missing.map((role) =>
    problem("members", `no ${role} runs`, `\`heddle serve ${role}\`, or \`heddle dev\` for all of them.`)
  )
  if (found.length === 0) found.push(ok("members", counts))
  for (const { member, problems } of members.items) {
    for (const told of problems ?? []) found.push(problem("journal", `${member}: ${told}`, journalFix))
  }
  const versions = new Set(members.items.map((member) => member.version))
  if (versions.size > 1 || members.items.length > 0 && !versions.has(version)) {
    found.push(warning(
      "versions",
      `services of ${[...versions].toSorted().join(", ")}, this heddle is ${version}`,
      "upgrade all of them; what a newer one asks for, an older one may refuse."
    ))
  }
  return found
}

export const poolChecks = (pools: typeof PoolList.Type): ReadonlyArray<Check> => {
  if (pools.items.length === 0) {
    return [warning("pools", "there is none", "`heddle pools apply default --size 4` makes one.")]
  }
  const checks: Array<Check> = []
  for (const pool of pools.items) {
    const name = `${pool.namespace}/${pool.name}`
    if (pool.owner === null) {
      checks.push(
        problem("pools", `${name} has no owner`, "`heddle serve pool-scheduler`: one of them takes it within seconds.")
      )
    } else if (pool.snapshot !== undefined && pool.snapshot.total < pool.size) {
      checks.push(
        warning(
          "pools",
          `${name} has ${pool.snapshot.total} of ${pool.size} sandboxes`,
          `\`heddle pools describe ${name}\` and the log of ${pool.owner} say why.`
        )
      )
    }
  }
  return checks.length === 0
    ? [ok("pools", pools.items.map((pool) => `${pool.namespace}/${pool.name} ${pool.size}`).join(", "))]
    : checks
}

/** As this command can see it, else as the coordinators were told when they were started. */
export const durabilityCheck = (level: Durability.DurabilityLevel, members: typeof Members.Type): Check => {
  if (level.fsync._tag !== "Unknown") return ok("durability", level.text)
  const told = members.items.find((member) => member.durability !== undefined && !member.durability.includes("unknown"))
  return told?.durability === undefined
    ? warning(
      "durability",
      level.text,
      "say it with HEDDLE_NATS_SYNC (always, 2m), or let it be read: HEDDLE_NATS_MONITOR=http://host:8222."
    )
    : ok("durability", `${told.durability}, as ${told.member} was told`)
}

/** Of what the user has installed: nothing to say where that is nothing. */
const pluginChecks = Effect.map(
  Effect.result(Plugins.diagnosis),
  (found): ReadonlyArray<Check> =>
    Result.isFailure(found)
      ? [pluginProblem(found.failure)]
      : found.success === undefined
      ? []
      : found.success.problems.length > 0
      ? found.success.problems.map(pluginProblem)
      : [ok(
        "plugins",
        found.success.users.map(({ named, plugin: { manifest } }) => `${manifest.name} ${manifest.version} (${named})`)
          .join(", ") || "config as it should be"
      )]
)

const mesh = Effect.gen(function*() {
  const nats = yield* Connection.nats
  const checks: Array<Check> = [ok("nats", `${nats.url}, nats-server ${nats.serverVersion}`)]
  const level = yield* Effect.result(
    Effect.flatMap(Durability.optionsConfig, (options) => Durability.read(nats, options))
  )
  if (Result.isFailure(level)) {
    checks.push(
      problem(
        "jetstream",
        firstSentence(level.failure.message),
        "code" in level.failure && level.failure.code === "Unsupported"
          ? `stop the server, start ${ServerVersion.least} or newer on the same store.`
          : "turn JetStream on (`jetstream {}` in the server's configuration) and restart the server."
      )
    )
    return checks
  }
  checks.push(ok("jetstream", `API level ${level.success.apiLevel}`))
  const found = yield* Effect.forEach(
    Streams.definitions(),
    (definition) =>
      Effect.map(
        Streams.info(nats, definition.name),
        (info) => [definition.name, Option.isSome(info) ? info.value.config : undefined] as const
      ),
    { concurrency: 4 }
  ).pipe(Effect.result)
  if (Result.isFailure(found)) {
    checks.push(problem("streams", found.failure.message, "look at the server's log."))
    return checks
  }
  checks.push(...streamChecks(found.success, nats.serverVersion))
  if (found.success.every(([, config]) => config === undefined)) return checks
  const members = yield* Effect.result(Connection.callOnce(Subject.rpc.memberList, MemberList, {}))
  if (Result.isFailure(members)) {
    checks.push(
      problem(
        "members",
        firstSentence(members.failure.message),
        "`heddle serve failover`, or `heddle dev` for everything."
      )
    )
  } else checks.push(...memberChecks(members.success))
  checks.push(durabilityCheck(level.success, Result.isSuccess(members) ? members.success : { items: [] }))
  const pools = yield* Effect.result(Connection.callOnce(Subject.rpc.pools("list"), PoolList, {}))
  if (Result.isFailure(pools)) {
    checks.push(
      problem(
        "pools",
        firstSentence(pools.failure.message),
        "`heddle serve pool-scheduler`, or `heddle dev` for everything."
      )
    )
  } else checks.push(...poolChecks(pools.success))
  return checks
})

export const run = (input: { readonly quiet: boolean }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const checks: Array<Check> = [nodeCheck(process.versions.node), yield* natsServerCheck, ...(yield* pluginChecks)]
    const reached = yield* Effect.result(Connection.provide(mesh))
    if (Result.isSuccess(reached)) checks.push(...reached.success)
    else checks.push(unreachable(reached.failure))
    const told = input.quiet ? checks.filter((check) => check.state === "problem") : checks
    if (output.format === "table") {
      for (const { check, detail, fix, state } of told) {
        const line = `${output.style.state(state)}${" ".repeat(8 - state.length)} ${check}: ${detail}${
          fix === undefined ? "" : `  What to do: ${fix}`
        }`
        yield* output.line(line)
      }
    } else yield* output.page({ items: told }, [], "")
    const isNoBroker = Result.isFailure(reached) ||
      checks.some(({ check, state }) => check === "jetstream" && state === "problem")
    const exit = isNoBroker ? 6 : checks.some((check) => check.state === "problem") ? 1 : 0
    return exit === 0 ? undefined : yield* new Ended({ exit })
  })
