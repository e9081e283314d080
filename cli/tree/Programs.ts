/** `heddle dev`, `heddle serve`: programs that go on until they are told to end. design/02 "CLI". */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import { envName } from "../ConfigFile.ts"
import * as Lazy from "../Lazy.ts"
import * as PluginFlag from "../PluginFlag.ts"
import { example, flag, text, whole } from "./Parts.ts"

const settled = (
  name: "data-dir" | "nats-port" | "sync" | "http-port" | "http-host" | "status-port" | "status-host",
  metavar: string,
  description: string
) =>
  Flag.String(name).pipe(
    Flag.withMetavar(`<${metavar}>`),
    Flag.withDescription(description),
    Flag.withFallbackConfig(Config.String(envName(name))),
    Flag.optional
  )

/** Of whatever serves. */
const status = {
  statusPort: settled(
    "status-port",
    "port",
    "Serves GET /livez, /readyz and /metrics over HTTP there; 0 is a free one, told on standard error. None when not given"
  ),
  statusHost: settled("status-host", "address", "Where that port listens; 0.0.0.0 (every IPv4 address) when not given")
}

export const dev = Command.make("dev", {
  dataDir: settled("data-dir", "folder", "Where streams and definitions stay between runs; .heddle/dev when not given"),
  natsPort: settled("nats-port", "port", "Port of the NATS server; a free one when not given"),
  httpPort: settled("http-port", "port", "Port of the HTTP API and the console; a free one when not given"),
  httpHost: settled("http-host", "address", "Where that port listens; 127.0.0.1 when not given"),
  pool: Flag.String("pool").pipe(
    Flag.withMetavar("<name=size[,provider]>"),
    Flag.withDescription("A pool; can be passed multiple times. default=4,local when not given"),
    Flag.atLeast(0)
  ),
  plugin: PluginFlag.flag,
  headless: flag("headless", "Without the HTTP API and the console"),
  ...status,
  sync: settled(
    "sync",
    "always|interval",
    "always: fsync before each acknowledgement; interval: the server's 2 minutes"
  )
}, Lazy.handler(() => import("../dev/Dev.ts").then((_) => PluginFlag.given(_.run)))).pipe(
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

export const serve = Command.make("serve", {
  service: Argument.Literals("service", ["coordinator", "pool-scheduler", "task-executor", "failover", "gateway"]).pipe(
    Argument.withDescription("Which service")
  ),
  member: text("member", "name", "Name in the registry; made up when not given"),
  slots: whole("slots", "task-executor: tasks at the same time", [1, 100_000]),
  pool: Flag.String("pool").pipe(
    Flag.withMetavar("<name>"),
    Flag.withDescription("task-executor: draws from this pool only; can be passed multiple times"),
    Flag.atLeast(0)
  ),
  httpPort: settled("http-port", "port", "gateway: port of the HTTP API; 8080 when not given, 0 is a free one"),
  httpHost: settled("http-host", "address", "gateway: where that port listens; 127.0.0.1 when not given"),
  plugin: PluginFlag.flag,
  ttl: text("ttl", "duration", "Life of the registry entry without a heartbeat"),
  grace: text("grace", "duration", "failover: from suspicion to event"),
  ...status,
  untilStdinEnds: flag(
    "until-stdin-ends",
    "End when standard input ends: for a program that starts services and may be killed"
  )
}, Lazy.handler(() => import("../serve/Serve.ts").then((_) => PluginFlag.given(_.run)))).pipe(
  Command.withShortDescription("One service as its own process"),
  Command.withDescription(
    "Runs one service against a NATS server. It prints one line when it is ready, ends cleanly on SIGTERM with exit code 0, and with another code "
      + "and the reason when a part of it dies."
  ),
  Command.withExamples([
    example("serve coordinator --nats nats://127.0.0.1:4222", "A coordinator; start a second one for take-over"),
    example("serve task-executor --slots 16", "Up to 16 tasks at the same time"),
    example("serve gateway --http-port 8080 --http-host 0.0.0.0", "The HTTP API for others; set HEDDLE_HTTP_TOKEN"),
    example("serve pool-scheduler --status-port 9464", "With probes and metrics for Kubernetes and Prometheus")
  ])
)
