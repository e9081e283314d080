/**
 * A whole mesh as separate processes: a nats-server with the checkout's nats.conf, and `heddle serve <service>` for each service.
 *
 * Keeps true: nothing is shared with another mesh on this machine (free port, own temporary folder, no HEDDLE_* setting of the caller's); a
 * process that ends unasked is told through `died` with the end of its log; readiness is what the contract's own messages say; when this
 * program ends, in whatever way, its processes and folders are gone: a guard beside it reads a pipe that only this program holds open.
 */
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Schema from "effect/Schema"
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import * as Nats from "../../shared/jetstream/Nats.ts"
import { Snapshot } from "../../shared/protocol/Claim.ts"
import { ErrorAnswer } from "../../shared/protocol/ErrorCode.ts"
import { MemberList, type MemberRole } from "../../shared/protocol/Member.ts"
import { namespaceDefault, type PoolSpec, PoolView } from "../../shared/protocol/Pool.ts"
import { rpc } from "../../shared/protocol/Subject.ts"
import * as Broker from "../../shared/testing/Broker.ts"
import * as ProcessUsage from "./ProcessUsage.ts"

export type Role = "nats-server" | MemberRole

export type Runtime = "node" | "deno"

/** What `HEDDLE_E2E_RUNTIME` asks for; Node when it is not set. */
export const runtimeAsked = (): Runtime => {
  const asked = process.env["HEDDLE_E2E_RUNTIME"] ?? "node"
  if (asked === "node" || asked === "deno") return asked
  throw new Error(`HEDDLE_E2E_RUNTIME is ${asked}: write node or deno`)
}

/** Everything has a default: one of each service, no pool, `interval`, the runtime that was asked for. */
export interface MeshOptions {
  /** The server's fsync: before each acknowledgement, or every two minutes. */
  readonly sync?: "always" | "interval"
  /** What runs the services; `HEDDLE_E2E_RUNTIME` when not given, so that the same tests run on both. */
  readonly runtime?: Runtime
  /** What is started instead of the checkout's cli/heddle.ts, such as a bundle of it. */
  readonly program?: string
  readonly coordinators?: number
  readonly poolSchedulers?: number
  readonly executors?: number
  readonly failovers?: number
  /** None when not given; `httpUrl` says where one listens. */
  readonly gateways?: number
  /** Of each executor; the service's own default when not given. */
  readonly slots?: number
  /** Applied before `start` returns, which then waits until each holds its full size of idle sandboxes. */
  readonly pools?: ReadonlyArray<typeof PoolSpec.Encoded>
  /** Life of a registry entry without heartbeat, and the failover's grace: `"2s"`. The services' own defaults when not given. */
  readonly ttl?: string
  readonly grace?: string
  /** The same for executors alone: one that stands still for longer than that has lost its tasks, which is not what every test is about. */
  readonly executorTtl?: string
  /** Flags of the runtime for this process, as `--cpu-prof`. */
  readonly runtimeFlags?: (name: string) => ReadonlyArray<string>
  /** More variables of the services' environment. */
  readonly env?: Readonly<Record<string, string>>
  /** The same for each service of one role: who it is at a broker that asks. */
  readonly envOf?: (role: Role) => Readonly<Record<string, string>>
  /** Further configuration of the broker, as nats.conf has it, and who this program is there. */
  readonly brokerConfig?: string
  readonly identity?: Nats.Identity
  /** Of brokers that the caller has started and will stop: the mesh has none of its own then. */
  readonly natsUrl?: string
  /** Opens the broker's HTTP monitor: `monitorUrl`. */
  readonly hasMonitor?: boolean
  readonly readyWithinMs?: number
}

/** One process of the mesh. `name` is its member id in the registry: `coordinator-1`, `pool-scheduler-1`, ...; the broker is `nats-server`. */
export interface MeshProcess {
  readonly name: string
  readonly role: Role
  readonly pid: number
}

