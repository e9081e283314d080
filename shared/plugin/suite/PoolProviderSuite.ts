/**
 * What every pool provider promises its pool's scheduler (shared/plugin/PoolProvider.ts), as checks for its author's tests: claims are compare-and-set, an answer that was lost is
 * settled by reading back, a release is the holder's alone, and deltas tell everything in the order of versions.
 *
 * Each promise opens a pool of its own and has sandboxes made in it. Two things are watched in all of them: every write is answered exactly once, and the deltas give, in the
 * end, what `list` gives. What a claimed sandbox does for its holder (`connect`) is not checked here.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { ClaimId, Namespace, PoolName, type SandboxUid, SandboxUid as Uid, SessionId } from "../../protocol/Token.ts"
import type {
  ClaimMark,
  ClaimOutcome,
  ClaimWrite,
  CreateOutcome,
  DeleteOutcome,
  PauseOutcome,
  PoolProvider,
  ProviderPool,
  ReadBackOutcome,
  ReleaseOutcome,
  SandboxDelta,
  SandboxState,
  Version
} from "../PoolProvider.ts"
import { Broken, effect, expect, isSame, plain, type Promised, show, within } from "./Suite.ts"

export interface Subject {
  readonly provider: PoolProvider
  /** Of a pool; made anew for each. `{}` when not given. */
  readonly config?: Effect.Effect<unknown, never, Scope.Scope>
  readonly wrongConfigs?: ReadonlyArray<unknown>
  /** Writes of an older session are refused with `Fenced`; `false` where only the version keeps them out. */
  readonly fences: boolean
}

/** The owner's, and one before it. */
const session = SessionId.make(7)
const sessionBefore = SessionId.make(3)
const labels = { suite: "pool-provider" }
let pools = 0

const markOf = (claimId: string, more: Partial<ClaimMark> = {}): ClaimMark => ({
  claimId: ClaimId.make(claimId),
  holder: "suite",
  sessionId: session,
  ttlMs: 60_000,
  ...more
})

/** A pool in use: its deltas as they came, its writes as effects. */
class World {
  readonly pool: ProviderPool
  readonly states = new Map<SandboxUid, SandboxState>()
  readonly #versions = new Map<SandboxUid, Version>()
  readonly #broken: Array<string> = []
  readonly #waiters = new Set<() => void>()

  constructor(pool: ProviderPool) {
    this.pool = pool
  }

