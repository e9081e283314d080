// The console as static files: console/dist, which the gateway serves. No file of it is inlined: the pages' Content-Security-Policy allows none.
import { defineConfig } from "vite"

export default defineConfig({
  root: import.meta.dirname,
  // served at the root or below a prefix of a proxy
  base: "./",
  clearScreen: false,
  logLevel: "warn",
  // `npm run console` beside a `heddle dev`: this page anew at each change, its data from there
  server: { proxy: { "/api": process.env["HEDDLE_HTTP_URL"] ?? "http://127.0.0.1:4280" } },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false
  },
  worker: { format: "es" }
})
