/** `heddle claim`, `release`, `claims`. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Lazy from "../Lazy.ts"
import * as PluginFlag from "../PluginFlag.ts"
import { argument, example, flag, pool, priority, text, whole } from "./Parts.ts"

const anyPool = Argument.optional(pool)

export const claim = Command.make("claim", {
  pool,
  command: Argument.String("cmd").pipe(
    Argument.withDescription("After --exec and --: what to run in the sandbox"),
    Argument.variadic()
  ),
  exec: flag(
    "exec",
    "Run the command after -- in the sandbox, release it afterwards, end with the command's exit code"
  ),
  ttl: text("ttl", "duration", "How long the claim is held; 10m when not given"),
  deadline: text("deadline", "duration", "How long it may wait for a sandbox; 30s when not given"),
  count: whole(
    "count",
    "Claim so many sandboxes: all of them or, when the deadline passes first, none",
    [1, 1_000]
  ),
  fromEnv: flag("from-env", "The name is an env's: claim from the best of its pools"),
  node: text("node", "name", "On this node if one is idle there"),
  zone: text("zone", "name", "In this zone if one is idle there"),
  id: text("id", "claimId", "Idempotency key: the same id again answers the same claim"),
  priority: priority("0 lowest to 9 highest; 5 when not given"),
  team: text("team", "name", "Whose fair share it counts against"),
  label: Flag.String("label").pipe(
    Flag.withMetavar("<key=value>"),
    Flag.withDescription("Only a sandbox with this label; can be passed multiple times"),
    Flag.atLeast(0)
  ),
  env: Flag.String("env").pipe(
    Flag.withMetavar("<key=value>"),
    Flag.withDescription("With --exec: variable of the command; can be passed multiple times"),
    Flag.atLeast(0)
  ),
  plugin: PluginFlag.flag
}, Lazy.handler(() => import("../command/Claim.ts").then((_) => PluginFlag.given(_.run)))).pipe(
  Command.withShortDescription("Hold a warm sandbox"),
  Command.withDescription(
    "Claims a sandbox of a pool and prints what holds it. Without --exec the claim stays until it is released or its ttl ends."
  ),
  Command.withExamples([
    example("claim default", "One sandbox for 10 minutes"),
    example("claim default --exec -- sh -c 'echo hello from $PWD'", "Use one for a command, then give it back"),
    example("claim gpu --count 3 --deadline 5m --priority 9 -o jsonl", "Three, waiting up to 5 minutes")
  ])
)

export const release = Command.make("release", {
  claim: Argument.String("pool|claim").pipe(
    Argument.withDescription(
      "The pool and the ids of its claims; or one claim alone, which is looked for in all pools"
    ),
    Argument.atLeast(1)
  )
}, Lazy.handler(() => import("../command/Release.ts").then((_) => _.run))).pipe(
  Command.withDescription("Give sandboxes back"),
  Command.withExamples([example("release default c-4f1", "Release one claim; releasing it again is no error")])
)

const claimsLs = Command.make(
  "ls",
  { pool: anyPool, limit: whole("limit", "At most so many; 1000 when not given", [1, 1_000_000]) },
  Lazy.handler(
    () => import("../command/Claims.ts").then((_) => _.ls)
  )
).pipe(
  Command.withAlias("list"),
  Command.withDescription("Claims that are held now, of a pool or of all, from the pools' event stream"),
  Command.withExamples([example("claims ls", "Who holds what"), example("claims ls default", "Of one pool")])
)
const claimsDescribe = Command.make("describe", {
  claim: Argument.String("pool|claim").pipe(
    Argument.withDescription("The pool and the id of the claim; or the claim alone, which is looked for in all pools"),
    Argument.between(1, 2)
  )
}, Lazy.handler(() => import("../command/Claims.ts").then((_) => _.describe))).pipe(
  Command.withDescription("The result and the state of one claim"),
  Command.withExamples([example("claims describe default c-4f1", "Its sandbox, lease and times")])
)
const claimsWatch = Command.make("watch", {
  pool: anyPool,
  since: text("since", "sequence", "From this stream sequence on; from now on when not given")
}, Lazy.handler(() => import("../command/Claims.ts").then((_) => _.watch))).pipe(
  Command.withDescription("Every claim, release and expiry of a pool, or of all, as it happens"),
  Command.withExamples([example("claims watch default -o jsonl", "One JSON line for each event")])
)
const claimsPause = Command.make("pause", {
  pool,
  claim: argument("claim", "Id of the claim")
}, Lazy.handler(() => import("../command/Claims.ts").then((_) => _.setPaused(true)))).pipe(
  Command.withDescription("Hold a claimed sandbox still, where its provider can; its lease runs on"),
  Command.withExamples([example("claims pause default c-4f1", "Its processes stand still")])
)
const claimsResume = Command.make("resume", {
  pool,
  claim: argument("claim", "Id of the claim")
}, Lazy.handler(() => import("../command/Claims.ts").then((_) => _.setPaused(false)))).pipe(
  Command.withDescription("Let a paused sandbox go on"),
  Command.withExamples([example("claims resume default c-4f1", "Its processes go on")])
)
export const claims = Command.make("claims").pipe(
  Command.withDescription("Look at claims"),
  Command.withSubcommands([claimsLs, claimsDescribe, claimsWatch, claimsPause, claimsResume])
)
