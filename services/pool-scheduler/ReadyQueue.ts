/**
 * The idle sandboxes of a pool in the order in which they became idle. Fed by watch deltas; never sorted, never listed (design/04 section 1, point 1).
 *
 * Every operation is O(1) in the pool's size: a sandbox that leaves Idle is taken out of the middle, and claims with a selector find theirs by an index. The index
 * keeps one list per selector shape (set of label names) and value; it is made when a shape is asked for first, and bounded: beyond `shapesMax` shapes the
 * one that was used longest ago is given up. A sandbox is in the queue at most once.
 */
import type { Labels } from "../../shared/protocol/Sandbox.ts"
import type { SandboxUid } from "../../shared/protocol/Token.ts"
import * as Selector from "./Selector.ts"

interface Node {
  readonly uid: SandboxUid
  previous: Node | undefined
  next: Node | undefined
}

/** A doubly linked list that knows its length. */
class List {
  first: Node | undefined = undefined
  last: Node | undefined = undefined
  size = 0

  append(uid: SandboxUid): Node {
    const node: Node = { uid, previous: this.last, next: undefined }
    if (this.last === undefined) this.first = node
    else this.last.next = node
    this.last = node
    this.size++
    return node
  }

  remove(node: Node): void {
    if (node.previous === undefined) this.first = node.next
    else node.previous.next = node.next
    if (node.next === undefined) this.last = node.previous
    else node.next.previous = node.previous
    this.size--
  }
}

/** All idle sandboxes by what the labels of one shape say of them. */
interface Shape {
  readonly id: string
  readonly names: ReadonlyArray<string>
  readonly lists: Map<string, List>
  readonly places: Map<SandboxUid, { readonly key: string; readonly node: Node }>
  usedAt: number
}

interface Entry {
  readonly node: Node
  labels: Labels
}

const shapesMaxDefault = 64

export class ReadyQueue {
  private readonly entries = new Map<SandboxUid, Entry>()
  private readonly all = new List()
  private readonly shapes = new Map<string, Shape>()
  private readonly shapesMax: number
  private uses = 0

  constructor(shapesMax: number = shapesMaxDefault) {
    this.shapesMax = shapesMax
  }

  get size(): number {
    return this.all.size
  }

  has(uid: SandboxUid): boolean {
    return this.entries.has(uid)
  }

  /** To the tail; one that is there already keeps its place, under its labels of now. False: nothing has changed. */
  push(uid: SandboxUid, labels: Labels): boolean {
    const known = this.entries.get(uid)
    if (known !== undefined) {
      if (known.labels === labels) return false
      known.labels = labels
      let isMoved = false
      for (const shape of this.shapes.values()) isMoved = this.place(shape, uid, labels) || isMoved
      return isMoved
    }
    this.entries.set(uid, { node: this.all.append(uid), labels })
    for (const shape of this.shapes.values()) this.place(shape, uid, labels)
    return true
  }

  delete(uid: SandboxUid): boolean {
    const entry = this.entries.get(uid)
    if (entry === undefined) return false
    this.entries.delete(uid)
    this.all.remove(entry.node)
    for (const shape of this.shapes.values()) this.unplace(shape, uid)
    return true
  }

  /** The one that has been idle longest, taken out; with a selector, of those that match. */
  shift(selector?: Selector.Selector): SandboxUid | undefined {
    const uid = selector === undefined
      ? this.all.first?.uid
      : this.shapeOf(selector).lists.get(selector.key)?.first?.uid
    if (uid !== undefined) this.delete(uid)
    return uid
  }

  /** How many match. */
  count(selector: Selector.Selector | undefined): number {
    return selector === undefined ? this.all.size : this.shapeOf(selector).lists.get(selector.key)?.size ?? 0
  }

  /** The keys of the selectors, of the shapes in use, that match these labels. */
  eachKey(labels: Labels, each: (key: string) => void): void {
    for (const shape of this.shapes.values()) {
      const key = Selector.keyThrough(shape.names, labels)
      if (key !== undefined) each(key)
    }
  }

  /** Whether sandboxes are looked up by this shape: if not, `eachKey` says nothing of its selectors. */
  hasShape(shape: string): boolean {
    return this.shapes.has(shape)
  }

  /** From the one that became idle last: what a scale-down takes first. */
  *newestFirst(): Generator<SandboxUid> {
    for (let node = this.all.last; node !== undefined; node = node.previous) yield node.uid
  }

  /** The index for a selector's shape; made now, by one walk over the idle ones, when it is new. */
  private shapeOf(selector: Selector.Selector): Shape {
    const known = this.shapes.get(selector.shape)
    if (known !== undefined) {
      known.usedAt = ++this.uses
      return known
    }
    if (this.shapes.size >= this.shapesMax) this.giveUpOldest()
    const shape: Shape = {
      id: selector.shape,
      names: Object.keys(selector.labels).sort(),
      lists: new Map(),
      places: new Map(),
      usedAt: ++this.uses
    }
    this.shapes.set(shape.id, shape)
    for (let node = this.all.first; node !== undefined; node = node.next) {
      const entry = this.entries.get(node.uid)
      if (entry !== undefined) this.place(shape, node.uid, entry.labels)
    }
    return shape
  }

  private giveUpOldest(): void {
    let oldest: Shape | undefined
    for (const shape of this.shapes.values()) if (oldest === undefined || shape.usedAt < oldest.usedAt) oldest = shape
    if (oldest !== undefined) this.shapes.delete(oldest.id)
  }

  /** True: it stands somewhere else now. */
  private place(shape: Shape, uid: SandboxUid, labels: Labels): boolean {
    const key = Selector.keyThrough(shape.names, labels)
    if (shape.places.get(uid)?.key === key) return false
    this.unplace(shape, uid)
    if (key === undefined) return true
    let list = shape.lists.get(key)
    if (list === undefined) shape.lists.set(key, list = new List())
    shape.places.set(uid, { key, node: list.append(uid) })
    return true
  }

  private unplace(shape: Shape, uid: SandboxUid): void {
    const place = shape.places.get(uid)
    if (place === undefined) return
    shape.places.delete(uid)
    const list = shape.lists.get(place.key)
    if (list === undefined) return
    list.remove(place.node)
    if (list.size === 0) shape.lists.delete(place.key)
  }
}
