import { assert, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Guard from "./Guard.ts"

const local = Guard.make({ host: "127.0.0.1", token: undefined, origins: new Set() })
const open = Guard.make({
  host: "0.0.0.0",
  token: Redacted.make("t0ken"),
  origins: new Set(["https://heddle.example.com"])
})
const codeOf = (guard: typeof local, url: string, headers: Readonly<Record<string, string>>) =>
  guard({ url, headers })?.code

it("on a loopback address only loopback names are answered, whatever a name resolves to", () => {
  for (const host of ["127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080", "a.localhost:80", "127.1.2.3"]) {
    assert.isUndefined(codeOf(local, "/", { host }), host)
  }
  for (const host of ["rebound.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "10.0.0.1"]) {
    assert.strictEqual(codeOf(local, "/", { host }), "Forbidden", host)
  }
  assert.strictEqual(codeOf(local, "/", {}), "Forbidden")
})

it("pages: the gateway's own, and those that were named", () => {
  const host = "127.0.0.1:8080"
  assert.isUndefined(codeOf(local, "/api/v1/info", { host, origin: "http://127.0.0.1:8080" }))
  for (const origin of ["http://127.0.0.1:8081", "null", "http://evil.example", ""]) {
    assert.strictEqual(codeOf(local, "/api/v1/info", { host, origin }), "Forbidden", origin)
  }
  const named = { host: "10.0.0.1:8080", origin: "https://heddle.example.com" }
  assert.isUndefined(codeOf(open, "/", named))
})

it("a token for everything below /api, however that is written, but for the document", () => {
  const host = "heddle.example.com"
  for (
    const url of ["/api/v1/info", "/api/v1/nothing", "/api", "//api/v1/info", "/%61pi/v1/info", "/API/v1/info?x=/"]
  ) {
    assert.strictEqual(codeOf(open, url, { host }), "Unauthorized", url)
    assert.isUndefined(codeOf(open, url, { host, authorization: "Bearer t0ken" }), url)
  }
  for (const authorization of ["Bearer", "Bearer t0ke", "Bearer t0kenn", "Basic t0ken", "t0ken"]) {
    assert.strictEqual(codeOf(open, "/api/v1/info", { host, authorization }), "Unauthorized", authorization)
  }
  for (const url of ["/", "/assets/x.js", "/livez", "/api/v1/openapi.json", "/apis"]) {
    assert.isUndefined(codeOf(open, url, { host }), url)
  }
})
