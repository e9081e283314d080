/**
 * What every placement policy promises (shared/plugin/PlacementPolicy.ts), and what the documentation of one claims of its order, as checks for its author's tests.
 *
 * The promises are held against a simple model over random sequences of `offer`, `next`, `putBack` and `remove`; a failing sequence is shrunk before it is told. Cost is
 * counted, not timed: how often the policy reads what it was offered, and how many elements built-in methods and iterators of arrays, maps and sets go over. A loop of
 * one's own over an array that compares nothing but identity is not seen.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InstanceId, type Priority, Shard, TaskInstanceId } from "../../protocol/Token.ts"
import type { Offered, Placement, PlacementPolicy } from "../PlacementPolicy.ts"
import { expect, plain, type Promised } from "./Suite.ts"

/**
 * Who keeps coming while one entry waits, with everything else the same: a task of another job; one of another job of another team; one whose task priority, or whose
 * workflow priority, is higher by one; one of another team with the highest workflow priority (the waiting one has 5).
 */
export type Rival = "job" | "team" | "taskPriority" | "priority" | "teamWithPriority"

export interface Subject {
  readonly policy: PlacementPolicy
  /**
   * What its documentation claims: `rivalsWaiting` rivals wait already; then one more comes each time that one goes. After how many turns the waiting entry has gone at
   * the latest; `never`: it does not go while rivals come.
   */
  readonly goesWithin: Readonly<Record<Rival, number | "never">>
  /** `honoured`: of two teams that always have tasks waiting, one of weight 3 goes three times as often as one of weight 1. */
  readonly weights: "honoured" | "ignored"
  /** Sequences tried against the model; 300 when not given. */
  readonly runs?: number
}

/** Rivals that wait before the entry comes (`Subject.goesWithin`). */
export const rivalsWaiting = 64

/** An entry that counts how often its fields are read. */
class Counted implements Offered {
  readonly #fields: Omit<Offered, "place">
  readonly #meter: { reads: number }
  #place = 0

  constructor(fields: Omit<Offered, "place">, meter: { reads: number }) {
    this.#fields = fields
    this.#meter = meter
  }

  #read(): Omit<Offered, "place"> {
    this.#meter.reads++
    return this.#fields
  }
  get lane() {
    return this.#read().lane
  }
  get shard() {
    return this.#read().shard
  }
  get instance() {
    return this.#read().instance
  }
  get taskInstanceId() {
    return this.#read().taskInstanceId
  }
  get priority() {
    return this.#read().priority
  }
  get taskPriority() {
    return this.#read().taskPriority
  }
  get team() {
    return this.#read().team
  }
  get place() {
    this.#meter.reads++
    return this.#place
  }
  set place(value: number) {
    this.#place = value
  }
}

interface Kind {
  readonly instance?: string
  readonly priority?: Priority
  readonly taskPriority?: Priority
  readonly team?: string
}
const fieldsOf = (number: number, { instance = "waiting", priority = 5, taskPriority = 5, team = "a" }: Kind) => ({
  lane: "ready" as const,
  shard: Shard.make(0),
  instance: InstanceId.make(instance),
  taskInstanceId: TaskInstanceId.make(`task:1:${number}`),
  priority,
  taskPriority,
  team
})
const entryOf = (number: number, kind: Kind): Offered => ({ ...fieldsOf(number, kind), place: 0 })

const make = (policy: PlacementPolicy): Placement<Offered> => policy.make<Offered>({ weights: new Map([["b", 2]]) })

// ---------------------------------------------------------------- against the model

const Index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 }))
const Step = Schema.Union([
  Schema.TaggedStruct("Offer", {
    job: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })),
    taskPriority: Schema.Literals([5, 9, 0]),
    count: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 }))
  }),
  Schema.TaggedStruct("Next", {}),
  /** One of those that are picked. */
  Schema.TaggedStruct("PutBack", { at: Index }),
  Schema.TaggedStruct("Remove", { at: Index }),
  /** One that was never offered, and one that is picked. */
  Schema.TaggedStruct("RemoveUnknown", { at: Index }),
  /** Some are picked and all come back, in any order: the same are picked again, in the same order. */
  Schema.TaggedStruct("Reconsider", {
    count: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 8 })),
    at: Index
  })
])
type Step = typeof Step.Type
const Steps = Schema.Array(Step).check(Schema.isMaxLength(60))

