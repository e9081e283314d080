/** The states of runs and tasks as people see them: one colour and one word each, everywhere. */

/** The kinds of colour in style.css. */
export const toneOf = (state: string | undefined): string => {
  switch (state) {
    case "SUCCEEDED":
    case "FORCED_SUCCESS":
    case "PASSED":
      return "good"
    case "FAILED":
      return "bad"
    case "RUNNING":
      return "busy"
    case "SUBMITTED":
    case "DISPATCHED":
    case "DELAY_EXECUTION":
    case "WAIT_TO_RUN":
    case "SERIAL_WAIT":
      return "waiting"
    case "PAUSED":
    case "READY_PAUSE":
    case "READY_STOP":
    case "STOPPED":
    case "KILLED":
    case "FAILOVER":
      return "held"
    default:
      return "none"
  }
}

export const wordOf = (state: string | undefined): string =>
  state === undefined ? "not reached" : state.toLowerCase().replaceAll("_", " ")

export const State = ({ state }: { readonly state: string | undefined }) => (
  <span class={`state ${toneOf(state)}`}>{wordOf(state)}</span>
)