/** How a process ended. */
export interface Ended {
  readonly name: string
  readonly pid: number
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** Something of the mesh did not do what it was started for; the message holds the end of the logs. */
export class MeshFailed extends Error {
  override readonly name = "MeshFailed"
}

/** A request was answered with `{error}`. */
export class Refused extends Error {
  override readonly name = "Refused"
  readonly code: string
  constructor(subject: string, code: string, message: string) {
    super(`${subject}: ${code}: ${message}`)
    this.code = code
  }
}

const broker = "nats-server"
/** Codes that say: ask again. */
const passing: ReadonlySet<string> = new Set(["NotOwner", "Unavailable", "ShuttingDown", "Overloaded"])
const readyWithinDefaultMs = 150_000
const endsWithinMs = 90_000
const pollMs = 25
const logTailChars = 4_000

// What the guard runs: `+pid` and `-pid` lines tell what is alive; when the input ends it ends all of it and removes the folder.
const guardSource = `
const fs = require("node:fs"), alive = new Set()
let rest = ""
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {})
process.stdin.setEncoding("utf8").on("data", (text) => {
  const lines = (rest + text).split("\\n")
  rest = lines.pop()
  for (const line of lines) line[0] === "+" ? alive.add(Number(line.slice(1))) : alive.delete(Number(line.slice(1)))
}).on("end", () => {
  for (const pid of alive) { try { process.kill(pid, "SIGKILL") } catch {} }
  fs.rmSync(process.argv[1], { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
})
`

interface Guard {
  readonly watch: (pid: number) => void
  readonly forget: (pid: number) => void
  /** Ends the guard, and with it whatever it still watches; the folder is gone when this resolves. */
  readonly end: () => Promise<void>
}

const startGuard = (folder: string): Guard => {
  const child = spawn(process.execPath, ["-e", guardSource, folder], { stdio: ["pipe", "ignore", "ignore"] })
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const pipe = child.stdin
  pipe.on("error", () => undefined) // the guard is gone: nothing to tell
  // Alone they must not keep this program alive.
  child.unref()
  const socket = pipe as unknown as { readonly unref: () => void; readonly ref: () => void } // a pipe is a socket at run time
  socket.unref()
  return {
    watch: (pid) => pipe.write(`+${pid}\n`),
    forget: (pid) => pipe.write(`-${pid}\n`),
    end: async () => {
      child.ref()
      socket.ref()
      pipe.end()
      await ended
    }
  }
}

const signalTo = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal)
  } catch {
    // Ended in between.
  }
}

interface Life {
  readonly process: MeshProcess
  readonly ended: Promise<Ended>
  isEndExpected: boolean
}

const decodeMembers = Schema.decodeUnknownSync(MemberList)
const decodeSnapshot = Schema.decodeUnknownSync(Snapshot)
const decodePool = Schema.decodeUnknownSync(PoolView)
const isErrorAnswer = Schema.is(ErrorAnswer)

export class Mesh {
  /** Holds a log file of each process; removed by `stop`. */
  readonly folder: string
  /** Never resolves; rejects with `MeshFailed` when a service ends that nobody asked to. */
  readonly died: Promise<never>

  private readonly options: MeshOptions
  /** Undefined: somebody else's. */
  private readonly server: Broker.RunningBroker | undefined
  private readonly guard: Guard
  private readonly lives = new Map<string, Life>()
  private readonly nats: ManagedRuntime.ManagedRuntime<Nats.Nats, unknown>
  private isServerUp: boolean
  private tellDeath: (reason: MeshFailed) => void = () => undefined
  private stopping: Promise<ReadonlyArray<Ended>> | undefined

  private constructor(options: MeshOptions, server: Broker.RunningBroker | undefined) {
    this.options = options
    this.server = server
    this.isServerUp = server !== undefined
    this.folder = mkdtempSync(join(tmpdir(), "heddle-mesh-"))
    this.guard = startGuard(this.folder)
    this.died = new Promise((_, reject) => {
      this.tellDeath = reject
    })
    this.died.catch(() => undefined) // who waits for something else sees it through `alive` and `until`
    this.nats = ManagedRuntime.make(
      Nats.Nats.layer({ url: this.natsUrl, name: "heddle-test-mesh", ...options.identity })
    )
  }

  /** A mesh that answers: every process is a member, and every pool holds its size of idle sandboxes. */
  static async start(options: MeshOptions = {}): Promise<Mesh> {
    const server = options.natsUrl !== undefined ? undefined : await Broker.startBroker({
      ...(options.sync === "always" ? { sync: "always" } : {}),
      ...(options.brokerConfig === undefined ? {} : { config: options.brokerConfig }),
      hasMonitor: options.hasMonitor ?? false
    })
    const mesh = new Mesh(options, server)
    try {
      await mesh.connection()
      const names = ([
        ["failover", options.failovers ?? 1],
        ["coordinator", options.coordinators ?? 1],
        ["pool-scheduler", options.poolSchedulers ?? 1],
        ["task-executor", options.executors ?? 1],
        ["gateway", options.gateways ?? 0]
      ] as const).flatMap(([role, count]) => Array.from({ length: count }, (_, at) => `${role}-${at + 1}`))
      for (const name of names) mesh.launch(name)
      await mesh.awaitMembers(names)
      for (const pool of options.pools ?? []) await mesh.applyPool(pool)
      return mesh
    } catch (error) {
      await mesh.stop()
      throw error
    }
  }

