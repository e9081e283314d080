/**
 * Doc comments of the protocol's source, so that the reference says what the code says: for each exported Schema its own comment and those of its fields.
 *
 * Reads text, not syntax: a comment counts for the line after it. That is how the protocol files are written, and a test holds them to it.
 */

export interface Comments {
  /** By the name of the exported constant. */
  readonly ofExport: ReadonlyMap<string, string>
  /** By `Export.field`. */
  readonly ofField: ReadonlyMap<string, string>
}

const plain = (comment: string): string =>
  comment.replace(/^\s*\/\*\*/, "").replace(/\*\/\s*$/, "").split("\n").map((line) =>
    line.replace(/^\s*\*? ?/, "").trim()
  ).join(" ").trim()

export const read = (sources: ReadonlyArray<string>): Comments => {
  const ofExport = new Map<string, string>()
  const ofField = new Map<string, string>()
  for (const source of sources) {
    let current = ""
    let comment: string | undefined
    let open: Array<string> | undefined
    for (const line of source.split("\n")) {
      if (open !== undefined) {
        open.push(line)
        if (line.includes("*/")) {
          comment = plain(open.join("\n"))
          open = undefined
        }
        continue
      }
      if (/^\s*\/\*\*/.test(line)) {
        if (line.includes("*/")) comment = plain(line)
        else open = [line]
        continue
      }
      const exported = /^export (?:const|class) (\w+)/.exec(line)?.[1]
      const field = /^  (\w+): /.exec(line)?.[1]
      if (exported !== undefined) {
        current = exported
        if (comment !== undefined) ofExport.set(exported, comment)
      } else if (field !== undefined && comment !== undefined) ofField.set(`${current}.${field}`, comment)
      comment = undefined
    }
  }
  return { ofExport, ofField }
}
