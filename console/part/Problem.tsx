/** What went wrong, in the gateway's words. */
import type { Failure } from "../Api.ts"

export const Problem = ({ failure }: { readonly failure: Failure | undefined }) =>
  failure === undefined ? null : (
    <p class="problem" role="alert">
      <b>{failure.code}</b> {failure.path === undefined ? "" : `${failure.path}: `}
      {failure.message}
    </p>
  )