/** Long sequences come early, so that few runs find much. */
const sizeMax = 120
const priorities = [5, 5, 9, 0] as const
const nameOf = (entry: Offered | undefined) =>
  entry === undefined ? "nothing" : `${entry.instance}/${entry.taskInstanceId}`

/** The same numbers in another order, as `seed` says. */
const shuffled = <A>(items: ReadonlyArray<A>, seed: number): ReadonlyArray<A> =>
  items.map((item, index) => ({ item, at: ((index + 1) * (seed * 2 + 7919)) % 104_729 })).sort((a, b) => a.at - b.at)
    .map(({ item }) => item)

/** What the policy did otherwise than the model. */
const differences = (policy: PlacementPolicy, steps: ReadonlyArray<Step>): string | undefined => {
  const placement = make(policy)
  const waiting = new Set<Offered>()
  const picked: Array<Offered> = []
  let number = 0
  const pick = (): Offered | string => {
    const next = placement.next()
    if (next === undefined) return `next() has nothing while ${waiting.size} wait`
    if (!waiting.delete(next)) return `next() gave ${nameOf(next)}, which does not wait`
    return next
  }
  const back = (entry: Offered): void => {
    waiting.add(entry)
    placement.putBack(entry)
  }
  for (const step of steps) {
    switch (step._tag) {
      case "Offer": {
        const team = ["a", "b", "c"][step.job % 3] ?? "a"
        const priority = priorities[step.job % 4] ?? 5
        for (let left = step.count; left > 0; left--) {
          const entry = entryOf(number++, {
            instance: `job${step.job}`,
            priority,
            taskPriority: step.taskPriority,
            team
          })
          waiting.add(entry)
          placement.offer(entry)
        }
        break
      }
      case "Next": {
        if (waiting.size === 0) {
          const next = placement.next()
          if (next !== undefined) return `next() gave ${nameOf(next)} although nothing waits`
          break
        }
        const next = pick()
        if (typeof next === "string") return next
        picked.push(next)
        break
      }
      case "PutBack": {
        const [entry] = picked.splice(step.at % Math.max(picked.length, 1), 1)
        if (entry !== undefined) back(entry)
        break
      }
      case "Remove": {
        const entry = [...waiting][step.at % Math.max(waiting.size, 1)]
        if (entry === undefined) break
        waiting.delete(entry)
        placement.remove(entry)
        break
      }
      case "RemoveUnknown": {
        placement.remove(entryOf(number++, { instance: `job${step.at % 6}` }))
        const entry = picked[step.at % Math.max(picked.length, 1)]
        if (entry !== undefined) placement.remove(entry)
        break
      }
      case "Reconsider": {
        const order: Array<Offered> = []
        for (let left = Math.min(step.count, waiting.size); left > 0; left--) {
          const next = pick()
          if (typeof next === "string") return next
          order.push(next)
        }
        for (const entry of shuffled(order, step.at)) back(entry)
        for (const entry of order) {
          const next = pick()
          if (typeof next === "string") return next
          if (next !== entry) {
            return `picked ${order.map(nameOf).join(", ")} and put all back; then next() gave ${
              nameOf(next)
            } in the place of ${nameOf(entry)}`
          }
        }
        picked.push(...order)
        break
      }
    }
    if (placement.size !== waiting.size) {
      return `after ${step._tag} ${waiting.size} wait and size is ${placement.size}`
    }
  }
  while (waiting.size > 0) {
    const next = pick()
    if (typeof next === "string") return `at the end ${next}`
  }
  const left = placement.next()
  if (left !== undefined) return `at the end next() gave ${nameOf(left)} although nothing waits`
  return placement.size === 0 ? undefined : `at the end nothing waits and size is ${placement.size}`
}

const model = ({ policy, runs = 300 }: Subject): Promised => ({
  promise:
    "every entry that is offered is picked once, withdrawn, or counted by `size`; `putBack` restores the place; unknown removals are ignored",
  check: async () => {
    const result = await Effect.runPromise(
      Arbitrary.checkEffect(Arbitrary.schema(Steps), (steps) =>
        Effect.suspend(() => {
          const difference = differences(policy, steps)
          return difference === undefined ? Effect.succeed(true) : Effect.fail(difference)
        }), { runs, size: sizeMax, maxShrinks: 2_000 })
    )
    expect(result._tag === "Passed", () => Arbitrary.formatCheckFailure(result) ?? result._tag)
  }
})

