/** `heddle envs`: several pools under one name, ranked as a claim would find them now. design/02 `heddle.rpc.env.*`. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { EnvList, EnvSpec, EnvView } from "../../shared/protocol/Env.ts"
import { poolKey } from "../../shared/protocol/Sandbox.ts"
import { Deleted } from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as AppliedSpec from "../AppliedSpec.ts"
import * as Connection from "../Connection.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import { type Column, Output } from "../Output.ts"

// As on the wire: what is printed is what the service said.
const ListAnswer = Schema.toEncoded(EnvList)
const ViewAnswer = Schema.toEncoded(EnvView)
type Shown = typeof ViewAnswer.Type

const columns: ReadonlyArray<Column<Shown>> = [
  { title: "ENV", value: (env) => `${env.namespace}/${env.name}` },
  { title: "MEMBERS", value: (env) => String(env.members.length), alignRight: true },
  { title: "OPEN", value: (env) => String(env.members.filter((_) => _.standing === "Open").length), alignRight: true },
  {
    title: "IDLE",
    value: (env) => String(env.members.reduce((sum, _) => sum + (_.idleReady ?? 0), 0)),
    alignRight: true
  },
  { title: "BEST", value: (env) => env.members[0]?.pool ?? "none" }
]
const none = "No envs. What to do: `heddle envs apply NAME --member pool-a --member pool-b` makes one."

const list = Effect.map(Connection.call(Subject.rpc.envs("list"), ListAnswer, {}), (answer) => answer.items)

export const ls = Effect.gen(function*() {
  const output = yield* Output
  yield* output.page({ items: yield* list }, columns, none)
}).pipe(Connection.provide)

export const describe = (input: { readonly env: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    // An env is named as a pool is: name, or namespace/name.
    const wanted = yield* Globals.poolOf(input.env)
    const env = (yield* list).find((one) => one.namespace === wanted.namespace && one.name === wanted.name)
    if (env === undefined) {
      return yield* new CliFailure({
        exit: 3,
        code: "NoSuchEnv",
        message: `There is no env ${poolKey(wanted)}.`,
        fix: "`heddle envs ls` lists them; `heddle envs apply` makes one."
      })
    }
    const number = (value: number | undefined) => value === undefined ? "-" : String(value)
    const lines = env.members.map((one, i) =>
      `${String(i + 1).padStart(2)}. ${one.pool.padEnd(24)} ${output.style.state(one.standing).padEnd(12)} score ${
        one.score.toFixed(2)
      }  idle ${number(one.idleReady)}  waiting ${number(one.queueLen)}  claimed ${number(one.claimed)}`
    )
    return yield* output.value(env, () =>
      [
        `${output.style.dim("env")}   ${env.namespace}/${env.name}`,
        `${output.style.dim("spec")}  ${JSON.stringify(env.spec)}`,
        ...(lines.length === 0 ? ["No member pool at the moment."] : lines)
      ].join("\n"))
  }).pipe(Connection.provide)

const apply1 = AppliedSpec.applier({
  kind: "env",
  schema: EnvSpec,
  subject: Subject.rpc.envs("apply"),
  answer: ViewAnswer
})

export const apply = (input: {
  readonly file: Option.Option<string>
  readonly name: Option.Option<string>
  readonly member: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    const output = yield* Output
    const applied: Array<Shown> = []
    if (Option.isSome(input.name)) yield* AppliedSpec.checkNoFile("envs", input.name.value)
    if (Option.isSome(input.file)) {
      for (const value of yield* AppliedSpec.valuesOf(input.file.value)) {
        applied.push(yield* apply1(value, input.file.value))
      }
    } else if (Option.isSome(input.name)) {
      const env = yield* Globals.poolOf(input.name.value)
      const members = yield* Effect.forEach(input.member, (member) => {
        const [pool = "", priority] = member.split("=")
        return priority === undefined || /^-?\d+$/.test(priority)
          ? Effect.succeed({ pool, ...(priority === undefined ? {} : { priority: Number(priority) }) })
          : Effect.fail(Globals.usage(`--member ${member}: the priority is no whole number.`))
      })
      if (members.length === 0) {
        return yield* Globals.usage("--member is missing.", "name its pools: --member a --member b=1.")
      }
      applied.push(yield* apply1({ ...env, members }, "The env"))
    } else return yield* Globals.usage("What is to be applied?", "give -f FILE, or NAME --member POOL.")
    return yield* output.page({ items: applied }, columns, "Nothing to apply.")
  }).pipe(Connection.provide)

export const remove = (input: { readonly env: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const env = yield* Globals.poolOf(input.env)
    const deleted = yield* Connection.remove(Subject.rpc.envs("delete"), Schema.toEncoded(Deleted), env, {
      name: env.name,
      deleted: true
    })
    return yield* output.value(deleted, () => `${poolKey(env)} is deleted; its pools stay`)
  }).pipe(Connection.provide)
