/** `heddle pools`: what there is, how it is used, and changes to it. design/02 `heddle.rpc.pool.list|apply|scale|delete`, `.snapshot`. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { Snapshot } from "../../shared/protocol/Claim.ts"
import { PoolList, PoolSpec, PoolView } from "../../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import { Deleted } from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as AppliedSpec from "../AppliedSpec.ts"
import * as Connection from "../Connection.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import { type Column, Output } from "../Output.ts"

// As on the wire: what is printed is what the service said.
const ListAnswer = Schema.toEncoded(PoolList)
const ViewAnswer = Schema.toEncoded(PoolView)
type Shown = typeof ViewAnswer.Type

const number = (value: number | undefined) => value === undefined ? "-" : String(value)
const columns: ReadonlyArray<Column<Shown>> = [
  { title: "POOL", value: (pool) => `${pool.namespace}/${pool.name}` },
  { title: "PROVIDER", value: (pool) => pool.provider },
  { title: "SIZE", value: (pool) => String(pool.size), alignRight: true },
  { title: "IDLE", value: (pool) => number(pool.snapshot?.idleReady), alignRight: true },
  { title: "CLAIMED", value: (pool) => number(pool.snapshot?.claimed), alignRight: true },
  { title: "WAITING", value: (pool) => number(pool.snapshot?.queueLen), alignRight: true },
  { title: "TASKS", value: (pool) => number(pool.snapshot?.laneQueued), alignRight: true },
  { title: "OWNER", value: (pool) => pool.owner ?? "none" }
]
const none = "No pools. What to do: `heddle pools apply NAME --size 4` makes one; `heddle dev` has one called default."

const list = Effect.gen(function*() {
  const items: Array<Shown> = []
  let next: string | undefined
  do {
    const page: typeof ListAnswer.Type = yield* Connection.call(
      Subject.rpc.pools("list"),
      ListAnswer,
      next === undefined ? {} : { next }
    )
    items.push(...page.items)
    next = page.next
  } while (next !== undefined)
  return items
})

const find = Effect.fnUntraced(function*(pool: PoolRef) {
  const found = (yield* list).find((item) => item.namespace === pool.namespace && item.name === pool.name)
  return found ?? (yield* new CliFailure({
    exit: 3,
    code: "NoSuchPool",
    message: `There is no pool ${poolKey(pool)}.`,
    fix: "`heddle pools ls` lists them; `heddle pools apply` makes one."
  }))
})

export const ls = Effect.gen(function*() {
  const output = yield* Output
  yield* output.page({ items: yield* list }, columns, none)
}).pipe(Connection.provide)

export const describe = (input: { readonly pool: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const pool = yield* find(yield* Globals.poolOf(input.pool))
    yield* output.value(pool, () => {
      const { snapshot } = pool
      const rows: ReadonlyArray<readonly [string, string]> = [
        ["pool", `${pool.namespace}/${pool.name}`],
        ["provider", pool.provider],
        ["size", String(pool.size)],
        ["owner", pool.owner ?? "none: no pool-scheduler has it"],
        ...Object.entries(snapshot ?? {}).map(([name, value]) => [name, String(value ?? "never")] as const),
        ["spec", JSON.stringify(pool.spec)]
      ]
      return rows.map(([name, value]) => `${output.style.dim(name.padEnd(14))} ${value}`).join("\n")
    })
  }).pipe(Connection.provide)

const apply1 = AppliedSpec.applier({
  kind: "pool",
  schema: PoolSpec,
  subject: Subject.rpc.pools("apply"),
  answer: ViewAnswer
})

export const apply = (input: {
  readonly file: Option.Option<string>
  readonly name: Option.Option<string>
  readonly provider: Option.Option<string>
  readonly size: Option.Option<number>
}) =>
  Effect.gen(function*() {
    const output = yield* Output
    const applied: Array<Shown> = []
    if (Option.isSome(input.name)) yield* AppliedSpec.checkNoFile("pools", input.name.value)
    if (Option.isSome(input.file)) {
      if (Option.isSome(input.name)) {
        return yield* Globals.usage("A file and a name do not go together.", "leave one of them out.")
      }
      for (const value of yield* AppliedSpec.valuesOf(input.file.value)) {
        applied.push(yield* apply1(value, input.file.value))
      }
    } else if (Option.isSome(input.name)) {
      if (Option.isNone(input.size)) {
        return yield* Globals.usage("--size is missing.", "say how many sandboxes: --size 4.")
      }
      const pool = yield* Globals.poolOf(input.name.value)
      const provider = Option.getOrElse(input.provider, () => "local")
      applied.push(yield* apply1({ ...pool, provider, size: input.size.value }, "The pool"))
    } else return yield* Globals.usage("What is to be applied?", "give -f FILE, or NAME --size N.")
    return yield* output.page({ items: applied }, columns, "Nothing to apply.")
  }).pipe(Connection.provide)

/** One change through `heddle.rpc.pool.scale`: nothing else of the pool is touched. */
const change = Effect.fnUntraced(function*(pool: PoolRef, fields: object) {
  return yield* Connection.call(Subject.rpc.pools("scale"), ViewAnswer, { ...pool, ...fields })
})