  readonly observe = (delta: SandboxDelta): void => {
    if (delta._tag === "Upsert") {
      const { phase, sandbox, version } = delta.state
      const before = this.#versions.get(sandbox.uid)
      if (before !== undefined && version < before) {
        this.#broken.push(`${sandbox.uid} was told as ${phase} of version ${version} after version ${before}`)
      }
      this.#versions.set(sandbox.uid, version)
      this.states.set(sandbox.uid, delta.state)
    }
    if (delta._tag === "Removed") this.states.delete(delta.uid)
    for (const look of this.#waiters) look()
  }

  /** Waits until deltas make it true. */
  until<A>(what: string, find: () => A | undefined | false): Effect.Effect<A> {
    return within(
      what,
      Effect.callback<A>((resume) => {
        const look = (): void => {
          const found = find()
          if (found === undefined || found === false) return
          this.#waiters.delete(look)
          resume(Effect.succeed(found))
        }
        this.#waiters.add(look)
        look()
        return Effect.sync(() => this.#waiters.delete(look))
      })
    )
  }

  /** The state of one, once it is so. */
  readonly reaches = (uid: SandboxUid, phase: SandboxState["phase"], after: Version = 0): Effect.Effect<SandboxState> =>
    this.until(`${uid} is ${phase}`, () => {
      const state = this.states.get(uid)
      return state?.phase === phase && state.version > after && state
    })

  readonly removed = (uid: SandboxUid): Effect.Effect<true> =>
    this.until(`${uid} is removed`, () => !this.states.has(uid))

  /** Made and Idle. */
  readonly idle = (name = "a"): Effect.Effect<SandboxState> =>
    Effect.gen({ self: this }, function*() {
      const created = yield* this.create(name)
      expect(created._tag === "Done", () => `creating ${name}: ${show(created)}`)
      return yield* this.until(
        `${name} is Idle`,
        () => [...this.states.values()].find(({ phase, sandbox }) => sandbox.name === name && phase === "Idle")
      )
    })

  /** Idle, then claimed. */
  readonly held = (claimId: string, more: Partial<ClaimWrite> = {}) =>
    Effect.gen({ self: this }, function*() {
      const before = yield* this.idle()
      const claimed = yield* this.claim(before, claimId, more)
      expect(claimed._tag === "Success", () => `a claim of an Idle sandbox: ${show(claimed)}`)
      const running = yield* this.reaches(before.sandbox.uid, "Running")
      return { before, version: claimed.version, running, uid: before.sandbox.uid }
    })

  #answered<A>(what: string, write: (done: (outcome: A) => void) => void): Effect.Effect<A> {
    return within(
      `an answer to ${what}`,
      Effect.callback<A>((resume) => {
        let answers = 0
        write((outcome) => {
          if (++answers > 1) this.#broken.push(`${what} is answered ${answers} times`)
          resume(Effect.succeed(outcome))
        })
      })
    )
  }

  readonly create = (name: string, by: SessionId = session) =>
    this.#answered<CreateOutcome>(`create ${name}`, (done) => this.pool.create({ name, sessionId: by }, done))
  readonly claim = (
    { sandbox: { uid }, version }: Pick<SandboxState, "sandbox" | "version">,
    claimId: string,
    more: Partial<ClaimWrite> = {}
  ) =>
    this.#answered<ClaimOutcome>(
      `claim ${claimId}`,
      (done) => this.pool.claim({ uid, version, mark: markOf(claimId), ...more }, done)
    )
  readonly readBack = (uid: SandboxUid, claimId: string) =>
    this.#answered<ReadBackOutcome>(
      `read back ${claimId}`,
      (done) => this.pool.readBack(uid, ClaimId.make(claimId), done)
    )
  readonly release = (uid: SandboxUid, claimId: string, mode: "recycle" | "delete" = "recycle") =>
    this.#answered<ReleaseOutcome>(
      `release ${claimId}`,
      (done) => this.pool.release({ uid, claimId: ClaimId.make(claimId), sessionId: session, mode }, done)
    )
  readonly delete = (uid: SandboxUid, version?: Version) =>
    this.#answered<DeleteOutcome>(
      `delete ${uid}`,
      (done) => this.pool.delete({ uid, sessionId: session, ...(version === undefined ? {} : { version }) }, done)
    )
  readonly hold = (which: "pause" | "resume", uid: SandboxUid, claimId: string) =>
    this.#answered<PauseOutcome>(which, (done) => {
      const { [which]: write } = this.pool
      if (write === undefined) throw new Broken(`it can pause, and has no ${which}`)
      write.call(this.pool, { uid, claimId: ClaimId.make(claimId), sessionId: session }, done)
    })

  readonly list = Effect.suspend(() => within("a list", this.pool.list))

  /** Still as it was, by `list`. */
  readonly stays = (state: SandboxState, why: string) =>
    Effect.map(this.list, (states) => {
      const now = states.find(({ sandbox }) => sandbox.uid === state.sandbox.uid)
      expect(
        now?.phase === state.phase && now.claim?.claimId === state.claim?.claimId,
        () => `${why} has changed it: ${show(state)} is now ${show(now)}`
      )
    })

  /** Nothing was told wrongly, and what was told is what is. */
  readonly settled = Effect.gen({ self: this }, function*() {
    const pictureOf = (states: Iterable<SandboxState>) =>
      Object.fromEntries(
        Array.from(states, ({ claim, phase, sandbox, version }) => [sandbox.uid, [phase, version, claim?.claimId]])
      )
    const listed = yield* this.list
    yield* this.until(
      `deltas tell what list does: ${show(pictureOf(listed))}; told is ${show(pictureOf(this.states.values()))}`,
      () => isSame(pictureOf(listed), pictureOf(this.states.values()))
    )
    expect(this.#broken.length === 0, () => this.#broken.join("; "))
  })
}

