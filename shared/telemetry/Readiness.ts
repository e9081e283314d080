/**
 * Whether a process can do its work now, and if not, why: the parts of the process say so themselves, when they are asked.
 *
 * Kept true here: ready means that no part has a reason against it; a part that is asked answers at once from what it knows (nothing is sent, nothing waited for); a part is asked
 * no more once its scope is closed. Liveness is another question, and none of this is asked for it.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Why a part is not ready; `undefined`: it is. */
export type Check = () => string | undefined

export interface Reason {
  readonly check: string
  readonly reason: string
}

export class Readiness {
  readonly #checks = new Set<{ readonly name: string; readonly check: Check }>()

  /** Asks `check` from now on, until the returned function is called. */
  add(name: string, check: Check): () => void {
    const one = { name, check }
    this.#checks.add(one)
    return () => void this.#checks.delete(one)
  }

  /** `add` while the scope is open. */
  addScoped(name: string, check: Check): Effect.Effect<void, never, Scope.Scope> {
    return Effect.asVoid(
      Effect.acquireRelease(Effect.sync(() => this.add(name, check)), (remove) => Effect.sync(remove))
    )
  }

  /** What keeps the process from its work; empty: it is ready. */
  reasons(): ReadonlyArray<Reason> {
    const found: Array<Reason> = []
    for (const { check, name } of this.#checks) {
      const reason = check()
      if (reason !== undefined) found.push({ check: name, reason })
    }
    return found
  }
}

/** Of the process: its parts and its status server get the same unless somebody provides another. */
export const ProcessReadiness = Context.Reference<Readiness>("heddle/telemetry/ProcessReadiness", {
  defaultValue: () => new Readiness()
})
