/**
 * The reference as a set of files: JSON Schemas of the messages, wire.md (subjects, messages, errors) and cli.md (commands). Pure but for reading comments.
 *
 * Follows design/02: "documented and generated from one source: the schemas". `main.ts` writes the files or compares them.
 */
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import type { HelpDoc } from "effect/cli/HelpDoc"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { exitCodes } from "../../cli/ExitCode.ts"
import * as ParserServices from "../../cli/ParserServices.ts"
import * as Tree from "../../cli/Tree.ts"
import { errorCodes } from "../../shared/protocol/ErrorCode.ts"
import * as Catalog from "./Catalog.ts"
import * as Comments from "./Comments.ts"
import * as HttpPage from "./HttpPage.ts"
import * as JournalPage from "./JournalPage.ts"
import * as MetricsPage from "./MetricsPage.ts"
import * as Overview from "./Overview.ts"
import * as StateMachines from "./StateMachines.ts"
import * as TasksPage from "./TasksPage.ts"
import { cell, code, isJson, type Json, typeText } from "./TypeText.ts"

/** Text by path from the top of the checkout. */
export type Files = ReadonlyMap<string, string>

const root = join(import.meta.dirname, "..", "..")
const folder = "docs/reference"
const generated = "<!-- Made by `npm run docs` from shared/protocol and cli. Do not edit. -->"

/** A union of one is no union. */
const simplify = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(simplify)
  if (!isJson(value)) return value
  const { anyOf, ...rest } = value
  if (Array.isArray(anyOf) && anyOf.length === 1 && isJson(anyOf[0])) return simplify({ ...rest, ...anyOf[0] })
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, simplify(part)]))
}

interface Described {
  readonly name: string
  readonly text: string
  readonly schema: Json
}

const described = (message: Catalog.Message, comments: Comments.Comments): Described => {
  // A definition travels as it was written; its schema also refuses misspelt fields, which is what an editor is for.
  const document = Schema.toJsonSchemaDocument(message.schema, {
    onExcessProperty: message.name === "Definition" ? "error" : "ignore"
  })
  const simple = simplify(document.schema)
  const schema = isJson(simple) ? simple : {}
  const properties = isJson(schema["properties"])
    ? Object.fromEntries(
      Object.entries(schema["properties"]).map(([field, part]) => {
        const text = comments.ofField.get(`${message.name}.${field}`)
        return [field, text === undefined || !isJson(part) ? part : { ...part, description: text }]
      })
    )
    : undefined
  return {
    name: message.name,
    text: message.text ?? comments.ofExport.get(message.name) ?? "",
    schema: {
      ...schema,
      ...(properties === undefined ? {} : { properties }),
      ...(Object.keys(document.definitions).length === 0 ? {} : { $defs: simplify(document.definitions) })
    }
  }
}

