/** Asks before something is done, with a reason that goes into the journal. */
import { useEffect, useRef, useState } from "preact/hooks"
import type { Answer, Failure } from "../Api.ts"
import { Problem } from "./Problem.tsx"

export interface Question {
  readonly title: string
  readonly verb: string
  readonly act: (reason: string | undefined) => Promise<Answer<unknown>>
}

export const Confirm = ({ onClose, question }: {
  readonly question: Question
  /** `isDone`: it was done, not given up. */
  readonly onClose: (isDone: boolean) => void
}) => {
  const dialog = useRef<HTMLDialogElement>(null)
  const [reason, setReason] = useState("")
  const [failure, setFailure] = useState<Failure>()
  const [isBusy, setIsBusy] = useState(false)
  useEffect(() => dialog.current?.showModal(), [])
  const act = async () => {
    setIsBusy(true)
    const answer = await question.act(reason === "" ? undefined : reason)
    setIsBusy(false)
    if (answer.ok) onClose(true)
    else setFailure(answer.failure)
  }
  return (
    <dialog ref={dialog} onClose={() => onClose(false)}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void act()
        }}
      >
        <h2>{question.title}</h2>
        <label>
          Reason (optional, kept in the history)
          <input maxLength={1_000} value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
        </label>
        <Problem failure={failure} />
        <p class="buttons">
          <button type="button" onClick={() => onClose(false)}>Cancel</button>
          <button type="submit" class="primary" disabled={isBusy}>{question.verb}</button>
        </p>
      </form>
    </dialog>
  )
}
