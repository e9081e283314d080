// `npm test` after the bootstrap: every check of the project in order, then all tests, then one line that counts both.
// A step that leaves a process behind has failed, and the process is ended. What a step starts is known by its process group or,
// on Linux, by a mark in its environment, which a daemon that left the group still carries.
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { type Counts, countVitest, repetition } from "./counts.ts"

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
  { name: "types of the console", command: bin("tsc"), args: ["-p", "console"] },
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

/** A zombie has ended: it waits only for a parent that may be a container's first process and never looks. */
const belongs = (pid: string, group: number, mark: string): boolean => {
  try {
    const [state, , itsGroup] = readFileSync(join("/proc", pid, "stat"), "latin1").replace(/^.*\) /s, "").split(" ")
    if (state === "Z" || state === "X") return false
    return Number(itsGroup) === group || readFileSync(join("/proc", pid, "environ"), "latin1").includes(mark)
  } catch {
    return false // Ended in between, or somebody else's.
  }
}

/** Process ids, or the negative id of the process group, as `process.kill` takes them. */
const remainders = (group: number, mark: string): ReadonlyArray<number> => {
  if (existsSync("/proc/self/stat")) {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && belongs(name, group, mark)).map(Number)
  }
  try {
    process.kill(-group, 0)
    return [-group]
  } catch {
    return []
  }
}

/** That it is gone already is no error. */
const signalTo = (target: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(target, signal)
  } catch {
    // Ended in between.
  }
}

const runStep = async (step: Step): Promise<{ readonly hasPassed: boolean; readonly isClean: boolean }> => {
  process.stdout.write(`\n== ${step.name}\n`)
  const startedAt = performance.now()
  const mark = `HEDDLE_TEST_STEP=${randomUUID()}`
  const child = spawn(step.command, step.args, {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...env, HEDDLE_TEST_STEP: mark.slice(mark.indexOf("=") + 1) },
    detached: true
  })
  stop = (signal) => child.pid !== undefined && signalTo(-child.pid, signal)
  const code = await new Promise<number>((resolve) => {
    child.on("error", (error) => {
      process.stdout.write(`${step.command}: ${error.message}\n`)
      resolve(1)
    })
    child.on("exit", (exitCode) => resolve(exitCode ?? 1))
  })
  stop = () => undefined
  let left: ReadonlyArray<number> = []
  if (child.pid !== undefined) {
    // What a program starts may need a moment to notice that it is alone.
    left = remainders(child.pid, mark)
    for (let tries = 0; tries < 300 && left.length > 0; tries++) {
      await sleep(100)
      left = remainders(child.pid, mark)
    }
    if (left.length > 0) process.stdout.write(`${step.name}: left processes behind, ending them: ${left.join(", ")}\n`)
    for (const target of left) signalTo(target, "SIGKILL")
  }
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  const hasPassed = code === 0 && left.length === 0
  process.stdout.write(`== ${step.name}: ${hasPassed ? "passed" : "FAILED"} in ${seconds} s\n`)
  return { hasPassed, isClean: left.length === 0 }
}

interface TestRun {
  readonly counts: Counts
  readonly report: string
  readonly hasPassed: boolean
  /** No process was left behind. */
  readonly isClean: boolean
}

const runVitest = async (name: string, args: ReadonlyArray<string>): Promise<TestRun> => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-test-"))
  const report = join(folder, "report.json")
  try {
    const { hasPassed, isClean } = await runStep({
      name,
      command: bin("vitest"),
      args: [
        "run",
        "--passWithNoTests",
        "--silent=passed-only",
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
    return { counts: countVitest(text, hasPassed), report: text, hasPassed, isClean }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Full names of tests that failed among the others and passed alone. */
const flaky: Array<string> = []

const runTests = async (args: ReadonlyArray<string>): Promise<Counts> => {
  const first = await runVitest("tests", args)
  const again = repetition(first.report)
  if (again === undefined || !first.isClean || isStopped) return first.counts
  const second = await runVitest("what failed, alone", [
    ...args.filter((arg) => arg.startsWith("-")),
    ...again.files.map((file) => relative(root, file))
  ])
  if (!second.hasPassed || second.counts.failed > 0 || second.counts.passed < again.tests.length) return first.counts
  flaky.push(...again.tests)
  return {
    passed: first.counts.passed + again.tests.length,
    failed: first.counts.failed - again.tests.length,
    skipped: first.counts.skipped
  }
}

const failedChecks: Array<string> = []
let checksRun = 0
for (const step of checks) {
  if (isStopped) break
  checksRun++
  if (!(await runStep(step)).hasPassed) failedChecks.push(step.name)
}
const tests = isStopped ? { passed: 0, failed: 0, skipped: 0 } : await runTests(process.argv.slice(2))

process.stdout.write("\n")
if (failedChecks.length > 0) process.stdout.write(`failed checks: ${failedChecks.join(", ")}\n`)
if (isStopped) process.stdout.write("stopped before the end\n")
const failed = failedChecks.length + tests.failed + (isStopped ? 1 : 0)
const passed = checksRun - failedChecks.length + tests.passed
for (const name of flaky) {
  process.stdout.write(
    `flaky: ${name}: failed among the others (see above), passed alone. It is a defect: find its cause\n`
  )
}
if (tests.skipped > 0) process.stdout.write(`skipped tests: ${tests.skipped}\n`)
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
