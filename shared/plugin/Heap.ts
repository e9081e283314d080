/**
 * A binary heap whose items can be taken out from anywhere: the least item at once, every change in O(log n). For placement policies and other queues of plugins.
 *
 * Keeps true: an item is in it at most once; what `isBefore` says of two items changes only for an item that is then told as `moved`, or is not in the heap.
 */
export class Heap<Item> {
  private readonly items: Array<Item> = []
  private readonly places = new Map<Item, number>()
  private readonly isBefore: (a: Item, b: Item) => boolean

  /** `isBefore`: a strict order of what is in it at once. */
  constructor(isBefore: (a: Item, b: Item) => boolean) {
    this.isBefore = isBefore
  }

  get size(): number {
    return this.items.length
  }

  /** The least one, which stays. */
  get first(): Item | undefined {
    return this.items[0]
  }

  has(item: Item): boolean {
    return this.places.has(item)
  }

  /** An item that is in it already stays where it is. */
  push(item: Item): void {
    if (this.places.has(item)) return
    this.items.push(item)
    this.rise(this.items.length - 1, item)
  }

  /** Takes the least one. */
  shift(): Item | undefined {
    const item = this.items[0]
    if (item !== undefined) this.delete(item)
    return item
  }

  /** `false`: it was not in it. */
  delete(item: Item): boolean {
    const at = this.places.get(item)
    if (at === undefined) return false
    this.places.delete(item)
    const last = this.items.pop() as Item // one is in it
    if (at < this.items.length) this.settle(at, last)
    return true
  }

  /** Its order has changed; nothing when it is not in it. */
  moved(item: Item): void {
    const at = this.places.get(item)
    if (at !== undefined) this.settle(at, item)
  }

  private settle(at: number, item: Item): void {
    if (this.rise(at, item) === at) this.sink(at, item)
  }

  private rise(at: number, item: Item): number {
    let index = at
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = this.items[parent] as Item // within the heap
      if (!this.isBefore(item, above)) break
      this.put(index, above)
      index = parent
    }
    this.put(index, item)
    return index
  }

  private sink(at: number, item: Item): void {
    const { items } = this
    let index = at
    for (;;) {
      let child = index * 2 + 1
      if (child >= items.length) break
      if (child + 1 < items.length && this.isBefore(items[child + 1] as Item, items[child] as Item)) child++ // both within
      const below = items[child] as Item // within the heap
      if (!this.isBefore(below, item)) break
      this.put(index, below)
      index = child
    }
    this.put(index, item)
  }

  private put(index: number, item: Item): void {
    this.items[index] = item
    this.places.set(item, index)
  }
}