const schemaFile = (message: Described): string =>
  `${
    JSON.stringify(
      {
        $schema: "https://json-schema.org/draft/2020-12/schema",
        $id: `https://heddle.dev/schemas/v1/${message.name}.json`,
        title: message.name,
        ...(message.text === "" ? {} : { description: message.text }),
        ...message.schema
      },
      null,
      2
    )
  }\n`

/** Without the sentences, so that a message is known again where another one holds it. */
const shape = (schema: unknown): string =>
  JSON.stringify(schema, (key, value: unknown) => key === "description" ? undefined : value)

const isComposite = (type: string) => /^\[?\{(?!string:)/.test(type)

const fieldRows = (
  name: string,
  schema: Json,
  comments: Comments.Comments,
  names: ReadonlyMap<string, string>,
  prefix = ""
): ReadonlyArray<string> => {
  const properties = isJson(schema["properties"]) ? schema["properties"] : {}
  const required = Array.isArray(schema["required"]) ? schema["required"] : []
  return Object.entries(properties).flatMap(([field, part]) => {
    const type = typeText(part)
    const isList = isJson(part) && part["type"] === "array"
    const inner = isList && isJson(part["items"]) ? part["items"] : part
    const at = `${prefix}${field}`
    const byDefault = Catalog.defaults[`${name}.${at}`]
    const known = isComposite(type) ? names.get(shape(inner)) : undefined
    const kind = known === undefined ? isList ? "list" : "object" : `${isList ? "list of " : ""}${link(known)}`
    const row = `| ${code(at)} | ${cell(isComposite(type) ? kind : type)} | ${
      required.includes(field) ? "yes" : ""
    } | ${byDefault === undefined ? "" : cell(byDefault)} | ${cell(comments.ofField.get(`${name}.${at}`) ?? "")} |`
    return isComposite(type) && known === undefined && isJson(inner)
      ? [row].concat(fieldRows(name, inner, comments, names, `${at}${isList ? "[]" : ""}.`))
      : [row]
  })
}

const fields = (
  message: Described,
  comments: Comments.Comments,
  names: ReadonlyMap<string, string>
): ReadonlyArray<string> => {
  const rows = fieldRows(message.name, message.schema, comments, names)
  if (rows.length > 0) return ["| field | type | required | when not given | |", "|---|---|---|---|---|", ...rows]
  const union = message.schema["anyOf"] ?? message.schema["oneOf"]
  return Array.isArray(union)
    ? [
      "One of:",
      "",
      ...union.filter(isJson).map((part) => {
        const properties = isJson(part["properties"]) ? part["properties"] : {}
        const { _tag: tag, ...rest } = properties
        const list = Object.entries(rest).map(([field, type]) => `${code(field)} ${typeText(type)}`).join(", ")
        return `- ${code(typeText(tag).replaceAll("\"", ""))}${list === "" ? "" : `: ${list}`}`
      })
    ]
    : []
}

const link = (name: string) => name === "{}" ? "`{}`" : `[${name}](#${name.toLowerCase()})`

const wire = (all: ReadonlyArray<Described>, comments: Comments.Comments): string => {
  const names = new Map(all.map((message) => [shape(message.schema), message.name]))
  return [
    generated,
    "",
    "# Wire reference, v1",
    "",
    "JSON, UTF-8. Unknown fields are ignored. A request that cannot be done is answered with `{\"error\": {code, message, path?, details?}}`, never dropped.",
    "A name is 1 to 63 of `A-Z a-z 0-9 _ -`. A time is RFC 3339 UTC. A duration is `\"250ms\"`, `\"30s\"`, `\"5m\"`, `\"2h\"`, `\"1d\"` or a number of milliseconds.",
    "Every endpoint is a NATS micro service: `nats micro ls` finds it. JSON Schemas of all messages stand in [schemas/](schemas/).",
    "",
    "## Requests",
    ...Catalog.rpcs.flatMap(({ items, title }) => [
      "",
      `### ${title}`,
      "",
      "| subject | request | answer | |",
      "|---|---|---|---|",
      ...items.map((rpc) => `| ${code(rpc.subject)} | ${link(rpc.request)} | ${link(rpc.answer)} | ${cell(rpc.text)} |`)
    ]),
    "",
    "## Streams",
    "",
    "| subject | message | |",
    "|---|---|---|",
    ...Catalog.streams.map((stream) => `| ${code(stream.subject)} | ${link(stream.message)} | ${cell(stream.text)} |`),
    "",
    "## Headers",
    "",
    "| header | |",
    "|---|---|",
    ...Catalog.headers.map(([name, text]) => `| ${code(name)} | ${text} |`),
    "",
    "## Messages",
    ...all.flatMap((
      message
    ) => [
      "",
      `### ${message.name}`,
      "",
      ...(message.text === "" ? [] : [message.text, ""]),
      ...fields(message, comments, names)
    ]),
    "",
    "## Error codes",
    "",
    "Stable: a client may branch on them. `heddle errors CODE` prints one.",
    "",
    "| code | meaning | what to do |",
    "|---|---|---|",
    ...Object.entries(errorCodes).map(([name, { fix, meaning }]) =>
      `| ${code(name)} | ${cell(meaning)} | ${cell(fix)} |`
    ),
    "",
    "## Exit codes of `heddle`",
    "",
    "| code | |",
    "|---|---|",
    ...Object.entries(exitCodes).map(([exit, text]) => `| ${exit} | ${cell(text)} |`),
    ""
  ].join("\n")
}

/** Help of every command, by asking the command line for it. */
const helps = Effect.gen(function*() {
  const found: Array<{ readonly path: ReadonlyArray<string>; readonly doc: HelpDoc }> = []
  const visit = (path: ReadonlyArray<string>): Effect.Effect<void> =>
    Effect.gen(function*() {
      let doc: HelpDoc | undefined
      const presenter: CliOutput.Presenter = {
        present: (event) =>
          Effect.sync(() => {
            if (event._tag === "Help") doc = event.helpDoc
          })
      }
      yield* Command.runWith(Tree.root, { version: "0" })([...path, "--help"]).pipe(
        Effect.provide(
          Layer.mergeAll(ParserServices.layer, Tree.parserConfig, Layer.succeed(CliOutput.Presenter)(presenter))
        ),
        Effect.orDie
      )
      if (doc === undefined) return
      found.push({ path, doc })
      for (const group of doc.subcommands ?? []) {
        for (const command of group.commands) yield* visit([...path, command.name])
      }
    })
  yield* visit([])
  return found
})

const flagRow = (flag: HelpDoc["flags"][number]) => {
  const names = [...flag.aliases, `--${flag.name}`].map((name) => name.startsWith("-") ? name : `-${name}`)
  const metavar = flag.type === "boolean" || flag.type === "" ? "" : ` ${flag.type}`
  return `| ${cell(code(`${names.join(", ")}${metavar}`))} | ${cell(Option.getOrElse(flag.description, () => ""))} |`
}

/** Settings of the coordinator that are no flags. */
const coordinatorEnvironment: ReadonlyArray<readonly [name: string, text: string]> = [
  [
    "HEDDLE_WORKFLOW_MAX_RUN_TIME",
    "The longest that a workflow may run, whatever its definition says: a duration such as `24h`; no maximum when not given. One that takes longer ends as by its own time-out: what runs is killed, `onCleanup` runs, the result is FAILED, one alert `WorkflowTimeout`. Runs keep what was set when they were started; a resume, recover or rerun has it again in full."
  ],
  [
    "HEDDLE_PASSIVATE_AFTER",
    "An instance that waits longer than this (for a delay, a retry, a slot, a sub-workflow) leaves memory and is loaded again when its timer is due or anything concerns it: a duration such as `5m`; `30s` when not given."
  ],
  [
    "HEDDLE_ARCHIVE_AFTER",
    "How long after its end the history of an instance moves to the archive: `30d` when not given, `never`, or with other ages for single namespaces, `30d,batch=1d,audit=never`."
  ],
  [
    "HEDDLE_ALERTS",
    "Alert sinks of workflows whose definition names none, with commas between them; `log` when not given, nobody when empty."
  ]
]

const gatewayEnvironment: ReadonlyArray<readonly [name: string, text: string]> = [
  [
    "HEDDLE_HTTP_TOKEN",
    "Every request to the API must then carry `Authorization: Bearer <token>`; none is asked for when not given."
  ],
  [
    "HEDDLE_HTTP_ORIGINS",
    "Web sites whose pages may ask beside the gateway's own, with commas: `https://heddle.example.com`, where a proxy stands in front of it."
  ],
  ["HEDDLE_CONSOLE_DIR", "Folder with the web console's files; the one of this installation when not given."],
  ["HEDDLE_GATEWAY_RUNS_MAX", "Runs that lists and counts are answered from; `50000` when not given."],
  [
    "HEDDLE_GATEWAY_JOURNAL_BYTES",
    "How much of the journal is read at the start to know them; 128 MiB when not given."
  ]
]

const brokerEnvironment: ReadonlyArray<readonly [string, string]> = [
  ["HEDDLE_NATS_SYNC", "Its `sync_interval`, as whoever started it set it: `always`, or a duration such as `2m`."],
  ["HEDDLE_NATS_MONITOR", "Address of its monitoring port, `http://host:8222`, where it is read instead."],
  ["HEDDLE_REPLICAS", "Of streams and buckets that are made: 1 when not given; 3 in a cluster."],
  [
    "HEDDLE_LOGS_BYTES_MAX",
    "How large the stream of task output may grow, in bytes, before the oldest goes; 1 GiB when not given."
  ]
]

const pluginEnvironment: ReadonlyArray<readonly [string, string]> = [
  [
    "HEDDLE_PLUGINS",
    "Modules or packages, with commas between them, beside those of `--plugin`; `plugins: [...]` in a configuration file."
  ],
  [
    "HEDDLE_PLUGIN_CONFIG",
    "Config by the names of plugins, heddle's own among them: path of a YAML or JSON file, or JSON that begins with `{`; `plugin-config` in a configuration file. Variables of heddle's own plugins (`heddle plugins` shows them) go first."
  ]
]

const credentialsEnvironment: ReadonlyArray<readonly [string, string]> = [
  ["HEDDLE_NATS_CREDS", "Path of a credentials file (`nsc generate creds`); read again at each reconnect."],
  ["HEDDLE_NATS_USER", "A user of the server, with `HEDDLE_NATS_PASSWORD`."],
  ["HEDDLE_NATS_TOKEN", "The server's token."]
]

const cli = (all: ReadonlyArray<{ readonly path: ReadonlyArray<string>; readonly doc: HelpDoc }>): string => {
  const globals = all[0]?.doc.globalFlags ?? []
  const own = globals.filter((flag) => !["help", "version"].includes(flag.name))
  return [
    generated,
    "",
    "# Command line reference",
    "",
    "Data goes to standard output, everything else to standard error. No colour off a terminal or with `NO_COLOR`. A setting comes from its flag, else from",
    "`HEDDLE_<FLAG>` (`--nats` from `HEDDLE_NATS_URL`), else from `./heddle.yaml`, else from `~/.config/heddle/config.yaml`. Exit codes stand in [wire.md](wire.md#exit-codes-of-heddle).",
    "",
    "## Flags of every command",
    "",
    "| flag | |",
    "|---|---|",
    ...own.map(flagRow),
    "",
    "## Credentials at NATS",
    "",
    "Of every command and every `heddle serve`, when the server asks who connects: `--nats-creds FILE`, or one of these variables, or the same in a configuration file (`nats-creds`, `nats-user`, `nats-password`, `nats-token`), or user and password in",
    "the URL. The nearest source that names any of them is the whole identity. Passwords and tokens are no flags, since everybody on a machine can read its command lines. What each service must be allowed stands in",
    "[permissions.md](../design/permissions.md).",
    "",
    "| variable | |",
    "|---|---|",
    ...credentialsEnvironment.map(([name, text]) => `| ${code(name)} | ${cell(text)} |`),
    "",
    "## What is known of the NATS server",
    "",
    "Of every `heddle serve` and of `heddle doctor`: a client cannot ask nats-server when it writes to disk, so one of these says it, and the durability level is shown as unknown without. `heddle dev` starts its server itself.",
    "",
    "| variable | |",
    "|---|---|",
    ...brokerEnvironment.map(([name, text]) => `| ${code(name)} | ${cell(text)} |`),
    "",
    "## Plugins of one's own",
    "",
    "Of every `heddle serve`, of `heddle dev`, and of the commands that take `--plugin`: [plugins.md](../plugins.md).",
    "",
    "| variable | |",
    "|---|---|",
    ...pluginEnvironment.map(([name, text]) => `| ${code(name)} | ${cell(text)} |`),
    "",
    "## Environment of the coordinator",
    "",
    "Read by `heddle serve coordinator` and `heddle dev` when they start. Give every coordinator of a mesh the same.",
    "",
    "| variable | |",
    "|---|---|",
    ...coordinatorEnvironment.map(([name, text]) => `| ${code(name)} | ${cell(text)} |`),
    "",
    "Settings of the gateway (`heddle serve gateway`, `heddle dev`):",
    "",
    "| variable | |",
    "|---|---|",
    ...gatewayEnvironment.map(([name, text]) => `| ${code(name)} | ${cell(text)} |`),
    ...all.flatMap(({ doc, path }) => {
      if (path.length === 0) return []
      const groups = (doc.subcommands ?? []).flatMap((group) => group.commands)
      return [
        "",
        `${"#".repeat(Math.min(4, path.length + 1))} heddle ${path.join(" ")}`,
        "",
        doc.description,
        "",
        "```",
        doc.usage,
        "```",
        ...(groups.length > 0
          ? [
            "",
            ...groups.map((command) => `- ${code(command.name)}: ${command.shortDescription ?? command.description}`)
          ]
          : []),
        ...((doc.args ?? []).length > 0
          ? [
            "",
            "| argument | |",
            "|---|---|",
            ...(doc.args ?? []).map((arg) =>
              `| ${code(`${arg.name}${arg.variadic ? "..." : ""}`)} | ${
                cell(Option.getOrElse(arg.description, () => ""))
              } |`
            )
          ]
          : []),
        ...(doc.flags.length > 0 ? ["", "| flag | |", "|---|---|", ...doc.flags.map(flagRow)] : []),
        ...((doc.examples ?? []).length > 0
          ? [
            "",
            "```sh",
            ...(doc.examples ?? []).flatMap(({ command, description }) =>
              description === undefined ? [command] : [`# ${description}`, command]
            ),
            "```"
          ]
          : [])
      ]
    }),
    ""
  ].join("\n")
}

const protocolSources = () => {
  const at = join(root, "shared/protocol")
  return readdirSync(at).filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts")).toSorted().map((name) =>
    readFileSync(join(at, name), "utf8")
  )
}

/** Everything below docs/reference. */
export const files: Effect.Effect<Files> = Effect.gen(function*() {
  const comments = Comments.read(protocolSources())
  const all = Catalog.messages.map((message) => described(message, comments))
  return new Map([
    ...all.map((message) => [`${folder}/schemas/${message.name}.json`, schemaFile(message)] as const),
    [`${folder}/wire.md`, wire(all, comments)] as const,
    [`${folder}/state-machines.md`, StateMachines.page()] as const,
    [`${folder}/tasks.md`, yield* TasksPage.page] as const,
    [`${folder}/README.md`, Overview.page()] as const,
    [`${folder}/metrics.md`, MetricsPage.page()] as const,
    [`${folder}/http.md`, HttpPage.page()] as const,
    [`${folder}/openapi.json`, HttpPage.openApi()] as const,
    [`${folder}/journal.md`, JournalPage.page(comments)] as const,
    [`${folder}/cli.md`, cli(yield* helps)] as const
  ])
})
