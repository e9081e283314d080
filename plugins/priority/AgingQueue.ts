/**
 * The order of the `priority` policy: workflow priority, then task priority, then order of arrival, whoever's it is; and whoever waits rises, so that nothing starves.
 *
 * An entry of a lower level goes before one of a higher level that came `ageingArrivals` arrivals or more later for each level between them. Since all that wait rise alike,
 * what goes first of two entries never changes while they wait: it is one number, made when the entry comes, and every operation is O(log n).
 */
import { Heap } from "../../shared/plugin/Heap.ts"
import type { Offered, Placement } from "../../shared/plugin/PlacementPolicy.ts"

/** A level (one task priority; ten of them are a workflow priority) is worth this many arrivals. */
export const ageingArrivals = 10

export class AgingQueue<Entry extends Offered> implements Placement<Entry> {
  private readonly waiting = new Heap<Entry>((a, b) => {
    const [first, second] = [rankOf(a), rankOf(b)]
    return first < second || first === second && a.place < b.place
  })
  private arrivals = 0

  get size(): number {
    return this.waiting.size
  }

  offer(entry: Entry): void {
    entry.place = ++this.arrivals
    this.waiting.push(entry)
  }

  /** What it is worth has not changed. */
  putBack(entry: Entry): void {
    this.waiting.push(entry)
  }

  next(): Entry | undefined {
    return this.waiting.shift()
  }

  remove(entry: Entry): void {
    this.waiting.delete(entry)
  }
}

/** The least goes first. */
const rankOf = ({ place, priority, taskPriority }: Offered): number =>
  place - ageingArrivals * (priority * 10 + taskPriority)
