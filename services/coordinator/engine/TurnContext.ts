/**
 * The part of an entry that its transitions refer to: their time, and the causes whose payload they take over (`of`). A turn that is being decided has it as well as an
 * entry that is read, so a fold can't tell one from the other.
 */
import type { Entry } from "../../../shared/protocol/Journal.ts"

export type TurnContext = Pick<Entry, "at" | "cause">
