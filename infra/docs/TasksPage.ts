/**
 * docs/reference/tasks.md: what each task type that comes with heddle takes under `with`, does, and gives. Fields come from the plugins' schemas and the comments at them; what
 * a schema cannot say (when an attempt is tried again, what becomes outputs) stands here.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Plugins from "../../cli/Plugins.ts"
import * as Comments from "./Comments.ts"
import { cell, code, isJson, typeText } from "./TypeText.ts"

const root = join(import.meta.dirname, "..", "..")

const process =
  "Exit code 0, or those that `exitCodes` lists, are a success. Another one, or a signal, is a failure, which `retry` tries again; the reason holds the last line of stderr. A program that is not there, a `workdir` that is not there and outputs that are none fail for good."

/** Beside the fields. */
const notes: Readonly<Record<string, ReadonlyArray<string>>> = {
  shell: [
    "Exit code 0 is a success. Another one, or a signal, is a failure, which `retry` tries again; the reason holds the last line of stderr."
  ],
  exec: [process],
  script: [
    process,
    "The source is written into a folder of its own below the sandbox's `TMPDIR` (`/tmp`), which is removed at the end; the process's working directory is that of the sandbox. The sandbox needs `/bin/sh`, `mkdir`, `rm` and the interpreter. Source and arguments together have at most 1 MiB. A signal that ends the interpreter shows as exit code 128 and its number."
  ],
  http: [
    "Outputs: `status`, `headers` (those kept, in lower case), and `json` or `text`. A body has at most 256 KiB; one that is larger fails for good (`answer: none` reads none).",
    "Tried again by `retry`: 5xx, 408, 425, 429, no answer in time, no connection. Every other status that was not expected fails for good. `Retry-After` of 429 and 503 is waited for within the attempt, as far as `retryAfterMax` and the time-outs go.",
    "`Idempotency-Key` is `<instance>:<task>:<run>[:<item>]`: the same in every attempt, also after a failover, so that the other side can tell a repetition. `heddle tasks run` asks with the same key, a rerun of the instance with another one.",
    "Logs and reasons name the method and the origin of the URL, no path, query or header; what an answer says back of them is struck out. The definition and its parameters are not secret: they stand in the journal.",
    "The request comes from the executor's network, not from the sandbox's: where authors of workflows are not trusted with it, set `HEDDLE_HTTP_HOSTS`."
  ],
  nats: [
    "Outputs: of `publish` none; of `jetstream` `sequence` and `duplicate` (true: an earlier attempt had stored it); of `request` `json` or `text`, and `headers`; with `replies` a list `replies` of these and their `count`. Answers have at most 256 KiB together.",
    "Tried again by `retry`: no answer or acknowledgement in time, nobody there, no stream, no connection, an answer with `Nats-Service-Error`. A message larger than the server takes, or one that the broker forbids, fails for good.",
    "`Nats-Msg-Id` is made as the idempotency key of `http`; the stream knows it again within its duplicate window (2 minutes unless set otherwise).",
    "The message goes out on the executor's connection: its user at the broker must be allowed to publish on the subject ([permissions](../design/permissions.md))."
  ],
  noop: []
}

const where: Readonly<Record<string, string>> = {
  Sandboxed: "Runs in the sandbox.",
  Effectful:
    "Runs in the executor; the sandbox that it claims is not used, so a pool of the provider `inline` will do (`heddle dev --pool io=64,inline`).",
  Inline: "Ends at once, in the executor; the sandbox that it claims is not used."
}

const sourcesOf = (type: string): ReadonlyArray<string> => {
  const folder = join(root, "plugins", type)
  return readdirSync(folder).filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts")).toSorted().map((
    name
  ) => readFileSync(join(folder, name), "utf8"))
}

const fieldRows = (schema: Schema.Top, name: string, comments: Comments.Comments): ReadonlyArray<string> => {
  const document = Schema.toJsonSchemaDocument(schema, { onExcessProperty: "ignore" }).schema
  const properties = isJson(document) && isJson(document["properties"]) ? document["properties"] : {}
  const required = isJson(document) && Array.isArray(document["required"]) ? document["required"] : []
  return Object.entries(properties).map(([field, part]) =>
    `| ${code(field)} | ${cell(typeText(part))} | ${required.includes(field) ? "yes" : ""} | ${
      cell(comments.ofField.get(`${name}.${field}`) ?? "")
    } |`
  )
}

export const page = Effect.gen(function*() {
  const offered = yield* Plugins.offered.pipe(Effect.orDie)
  const sections: Array<string> = []
  for (const name of Plugins.taskTypes) {
    const type = yield* Plugins.taskType(name).pipe(Effect.orDie)
    if (type === undefined) continue
    const comments = Comments.read(sourcesOf(name))
    const settings = offered.find((offer) => offer.kind === "taskTypes" && offer.name === name)?.config ?? []
    sections.push(
      "",
      `## ${name}`,
      "",
      `${type.description} ${where[type._tag] ?? ""}`,
      "",
      "| `with` | type | required | |",
      "|---|---|---|---|",
      ...fieldRows(type.with, "With", comments),
      ...(notes[name] ?? []).flatMap((note) => ["", note]),
      ...(settings.length === 0 ? [] : [
        "",
        "| set for executors and coordinators | |",
        "|---|---|",
        ...settings.map(({ environment, key }) =>
          `| ${code(environment ?? key)} | ${cell(comments.ofField.get(`Config.${key}`) ?? "")} Separated by commas. |`
        )
      ]),
      ...(existsSync(join(root, "examples", `${name}.yaml`))
        ? ["", `Example: [examples/${name}.yaml](../../examples/${name}.yaml)`]
        : [])
    )
  }
  return [
    "<!-- Made by `npm run docs` from plugins/ and infra/docs/TasksPage.ts. Do not edit. -->",
    "",
    "# Task types",
    "",
    "What stands in a task's `type` and `with`. `${{ }}` is filled in before the type sees it; a text that is one expression alone keeps the value's type (a number, a list). `heddle definitions validate` checks every",
    "`with`; a task without any may be stored, but does not run. `condition`, `switch`, `sub-workflow` and `dependent` are decided by the coordinator: see the [examples](../../examples/README.md) and",
    "[their types](../../shared/authoring/Workflow.ts). Others come from plugins.",
    "",
    "A process (`shell`, `exec`, `script`) sees `HEDDLE_INSTANCE_ID`, `HEDDLE_TASK`, `HEDDLE_ATTEMPT`, its parameters as `HEDDLE_PARAM_<NAME>`, and nothing of the executor's environment. Lines `name=value` that it writes into the",
    "file `HEDDLE_OUTPUTS` become outputs; numbers, booleans, lists and objects in JSON are decoded. A kill sends SIGINT, SIGTERM and SIGKILL to the whole process tree, with `grace` in between.",
    ...sections,
    ""
  ].join("\n")
})
