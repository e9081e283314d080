/**
 * Server-Sent Events out of text as it arrives. WHATWG HTML, "Server-sent events". Pure: the connection is Live.ts. (The browser's EventSource can send no token.)
 *
 * Kept true: an event comes out exactly when its empty line has arrived, however the text was cut; `id` is that of the newest event that named one.
 */

export interface ServerEvent {
  readonly id: string | undefined
  readonly event: string
  readonly data: string
}

/** Takes the next piece of text, gives the events that it completes. */
export const reader = (): (text: string) => ReadonlyArray<ServerEvent> => {
  let rest = ""
  let id: string | undefined
  let event = ""
  let data: Array<string> = []
  return (text) => {
    const events: Array<ServerEvent> = []
    const lines = `${rest}${text}`.split("\n")
    rest = lines.pop() ?? ""
    for (const ended of lines) {
      const line = ended.endsWith("\r") ? ended.slice(0, -1) : ended
      if (line === "") {
        if (data.length > 0) events.push({ id, event: event === "" ? "message" : event, data: data.join("\n") })
        event = ""
        data = []
        continue
      }
      const colon = line.indexOf(":")
      if (colon === 0) continue
      const field = colon < 0 ? line : line.slice(0, colon)
      const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1)
      if (field === "id") id = value
      else if (field === "event") event = value
      else if (field === "data") data.push(value)
    }
    return events
  }
}
