/**
 * The idle sandboxes of a pool in the order in which they became idle. Fed by watch deltas; never sorted, never listed (design/04 section 1, point 1).
 *
 * Every operation is O(1): a sandbox that leaves Idle is taken out of the middle. A sandbox is in the queue at most once.
 */
import type { SandboxUid } from "../../shared/protocol/Token.ts"

interface Node {
  readonly uid: SandboxUid
  previous: Node | undefined
  next: Node | undefined
}

export class ReadyQueue {
  private readonly nodes = new Map<SandboxUid, Node>()
  private first: Node | undefined
  private last: Node | undefined

  get size(): number {
    return this.nodes.size
  }

  has(uid: SandboxUid): boolean {
    return this.nodes.has(uid)
  }

  /** To the tail; one that is there already keeps its place. */
  push(uid: SandboxUid): boolean {
    if (this.nodes.has(uid)) return false
    const node: Node = { uid, previous: this.last, next: undefined }
    if (this.last === undefined) this.first = node
    else this.last.next = node
    this.last = node
    this.nodes.set(uid, node)
    return true
  }

  delete(uid: SandboxUid): boolean {
    const node = this.nodes.get(uid)
    if (node === undefined) return false
    this.nodes.delete(uid)
    if (node.previous === undefined) this.first = node.next
    else node.previous.next = node.next
    if (node.next === undefined) this.last = node.previous
    else node.next.previous = node.previous
    return true
  }

  /** The one that has been idle longest. */
  shift(): SandboxUid | undefined {
    const uid = this.first?.uid
    if (uid !== undefined) this.delete(uid)
    return uid
  }

  /** The first that `matches`, taken out: for claims with a selector. Looks from the head. */
  shiftWhere(matches: (uid: SandboxUid) => boolean): SandboxUid | undefined {
    for (let node = this.first; node !== undefined; node = node.next) {
      if (!matches(node.uid)) continue
      this.delete(node.uid)
      return node.uid
    }
    return undefined
  }

  /** From the one that became idle last: what a scale-down takes first. */
  *newestFirst(): Generator<SandboxUid> {
    for (let node = this.last; node !== undefined; node = node.previous) yield node.uid
  }
}
