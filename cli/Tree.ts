/**
 * The whole command tree: names, flags, help and examples; the one source of the parser, `--help`, the completions and docs/reference/cli.md.
 *
 * Handlers are loaded when their command runs, so `heddle --help` reads this file and no service. Follows design/02 "CLI".
 */
import * as Argument from "effect/cli/Argument"
import * as CliConfig from "effect/cli/CliConfig"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Config from "effect/Config"
import { envName } from "./ConfigFile.ts"
import * as Globals from "./Globals.ts"
import * as Lazy from "./Lazy.ts"

const example = (command: string, description: string) => ({ command: `heddle ${command}`, description })

const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(`<${metavar}>`), Flag.withDescription(description), Flag.optional)
const flag = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))
const whole = (name: string, description: string) =>
  Flag.Int(name).pipe(Flag.withMetavar("<n>"), Flag.withDescription(description), Flag.optional)
const priority = (description: string) =>
  Flag.Int("priority").pipe(
    Flag.withMetavar("<n>"),
    Flag.withDescription(description),
    Flag.filter((found) => found >= 0 && found <= 9, (found) => `--priority ${found}: 0 is the lowest, 9 the highest`),
    Flag.optional
  )
const argument = (name: string, description: string) =>
  Argument.String(name).pipe(Argument.withDescription(description))
const settled = (name: "data-dir" | "nats-port" | "sync", metavar: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar(`<${metavar}>`),
    Flag.withDescription(description),
    Flag.withFallbackConfig(Config.String(envName(name))),
    Flag.optional
  )

const instance = argument("instance", "Id of the workflow instance")
const reason = text("reason", "text", "Why; kept in the instance's journal")
const requestId = text(
  "id",
  "requestId",
  "Idempotency key: the same command with it again is done once; made up when not given"
)
const limit = whole("limit", "At most so many")

// ---- programs

const dev = Command.make("dev", {
  dataDir: settled("data-dir", "folder", "Where streams and definitions stay between runs; .heddle/dev when not given"),
  natsPort: settled("nats-port", "port", "Port of the NATS server; a free one when not given"),
  httpPort: text("http-port", "port", "Port of the HTTP API; not in this version"),
  pool: Flag.String("pool").pipe(
    Flag.withMetavar("<name=size[,provider]>"),
    Flag.withDescription("A pool; can be passed multiple times. default=4,local when not given"),
    Flag.atLeast(0)
  ),
  headless: flag("headless", "Without the HTTP API and the console"),
  sync: settled(
    "sync",
    "always|interval",
    "always: fsync before each acknowledgement; interval: the server's 2 minutes"
  )
}, Lazy.handler(() => import("./dev/Dev.ts").then((_) => _.run))).pipe(
  Command.withShortDescription("Everything in one process: NATS, all services, a local pool"),
  Command.withDescription(
    "Starts a NATS server with JetStream, every service and a pool of local processes in one process, and says when a claim would succeed. "
      + "With -o json it prints one line {\"ready\":true,\"natsUrl\":...,\"httpUrl\":...,\"pools\":[...]} on standard output. Ctrl-C ends all of it."
  ),
  Command.withExamples([
    example("dev", "Start; then, in another terminal of the same folder: heddle claim default"),
    example("dev --pool default=8 --pool quick=2,inline --sync always", "Two pools, every acknowledgement on disk"),
    example("dev -o json --data-dir /tmp/heddle --nats-port 4222", "For a program that waits for the line")
  ])
)

const serve = Command.make("serve", {
  service: Argument.Literals("service", ["coordinator", "pool-scheduler", "task-executor", "failover"]).pipe(
    Argument.withDescription("Which service")
  ),
  member: text("member", "name", "Name in the registry; made up when not given"),
  slots: whole("slots", "task-executor: tasks at the same time"),
  pool: Flag.String("pool").pipe(
    Flag.withMetavar("<name>"),
    Flag.withDescription("task-executor: draws from this pool only; can be passed multiple times"),
    Flag.atLeast(0)
  ),
  ttl: text("ttl", "duration", "Life of the registry entry without a heartbeat"),
  grace: text("grace", "duration", "failover: from suspicion to event"),
  untilStdinEnds: flag(
    "until-stdin-ends",
    "End when standard input ends: for a program that starts services and may be killed"
  )
}, Lazy.handler(() => import("./serve/Serve.ts").then((_) => _.run))).pipe(
  Command.withShortDescription("One service as its own process"),
  Command.withDescription(
    "Runs one service against a NATS server. It prints one line when it is ready, ends cleanly on SIGTERM with exit code 0, and with another code "
      + "and the reason when a part of it dies."
  ),
  Command.withExamples([
    example("serve coordinator --nats nats://127.0.0.1:4222", "A coordinator; start a second one for take-over"),
    example("serve task-executor --slots 16", "Up to 16 tasks at the same time")
  ])
)

