/**
 * What the gateway shows at `/`: the console's files where they are, else a plain page that says what there is. docs/design/gateway.md "Metrics, console".
 */
import * as Effect from "effect/Effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpStaticServer from "effect/http/HttpStaticServer"
import { existsSync } from "node:fs"
import { join } from "node:path"
import * as Api from "./Api.ts"

/** Made by infra/bootstrap/console.mjs. Never the sources beside it: a browser cannot read those. */
const built = join(import.meta.dirname, "..", "..", "console", "dist")

/** The folder with the built console's `index.html`; `undefined`: there is none. */
export const folder = (asked = built): string | undefined => existsSync(join(asked, "index.html")) ? asked : undefined

/** Answers with files of `root`; what is none and looks like no file is the console's own path. */
export const files = (root: string) =>
  Effect.map(
    HttpStaticServer.make({ root, spa: true, cacheControl: "no-cache" }),
    (app): Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, HttpServerRequest.HttpServerRequest> => app
  )

const escaped = (text: string): string => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)

/** Of the gateway without a console. */
export const page = (state: {
  readonly version: string
  readonly member: string
  readonly runs: Readonly<Record<string, number>>
  readonly hasToken: boolean
}): HttpServerResponse.HttpServerResponse => {
  const rows = Api.routes.map(({ method, path, summary }) =>
    `<tr><td>${method}</td><td><code>${Api.prefix}${escaped(path.replace(/:([a-z]+)/giu, "{$1}"))}</code></td><td>${
      escaped(summary)
    }</td></tr>`
  )
  const runs = Object.entries(state.runs).map(([name, count]) => `${escaped(name)} ${count}`).join(", ")
  return HttpServerResponse.text(
    `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>heddle</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; padding: 0 1rem; max-width: 70rem; }
td { padding: .15rem 1rem .15rem 0; vertical-align: top; }
code { white-space: nowrap; }
</style>
<h1>heddle</h1>
<p>Gateway <b>${escaped(state.member)}</b>, version ${
      escaped(state.version)
    }. There is no web console in this installation; this is the HTTP API.</p>
<p>Runs: ${state.hasToken ? "ask with the token" : runs === "" ? "none yet" : runs}.</p>
<p><a href="${Api.prefix}/openapi.json">OpenAPI document</a>${
      state.hasToken
        ? ""
        : `, <a href="${Api.prefix}/workflows">runs</a>, <a href="${Api.prefix}/pools">pools</a>, <a href="${Api.prefix}/members">members</a>, <a href="${Api.prefix}/events">live events</a>`
    }, <a href="/livez">/livez</a>, <a href="/readyz">/readyz</a></p>
<table>
${rows.join("\n")}
</table>
</html>
`,
    { contentType: "text/html; charset=utf-8", headers: { "cache-control": "no-store" } }
  )
}
