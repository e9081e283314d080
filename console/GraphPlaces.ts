/** A graph that is laid out: what GraphLayout gives to those who draw it. */

export interface GraphTask {
  readonly name: string
  readonly dependsOn: ReadonlyArray<string>
}
export interface Point {
  readonly x: number
  readonly y: number
}
/** `x`, `y`: of the middle. */
export interface Layout {
  readonly width: number
  readonly height: number
  readonly nodes: ReadonlyArray<Point & { readonly name: string }>
  readonly edges: ReadonlyArray<{ readonly from: string; readonly to: string; readonly points: ReadonlyArray<Point> }>
}

export const nodeWidth = 168
export const nodeHeight = 40