  /** For `Effect` tests: stopped with the scope. */
  static readonly scoped = (options: MeshOptions = {}) =>
    Effect.acquireRelease(Effect.promise(() => Mesh.start(options)), (mesh) => Effect.promise(() => mesh.stop()))

  /** For clients. */
  get natsUrl(): string {
    return this.server?.url ?? this.options.natsUrl ?? ""
  }

  get monitorUrl(): string | undefined {
    return this.server?.monitorUrl
  }

  /** Of a gateway (`gateway-1`) that is a member. */
  httpUrl(name: string): string {
    const url = /"httpUrl":"([^"]+)"/.exec(
      this.log(name).split("\n").findLast((line) => line.includes("httpUrl")) ?? ""
    )
    if (url?.[1] === undefined) throw new MeshFailed(`${name} has not said where it listens${this.tail(name)}`)
    return url[1]
  }

  /** The processes that run now. */
  get processes(): ReadonlyMap<string, MeshProcess> {
    const services = [...this.lives].map(([name, life]) => [name, life.process] as const)
    const server: MeshProcess = { name: broker, role: broker, pid: this.server?.pid() ?? 0 }
    return new Map(this.isServerUp ? [[broker, server], ...services] : services)
  }

  /** What a process has used; nothing where the system does not tell. */
  usage(name: string): ProcessUsage.ProcessUsage | undefined {
    const found = this.processes.get(name)
    return found === undefined ? undefined : ProcessUsage.read(found.pid)
  }

  /** Everything that the services of this name have printed, over all their lives. */
  log(name: string): string {
    try {
      return readFileSync(join(this.folder, `${name}.log`), "utf8")
    } catch {
      return ""
    }
  }

  /** Sends a signal that does not end the process, as SIGSTOP and SIGCONT. */
  signal(name: string, signal: NodeJS.Signals): void {
    signalTo(this.found(name).pid, signal)
  }

  /** Sends a signal and returns when the process is gone; one that is not gone in 90 s is ended with SIGKILL, and this fails. */
  async kill(name: string, signal: "SIGKILL" | "SIGTERM" | "SIGINT" = "SIGKILL"): Promise<Ended> {
    const { pid } = this.found(name)
    if (name === broker) {
      this.isServerUp = false
      await (signal === "SIGKILL" ? this.server?.kill() : this.server?.halt())
      return { name, pid, code: null, signal }
    }
    const life = this.life(name)
    life.isEndExpected = true
    signalTo(pid, signal)
    const patience = new AbortController()
    const late = sleep(endsWithinMs, undefined, { signal: patience.signal }).catch(() => undefined)
    const ended = await Promise.race([life.ended, late])
    patience.abort()
    if (ended !== undefined) return ended
    signalTo(pid, "SIGKILL")
    await life.ended
    throw new MeshFailed(`${name} has not ended within ${endsWithinMs} ms of ${signal}${this.tail(name)}`)
  }

  /** Starts a process that has ended, or one more of a role (`coordinator-2`), and returns when it is a member. */
  async start(name: string): Promise<MeshProcess> {
    if (name === broker && this.server !== undefined) {
      await this.server.start()
      this.isServerUp = true
      await this.until("the connection to nats-server stands again", () => this.isConnected())
      return this.found(name)
    }
    const process = this.launch(name)
    await this.awaitMembers([name])
    return process
  }

  /** Applies a pool and waits until it holds its size of idle sandboxes. */
  async applyPool(spec: typeof PoolSpec.Encoded): Promise<void> {
    await this.until(`pool ${spec.name} is applied`, async () => {
      decodePool(await this.ask(rpc.pools("apply"), spec))
      return true
    })
    await this.awaitIdle(spec, spec.size ?? 0)
  }

  /** Waits until `count` sandboxes of a pool are idle. */
  async awaitIdle(pool: { readonly namespace?: string; readonly name: string }, count: number): Promise<void> {
    const subject = `heddle.rpc.pool.${pool.namespace ?? namespaceDefault}.${pool.name}.snapshot`
    let seen = "no snapshot"
    await this.until(() => `pool ${pool.name} holds ${count} idle sandboxes (last seen: ${seen})`, async () => {
      const snapshot = decodeSnapshot(await this.ask(subject, {}))
      seen = JSON.stringify(snapshot)
      return snapshot.idleReady >= count
    })
  }

  /** Waits until all of these have said that they are ready, and are in the registry, in the life that this mesh started. */
  async awaitMembers(names: ReadonlyArray<string>): Promise<void> {
    if (names.length === 0) return
    let missing = names
    await this.until(() => `${missing.join(", ")} say that they are ready`, async () => {
      missing = names.filter((name) => !hasSaidReady(this.log(name), this.lives.get(name)?.process.pid))
      return missing.length === 0
    })
    await this.until(() => `${missing.join(", ")} answer in ${rpc.memberList}`, async () => {
      const { items } = decodeMembers(await this.ask(rpc.memberList, {}))
      // The process id tells this life from an earlier one of the same name.
      missing = names.filter((name) =>
        !items.some((item) => item.member === name && item.pid === this.lives.get(name)?.process.pid)
      )
      return missing.length === 0
    })
  }

  /** One request of the contract. Rejects with `Refused` when the answer is `{error}`, and when nobody answers. */
  async ask(subject: string, body: unknown, timeoutMs = 20_000): Promise<unknown> {
    const connection = await this.connection()
    const message = await Effect.runPromise(connection.request(subject, JSON.stringify(body), { timeoutMs }))
    const answer: unknown = JSON.parse(message.text)
    if (isErrorAnswer(answer)) throw new Refused(subject, answer.error.code, answer.error.message)
    return answer
  }

  /** As a client of the contract asks: again, while the reason passes (a shard or a pool that changes hands). The request is the same by its id, or sets what it names. */
  async askPatiently(subject: string, body: unknown, timeoutMs?: number): Promise<unknown> {
    let answer: unknown
    await this.until(`${subject} is answered`, async () => {
      try {
        answer = await this.ask(subject, body, timeoutMs)
        return true
      } catch (error) {
        if (error instanceof Refused && !passing.has(error.code)) throw new MeshFailed(error.message, { cause: error })
        throw error
      }
    })
    return answer
  }

  /** The connection that `ask` uses. */
  connection(): Promise<Nats.Connection> {
    return this.nats.runPromise(Effect.service(Nats.Nats))
  }

  /** The work's result, or its failure; fails at once when a service has died meanwhile. */
  async alive<A>(what: string, work: Promise<A>): Promise<A> {
    try {
      return await Promise.race([this.died, work])
    } catch (error) {
      if (error instanceof MeshFailed) throw error
      throw new MeshFailed(`${what}: ${messageOf(error)}${this.tails()}`, { cause: error })
    }
  }

  /** Waits until `check` says so; a check that rejects counts as not yet. Fails after `withinMs` with the last reason. */
  async until(
    what: string | (() => string),
    check: () => Promise<boolean>,
    withinMs = this.options.readyWithinMs ?? readyWithinDefaultMs
  ): Promise<void> {
    const deadline = performance.now() + withinMs
    for (;;) {
      let reason = "not yet"
      try {
        if (await Promise.race([this.died, check()])) return
      } catch (error) {
        if (error instanceof MeshFailed) throw error
        reason = messageOf(error)
      }
      if (performance.now() > deadline) {
        const text = typeof what === "string" ? what : what()
        throw new MeshFailed(`within ${withinMs} ms this did not come true: ${text}: ${reason}${this.tails()}`)
      }
      await sleep(pollMs)
    }
  }

  /** Ends everything in order (services, then the broker) and removes the folder. How each service ended; a clean end is code 0. */
  stop(): Promise<ReadonlyArray<Ended>> {
    this.stopping ??= this.stopOnce()
    return this.stopping
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  private async stopOnce(): Promise<ReadonlyArray<Ended>> {
    const names = [...this.lives.keys()]
    // A stopped process does not see SIGTERM before it goes on.
    for (const name of this.processes.keys()) this.signal(name, "SIGCONT")
    const ended = await Promise.allSettled(names.map((name) => this.kill(name, "SIGTERM")))
    await this.nats.dispose()
    await this.server?.stop()
    this.isServerUp = false
    await this.guard.end()
    rmSync(this.folder, { recursive: true, force: true })
    return ended.map((result) => {
      if (result.status === "rejected") throw result.reason
      return result.value
    })
  }

  private found(name: string): MeshProcess {
    const found = this.processes.get(name)
    if (found !== undefined) return found
    throw new MeshFailed(`no process ${name} runs; there are ${[...this.processes.keys()].join(", ")}`)
  }

  private life(name: string): Life {
    const life = this.lives.get(name)
    if (life === undefined) throw new MeshFailed(`no service ${name} runs`)
    return life
  }

  private async isConnected(): Promise<boolean> {
    const connection = await this.connection()
    return connection.isConnected && await Effect.runPromise(connection.flush)
  }

  private launch(name: string): MeshProcess {
    if (this.lives.has(name)) throw new MeshFailed(`${name} runs already`)
    const role = name.replace(/-\d+$/, "") as Role // names are made of roles
    const child = this.spawnService(name, role)
    const process = { name, role, pid: child.pid ?? 0 }
    if (child.pid !== undefined) this.guard.watch(child.pid)
    const life: Life = { process, ended: endOf(name, child), isEndExpected: false }
    this.lives.set(name, life)
    void life.ended.then(({ code, pid, signal }) => {
      this.guard.forget(pid)
      this.lives.delete(name)
      if (life.isEndExpected) return
      this.tellDeath(new MeshFailed(`${name} ended by itself (${signal ?? `code ${code}`})${this.tail(name)}`))
    })
    return process
  }

  private spawnService(name: string, role: Role): ChildProcess {
    const { env, envOf, executorTtl, grace, program: started, runtime = runtimeAsked(), runtimeFlags, slots, ttl } =
      this.options
    const flags = runtimeFlags?.(name) ?? []
    const life = role === "task-executor" ? executorTtl ?? ttl : ttl
    const [program, ...before] = runtime === "deno"
      ? [join(root, "node_modules", ".bin", "deno"), "run", "-A", ...flags]
      : [process.execPath, ...flags]
    const args = [
      ...before,
      started ?? join(root, "cli", "heddle.ts"),
      "serve",
      role,
      "-o",
      "json",
      "--nats",
      this.natsUrl,
      "--member",
      name,
      ...(life === undefined ? [] : ["--ttl", life]),
      ...(grace === undefined || role !== "failover" ? [] : ["--grace", grace]),
      ...(slots === undefined || role !== "task-executor" ? [] : ["--slots", String(slots)]),
      ...(role === "gateway" ? ["--http-port", "0"] : [])
    ]
    // The mark of `npm test` stays, so that it finds what outlives us.
    const own = Object.entries(process.env).filter(([key]) => !key.startsWith("HEDDLE_") || key === "HEDDLE_TEST_STEP")
    const log = openSync(join(this.folder, `${name}.log`), "a")
    try {
      return spawn(program ?? process.execPath, args, {
        cwd: root,
        stdio: ["ignore", log, log],
        env: {
          ...Object.fromEntries(own),
          NODE_COMPILE_CACHE: join(root, ".heddle", "cache", "compile"),
          XDG_CONFIG_HOME: this.folder,
          ...env,
          ...envOf?.(role)
        }
      })
    } finally {
      closeSync(log)
    }
  }

  private tail(name: string): string {
    const text = this.log(name).slice(-logTailChars).trim()
    return text === "" ? `; ${name} has printed nothing` : `; the end of its log:\n${text}`
  }

  private tails(): string {
    return [...this.lives.keys()].map((name) => {
      const text = this.log(name).slice(-logTailChars / 4).trim()
      return text === "" ? "" : `\n-- ${name}:\n${text}`
    }).join("")
  }
}

/** The one line that `heddle serve -o json` prints on standard output. */
const hasSaidReady = (log: string, pid: number | undefined): boolean =>
  log.split("\n").some((line) => line.startsWith(`{"ready":true`) && line.includes(`"pid":${pid}`))

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

const endOf = (name: string, child: ChildProcess): Promise<Ended> =>
  new Promise((resolve) => {
    const pid = child.pid ?? 0
    child.once("exit", (code, signal) => resolve({ name, pid, code, signal }))
    child.once("error", () => resolve({ name, pid, code: 127, signal: null })) // it could not be started
  })
