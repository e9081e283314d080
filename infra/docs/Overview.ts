/**
 * docs/reference/README.md: what the reference holds, and how definitions are written in an editor, in YAML and in TypeScript.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "..", "..")
const example = readFileSync(join(root, "examples", "nightly.ts"), "utf8").trimEnd()

/** From a file in examples/; elsewhere the path to a checkout, or the published address. */
export const schemaLine = "# yaml-language-server: $schema=../docs/reference/schemas/Definition.json"

export const page = (): string =>
  [
    "<!-- Made by `npm run docs`. Do not edit: infra/docs/Overview.ts. -->",
    "",
    "# Reference",
    "",
    "- [cli.md](cli.md): every command",
    "- [tasks.md](tasks.md): every task type, with its arguments and outputs",
    "- [metrics.md](metrics.md): what each process shows at `/metrics`, and what `/livez` and `/readyz` mean",
    "- [wire.md](wire.md): subjects, messages, error codes; [schemas/](schemas/): JSON Schemas of all messages",
    "- [http.md](http.md): the HTTP API of the gateway; [openapi.json](openapi.json): the same for machines",
    "- [journal.md](journal.md): the format of the journal, its versions and its hash chain",
    "- [state-machines.md](state-machines.md): what every event does in every state of a workflow and of a task",
    "",
    "[Plugins of one's own](../plugins.md): how they are written, loaded, configured and tested.",
    "",
    "All of it is made from the code by `npm run docs`; `npm run docs:check` fails when it is not what the code says.",
    "",
    "## Definitions in YAML",
    "",
    "[schemas/Definition.json](schemas/Definition.json) is the JSON Schema of a definition. An editor with a YAML language server completes and checks a file that says so in its first line:",
    "",
    "```yaml",
    schemaLine,
    "apiVersion: heddle.dev/v1",
    "kind: Workflow",
    "metadata: { name: hello }",
    "spec:",
    "  tasks:",
    "    - { name: hello, type: noop }",
    "```",
    "",
    "The path is relative to the file; the examples in this checkout have the line. For VS Code without it: `\"yaml.schemas\": { \"./docs/reference/schemas/Definition.json\": \"workflows/*.yaml\" }`.",
    "What a schema cannot know (names, cycles, expressions) is said by `heddle definitions validate FILE`: all problems at once, each as `file:line:column: path: message`.",
    "",
    "## Definitions in TypeScript",
    "",
    "`defineWorkflow` from `heddle/authoring` gives the object that YAML gives; the same Schema decodes it. Its types know the tasks of this one workflow: a name in `dependsOn` or in a branch of a",
    "switch or condition that is no task, a field that does not exist, or a wrong argument of a task type that comes with heddle does not compile. `heddle run`, `heddle definitions put` and",
    "`heddle definitions validate` take a `.ts`, `.mts`, `.js` or `.mjs` file whose default export is the definition, or a promise of it. The file is run: take only what you would run. Problems that are left",
    "(an expression, a cycle) are told with their path; line and column are those of the file's beginning.",
    "",
    "```ts",
    example,
    "```",
    "",
    "- Names are known when they are written out. Tasks that are computed (`days.map(...)`) have any text as name, and then any text is taken as predecessor; `heddle definitions validate` still checks.",
    "- A task type of another plugin: `type: taskType(\"kafka\")`, unchecked; or checked, with its arguments declared once:",
    "  `declare module \"heddle/authoring\" { interface TaskTypes { kafka: { readonly topic: string } } }`.",
    "- A file that `heddle` runs finds `heddle/authoring` wherever it stands, on Node and on Deno; for the editor's sake a project needs heddle as a",
    "  dependency (a checkout: `npm install ../heddle`), and Node 24 runs it there only through that link, since it strips no types below `node_modules`.",
    ""
  ].join("\n")