export const scale = (input: {
  readonly pool: string
  readonly size: Option.Option<number>
  readonly min: Option.Option<number>
  readonly max: Option.Option<number>
  readonly minIdle: Option.Option<number>
}) =>
  Effect.gen(function*() {
    const output = yield* Output
    const fields: Record<string, number> = {}
    for (
      const [name, value] of Object.entries({
        size: input.size,
        min: input.min,
        max: input.max,
        minIdle: input.minIdle
      })
    ) {
      if (Option.isNone(value)) continue
      if (value.value < 0) return yield* Globals.usage(`${name} ${value.value} is not possible.`)
      fields[name] = value.value
    }
    if (Object.keys(fields).length === 0) {
      return yield* Globals.usage(
        "To what?",
        `give a size: heddle pools scale ${input.pool} 8; or --min, --max, --min-idle.`
      )
    }
    const pool = yield* Globals.poolOf(input.pool)
    const before = yield* find(pool)
    const changed = yield* change(pool, fields)
    return yield* output.value(changed, () =>
      changed.spec.autoscale === undefined
        ? `${poolKey(pool)} keeps ${changed.size} sandboxes, before it kept ${before.size}`
        : `${poolKey(pool)} follows its demand: ${
          Object.entries(fields).map(([name, value]) => `${name} ${value}`).join(", ")
        }`)
  }).pipe(Connection.provide)

export const drain = (input: { readonly pool: string; readonly undo: boolean; readonly wait: boolean }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const pool = yield* Globals.poolOf(input.pool)
    const changed = yield* change(pool, { drain: !input.undo })
    if (input.wait && !input.undo) {
      yield* Connection.call(Subject.rpc.pool(pool, "snapshot"), Schema.toEncoded(Snapshot), {}).pipe(
        Effect.repeat({ schedule: Schedule.spaced("500 millis"), until: (now) => now.claimed === 0 && now.total === 0 })
      )
    }
    return yield* output.value(changed, () =>
      input.undo
        ? `${poolKey(pool)} gives sandboxes out again`
        : input.wait
        ? `${poolKey(pool)} is empty`
        : `${poolKey(pool)} gives nothing out any more; its sandboxes go as their claims end`)
  }).pipe(Connection.provide)

export const remove = (input: { readonly pool: string; readonly yes: boolean }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const pool = yield* Globals.poolOf(input.pool)
    const found = yield* find(pool)
    const claimed = found.snapshot?.claimed ?? 0
    if (claimed > 0 && !input.yes) {
      return yield* new CliFailure({
        exit: 4,
        message: `${poolKey(pool)} has ${claimed} claimed sandboxes, which would go with it.`,
        fix: `\`heddle pools drain ${input.pool} --wait\` lets the claims end first; --yes does not.`
      })
    }
    const deleted = yield* Connection.remove(Subject.rpc.pools("delete"), Schema.toEncoded(Deleted), pool, {
      name: pool.name,
      deleted: true
    })
    return yield* output.value(deleted, () => `${poolKey(pool)} is deleted`)
  }).pipe(Connection.provide)