/** A long queue that is picked from and given back to all the time: nothing is lost, nobody like it goes first. */
const returned = ({ policy }: Subject): Promised =>
  plain("what comes back goes before everything like it that was offered after it", () => {
    const placement = make(policy)
    const first = Array.from({ length: 6 }, (_, number) => entryOf(number, {}))
    for (const entry of first) placement.offer(entry)
    const picked = [placement.next(), placement.next(), placement.next()].flatMap((entry) => entry ?? [])
    const later = Array.from({ length: 3 }, (_, number) => entryOf(6 + number, {}))
    for (const entry of later) placement.offer(entry)
    for (const at of [1, 0, 2]) {
      const entry = picked[at]
      if (entry !== undefined) placement.putBack(entry)
    }
    const order: Array<Offered> = []
    for (let next = placement.next(); next !== undefined && order.length < 20; next = placement.next()) order.push(next)
    const behind = order.slice(0, 3).find((entry) => !picked.includes(entry))
    expect(order.length === 9, () => `9 tasks of one job waited and ${order.length} were picked`)
    expect(
      behind === undefined,
      () =>
        `${picked.map(nameOf).join(", ")} came back; then ${nameOf(behind)} went first, of ${
          order.map(nameOf).join(", ")
        }`
    )
  })

// ---------------------------------------------------------------- what its documentation claims

const rivals: Readonly<Record<Rival, { readonly kind: Kind; readonly words: string }>> = {
  job: { kind: { instance: "rival" }, words: "another job of the same team" },
  team: { kind: { instance: "rival", team: "b" }, words: "another team" },
  taskPriority: {
    kind: { instance: "rival", taskPriority: 6 },
    words: "tasks of a task priority that is higher by one"
  },
  priority: { kind: { instance: "rival", priority: 6 }, words: "a job of a priority that is higher by one" },
  teamWithPriority: {
    kind: { instance: "rival", team: "b", priority: 9 },
    words: "another team with the highest priority"
  }
}
const neverTurns = 1_000

const waits = ({ goesWithin, policy }: Subject): ReadonlyArray<Promised> =>
  (Object.keys(rivals) as ReadonlyArray<Rival>).map((rival) => {
    const { kind, words } = rivals[rival]
    const claim = goesWithin[rival]
    return plain(
      claim === "never"
        ? `${words} goes first for as long as it has tasks`
        : `${words} does not hold an entry up for more than ${claim} turns`,
      () => {
        const placement = policy.make<Offered>({ weights: new Map() })
        let number = 0
        for (; number < rivalsWaiting; number++) placement.offer(entryOf(number, kind))
        const entry = entryOf(number++, {})
        placement.offer(entry)
        const turns = claim === "never" ? neverTurns : claim
        let wentAt = 0
        for (let turn = 1; turn <= turns && wentAt === 0; turn++) {
          if (placement.next() === entry) wentAt = turn
          placement.offer(entryOf(number++, kind))
        }
        expect(
          claim === "never" ? wentAt === 0 : wentAt > 0,
          () => claim === "never" ? `it went at turn ${wentAt}` : `after ${turns} turns it still waits`
        )
      }
    )
  })

const shares = ({ policy }: Subject): Promised =>
  plain("teams go as often as their weights say", () => {
    const placement = policy.make<Offered>({ weights: new Map([["a", 3]]) })
    let number = 0
    const offer = (team: string) => placement.offer(entryOf(number++, { team, instance: `${team}-${number % 5}` }))
    for (let i = 0; i < 20; i++) for (const team of ["a", "b"]) offer(team)
    let ofA = 0
    for (let turn = 0; turn < 400; turn++) {
      const team = placement.next()?.team ?? "none"
      if (team === "a") ofA++
      offer(team)
    }
    expect(Math.abs(ofA - 300) <= 4, () =>
      `of 400 turns the team of weight 3 had ${ofA}, the one of weight 1 ${400 - ofA}`)
  })

// ---------------------------------------------------------------- cost

/** Methods of arrays that go over all or many elements. */
const passes =
  ("concat every filter find findIndex findLast findLastIndex forEach includes indexOf lastIndexOf map reduce reverse slice some sort splice " +
    "toReversed toSorted toSpliced unshift").split(" ")
