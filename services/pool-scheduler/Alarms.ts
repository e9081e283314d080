/**
 * Everything of a pool that is due at a time (deadlines, leases, write time-outs, retries) in one heap, so that one timer for the earliest serves all.
 *
 * An alarm can be moved and cleared in O(log n): a claim that ends takes its alarm with it, and nothing piles up. Plain and synchronous; times come in as
 * milliseconds since the epoch. Follows design/04 section 1, point 8.
 */

/** Something that may be due. `owner` is what the alarm is about; `index` is the heap's business (-1: not set). */
export interface Alarm<Owner> {
  readonly owner: Owner
  at: number
  index: number
}

export const make = <Owner>(owner: Owner): Alarm<Owner> => ({ owner, at: Infinity, index: -1 })

export const isSet = <Owner>(alarm: Alarm<Owner>): boolean => alarm.index >= 0

export class Alarms<Owner> {
  private readonly heap: Array<Alarm<Owner>> = []

  get size(): number {
    return this.heap.length
  }

  /** When the next one is due; Infinity when none is set. */
  get earliest(): number {
    return this.heap.length === 0 ? Infinity : this.at(0).at
  }

  /** Sets or moves an alarm. */
  set(alarm: Alarm<Owner>, at: number): void {
    if (alarm.index < 0) {
      alarm.at = at
      alarm.index = this.heap.length
      this.heap.push(alarm)
      this.up(alarm.index)
      return
    }
    const later = at > alarm.at
    alarm.at = at
    if (later) this.down(alarm.index)
    else this.up(alarm.index)
  }

  clear(alarm: Alarm<Owner>): void {
    const index = alarm.index
    if (index < 0) return
    alarm.index = -1
    const last = this.heap.pop()
    if (last === undefined || last === alarm) return
    this.heap[index] = last
    last.index = index
    this.up(index)
    this.down(last.index)
  }

  /** Takes the earliest alarm if it is due. */
  due(now: number): Alarm<Owner> | undefined {
    const first = this.heap[0]
    if (first === undefined || first.at > now) return undefined
    this.clear(first)
    return first
  }

  private at(index: number): Alarm<Owner> {
    return this.heap[index] as Alarm<Owner> // index is always within the heap
  }

  private up(start: number): void {
    let index = start
    const alarm = this.at(index)
    while (index > 0) {
      const parentIndex = (index - 1) >> 1
      const parent = this.at(parentIndex)
      if (parent.at <= alarm.at) break
      this.heap[index] = parent
      parent.index = index
      index = parentIndex
    }
    this.heap[index] = alarm
    alarm.index = index
  }

  private down(start: number): void {
    let index = start
    const alarm = this.at(index)
    const length = this.heap.length
    for (;;) {
      const left = index * 2 + 1
      if (left >= length) break
      const right = left + 1
      const child = right < length && this.at(right).at < this.at(left).at ? right : left
      if (this.at(child).at >= alarm.at) break
      this.heap[index] = this.at(child)
      this.at(index).index = index
      index = child
    }
    this.heap[index] = alarm
    alarm.index = index
  }
}
