/**
 * A live connection to the gateway's event stream that a page holds while it is shown.
 *
 * Kept true: after a break it goes on behind the last event it has seen (`Last-Event-ID`), so nothing is missed; when the gateway no longer holds what came behind it, the page is told to read
 * again (`onGap`) and the stream begins anew. Pauses between tries grow to 10 s.
 */
import { signal } from "@preact/signals"
import { address, headers, isTokenWanted } from "./Api.ts"
import * as ServerEvents from "./ServerEvents.ts"

export type Connection = "connecting" | "live" | "lost"
/** Of the newest stream; shown in the header. */
export const connection = signal<Connection>("connecting")

export interface Live {
  readonly path: string
  readonly query: Record<string, string | number | undefined>
  readonly onEvent: (event: string, data: unknown) => void
  readonly onGap: () => void
}

/** Returns what ends it. */
export const open = ({ onEvent, onGap, path, query }: Live): () => void => {
  const ended = new AbortController()
  let last: string | undefined
  let pauseMs = 500
  const read = async (): Promise<void> => {
    const response = await fetch(address(path, last === undefined ? query : { ...query, after: undefined }), {
      headers: { ...headers(), accept: "text/event-stream", ...(last === undefined ? {} : { "last-event-id": last }) },
      signal: ended.signal
    })
    if (response.status === 401) isTokenWanted.value = true
    if (response.status === 400) {
      last = undefined
      onGap()
    }
    if (!response.ok || response.body === null) return
    connection.value = "live"
    pauseMs = 500
    const decoder = new TextDecoder()
    const eventsOf = ServerEvents.reader()
    const body = response.body.getReader()
    for (;;) {
      const piece = await body.read()
      if (piece.done) return
      for (const { data, event, id } of eventsOf(decoder.decode(piece.value, { stream: true }))) {
        if (id !== undefined) last = id
        onEvent(event, JSON.parse(data))
      }
    }
  }
  const run = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      try {
        await read()
      } catch {
        // The connection broke, or the gateway is not there: told by `connection`, and tried again.
      }
      if (ended.signal.aborted) return
      connection.value = "lost"
      await new Promise((resume) => setTimeout(resume, pauseMs))
      pauseMs = Math.min(pauseMs * 2, 10_000)
    }
  }
  connection.value = "connecting"
  void run()
  return () => ended.abort()
}
