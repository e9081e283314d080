import { defineConfig } from "vitest/config"

// Told apart by where a test stands: beside its source (unit), or in test/ (real broker, whole product). What runs services as processes
// of their own runs twice: on Node (e2e) and, after everything else, on Deno (e2e-deno).
// A test asks nothing of the machine that the bootstrap has not installed, and picks its own free ports and folders.
const roots = "{shared,services,plugins,cli,infra,console}"

/** Test files side by side; on two cores Vitest would run one by one, and many of them mostly wait. */
const maxWorkers = 2

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: [`${roots}/**/*.test.ts`, "test/{corpus,properties,helm}/**/*.test.ts"],
          exclude: ["**/node_modules/**", "**/*.integration.test.ts"],
          environment: "node",
          // they take milliseconds, or compute for seconds: the bound is for what hangs, not for a machine that is slow today
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers
        }
      },
      {
        test: {
          name: "integration",
          include: [
            `${roots}/**/*.integration.test.ts`,
            "test/helm/**/*.integration.test.ts",
            "test/{integration,conformance,simulation,faults,contract}/**/*.test.ts"
          ],
          environment: "node",
          testTimeout: 180_000,
          hookTimeout: 180_000,
          maxWorkers
        }
      },
      {
        test: {
          name: "e2e",
          include: ["test/{e2e,bench}/**/*.test.ts"],
          environment: "node",
          // two files side by side: they mostly wait (an outage of a minute, a registration that expires)
          maxWorkers,
          testTimeout: 300_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 1 }
        }
      },
      {
        test: {
          name: "e2e-deno",
          include: ["test/e2e/*.test.ts"],
          // the console runs in a browser, what serves it is told apart in dev.test.ts; the package is for Node, the cluster of brokers tells of brokers
          exclude: [
            "test/e2e/ProcessUsage.test.ts",
            "test/e2e/console.test.ts",
            "test/e2e/package.test.ts",
            "test/e2e/cluster.test.ts"
          ],
          env: { HEDDLE_E2E_RUNTIME: "deno" },
          environment: "node",
          testTimeout: 300_000,
          hookTimeout: 180_000,
          // two files side by side as well; not beside the other projects: they would only wait for each other's processes
          maxWorkers,
          sequence: { groupOrder: 2 }
        }
      }
    ]
  }
})
