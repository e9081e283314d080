/**
 * The body of a watch cut into its lines, each a JSON text. Bounded: a line that is longer than any object can be ends the watch instead of the memory.
 *
 * Pure and synchronous. Characters are put together before lines are cut, so a chunk may end anywhere, also within a character.
 */

/** Objects in etcd are at most 1.5 MB; JSON on the wire may be a few times that. */
export const lineLengthMax = 8 * 1024 * 1024

export class WatchLines {
  private readonly decoder = new TextDecoder("utf-8")
  private readonly onLine: (line: string) => void
  private pending: Array<string> = []
  private pendingLength = 0

  constructor(onLine: (line: string) => void) {
    this.onLine = onLine
  }

  /** False: a line grew beyond `lineLengthMax`; nothing after this is to be trusted. */
  push(chunk: Uint8Array): boolean {
    const text = this.decoder.decode(chunk, { stream: true })
    let from = 0
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      const line = this.pending.join("") + text.slice(from, end)
      this.pending = []
      this.pendingLength = 0
      from = end + 1
      if (line.length > 0) this.onLine(line)
    }
    if (from < text.length) {
      const rest = from === 0 ? text : text.slice(from)
      this.pending.push(rest)
      this.pendingLength += rest.length
    }
    return this.pendingLength <= lineLengthMax
  }
}
