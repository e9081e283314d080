/**
 * Stryker's test runner for the workflow engine (`npm run mutation`): the engine's own tests, in Stryker's worker process itself. docs/design/mutation.md.
 *
 * Why not @stryker-mutator/vitest-runner: it works with vitest 5, but begins a worker for each mutant and imports everything again there, 0.6 s of CPU; here a mutant
 * costs what its tests cost (milliseconds), because the engine is pure and its tests need nothing of vitest but `it`, `describe` and `assert`.
 *
 * Kept true here: tests run in the order of their files, one after the other, cheap before dear once their times are known; the first that fails ends the mutant.
 */
import { declareClassPlugin, PluginKind } from "@stryker-mutator/api/plugin"
import {
  determineHitLimitReached,
  type DryRunOptions,
  type DryRunResult,
  DryRunStatus,
  type MutantRunOptions,
  type MutantRunResult,
  type TestResult,
  type TestRunner,
  TestStatus,
  toMutantRunResult
} from "@stryker-mutator/api/test-runner"
import { globSync } from "node:fs"
import { registerHooks } from "node:module"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import * as Collect from "./Collect.ts"

/** What instrumented code reads and writes. */
interface Instrumented {
  activeMutant?: string | undefined
  currentTestId?: string | undefined
  hitCount?: number | undefined
  hitLimit?: number | undefined
  mutantCoverage?: { static: Record<string, number>; perTest: Record<string, Record<string, number>> }
}
// The name by which instrumented code finds it (Stryker's globalNamespace).
const holder = globalThis as typeof globalThis & { __stryker__?: Instrumented }
const instrumented = (holder.__stryker__ ??= {})

class EngineTestRunner implements TestRunner {
  #isLoaded = false
  readonly #times = new Map<string, number>()

  // What was imported stays: for a mutant of code that runs at import Stryker begins a new process.
  capabilities() {
    return { reloadEnvironment: false }
  }

  async #load(): Promise<void> {
    if (this.#isLoaded) return
    this.#isLoaded = true
    // Enough to meet what is wrong in most cases; each mutant that nothing finds pays for all of them.
    process.env["HEDDLE_PROPERTY_RUNS"] ??= "100"
    process.env["HEDDLE_PROPERTY_SEED"] ??= "1"
    const standIn = new URL("./Collect.ts", import.meta.url).href
    registerHooks({
      resolve: (specifier, context, next) =>
        specifier === "@effect/vitest" ? { url: standIn, shortCircuit: true } : next(specifier, context)
    })
    const files = globSync(["services/coordinator/engine/*.test.ts", "test/properties/*.test.ts"]).sort()
    if (!files.some((file) => file.startsWith("test/"))) throw new Error("test/properties is not in Stryker's sandbox")
    for (const file of files) {
      Collect.begin(join(process.cwd(), file))
      await import(pathToFileURL(join(process.cwd(), file)).href)
    }
  }

  async #run(filter: ReadonlySet<string> | undefined, isBail: boolean): Promise<ReadonlyArray<TestResult>> {
    const chosen = Collect.tests.filter(({ name }) => filter === undefined || filter.has(name))
    if (isBail) chosen.sort((a, b) => (this.#times.get(a.name) ?? 0) - (this.#times.get(b.name) ?? 0))
    const results: Array<TestResult> = []
    for (const { file, name, run } of chosen) {
      instrumented.currentTestId = name
      const from = performance.now()
      const result = { id: name, name, fileName: file }
      let failureMessage: string | undefined
      try {
        await run()
      } catch (error) {
        failureMessage = error instanceof Error ? error.message : String(error)
      }
      instrumented.currentTestId = undefined
      const timeSpentMs = performance.now() - from
      if (!this.#times.has(name)) this.#times.set(name, timeSpentMs)
      if (failureMessage === undefined) results.push({ ...result, timeSpentMs, status: TestStatus.Success })
      else {
        results.push({ ...result, timeSpentMs, status: TestStatus.Failed, failureMessage })
        if (isBail) break
      }
    }
    return results
  }

  async dryRun({ coverageAnalysis }: DryRunOptions): Promise<DryRunResult> {
    instrumented.activeMutant = undefined
    await this.#load()
    const tests = [...await this.#run(undefined, false)]
    const { mutantCoverage } = instrumented
    return coverageAnalysis === "off" || mutantCoverage === undefined
      ? { status: DryRunStatus.Complete, tests }
      : { status: DryRunStatus.Complete, tests, mutantCoverage }
  }

  async mutantRun(options: MutantRunOptions): Promise<MutantRunResult> {
    const { activeMutant, disableBail, hitLimit, mutantActivation, testFilter } = options
    if (mutantActivation === "static") instrumented.activeMutant = activeMutant.id
    await this.#load()
    instrumented.hitLimit = hitLimit
    instrumented.hitCount = hitLimit === undefined ? undefined : 0
    instrumented.activeMutant = activeMutant.id
    const tests = await this.#run(testFilter === undefined ? undefined : new Set(testFilter), !disableBail)
    instrumented.activeMutant = undefined
    const timeout = determineHitLimitReached(instrumented.hitCount, hitLimit)
    return toMutantRunResult(timeout ?? { status: DryRunStatus.Complete, tests: [...tests] })
  }
}

/** What Stryker looks for in a plugin. */
export const strykerPlugins = [declareClassPlugin(PluginKind.TestRunner, "engine", EngineTestRunner)]