/** Why a claim to the pool would wait, in sentences: the first is the reason, the others what holds besides. */
export const reasons = (pool: Shown): ReadonlyArray<{ readonly reason: string; readonly fix: string }> => {
  const { owner, snapshot, spec } = pool
  const key = `${pool.namespace}/${pool.name}`
  const found: Array<{ readonly reason: string; readonly fix: string }> = []
  const say = (reason: string, fix: string): void => void found.push({ reason, fix })
  if (spec.drain === true) say("It is being drained and gives nothing out.", `\`heddle pools drain ${key} --undo\``)
  if (owner === null) {
    say("No pool-scheduler has it.", "start one: `heddle serve pool-scheduler`; `heddle members` lists them")
  }
  if (snapshot === undefined) {
    if (owner !== null) say(`Its owner ${owner} does not answer.`, "`heddle doctor` shows what is missing")
    return found
  }
  const { claimed, creating = 0, idleReady, inflightCas, queueLen, quotaBlocked = 0, target = pool.size, total } =
    snapshot
  if (quotaBlocked > 0) {
    say(
      `${quotaBlocked} of ${queueLen} waiting claims wait for their team's quota, not for a sandbox.`,
      "release some of that team's claims, or raise `quotas`"
    )
  }
  if (idleReady > 0) {
    if (queueLen > quotaBlocked) {
      say(
        `${idleReady} are idle and ${
          queueLen - quotaBlocked
        } claims wait: for labels that no idle sandbox has, or for a batch's worth to be idle.`,
        "compare the selector with `heddle pools describe`; wait, or claim fewer at once"
      )
    }
    return found
  }
  if (queueLen === 0 && claimed === 0 && total === 0 && target === 0) {
    say(
      "It is empty and has no demand; the first claim waits for a sandbox to start.",
      "keep some: `heddle pools scale " + key + " --min-idle 1`"
    )
    return found
  }
  if (claimed >= target && target > 0) {
    const most = spec.autoscale === undefined ? spec.size : spec.max
    say(
      `All ${total} sandboxes are in use (${claimed} claimed).`,
      most !== undefined && target >= most
        ? `it is at its largest: \`heddle pools scale ${key} ${
          spec.autoscale === undefined ? most * 2 : `--max ${most * 2}`
        }\`, or release some`
        : "it is growing"
    )
  }
  if (total < target) {
    say(
      `${target - total} sandboxes are missing, ${creating} are being made.`,
      creating === 0 ? "the provider makes none: see the pool-scheduler's log" : "wait for them"
    )
  } else if (claimed < total && inflightCas === 0) {
    say(`${total - claimed} are starting, being reset or protected.`, "wait; `heddle pools top` shows them come back")
  }
  return found
}

export const why = (input: { readonly pool: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const pool = yield* find(yield* Globals.poolOf(input.pool))
    const found = reasons(pool)
    const key = `${pool.namespace}/${pool.name}`
    return yield* output.value({ pool: key, reasons: found }, () =>
      found.length === 0
        ? `A claim to ${key} is served at once: ${pool.snapshot?.idleReady ?? 0} sandboxes are idle, nobody waits.`
        : found.map(({ fix, reason }) => `${reason}\n  ${output.style.dim(fix)}`).join("\n"))
  }).pipe(Connection.provide)

export const top = (input: {
  readonly pool: Option.Option<string>
  readonly interval: Option.Option<string>
  readonly count: Option.Option<number>
}) =>
  Effect.gen(function*() {
    const output = yield* Output
    const intervalMs = Option.isSome(input.interval)
      ? yield* Globals.durationMs("--interval", input.interval.value, 100)
      : 1_000
    const { isLive } = output
    const looks = Option.getOrElse(input.count, () => isLive ? Infinity : 1)
    const only = Option.isSome(input.pool) ? yield* Globals.poolOf(input.pool.value) : undefined
    for (let look = 1; look <= looks; look++) {
      const pools = only === undefined ? yield* list : [yield* find(only)]
      const items: Array<Shown> = []
      for (const pool of pools) {
        // The list's counters may be those of a moment ago; the pool's own are of now.
        const now = yield* Connection.call(
          Subject.rpc.pool(
            { namespace: pool.namespace as PoolView["namespace"], name: pool.name as PoolView["name"] },
            "snapshot"
          ), // encoded, so without brand
          Schema.toEncoded(Snapshot),
          {}
        ).pipe(Effect.option)
        items.push(Option.isSome(now) ? { ...pool, snapshot: now.value } : pool)
      }
      if (isLive) yield* output.line("\u001b[H\u001b[2J")
      yield* output.page({ items }, columns, none)
      if (look < looks) yield* Effect.sleep(intervalMs)
    }
    return undefined
  }).pipe(Connection.provide)
