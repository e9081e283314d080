/**
 * docs/reference/http.md and openapi.json: the HTTP API of the gateway, from the table that serves it (services/gateway/Api.ts).
 */
import * as Api from "../../services/gateway/Api.ts"
import { cell, code } from "./TypeText.ts"

const queryOf = (route: Api.Route): string => {
  const names = Object.keys(route.query)
  return names.length === 0 ? "" : `?${names.join("&")}`
}
const pathOf = ({ path }: Api.Route): string => `${Api.prefix}${path.replace(/:([a-z]+)/giu, "{$1}")}`

const row = (route: Api.Route): string =>
  `| ${route.method} | ${code(pathOf(route) + queryOf(route))} | ${
    route.body === undefined ? "" : `${code(route.body.name)}${route.body.isOptional === true ? " or nothing" : ""}`
  } | ${route.answer === "events" ? "Server-Sent Events" : code(route.answer.name)} | ${cell(route.summary)} |`

export const page = (): string =>
  [
    "<!-- Made by `npm run docs` from services/gateway/Api.ts. Do not edit. -->",
    "",
    "# HTTP API",
    "",
    "What `heddle serve gateway` and `heddle dev` answer over HTTP. [openapi.json](openapi.json), which a gateway also serves at `/api/v1/openapi.json`, has every message in full; those of the NATS contract",
    "are in [wire.md](wire.md). Errors, deadlines, idempotency keys, security and live events: [design/gateway.md](../design/gateway.md).",
    ...[...new Set(Api.routes.map(({ group }) => group))].flatMap((group) => [
      "",
      `## ${group}`,
      "",
      "| | path | takes | answers | |",
      "|---|---|---|---|---|",
      ...Api.routes.filter((route) => route.group === group).map(row)
    ]),
    ""
  ].join("\n")

export const openApi = (): string => `${JSON.stringify(Api.openApi())}\n`
