/** A wire for tests: every question waits for the test to answer it, in any order, or never. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { AskFailure, Question, Wire } from "./Wire.ts"

export interface Asked {
  readonly subject: string
  /** The question's JSON, parsed: what the other side would decode. */
  readonly body: any // oxlint-disable-line typescript/no-explicit-any -- tests look into it freely
  readonly answer: (value: unknown) => void
  readonly fail: (failure: AskFailure) => void
}
export interface Stored {
  readonly subject: string
  readonly body: any // oxlint-disable-line typescript/no-explicit-any -- as above
  readonly msgId: string | undefined
  readonly done: (isStored: boolean) => void
}

export class ScriptedWire implements Wire {
  /** Not answered yet, in order. */
  readonly asked: Array<Asked> = []
  readonly stored: Array<Stored> = []

  readonly ask = <A>(
    _: Question<A>,
    subject: string,
    body: string,
    __: number,
    done: (result: Result.Result<A, AskFailure>) => void
  ): void => {
    const remove = () => this.asked.splice(this.asked.indexOf(asked), 1)
    const asked: Asked = {
      subject,
      body: JSON.parse(body),
      answer: (value) => {
        remove()
        done(Result.succeed(value as A)) // the test plays the other side, whose answers are checked in Wire
      },
      fail: (failure) => {
        remove()
        done(Result.fail(failure))
      }
    }
    this.asked.push(asked)
  }

  readonly store = (
    subject: string,
    body: string,
    msgId: string | undefined,
    done: (isStored: boolean) => void
  ): void => {
    const stored: Stored = {
      subject,
      body: JSON.parse(body),
      msgId,
      done: (isStored) => {
        this.stored.splice(this.stored.indexOf(stored), 1)
        done(isStored)
      }
    }
    this.stored.push(stored)
  }

  on(ending: string): ReadonlyArray<Asked> {
    return this.asked.filter((_) => _.subject.endsWith(ending))
  }

  /** The only question on such a subject. */
  one(ending: string): Asked {
    const found = this.on(ending)
    const [first] = found
    if (first === undefined || found.length > 1) {
      throw new Error(`${found.length} questions on ${ending}: ${JSON.stringify(this.asked.map((_) => _.subject))}`)
    }
    return first
  }
}

/** Everything that was put off to the end of this turn is done. */
export const turn = Effect.promise(() => new Promise<void>((done) => setImmediate(done)))
export const nobody: AskFailure = { _tag: "Nobody", reason: "nobody" }
export const unknown: AskFailure = { _tag: "Unknown", reason: "no answer" }