// ---- claims

const claim = Command.make("claim", {
  pool: argument("pool", "name, or namespace/name"),
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
  count: whole("count", "Claim so many sandboxes: all of them or, when the deadline passes first, none"),
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
  )
}, Lazy.handler(() => import("./command/Claim.ts").then((_) => _.run))).pipe(
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

const release = Command.make("release", {
  pool: argument("pool", "name, or namespace/name"),
  claim: Argument.String("claim").pipe(Argument.withDescription("Ids of the claims"), Argument.atLeast(1))
}, Lazy.handler(() => import("./command/Release.ts").then((_) => _.run))).pipe(
  Command.withDescription("Give sandboxes back"),
  Command.withExamples([example("release default c-4f1", "Release one claim; releasing it again is no error")])
)

const claimsLs = Command.make(
  "ls",
  { pool: argument("pool", "name, or namespace/name"), limit },
  Lazy.handler(
    () => import("./command/Claims.ts").then((_) => _.ls)
  )
).pipe(
  Command.withAlias("list"),
  Command.withDescription("Claims of a pool that are held now, from the pool's event stream"),
  Command.withExamples([example("claims ls default", "Who holds what")])
)
const claimsDescribe = Command.make("describe", {
  pool: argument("pool", "name, or namespace/name"),
  claim: argument("claim", "Id of the claim")
}, Lazy.handler(() => import("./command/Claims.ts").then((_) => _.describe))).pipe(
  Command.withDescription("The result and the state of one claim"),
  Command.withExamples([example("claims describe default c-4f1", "Its sandbox, lease and times")])
)
const claimsWatch = Command.make("watch", {
  pool: argument("pool", "name, or namespace/name"),
  since: text("since", "sequence", "From this stream sequence on; from now on when not given")
}, Lazy.handler(() => import("./command/Claims.ts").then((_) => _.watch))).pipe(
  Command.withDescription("Every claim, release and expiry of a pool as it happens"),
  Command.withExamples([example("claims watch default -o jsonl", "One JSON line for each event")])
)
const claimsPause = Command.make("pause", {
  pool: argument("pool", "name, or namespace/name"),
  claim: argument("claim", "Id of the claim")
}, Lazy.handler(() => import("./command/Claims.ts").then((_) => _.setPaused(true)))).pipe(
  Command.withDescription("Hold a claimed sandbox still, where its provider can; its lease runs on"),
  Command.withExamples([example("claims pause default c-4f1", "Its processes stand still")])
)
const claimsResume = Command.make("resume", {
  pool: argument("pool", "name, or namespace/name"),
  claim: argument("claim", "Id of the claim")
}, Lazy.handler(() => import("./command/Claims.ts").then((_) => _.setPaused(false)))).pipe(
  Command.withDescription("Let a paused sandbox go on"),
  Command.withExamples([example("claims resume default c-4f1", "Its processes go on")])
)
const claims = Command.make("claims").pipe(
  Command.withDescription("Look at claims"),
  Command.withSubcommands([claimsLs, claimsDescribe, claimsWatch, claimsPause, claimsResume])
)

// ---- pools

const pools = Command.make("pools").pipe(
  Command.withDescription("Pools of sandboxes"),
  Command.withSubcommands([
    Command.make("ls", {}, Lazy.handler(() => import("./command/Pools.ts").then((_) => () => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("All pools with their counters"),
      Command.withExamples([example("pools ls -o json", "For a program")])
    ),
    Command.make(
      "describe",
      { pool: argument("pool", "name, or namespace/name") },
      Lazy.handler(
        () => import("./command/Pools.ts").then((_) => _.describe)
      )
    ).pipe(
      Command.withDescription("One pool: what it is made of, its owner, its counters"),
      Command.withExamples([example("pools describe default", "Everything about one pool")])
    ),
    Command.make("apply", {
      file: text("file", "path", "YAML or JSON of one pool, or of several as a list or as documents").pipe(
        Flag.withAlias("f")
      ),
      name: Argument.String("name").pipe(
        Argument.withDescription("Without a file: name, or namespace/name"),
        Argument.optional
      ),
      provider: text("provider", "name", "Without a file: pool provider; local when not given"),
      size: whole("size", "Without a file: how many sandboxes")
    }, Lazy.handler(() => import("./command/Pools.ts").then((_) => _.apply))).pipe(
      Command.withDescription("Create a pool, or change it"),
      Command.withExamples([
        example("pools apply quick --provider inline --size 2", "From flags"),
        example("pools apply -f pools.yaml", "From a file")
      ])
    ),
    Command.make("scale", {
      pool: argument("pool", "name, or namespace/name"),
      size: Argument.Int("size").pipe(Argument.withDescription("How many sandboxes"), Argument.optional),
      min: whole("min", "Of a pool that follows its demand: never fewer"),
      max: whole("max", "Of a pool that follows its demand: never more"),
      minIdle: whole("min-idle", "Of a pool that follows its demand: kept idle beyond it")
    }, Lazy.handler(() => import("./command/Pools.ts").then((_) => _.scale))).pipe(
      Command.withDescription("Change how many sandboxes a pool keeps"),
      Command.withExamples([
        example("pools scale default 16", "Idle sandboxes are added or taken away"),
        example("pools scale auto --max 50 --min-idle 5", "Other bounds for a pool that follows its demand")
      ])
    ),
    Command.make("drain", {
      pool: argument("pool", "name, or namespace/name"),
      undo: flag("undo", "Give sandboxes out again"),
      wait: flag("wait", "Until the last claim has ended and no sandbox is left")
    }, Lazy.handler(() => import("./command/Pools.ts").then((_) => _.drain))).pipe(
      Command.withDescription("Stop giving sandboxes out, and let them go as their claims end"),
      Command.withExamples([example("pools drain gpu --wait", "Before its machines are taken away")])
    ),
    Command.make("delete", {
      pool: argument("pool", "name, or namespace/name"),
      yes: flag("yes", "Also when sandboxes are claimed: they go with it")
    }, Lazy.handler(() => import("./command/Pools.ts").then((_) => _.remove))).pipe(
      Command.withDescription("Remove a pool and its sandboxes; who waits for one is answered"),
      Command.withExamples([example("pools delete quick", "After heddle pools drain quick --wait")])
    ),
    Command.make("why", {
      pool: argument("pool", "name, or namespace/name")
    }, Lazy.handler(() => import("./command/Pools.ts").then((_) => _.why))).pipe(
      Command.withDescription("Why claims to a pool wait, and what would help"),
      Command.withExamples([example("pools why gpu", "All in use, a quota, no owner, ...")])
    ),
    Command.make("top", {
      pool: Argument.String("pool").pipe(
        Argument.withDescription("name, or namespace/name; all when not given"),
        Argument.optional
      ),
      interval: text("interval", "duration", "Between two looks; 1s when not given"),
      count: whole("count", "End after so many looks; on a terminal it goes on until Ctrl-C, elsewhere it looks once")
    }, Lazy.handler(() => import("./command/Pools.ts").then((_) => _.top))).pipe(
      Command.withDescription("Counters of pools, live"),
      Command.withExamples([example("pools top default --interval 500ms", "Twice a second")])
    )
  ])
)

// ---- envs

const envs = Command.make("envs").pipe(
  Command.withDescription("Several pools under one name"),
  Command.withSubcommands([
    Command.make("ls", {}, Lazy.handler(() => import("./command/Envs.ts").then((_) => () => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("All envs with the best of their members"),
      Command.withExamples([example("envs ls", "Which there are")])
    ),
    Command.make(
      "describe",
      { env: argument("env", "name, or namespace/name") },
      Lazy.handler(() => import("./command/Envs.ts").then((_) => _.describe))
    ).pipe(
      Command.withDescription("One env: its members as a claim would find them now, best first"),
      Command.withExamples([example("envs describe gpus", "Who is idle, who is full")])
    ),
    Command.make("apply", {
      file: text("file", "path", "YAML or JSON of one env, or of several as a list or as documents").pipe(
        Flag.withAlias("f")
      ),
      name: Argument.String("name").pipe(
        Argument.withDescription("Without a file: name, or namespace/name"),
        Argument.optional
      ),
      member: Flag.String("member").pipe(
        Flag.withMetavar("<pool[=priority]>"),
        Flag.withDescription("Without a file: a member pool; can be passed multiple times"),
        Flag.atLeast(0)
      )
    }, Lazy.handler(() => import("./command/Envs.ts").then((_) => _.apply))).pipe(
      Command.withDescription("Create an env, or change it"),
      Command.withExamples([
        example("envs apply gpus --member a100=1 --member t4", "a100 first, t4 when it is full"),
        example("envs apply -f envs.yaml", "From a file, with selectors and weights")
      ])
    ),
    Command.make("delete", {
      env: argument("env", "name, or namespace/name")
    }, Lazy.handler(() => import("./command/Envs.ts").then((_) => _.remove))).pipe(
      Command.withDescription("Remove an env; its pools stay"),
      Command.withExamples([example("envs delete gpus", "Claims to it are refused from then on")])
    )
  ])
)

// ---- workflows

const run = Command.make("run", {
  workflow: argument("workflow", "A file (YAML or JSON), or the name[@version] of a stored definition"),
  param: Flag.String("param").pipe(
    Flag.withAlias("p"),
    Flag.withMetavar("<key=value>"),
    Flag.withDescription("A parameter; JSON when it parses as JSON, else text. Can be passed multiple times"),
    Flag.atLeast(0)
  ),
  paramsFile: text("params-file", "path", "Parameters from a YAML or JSON file"),
  id: text("id", "instanceId", "Idempotency key: the same id again answers the same instance"),
  wait: flag("wait", "Wait for the end; exit code 1 when the run did not succeed"),
  watch: flag("watch", "Show every task as it changes, then the result"),
  logs: flag("logs", "Like --watch, with the output of the tasks"),
  waitTimeout: text(
    "wait-timeout",
    "duration",
    "With --wait or --watch: give up after this (exit code 5); the run goes on"
  ),
  priority: priority("0 lowest to 9 highest"),
  pool: text("pool", "name", "Pool of tasks that name none"),
  startNode: Flag.String("start-node").pipe(
    Flag.withMetavar("<task>"),
    Flag.withDescription("Begin at this task; can be passed multiple times"),
    Flag.atLeast(0)
  ),
  dependType: Flag.Literals("depend-type", ["TASK_ONLY", "TASK_PRE", "TASK_POST"]).pipe(
    Flag.withDescription("With --start-node: only these, with all before them, or with all after them"),
    Flag.optional
  ),
  dryRun: flag("dry-run", "Go through the graph without running a task")
}, Lazy.handler(() => import("./command/Run.ts").then((_) => _.run))).pipe(
  Command.withShortDescription("Start a workflow"),
  Command.withDescription(
    "Starts a workflow from a file or a stored definition and prints the id of its instance; with --wait or --watch also how it ended."
  ),
  Command.withExamples([
    example("run examples/hello.yaml --watch", "Run a file and look on"),
    example("run nightly@3 --param day=2026-11-21 --id nightly-2026-11-21", "A stored version, at most once"),
    example("run examples/repo-report.yaml --param root=$PWD --wait -o json", "Wait, print the result as JSON")
  ])
)

const command = (
  name: string,
  description: string,
  verb: "pause" | "resume" | "stop" | "rerun" | "recover",
  shown: string
) =>
  Command.make(name, {
    instance: Argument.String("instance").pipe(
      Argument.withDescription("Ids of workflow instances"),
      Argument.atLeast(1)
    ),
    reason,
    id: requestId,
    wait: flag(
      "wait",
      verb === "pause" || verb === "stop"
        ? "Wait until the run rests"
        : "Wait until the run rests; exit code 1 when it did not succeed"
    )
  }, Lazy.handler(() => import("./command/Workflows.ts").then((_) => _.command(verb)))).pipe(
    Command.withDescription(description),
    Command.withExamples([example(`workflows ${name} ${shown}`, description)])
  )

const workflows = Command.make("workflows").pipe(
  Command.withAlias("wf"),
  Command.withDescription("Runs of workflows"),
  Command.withSubcommands([
    Command.make("ls", {
      state: text("state", "STATE", "Only in this state, such as RUNNING"),
      definition: text("definition", "name", "Only of this definition"),
      limit,
      next: text("next", "token", "The page after the one that gave this token"),
      all: flag("all", "All pages")
    }, Lazy.handler(() => import("./command/Workflows.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("Instances, newest first"),
      Command.withExamples([example("workflows ls --state RUNNING", "What runs now")])
    ),
    Command.make(
      "get",
      { instance },
      Lazy.handler(
        () => import("./command/Workflows.ts").then((_) => _.get)
      )
    ).pipe(
      Command.withDescription("State, tasks and attempts of one instance"),
      Command.withExamples([example("workflows get i-7", "Each task with its state, or why it never ran")])
    ),
    Command.make("watch", {
      instance,
      logs: flag("logs", "With the output of the tasks"),
      waitTimeout: text("wait-timeout", "duration", "Give up after this (exit code 5)")
    }, Lazy.handler(() => import("./command/Workflows.ts").then((_) => _.watch))).pipe(
      Command.withDescription("Look on until the run rests; exit code 1 when it did not succeed"),
      Command.withExamples([example("workflows watch i-7 -o jsonl", "One JSON line for each change")])
    ),
    Command.make("result", {
      instance,
      waitTimeout: text("wait-timeout", "duration", "How long to wait for the end; 30s when not given, 0s: not at all")
    }, Lazy.handler(() => import("./command/Workflows.ts").then((_) => _.result))).pipe(
      Command.withDescription("How the run ended, with its outputs; exit code 1 when it did not succeed"),
      Command.withExamples([example("workflows result i-7 -o json", "Outputs as JSON")])
    ),
    Command.make("history", {
      instance,
      limit,
      next: text("next", "token", "The page after the one that gave this token"),
      all: flag("all", "All pages")
    }, Lazy.handler(() => import("./command/Workflows.ts").then((_) => _.history))).pipe(
      Command.withDescription("The journal of an instance: every turn, its cause, what changed"),
      Command.withExamples([example("workflows history i-7 --all -o jsonl", "The whole journal, one entry a line")])
    ),
    Command.make("logs", {
      instance,
      task: text("task", "name", "Only of this task"),
      follow: flag("follow", "Go on until the run rests").pipe(Flag.withAlias("f"))
    }, Lazy.handler(() => import("./command/Workflows.ts").then((_) => _.logs))).pipe(
      Command.withDescription("What the tasks wrote"),
      Command.withExamples([example("workflows logs i-7 --task count --follow", "One task, live")])
    ),
    command("pause", "Pause: running tasks that can pause do, nothing new starts", "pause", "i-7 --reason maintenance"),
    command("resume", "Go on after a pause", "resume", "i-7"),
    command("stop", "Stop: active tasks are killed", "stop", "i-7 --reason 'wrong day' --wait"),
    command("rerun", "Run a finished instance again from its start", "rerun", "i-7"),
    command("recover", "Run the failed tasks of a finished instance again, and what comes after them", "recover", "i-7")
  ])
)

// ---- tasks and groups

const task = argument("task", "Name of the task")
const taskCommand = (
  name: string,
  verb: "forceSuccess" | "forceStart",
  description: string,
  shown: string
) =>
  Command.make(
    name,
    { instance, task, reason, id: requestId, wait: flag("wait", "Wait until the run rests") },
    Lazy.handler(() => import("./command/Tasks.ts").then((_) => _[verb]))
  ).pipe(
    Command.withDescription(description),
    Command.withExamples([example(`tasks ${name} ${shown}`, description)])
  )

const tasks = Command.make("tasks").pipe(
  Command.withDescription("Single tasks of a run"),
  Command.withSubcommands([
    Command.make("ls", { instance }, Lazy.handler(() => import("./command/Tasks.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("The tasks of an instance, or why one never ran"),
      Command.withExamples([example("tasks ls i-7 -o json", "With every attempt")])
    ),
    Command.make("run", {
      instance,
      task,
      dependType: Flag.Literals("depend-type", ["TASK_ONLY", "TASK_PRE", "TASK_POST"]).pipe(
        Flag.withDescription("Only it, which is what happens when not given; with all before it, or with all after it"),
        Flag.optional
      ),
      reason,
      id: requestId,
      wait: flag("wait", "Wait until the run rests; exit code 1 when it did not succeed")
    }, Lazy.handler(() => import("./command/Tasks.ts").then((_) => _.run))).pipe(
      Command.withDescription("Run one task of an ended instance again"),
      Command.withExamples([example("tasks run i-7 load --depend-type TASK_POST --wait", "And what comes after it")])
    ),
    taskCommand(
      "force-success",
      "forceSuccess",
      "Let a failed task of an ended instance count as succeeded; `workflows recover` then goes on after it",
      "i-7 load --reason 'loaded by hand'"
    ),
    taskCommand(
      "force-start",
      "forceStart",
      "Let a task that waits for a slot of its concurrency group begin without one",
      "i-7 load"
    )
  ])
)

const group = argument("group", "name, or namespace/name")
const groups = Command.make("groups").pipe(
  Command.withDescription("Concurrency groups: named slots that tasks share"),
  Command.withSubcommands([
    Command.make("ls", {
      limit,
      next: text("next", "token", "The page after the one that gave this token")
    }, Lazy.handler(() => import("./command/Groups.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("Groups of all namespaces: slots, how many hold one, how many wait"),
      Command.withExamples([example("groups ls", "Is one the bottleneck?")])
    ),
    Command.make("get", { group }, Lazy.handler(() => import("./command/Groups.ts").then((_) => _.get))).pipe(
      Command.withDescription("Which tasks hold a slot, and which wait, in the order in which they are let in"),
      Command.withExamples([example("groups get warehouse", "Who is next")])
    ),
    Command.make("set", {
      group,
      slots: Argument.String("slots").pipe(
        Argument.withDescription("How many hold a slot at once; 0: nobody begins; auto: as definitions say")
      )
    }, Lazy.handler(() => import("./command/Groups.ts").then((_) => _.set))).pipe(
      Command.withDescription("Set the slots of a group, whatever definitions say; what holds one keeps it"),
      Command.withExamples([
        example("groups set warehouse 4", "Four at once from now on"),
        example("groups set warehouse 0", "Nothing new for now"),
        example("groups set warehouse auto", "As the definitions say again")
      ])
    ),
    Command.make("prioritize", {
      group,
      instance,
      task,
      priority: Argument.Int("priority").pipe(Argument.withDescription("0 lowest to 9 highest"))
    }, Lazy.handler(() => import("./command/Groups.ts").then((_) => _.prioritize))).pipe(
      Command.withDescription("Another priority for a task that waits for a slot"),
      Command.withExamples([example("groups prioritize warehouse i-7 load 9", "Next in line")])
    )
  ])
)

const file = argument("file", "YAML or JSON of a workflow; - for standard input")
const definitions = Command.make("definitions").pipe(
  Command.withAlias("def"),
  Command.withDescription("Stored workflow definitions"),
  Command.withSubcommands([
    Command.make(
      "ls",
      { limit, next: text("next", "token", "The page after the one that gave this token") },
      Lazy.handler(
        () => import("./command/Definitions.ts").then((_) => _.ls)
      )
    ).pipe(
      Command.withAlias("list"),
      Command.withDescription("Names and newest versions"),
      Command.withExamples([example("definitions ls", "All of the namespace")])
    ),
    Command.make(
      "get",
      { name: argument("name", "name or name@version") },
      Lazy.handler(
        () => import("./command/Definitions.ts").then((_) => _.get)
      )
    ).pipe(
      Command.withDescription("One definition"),
      Command.withExamples([example("definitions get nightly@3 -o yaml", "As a file")])
    ),
    Command.make(
      "put",
      { file },
      Lazy.handler(
        () => import("./command/Definitions.ts").then((_) => _.put)
      )
    ).pipe(
      Command.withDescription("Store a definition; the same content again is the same version"),
      Command.withExamples([example("definitions put examples/diamond.yaml", "Prints name and version")])
    ),
    Command.make(
      "delete",
      { name: argument("name", "name") },
      Lazy.handler(
        () => import("./command/Definitions.ts").then((_) => _.remove)
      )
    ).pipe(
      Command.withDescription("Delete a definition: nothing new starts from it; instances that run keep their version"),
      Command.withExamples([example("definitions delete nightly", "All its versions")])
    ),
    Command.make(
      "validate",
      { file, local: flag("local", "Without a server: structure, graph and expressions") },
      Lazy.handler(
        () => import("./command/Definitions.ts").then((_) => _.validate)
      )
    ).pipe(
      Command.withDescription("Every problem of a definition with its line and column; exit code 2 when there is one"),
      Command.withExamples([
        example("definitions validate examples/diamond.yaml", "Silent but for one line when it is good")
      ])
    )
  ])
)

const replay = Command.make("replay", {
  instance,
  until: text("until", "sequence|time", "Stop after this stream sequence or time (RFC 3339)"),
  step: flag("step", "Wait for Enter after each step"),
  speed: text("speed", "1|10|max", "1: as it went, 10: ten times as fast, max: at once; max when not given"),
  verify: flag(
    "verify",
    "Check the hash chain, and that the engine decides the same again; exit code 1 at a difference"
  )
}, Lazy.handler(() => import("./command/Replay.ts").then((_) => _.run))).pipe(
  Command.withShortDescription("Go through a run again, step by step"),
  Command.withDescription(
    "Reads the journal of an instance from JetStream and shows each step: when, why, what changed, what was sent out; then the final state. "
      + "Needs no service, only the NATS server."
  ),
  Command.withExamples([
    example("replay i-7", "All steps"),
    example("replay i-7 --until 2026-11-21T10:00:00Z", "The state at that moment"),
    example("replay i-7 --verify", "Is the log whole, and does it follow from the rules?")
  ])
)

// ---- schedules and backfills

const scheduleName = argument("name", "Name of the schedule")
const param = Flag.String("param").pipe(
  Flag.withAlias("p"),
  Flag.withMetavar("<key=value>"),
  Flag.withDescription("A parameter; JSON when it parses as JSON, else text. Can be passed multiple times"),
  Flag.atLeast(0)
)
const next = text("next", "token", "The page after the one that gave this token")
const ofSchedule = (name: string, verb: "get" | "remove" | "resume", description: string, shown: string) =>
  Command.make(
    name,
    { name: scheduleName },
    Lazy.handler(() => import("./command/Schedules.ts").then((_) => _[verb]))
  ).pipe(
    Command.withDescription(description),
    Command.withExamples([example(`schedules ${name} nightly`, shown)])
  )

const schedules = Command.make("schedules").pipe(
  Command.withDescription("Workflows that start by the clock"),
  Command.withSubcommands([
    Command.make("ls", { limit, next }, Lazy.handler(() => import("./command/Schedules.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("All schedules: when they fire next, what they started last"),
      Command.withExamples([example("schedules ls", "By name")])
    ),
    ofSchedule("get", "get", "One schedule", "With -o yaml: its whole specification"),
    Command.make(
      "put",
      { file: argument("file", "YAML or JSON of a schedule; - for standard input") },
      Lazy.handler(() => import("./command/Schedules.ts").then((_) => _.put))
    ).pipe(
      Command.withDescription("Make a schedule, or change it: it fires from now on"),
      Command.withExamples([example("schedules put examples/schedule.yaml", "Prints when it fires next")])
    ),
    ofSchedule("delete", "remove", "Delete a schedule; what it started goes on", "It fires no more"),
    Command.make(
      "pause",
      { name: scheduleName, reason: text("reason", "text", "Why; shown until it is resumed") },
      Lazy.handler(() => import("./command/Schedules.ts").then((_) => _.pause))
    ).pipe(
      Command.withDescription("No firing until it is resumed; those times are not made up for"),
      Command.withExamples([example("schedules pause nightly --reason maintenance", "Off for now")])
    ),
    ofSchedule("resume", "resume", "Fire again, from now on", "On again"),
    Command.make("trigger", {
      name: scheduleName,
      at: text(
        "at",
        "time",
        "As though it were this time (RFC 3339 UTC): repeatable, the instance that a firing at that time makes"
      ),
      id: text("id", "instanceId", "Id of the instance; made of the schedule's name and the time when not given"),
      param
    }, Lazy.handler(() => import("./command/Schedules.ts").then((_) => _.trigger))).pipe(
      Command.withDescription("Start its workflow now, whether it is paused or not"),
      Command.withExamples([
        example("schedules trigger nightly", "Prints the id of the instance"),
        example("schedules trigger nightly --at 2026-11-21T01:00:00Z", "Make up for one firing")
      ])
    ),
    Command.make("preview", {
      name: Argument.String("name").pipe(Argument.withDescription("Name of the schedule"), Argument.optional),
      cron: text("cron", "expression", "Instead of a schedule: a cron expression"),
      timezone: text("timezone", "name", "With --cron: IANA name of the time zone; UTC when not given"),
      after: text("after", "time", "After this time (RFC 3339 UTC); now when not given"),
      count: whole("count", "How many times; 10 when not given")
    }, Lazy.handler(() => import("./command/Schedules.ts").then((_) => _.preview))).pipe(
      Command.withDescription("The next times"),
      Command.withExamples([
        example("schedules preview nightly", "The next ten"),
        example("schedules preview --cron '30 2 * * *' --timezone Europe/Berlin --count 3", "Before you put it")
      ])
    )
  ])
)

const backfillName = argument("name", "Name of the backfill")
const backfill = Command.make("backfill").pipe(
  Command.withDescription("One workflow for each date of a range"),
  Command.withSubcommands([
    Command.make("start", {
      definition: Argument.String("definition").pipe(
        Argument.withDescription("name[@version] of a stored definition; or --file"),
        Argument.optional
      ),
      file: text("file", "path", "YAML or JSON of a backfill, instead of flags").pipe(Flag.withAlias("f")),
      name: text("name", "name", "Idempotency key: the same name and content again is the same backfill"),
      from: text("from", "date", "First date, such as 2026-11-01"),
      to: text("to", "date", "Last date, included"),
      date: Flag.String("date").pipe(
        Flag.withMetavar("<date>"),
        Flag.withDescription("Instead of --from and --to: one date; can be passed multiple times"),
        Flag.atLeast(0)
      ),
      cron: text("cron", "expression", "The times of these dates that match; the start of each date when not given"),
      timezone: text("timezone", "name", "IANA name of the time zone; UTC when not given"),
      parallel: whole("parallel", "How many run at once; 1 when not given"),
      descending: flag("descending", "The last date first"),
      skipFailed: flag("skip-failed", "Go on after a date that failed; else no further date is started"),
      param,
      wait: flag("wait", "Wait for the end; exit code 1 when a date did not succeed")
    }, Lazy.handler(() => import("./command/Backfills.ts").then((_) => _.start))).pipe(
      Command.withDescription(
        "Start a backfill: an instance for each date, with the params date, scheduledAt and previous"
      ),
      Command.withExamples([
        example("backfill start nightly --from 2026-11-01 --to 2026-11-20 --parallel 4 --wait", "Four at a time"),
        example("backfill start -f examples/backfill.yaml", "From a file")
      ])
    ),
    Command.make("ls", { limit, next }, Lazy.handler(() => import("./command/Backfills.ts").then((_) => _.ls))).pipe(
      Command.withAlias("list"),
      Command.withDescription("Backfills, also those that have ended in the last 90 days"),
      Command.withExamples([example("backfill ls", "How far each is")])
    ),
    Command.make(
      "get",
      { name: backfillName },
      Lazy.handler(() => import("./command/Backfills.ts").then((_) => _.get))
    ).pipe(
      Command.withDescription("One backfill: what runs, what failed"),
      Command.withExamples([example("backfill get nightly-1f3a", "Its instances under way and those that failed")])
    ),
    Command.make(
      "stop",
      { name: backfillName, stopRuns: flag("stop-runs", "Stop the runs under way as well; else they go to their end") },
      Lazy.handler(() => import("./command/Backfills.ts").then((_) => _.stop))
    ).pipe(
      Command.withDescription("Start no further date"),
      Command.withExamples([example("backfill stop nightly-1f3a --stop-runs", "End it at once")])
    )
  ])
)

// ---- operations

const doctor = Command.make(
  "doctor",
  { quiet: flag("quiet", "Only problems; silent when all is well").pipe(Flag.withAlias("q")) },
  Lazy.handler(
    () => import("./command/Doctor.ts").then((_) => _.run)
  )
).pipe(
  Command.withShortDescription("What is wrong, and what to do"),
  Command.withDescription(
    "Checks the tools of this machine, the NATS server, JetStream, every stream and bucket, the durability level, the members of the mesh and the pools. "
      + "One line for each problem with its fix; exit code 1 when there is one, 6 when no server answers."
  ),
  Command.withExamples([example("doctor -q && heddle run nightly", "Go on only when all is well")])
)
const members = Command.make("members", {}, Lazy.handler(() => import("./command/Members.ts").then((_) => () => _.run)))
  .pipe(
    Command.withDescription("Processes of the mesh"),
    Command.withExamples([example("members", "Role, name, since when")])
  )
const failovers = Command.make(
  "failovers",
  {},
  Lazy.handler(() => import("./command/Failovers.ts").then((_) => () => _.run))
).pipe(
  Command.withDescription("Failovers: cause, what was taken over, how long it took"),
  Command.withExamples([example("failovers -o json", "For a program")])
)
const errors = Command.make("errors", {
  code: Argument.String("code").pipe(Argument.withDescription("Only this one"), Argument.optional)
}, Lazy.handler(() => import("./command/Errors.ts").then((_) => _.run))).pipe(
  Command.withDescription("Every error code, what it means and what to do"),
  Command.withExamples([example("errors NoSuchPool", "Look one up"), example("errors -o json", "All of them")])
)
const bench = Command.make("bench", {
  what: Argument.String("what").pipe(Argument.withDescription("Arguments of the benchmark"), Argument.variadic())
}, Lazy.handler(() => import("./command/Bench.ts").then((_) => _.run))).pipe(
  Command.withDescription("Measure claims and workflows of this checkout (npm run bench)"),
  Command.withExamples([example("bench -- claim", "Claims a second, and how long one takes")])
)
/** Named apart, since the tree holds the command that prints it. */
const self = (): Command.Command.Any => root
const completion = Command.make("completion", {
  shell: Argument.Literals("shell", ["bash", "zsh", "fish"]).pipe(Argument.withDescription("For which shell"))
}, Lazy.handler(() => import("./command/Completion.ts").then((_) => _.print(self())))).pipe(
  Command.withDescription("Print a completion script"),
  Command.withExamples([
    example("completion bash > ~/.local/share/bash-completion/completions/heddle", "Bash"),
    example("completion zsh > ~/.zfunc/_heddle", "Zsh, with ~/.zfunc in fpath"),
    example("completion fish > ~/.config/fish/completions/heddle.fish", "Fish")
  ])
)

/** Flags of the parser itself; `--log-level` and `completion` are ours. */
export const parserConfig = CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })

/** Long: what a person with no idea sees first. */
export const root = Command.make("heddle").pipe(
  Command.withDescription("Durable workflows on warm sandboxes, over NATS JetStream."),
  Command.withExamples([
    example("dev", "Start everything on this machine"),
    example("claim default --exec -- uname -a", "Run a command in a warm sandbox"),
    example("run examples/hello.yaml --watch", "Run a workflow and look on")
  ]),
  Command.withSubcommands([
    { group: "Start", commands: [dev, serve] },
    { group: "Sandboxes", commands: [claim, release, claims, pools, envs] },
    { group: "Workflows", commands: [run, workflows, tasks, groups, definitions, schedules, backfill, replay] },
    { group: "Operations", commands: [doctor, members, failovers, errors, bench, completion] }
  ]),
  Command.withGlobalFlags(Globals.all)
)
