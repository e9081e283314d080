// `npm test` after the bootstrap: every check of the project in order, then all tests, then one line that counts both.
// Each step runs in a process group of its own; a step that leaves a process behind has failed, and the process is ended.
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { type Counts, countVitest } from "./counts.ts"

const root = join(import.meta.dirname, "..", "..")
process.chdir(root)

const env = { ...process.env, DPRINT_CACHE_DIR: join(root, ".heddle", "cache", "dprint") }
const bin = (name: string) => join(root, "node_modules", ".bin", name)

interface Step {
  readonly name: string
  readonly command: string
  readonly args: ReadonlyArray<string>
}

const scripts: Record<string, string> = JSON.parse(readFileSync("package.json", "utf8")).scripts

const checks: ReadonlyArray<Step> = [
  { name: "lockfile", command: process.execPath, args: ["infra/lint/lockfile.ts"] },
  { name: "types", command: bin("tsc"), args: ["-p", "."] },
  { name: "lint", command: bin("oxlint"), args: [] },
  { name: "format", command: bin("dprint"), args: ["check"] },
  { name: "unused", command: bin("knip"), args: ["--no-progress"] },
  { name: "imports", command: process.execPath, args: ["infra/lint/imports.ts"] },
  ...("docs:check" in scripts ? [{ name: "docs", command: "npm", args: ["run", "--silent", "docs:check"] }] : [])
]

let stop: (signal: NodeJS.Signals) => void = () => undefined
let isStopped = false
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    isStopped = true
    stop(signal)
  })
}

const isGroupAlive = (group: number): boolean => {
  try {
    process.kill(-group, 0)
    return true
  } catch {
    return false
  }
}

/** Signals the group; that it is gone already is no error. */
const signalGroup = (group: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(-group, signal)
  } catch {
    // Ended in between.
  }
}

const runStep = async (step: Step): Promise<boolean> => {
  process.stdout.write(`\n== ${step.name}\n`)
  const startedAt = performance.now()
  const child = spawn(step.command, step.args, { stdio: ["ignore", "inherit", "inherit"], env, detached: true })
  stop = (signal) => child.pid !== undefined && signalGroup(child.pid, signal)
  const code = await new Promise<number>((resolve) => {
    child.on("error", (error) => {
      process.stdout.write(`${step.command}: ${error.message}\n`)
      resolve(1)
    })
    child.on("exit", (exitCode) => resolve(exitCode ?? 1))
  })
  stop = () => undefined
  let isClean = true
  if (child.pid !== undefined) {
    // What a program starts may need a moment to notice that it is alone.
    for (let tries = 0; tries < 20 && isGroupAlive(child.pid); tries++) await sleep(100)
    if (isGroupAlive(child.pid)) {
      isClean = false
      process.stdout.write(`${step.name}: left a process behind (process group ${child.pid}), ending it\n`)
      signalGroup(child.pid, "SIGKILL")
    }
  }
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  const hasPassed = code === 0 && isClean
  process.stdout.write(`== ${step.name}: ${hasPassed ? "passed" : "FAILED"} in ${seconds} s\n`)
  return hasPassed
}

const runVitest = async (args: ReadonlyArray<string>): Promise<Counts> => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-test-"))
  const report = join(folder, "report.json")
  try {
    const hasPassed = await runStep({
      name: "tests",
      command: bin("vitest"),
      args: [
        "run",
        "--passWithNoTests",
        "--reporter=default",
        "--reporter=json",
        `--outputFile.json=${report}`,
        ...args
      ]
    })
    let text = ""
    try {
      text = readFileSync(report, "utf8")
    } catch {
      // Vitest ended before it could write: counted as one failure.
    }
    return countVitest(text, hasPassed)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const failedChecks: Array<string> = []
let checksRun = 0
for (const step of checks) {
  if (isStopped) break
  checksRun++
  if (!(await runStep(step))) failedChecks.push(step.name)
}
const tests = isStopped ? { passed: 0, failed: 0, skipped: 0 } : await runVitest(process.argv.slice(2))

process.stdout.write("\n")
if (failedChecks.length > 0) process.stdout.write(`failed checks: ${failedChecks.join(", ")}\n`)
if (isStopped) process.stdout.write("stopped before the end\n")
const failed = failedChecks.length + tests.failed + (isStopped ? 1 : 0)
const passed = checksRun - failedChecks.length + tests.passed
process.stdout.write(`${passed} passed, ${failed} failed${tests.skipped > 0 ? `, ${tests.skipped} skipped` : ""}\n`)
process.exitCode = failed === 0 ? 0 : 1
