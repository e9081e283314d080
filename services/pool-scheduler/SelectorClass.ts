/**
 * The claims of a queue that ask for the same kind of sandbox, counted: what one of them finds out about the idle sandboxes holds for all. A mutable record, changed only by `ClaimQueue`.
 */
import type * as Selector from "./Selector.ts"

/** `open`: those of teams within their quota. `exhausted`: no idle sandbox matches, as of the last look. */
export interface SelectorClass {
  readonly key: string
  readonly selector: Selector.Selector | undefined
  waiting: number
  open: number
  exhausted: boolean
}
