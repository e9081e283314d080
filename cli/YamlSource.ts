/**
 * A workflow file with the place of everything in it: a problem's path (`spec.tasks[2].dependsOn[0]`) becomes line and column.
 *
 * JSON is YAML, so one parser reads both. A path that does not exist in the file (a missing field) gives the place of the nearest part that does.
 */
import { type Document, isMap, isNode, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml"

import * as Problems from "../shared/authoring/Problems.ts"

export interface Place {
  readonly line: number
  readonly column: number
}

export interface LocatedProblem extends Place {
  readonly path: string
  readonly message: string
  /** What was found there, and what to write instead (also at the end of `message`). */
  readonly value?: unknown
  readonly fix?: string
}

export interface YamlSource {
  /** The file's value; `undefined` when it does not parse. */
  readonly value: unknown
  readonly syntax: ReadonlyArray<LocatedProblem>
  /** Line and column, from 1. */
  readonly place: (path: string) => Place
}

const startOf = (node: Node | null | undefined): number | undefined => node?.range?.[0]

/** Merge keys, tags with code and documents beyond the first have no place in a definition: YAML 1.2 core only. */
export const parse = (text: string): YamlSource => {
  const counter = new LineCounter()
  const document: Document = parseDocument(text, { lineCounter: counter, prettyErrors: false, uniqueKeys: true })
  const at = (offset: number): Place => {
    const { col, line } = counter.linePos(offset)
    return { line, column: col }
  }
  const syntax = document.errors.map((error) => ({ ...at(error.pos[0]), path: "", message: error.message }))
  return {
    value: syntax.length > 0 ? undefined : document.toJS({ maxAliasCount: 100 }),
    syntax,
    place: (path) => {
      let node: unknown = document.contents
      let offset = isNode(node) ? startOf(node) ?? 0 : 0
      for (const segment of Problems.segments(path)) {
        if (isMap(node)) {
          const pair = node.items.find((item) =>
            isPair(item) && isScalar(item.key) && String(item.key.value) === String(segment)
          )
          if (pair === undefined) break
          offset = isNode(pair.key) ? startOf(pair.key) ?? offset : offset
          node = pair.value
          // A scalar is better shown itself than by its key: the problem is the value.
          if (isScalar(node)) offset = startOf(node) ?? offset
        } else if (isSeq(node) && typeof segment === "number") {
          const item: unknown = node.items[segment]
          if (!isNode(item)) break
          offset = startOf(item) ?? offset
          node = item
        } else break
      }
      return at(offset)
    }
  }
}

/** `file:line:column: path: message`, in the order of the file. */
export const describe = (file: string, problems: ReadonlyArray<LocatedProblem>): ReadonlyArray<string> =>
  problems.toSorted((a, b) => a.line - b.line || a.column - b.column).map((problem) =>
    `${file}:${problem.line}:${problem.column}: ${problem.path === "" ? "" : `${problem.path}: `}${problem.message}`
  )