/** Everything, for `Suite.run`. */
export const promises = (
  { config = Effect.succeed({}), fences, provider, wrongConfigs = [] }: Subject
): ReadonlyArray<Promised> => {
  const open = Effect.gen(function*() {
    const pool = yield* provider.open({
      pool: { namespace: Namespace.make("default"), name: PoolName.make(`suite-${++pools}`) },
      sessionId: session,
      size: 1,
      labels,
      startedAt: 0
    }, yield* config)
    const world = new World(pool)
    yield* pool.watch(world.observe)
    const listed = yield* within("a list", pool.list)
    expect(listed.length === 0, () => `a new pool has ${show(listed)}`)
    return world
  })
  const promise = (words: string, check: (world: World) => Effect.Effect<void, unknown, Scope.Scope>): Promised =>
    effect(words, Effect.flatMap(open, (world) => Effect.andThen(check(world), world.settled)))

  return [
    ...(wrongConfigs.length === 0 ? [] : [
      plain("a wrong config is told when the pool is applied", () => {
        for (const wrong of wrongConfigs) {
          const problems = provider.validate(wrong)
          expect(problems.length > 0, () => `${show(wrong)} is accepted`)
          expect(problems.every(({ message, path }) => message !== "" && path !== ""), () => show(problems))
        }
      })
    ]),
    promise(
      "a sandbox is made once for its name, with the pool's labels, and becomes Idle",
      (world) =>
        Effect.gen(function*() {
          const { claim, sandbox } = yield* world.idle("a")
          expect(sandbox.provider === provider.name, () => `its provider is ${sandbox.provider}`)
          expect(sandbox.labels["suite"] === labels.suite, () => `its labels are ${show(sandbox.labels)}`)
          expect(claim === undefined, () => `it is claimed: ${show(claim)}`)
          const again = yield* world.create("a")
          expect(again._tag === "Done", () => `the same name again: ${show(again)}`)
          yield* world.idle("b")
          const listed = yield* world.list
          expect(listed.length === 2, () => `two names, and ${listed.length} sandboxes`)
        })
    ),
    promise(
      "a claim takes an Idle sandbox: its version grows, and who holds it stands on it",
      (world) =>
        Effect.gen(function*() {
          const mark = markOf("c-0", { team: "blue", user: "ann", batch: ClaimId.make("c") })
          const { before, running, uid, version } = yield* world.held("c-0", { mark })
          expect(version > before.version, () => `version ${version} after ${before.version}`)
          expect(isSame(running.claim, mark), () => `${show(mark)} stands there as ${show(running.claim)}`)
          const back = yield* world.readBack(uid, "c-0")
          expect(back._tag === "Ours" && back.version >= version, () => `read back: ${show(back)}`)
        })
    ),
    promise("of two claims of one version one has it", (world) =>
      Effect.gen(function*() {
        const idle = yield* world.idle()
        const outcomes = yield* Effect.all([world.claim(idle, "one"), world.claim(idle, "two")], {
          concurrency: "unbounded"
        })
        const won = outcomes.filter(({ _tag }) => _tag === "Success").length
        expect(won === 1, () => `${won} of two have it: ${show(outcomes)}`)
        const winner = outcomes[0]._tag === "Success" ? "one" : "two"
        const running = yield* world.reaches(idle.sandbox.uid, "Running")
        expect(running.claim?.claimId === winner, () => `${winner} was told to have it, ${running.claim?.claimId} has`)
      })),
    promise(
      "what is claimed is not claimed again, with an old version or its newest",
      (world) =>
        Effect.gen(function*() {
          const { before, running } = yield* world.held("first")
          for (const state of [before, running]) {
            const { _tag } = yield* world.claim(state, "second")
            expect(_tag === "Conflict" || _tag === "WrongPhase", () => `version ${state.version}: ${_tag}`)
          }
          yield* world.stays(running, "a refused claim")
        })
    ),
    promise("a lost answer is settled by reading back: NotOurs is final", (world) =>
      Effect.gen(function*() {
        const idle = yield* world.idle()
        const { uid } = idle.sandbox
        // both are on their way at once, as after a deadline
        const [claimed, back] = yield* Effect.all([world.claim(idle, "lost"), world.readBack(uid, "lost")], {
          concurrency: "unbounded"
        })
        const isOurs = back._tag === "Ours"
        expect(isOurs || back._tag === "NotOurs", () => `read back: ${show(back)}`)
        expect(
          (claimed._tag === "Success") === isOurs,
          () => `the claim is answered ${show(claimed)}, and was read back as ${show(back)}`
        )
        const listed = (yield* world.list).find(({ sandbox }) => sandbox.uid === uid)
        expect((listed?.claim?.claimId === "lost") === isOurs, () => `${show(back)}, and it is ${show(listed)}`)
        const other = yield* world.readBack(uid, "never-asked")
        expect(
          other._tag === "NotOurs" && other.state.sandbox.uid === uid,
          () => `a claim that never was: ${show(other)}`
        )
      })),
    promise("a release is the holder's alone, and leaves it Idle for the next", (world) =>
      Effect.gen(function*() {
        const { running, uid } = yield* world.held("first")
        const foreign = yield* world.release(uid, "other")
        expect(foreign._tag === "NotOurs", () => `another's release: ${show(foreign)}`)
        yield* world.stays(running, "another's release")
        const released = yield* world.release(uid, "first")
        expect(released._tag === "Done", () => `the holder's release: ${show(released)}`)
        const free = yield* world.reaches(uid, "Idle", running.version)
        expect(free.claim === undefined, () => `it is Idle, and claimed: ${show(free.claim)}`)
        const repeated = yield* world.release(uid, "first")
        expect(
          repeated._tag === "Done" || repeated._tag === "NotOurs",
          () => `the same release again: ${show(repeated)}`
        )
        const next = yield* world.claim(yield* world.reaches(uid, "Idle"), "second")
        expect(next._tag === "Success", () => `the next claim: ${show(next)}`)
        const late = yield* world.release(uid, "first")
        expect(late._tag === "Done" || late._tag === "NotOurs", () => `a late release of the one before: ${show(late)}`)
        yield* world.stays(yield* world.reaches(uid, "Running"), "a late release of the one before")
      })),
    promise(
      "a release with delete, and a scale-down at its version, are for good; an older version changes nothing",
      (world) =>
        Effect.gen(function*() {
          const { before, running, uid } = yield* world.held("first")
          const stale = yield* world.delete(uid, before.version)
          expect(stale._tag === "Conflict", () => `a scale-down of an older version: ${show(stale)}`)
          yield* world.stays(running, "a scale-down of an older version")
          const released = yield* world.release(uid, "first", "delete")
          expect(released._tag === "Done", () => `a release with delete: ${show(released)}`)
          yield* world.removed(uid)
          const idle = yield* world.idle("b")
          const down = yield* world.delete(idle.sandbox.uid, idle.version)
          expect(down._tag === "Done", () => `a scale-down: ${show(down)}`)
          yield* world.removed(idle.sandbox.uid)
        })
    ),
    promise(
      "what is gone is Gone for every claim and release, and deleting it again is done",
      (world) =>
        Effect.gen(function*() {
          const uid = Uid.make("no-such-sandbox")
          const idle = yield* world.idle()
          const nobody = { ...idle, sandbox: { ...idle.sandbox, uid } }
          const tags = [
            (yield* world.claim(nobody, "c"))._tag,
            (yield* world.readBack(uid, "c"))._tag,
            (yield* world.release(uid, "c"))._tag,
            (yield* world.delete(uid))._tag
          ]
          expect(isSame(tags, ["Gone", "Gone", "Gone", "Done"]), () => show(tags))
        })
    ),
    ...(!fences ? [] : [
      promise("a write of an older session is fenced and changes nothing", (world) =>
        Effect.gen(function*() {
          const idle = yield* world.idle()
          const claimed = yield* world.claim(idle, "old", { mark: markOf("old", { sessionId: sessionBefore }) })
          expect(claimed._tag === "Fenced" && claimed.current === session, () => show(claimed))
          yield* world.stays(idle, "a claim of an older session")
        }))
    ]),
    ...(provider.capabilities.pause !== true ? [] : [
      promise(
        "a holder, and nobody else, holds its sandbox still and lets it go on",
        (world) =>
          Effect.gen(function*() {
            const { uid } = yield* world.held("first")
            const foreign = yield* world.hold("pause", uid, "other")
            expect(foreign._tag === "NotOurs", () => `another's pause: ${show(foreign)}`)
            for (const which of ["pause", "resume"] as const) {
              const { _tag } = yield* world.hold(which, uid, "first")
              expect(_tag === "Done", () => `${which}: ${_tag}`)
              yield* world.until(`${which}d`, () => (world.states.get(uid)?.isPaused === true) === (which === "pause"))
            }
          })
      )
    ])
  ]
}
