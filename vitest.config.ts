import { defineConfig } from "vitest/config"

// Three projects, told apart by where a test stands: beside its source (unit), or in test/ (real broker, whole product).
// A test asks nothing of the machine that the bootstrap has not installed, and picks its own free ports and folders.
const roots = "{shared,services,plugins,cli,infra}"

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: [`${roots}/**/*.test.ts`],
          exclude: ["**/node_modules/**", "**/*.integration.test.ts"],
          environment: "node"
        }
      },
      {
        test: {
          name: "integration",
          include: [
            `${roots}/**/*.integration.test.ts`,
            "test/{integration,conformance,simulation,faults}/**/*.test.ts"
          ],
          environment: "node",
          testTimeout: 60_000,
          hookTimeout: 60_000
        }
      },
      {
        test: {
          name: "e2e",
          include: ["test/{e2e,bench}/**/*.test.ts"],
          environment: "node",
          testTimeout: 180_000,
          hookTimeout: 120_000,
          fileParallelism: false
        }
      }
    ]
  }
})
