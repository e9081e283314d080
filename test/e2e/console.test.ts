/**
 * The web console in a real browser, over a real mesh (`heddle dev`): what a person sees and does. Without a Chromium on the machine it is left out (CI installs one).
 */
import { assert, describe } from "@effect/vitest"
import { join } from "node:path"
import { type Browser, chromium, type Page } from "playwright-core"
import { afterAll, beforeAll, it } from "vitest"
import { findChromium } from "../../infra/bootstrap/chromium.mjs"
import { Command } from "./Command.ts"

const executablePath = findChromium()
const patienceMs = 100_000

const graph = {
  metadata: { name: "seen" },
  spec: {
    params: { word: "warp" },
    tasks: [
      { name: "first", type: "shell", with: { run: "echo the word is $HEDDLE_PARAM_WORD" } },
      { name: "many", type: "noop", dependsOn: ["first"], forEach: { items: "[1, 2, 3]" } },
      { name: "breaks", type: "shell", dependsOn: ["first"], with: { run: "echo it breaks >&2; exit 3" } },
      { name: "after", type: "noop", dependsOn: ["many", "breaks"] }
    ]
  }
}

describe.skipIf(executablePath === undefined)("the web console", () => {
  let dev: Command
  let url: string
  let browser: Browser

  const api = async (path: string, body: unknown): Promise<unknown> => {
    const response = await fetch(`${url}/api/v1/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body)
    })
    const text = await response.text()
    assert.isTrue(response.ok, text)
    return JSON.parse(text)
  }

  /** A page of its own, which has no error to report at the end but those expected. */
  const onPage = async (path: string, look: (page: Page) => Promise<void>, expected?: RegExp): Promise<void> => {
    const context = await browser.newContext()
    const page = await context.newPage()
    const problems: Array<string> = []
    page.on("pageerror", (error) => problems.push(String(error)))
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()))
    page.setDefaultTimeout(patienceMs)
    try {
      await page.goto(`${url}/${path}`)
      await look(page)
      assert.deepStrictEqual(problems.filter((problem) => expected?.test(problem) !== true), [])
    } finally {
      await context.close()
    }
  }

  beforeAll(async () => {
    dev = new Command(
      process.execPath,
      (
        folder
      ) => [
        "cli/heddle.ts",
        "dev",
        "-o",
        "json",
        "--http-port",
        "0",
        "--data-dir",
        join(folder, "data"),
        "--pool",
        "default=2"
      ]
    )
    const ready = JSON.parse(await dev.firstLine(patienceMs)) as { readonly httpUrl: string } // what the contract says
    url = ready.httpUrl.replace(/\/$/u, "")
    browser = await chromium.launch({
      ...(executablePath === undefined ? {} : { executablePath }),
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync"
      ],
      timeout: patienceMs
    })
    await api("definitions", graph)
    await api("workflows", { definition: "seen", instanceId: "seen-1" })
  }, 2 * patienceMs)

  afterAll(async () => {
    await browser?.close()
    await dev?.[Symbol.asyncDispose]()
  }, 2 * patienceMs)

  it(
    "shows a run as it goes: graph with every task, the failed one with its reason, timeline, history, logs",
    () =>
      onPage("#/runs/seen-1", async (page) => {
        await page.locator("h1 .state", { hasText: "failed" }).waitFor()
        const states = page.locator(".node")
        await page.locator(".node[data-task=after]").waitFor()
        assert.deepStrictEqual(
          (await states.evaluateAll((nodes) =>
            nodes.map((node) => [node.getAttribute("data-task"), node.getAttribute("data-state")])
          ))
            .sort(),
          [["after", "SKIPPED"], ["breaks", "FAILED"], ["first", "SUCCEEDED"], ["many", "SUCCEEDED"]]
        )
        await page.locator(".node[data-task=breaks]").click()
        const detail = page.getByRole("region", { name: "Task breaks" })
        assert.include(await detail.locator("tbody tr").first().innerText(), "3", "its exit code")

        await page.getByRole("link", { name: "timeline" }).click()
        await page.locator(".bar-row", { hasText: "many [2]" }).waitFor()
        await page.getByRole("link", { name: "history" }).click()
        await page.locator(".history td", { hasText: "STARTED" }).first().waitFor()
        await page.getByRole("link", { name: "logs", exact: true }).click()
        await page.getByRole("log").getByText("it breaks").waitFor()
      }),
    2 * patienceMs
  )

  it(
    "the time cursor shows the graph as it was: nothing of what came later",
    () =>
      onPage("#/runs/seen-1", async (page) => {
        await page.locator(".node[data-task=breaks][data-state=FAILED]").waitFor()
        const step = page.getByRole("button", { name: "◂ Step" })
        // back to the beginning, change by change
        while (await step.isEnabled()) await step.click()
        await page.locator(".node[data-task=breaks][data-state='']").waitFor()
        assert.strictEqual(await page.locator(".node[data-task=first]").getAttribute("data-state"), "SUBMITTED")
        await page.getByRole("button", { name: "Now", exact: true }).click()
        await page.locator(".node[data-task=breaks][data-state=FAILED]").waitFor()
      }),
    2 * patienceMs
  )

  it(
    "starts a run of a definition, pauses another, and the list changes by itself",
    () =>
      onPage("#/runs", async (list) => {
        await list.getByRole("link", { name: "seen-1" }).waitFor()
        await api("workflows", {
          instanceId: "slow-1",
          inline: {
            metadata: { name: "slow" },
            spec: { tasks: [{ name: "wait", type: "shell", with: { run: "sleep 600" } }] }
          }
        })
        const row = list.locator("tr", { hasText: "slow-1" })
        await row.locator(".state", { hasText: "running" }).waitFor()
        await onPage("#/runs/slow-1", async (page) => {
          await page.getByRole("button", { name: "stop", exact: true }).click()
          await page.getByLabel(/Reason/u).fill("seen enough")
          await page.locator("dialog").getByRole("button", { name: "stop" }).click()
          await page.locator("h1 .state", { hasText: "stopped" }).waitFor()
        })
        await row.locator(".state", { hasText: "stopped" }).waitFor()

        await onPage("#/definitions/seen", async (page) => {
          await page.getByLabel(/Parameters/u).fill("{\"word\":")
          await page.getByRole("button", { name: "Start a run" }).click()
          await page.getByRole("alert").getByText("InvalidJson").waitFor()
          await page.getByLabel(/Parameters/u).fill("{\"word\":\"weft\"}")
          // the first answer is lost behind the start: it is asked for again, and is the same run
          await page.route("**/api/v1/workflows", async (route) => {
            await route.fetch()
            await route.abort()
          }, { times: 1 })
          await page.getByRole("button", { name: "Start a run" }).click()
          await page.locator(".node[data-task=first][data-state=SUCCEEDED]").click()
          await page.getByRole("region", { name: "Task first" }).getByRole("link", { name: "Logs" }).click()
          await page.getByRole("log").getByText("the word is weft").waitFor()
          const answer = await fetch(`${url}/api/v1/workflows?definition=seen`)
          assert.lengthOf(((await answer.json()) as { items: Array<unknown> }).items, 2, "seen-1 and this one") // RunList
        }, /ERR_FAILED/u)
      }),
    3 * patienceMs
  )

  it(
    "shows the pool's claims as they come and go, and the services of the mesh",
    () =>
      onPage("#/pools/default/default", async (page) => {
        await page.locator(".card", { hasText: "idle" }).waitFor()
        await page.locator(".live.live").waitFor()
        await api("pools/default/default/claims", { claimId: "c-1" })
        await page.locator("tr", { hasText: "c-1" }).getByText("Claimed").waitFor()
        await page.getByRole("link", { name: "Mesh" }).click()
        for (const role of ["coordinator", "pool-scheduler", "task-executor", "failover", "gateway"]) {
          await page.getByRole("cell", { name: role, exact: true }).first().waitFor()
        }
      }),
    2 * patienceMs
  )

  it("a run that nobody knows is said so, and the page goes on", () =>
    onPage("#/runs/nobody", async (page) => {
      await page.getByRole("alert").getByText("NoSuch").waitFor()
      await page.getByRole("link", { name: "Overview" }).click()
      await page.locator(".card", { hasText: "runs" }).first().waitFor()
    }, /status of 404/u), 2 * patienceMs)
})
