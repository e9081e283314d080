/**
 * `npm run conformance`: runs the conformance tests and prints one line a case, then totals. Ends with 1 when a case failed.
 */
import { spawn } from "node:child_process"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { elsewhere, notBuilt, numbers } from "./Cases.ts"

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly message?: string
    readonly assertionResults: ReadonlyArray<{
      readonly title: string
      readonly status: string
      readonly duration?: number
      readonly failureMessages?: ReadonlyArray<string>
    }>
  }>
}

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..")
const dir = await mkdtemp(join(tmpdir(), "heddle-conformance-"))
try {
  const file = join(dir, "report.json")
  const files = ["test/conformance/", ...new Set(Object.values(elsewhere).map((one) => one.file))]
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs")
  const child = spawn(process.execPath, [vitest, "run", ...files, "--reporter=json", `--outputFile=${file}`], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"]
  })
  await new Promise((resolve) => child.once("exit", resolve))
  const report = JSON.parse(await readFile(file, "utf8")) as Report // vitest's own format
  const tests = report.testResults.flatMap((each) => each.assertionResults)
  const totals = { ok: 0, failed: 0, "not built": 0 }
  for (const number of numbers) {
    const reason = notBuilt[number]
    const begin = elsewhere[number]?.name ?? `${number} `
    const found = tests.find(({ title }) => title.startsWith(begin))
    if (reason !== undefined) {
      totals["not built"] += 1
      console.log(`${number} not built  ${reason}`)
    } else if (found?.status === "passed") {
      totals.ok += 1
      const where = elsewhere[number]?.file
      console.log(
        `${number} ok  ${where === undefined ? found.title.slice(number.length + 1) : `${where}: ${found.title}`}`
      )
    } else {
      totals.failed += 1
      console.log(`${number} failed  ${found?.failureMessages?.[0]?.split("\n")[0] ?? "the test did not run"}`)
    }
  }
  // the checks of the list itself, and files that could not be loaded
  const others = tests.filter(({ status, title }) => status !== "passed" && !/^[A-D]\d\d[ ,]/.test(title))
  for (const { failureMessages, title } of others) console.log(`failed  ${title}: ${failureMessages?.[0] ?? ""}`)
  const unloaded = report.testResults.filter(({ assertionResults, message }) =>
    assertionResults.length === 0 && message !== undefined && message !== ""
  )
  for (const { message, name } of unloaded) console.log(`failed  ${name}: ${message ?? ""}`)
  console.log(
    `${numbers.length} cases: ${totals.ok} ok, ${totals.failed} failed, ${totals["not built"]} not built`
  )
  process.exitCode = totals.failed + others.length + unloaded.length > 0 ? 1 : 0
} finally {
  await rm(dir, { recursive: true, force: true })
}
