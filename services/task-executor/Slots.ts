/**
 * How many tasks this executor may still take. Back-pressure is by not asking: a poll reserves what it asks for, and a task holds its slot until its final
 * report is acknowledged.
 *
 * Keeps true: used + reserved never exceeds the capacity, so an answer always fits. Pure.
 */
export class Slots {
  readonly capacity: number
  private usedCount = 0
  private reservedCount = 0

  constructor(capacity: number) {
    this.capacity = capacity
  }

  get used(): number {
    return this.usedCount
  }

  get free(): number {
    return this.capacity - this.usedCount - this.reservedCount
  }

  /** For a poll; the number is at most `free`. */
  reserve(count: number): void {
    if (count > this.free) throw new Error(`${count} slots reserved of ${this.free} free ones`)
    this.reservedCount += count
  }

  /** The poll has ended: `taken` of its `reserved` slots are used from now on, the rest is free again. */
  settle(reserved: number, taken: number): void {
    if (taken > reserved) throw new Error(`${taken} tasks for ${reserved} reserved slots`)
    this.reservedCount -= reserved
    this.usedCount += taken
  }

  release(): void {
    if (this.usedCount === 0) throw new Error("a slot was released that nobody held")
    this.usedCount--
  }
}
