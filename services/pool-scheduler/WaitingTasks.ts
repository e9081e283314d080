/**
 * How many tasks of a pool wait, by priority and by team: told whether somebody with a better claim waits than a given task, without a look at the queue.
 *
 * A hand-off keeps a sandbox for further tasks of one instance; it may not pass by a higher priority or another team (design/04 section 2 "Hand-off").
 */
import type { Offered } from "../../shared/plugin/PlacementPolicy.ts"

const levelOf = (entry: Offered): number => entry.priority * 10 + entry.taskPriority

export class WaitingTasks {
  readonly #levels = new Int32Array(100)
  readonly #teams = new Map<string, number>()
  #top = -1

  offered(entry: Offered): void {
    const level = levelOf(entry)
    this.#levels[level] = (this.#levels[level] ?? 0) + 1
    if (level > this.#top) this.#top = level
    this.#teams.set(entry.team, (this.#teams.get(entry.team) ?? 0) + 1)
  }

  taken(entry: Offered): void {
    const level = levelOf(entry)
    this.#levels[level] = (this.#levels[level] ?? 0) - 1
    while (this.#top >= 0 && this.#levels[this.#top] === 0) this.#top--
    const left = (this.#teams.get(entry.team) ?? 0) - 1
    if (left <= 0) this.#teams.delete(entry.team)
    else this.#teams.set(entry.team, left)
  }

  /** A task of higher priority waits, or one of another team. */
  hasBetterThan(entry: Offered): boolean {
    return this.#top > levelOf(entry) || this.#teams.size > (this.#teams.has(entry.team) ? 1 : 0)
  }
}
