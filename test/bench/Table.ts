/** A table for people: columns as wide as their widest cell, text to the left, numbers to the right. */

export interface Column {
  readonly title: string
  readonly align: "left" | "right"
}

/** Lines without trailing blanks; an empty row becomes an empty line. */
export const render = (columns: ReadonlyArray<Column>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = columns.map(({ title }, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)))
  const line = (cells: ReadonlyArray<string>): string =>
    columns.map(({ align }, at) => {
      const cell = cells[at] ?? ""
      const width = widths[at] ?? 0
      return align === "left" ? cell.padEnd(width) : cell.padStart(width)
    }).join("  ").trimEnd()
  return [
    line(columns.map(({ title }) => title)),
    widths.map((width) => "-".repeat(width)).join("  "),
    ...rows.map(line)
  ].join("\n")
}
