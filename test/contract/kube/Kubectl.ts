/**
 * The real kubectl against the cluster under test, in a home of its own.
 *
 *   const kubectl = await Kubectl.open(cluster, tools.kubectl, namespace)
 *   (await kubectl.run("get", "sandboxpools")).out
 *   const watch = kubectl.watch("get", "sandboxpools", "-w")
 *   await watch.until(/web/)
 */
import { assert } from "@effect/vitest"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { stringify } from "yaml"
import type { ClusterUnderTest } from "../../../shared/testing/kube/ClusterUnderTest.ts"

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface Watching {
  /** All that was printed, once it matches. Fails after 20 s. */
  readonly until: (pattern: RegExp) => Promise<string>
  /** Resolves when kubectl ends by itself. */
  readonly ended: Promise<Ran>
}

const timeoutMs = 120_000

export class Kubectl {
  readonly folder: string
  /** Of what is started from now on. */
  readonly env: Record<string, string> = {}
  private readonly path: string
  private readonly namespace: string
  private readonly children = new Set<() => void>()

  constructor(cluster: ClusterUnderTest, path: string, namespace: string, token?: string) {
    this.path = path
    this.namespace = namespace
    this.folder = mkdtempSync(join(tmpdir(), "heddle-kubectl-"))
    writeFileSync(join(this.folder, "config"), cluster.kubeConfig(token).exportConfig())
  }

  /** A manifest to name by `-f`. */
  file(name: string, ...objects: ReadonlyArray<unknown>): string {
    const path = join(this.folder, name)
    writeFileSync(path, objects.map((one) => stringify(one)).join("---\n"))
    return path
  }

  private start(
    args: ReadonlyArray<string>
  ): { readonly printed: () => Ran; readonly ended: Promise<Ran>; readonly onPrint: (listener: () => void) => void } {
    const child = spawn(this.path, ["--namespace", this.namespace, ...args], {
      cwd: this.folder,
      stdio: ["ignore", "pipe", "pipe"],
      // nothing of this machine's own kubectl
      env: {
        PATH: process.env["PATH"],
        HOME: this.folder,
        TMPDIR: this.folder,
        KUBECONFIG: join(this.folder, "config"),
        ...this.env
      }
    })
    const kill = () => void child.kill("SIGKILL")
    this.children.add(kill)
    const timer = setTimeout(kill, timeoutMs)
    let out = ""
    let err = ""
    const listeners = new Set<() => void>()
    const print = () => {
      for (const listener of listeners) listener()
    }
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString()
      print()
    })
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()))
    const ended = new Promise<Ran>((resolve, reject) => {
      child.on("error", reject)
      child.on("close", (code) => {
        clearTimeout(timer)
        this.children.delete(kill)
        resolve({ code: code ?? -1, out, err })
        print()
      })
    })
    return { printed: () => ({ code: -1, out, err }), ended, onPrint: (listener) => void listeners.add(listener) }
  }

  run(...args: ReadonlyArray<string>): Promise<Ran> {
    return this.start(args).ended
  }

  /** What it prints; it has to end well. */
  async ok(...args: ReadonlyArray<string>): Promise<string> {
    const { code, err, out } = await this.run(...args)
    assert.strictEqual(code, 0, `kubectl ${args.join(" ")}: ${err}`)
    return out
  }

  /** What it complains of; it has to end badly. */
  async fails(...args: ReadonlyArray<string>): Promise<string> {
    const { code, err, out } = await this.run(...args)
    assert.isAbove(code, 0, `kubectl ${args.join(" ")}: ${out}`)
    return err
  }

  watch(...args: ReadonlyArray<string>): Watching {
    const { ended, onPrint, printed } = this.start(args)
    const until = (pattern: RegExp) =>
      new Promise<string>((resolve, reject) => {
        const look = () => {
          if (pattern.test(printed().out)) resolve(printed().out)
        }
        onPrint(look)
        look()
        ended.then(
          ({ err, out }) =>
            reject(new Error(`kubectl ${args.join(" ")} ended, and ${String(pattern)} was not printed:\n${out}${err}`)),
          reject
        )
      })
    return { until, ended }
  }

  close(): void {
    for (const kill of this.children) kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
