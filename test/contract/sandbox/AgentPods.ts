/**
 * Our agent as the processes of pods: what a container of an image with the agent starts. Each has a folder of its own, which is its working directory, home and TMPDIR.
 *
 * Keeps true: nothing is left in the temporary folder: `stop` ends the agents, waits until the processes that they ran have ended as well, and removes the folders.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { root } from "../../../infra/bootstrap/nats-server.mjs"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import { runtimeAsked } from "../../e2e/Mesh.ts"

const program = join(root, "services", "sandbox-agent", "main.ts")
/** Compiled once for all of them: most of what an agent's start takes. */
const cache = join(root, ".heddle", "cache", "compile")
const endsWithinMs = 60_000

/** Variables of a container, where the only reference that a pod of ours has is its uid. */
export const envOf = (pod: Json): Record<string, string> =>
  Object.fromEntries(
    pod.spec.containers[0].env.map((
      one: Json
    ) => [one.name, one.valueFrom === undefined ? one.value : pod.metadata.uid])
  )

export class AgentPods {
  readonly folder = mkdtempSync(join(tmpdir(), "heddle-agents-"))
  readonly #agents = new Map<string, ChildProcess>()
  #count = 0

  /** The agent of the pod `name`, with what HEDDLE_E2E_RUNTIME asks for. `env`: of its container. */
  start(name: string, env: Readonly<Record<string, string>>): ChildProcess {
    const own = join(this.folder, `${name}-${++this.#count}`)
    mkdirSync(own)
    const [command, ...before] = runtimeAsked() === "deno"
      ? [join(root, "node_modules", ".bin", "deno"), "run", "-A", "--cached-only"]
      : [process.execPath]
    const agent = spawn(command, [...before, program], {
      cwd: own,
      stdio: ["ignore", "ignore", "inherit"],
      env: { PATH: process.env["PATH"], HOME: own, TMPDIR: own, HOSTNAME: name, NODE_COMPILE_CACHE: cache, ...env }
    })
    this.#agents.get(name)?.kill("SIGKILL")
    this.#agents.set(name, agent)
    return agent
  }

  kill(name: string): void {
    this.#agents.get(name)?.kill("SIGKILL")
  }

  async stop(): Promise<void> {
    for (const name of this.#agents.keys()) this.kill(name)
    const end = performance.now() + endsWithinMs
    while (this.#processes().length > 0) {
      if (performance.now() > end) {
        for (const pid of this.#processes()) process.kill(pid, "SIGKILL")
        throw new Error(`processes of agents were left in ${this.folder}`)
      }
      await sleep(20)
    }
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  }

  /** Of the agents and of what they ran: known by the TMPDIR that they were given. */
  #processes(): ReadonlyArray<number> {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "latin1").includes(`TMPDIR=${this.folder}/`)
      } catch {
        return false // it has ended, or is somebody else's
      }
    })
  }
}