/** Iterators: counted element by element, since a loop may end early. */
const walks: ReadonlyArray<readonly [prototype: object, key: PropertyKey]> = [
  ...["entries", "values", Symbol.iterator].map((key) => [Array.prototype, key] as const),
  ...["entries", "keys", "values", Symbol.iterator].map((key) => [Map.prototype, key] as const),
  ...["entries", "keys", "values", Symbol.iterator].map((key) => [Set.prototype, key] as const)
]

/** Runs `body` while elements that built-ins go over are counted; synchronous, so nothing else runs meanwhile. */
const counting = (meter: { reads: number }, body: () => void): void => {
  const undo: Array<() => void> = []
  const replace = (prototype: object, key: PropertyKey, wrap: (original: Function) => Function): void => {
    const descriptor = Object.getOwnPropertyDescriptor(prototype, key)
    if (typeof descriptor?.value !== "function") return
    undo.push(() => void Object.defineProperty(prototype, key, descriptor))
    Object.defineProperty(prototype, key, { ...descriptor, value: wrap(descriptor.value) })
  }
  try {
    for (const key of passes) {
      replace(
        Array.prototype,
        key,
        (original) =>
          function(this: ReadonlyArray<unknown>, ...rest: ReadonlyArray<unknown>) {
            meter.reads += this.length
            return Reflect.apply(original, this, rest)
          }
      )
    }
    for (const [prototype, key] of walks) {
      replace(prototype, key, (original) =>
        function(this: object) {
          const iterator: Iterator<unknown> = Reflect.apply(original, this, [])
          const next = iterator.next
          iterator.next = () => {
            meter.reads++
            return Reflect.apply(next, iterator, [])
          }
          return iterator
        })
    }
    for (const [prototype, all] of [[Map.prototype, "forEach"], [Set.prototype, "forEach"]] as const) {
      replace(
        prototype,
        all,
        (original) =>
          function(this: ReadonlyMap<unknown, unknown>, ...rest: ReadonlyArray<unknown>) {
            meter.reads += this.size
            return Reflect.apply(original, this, rest)
          }
      )
    }
    body()
  } finally {
    for (const restore of undo) restore()
  }
}

const shapes = {
  "one job": () => ({}),
  "a job for each": (number) => ({ instance: `job${number}` }),
  "a team for each": (number) => ({ instance: `job${number}`, team: `team${number}` }),
  "every priority": (number) => ({
    instance: `job${number % 50}`,
    priority: number % 10,
    taskPriority: Math.floor(number / 10) % 10
  })
} as const satisfies Readonly<Record<string, (number: number) => Kind>>

/** Of `count` entries, each offered, some put back, some withdrawn, the others picked: what it all costs. */
const costOf = (policy: PlacementPolicy, kindOf: (number: number) => Kind, count: number): number => {
  const meter = { reads: 0 }
  const placement = make(policy)
  const entries = Array.from({ length: count }, (_, number) => new Counted(fieldsOf(number, kindOf(number)), meter))
  const withdrawn = entries.filter((_, number) => number % 4 === 3).reverse()
  const half = Math.floor(withdrawn.length / 2)
  // from the end, from the middle
  const order = [...withdrawn.slice(0, half), ...withdrawn.slice(half).reverse()]
  counting(meter, () => {
    for (const entry of entries) placement.offer(entry)
    for (let number = 0; number < count / 4; number++) {
      const entry = placement.next()
      if (entry !== undefined && number % 2 === 0) placement.putBack(entry)
    }
    for (let number = 0; number < order.length; number++) placement.remove(order[number] as Counted) // within it
    while (placement.next() !== undefined);
  })
  return meter.reads
}

/** Eight times as many entries: up to three times eight is n log n and change; n * n would be 64. */
const few = 256
const many = few * 8
const growthMax = 24

const costs = ({ policy }: Subject): ReadonlyArray<Promised> =>
  Object.entries(shapes).map(([shape, kindOf]) =>
    plain(`no operation goes over all entries that wait (${shape})`, () => {
      const [less, more] = [costOf(policy, kindOf, few), costOf(policy, kindOf, many)]
      expect(
        more <= Math.max(less, few) * growthMax,
        () => `${few} entries cost ${less} looks, ${many} cost ${more}: ${(more / less).toFixed(1)} times as many`
      )
    })
  )

/** Everything, for `Suite.run`. */
export const promises = (subject: Subject): ReadonlyArray<Promised> => [
  model(subject),
  returned(subject),
  ...waits(subject),
  ...(subject.weights === "honoured" ? [shares(subject)] : []),
  ...costs(subject)
]
