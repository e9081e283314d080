/**
 * What a page shows of the gateway: asked when the page opens and again whenever something said that it changed.
 *
 * Kept true: one request of a page at a time; what comes meanwhile asks once more afterwards, with a pause that grows with how long an answer takes, so a large run that changes a
 * hundred times a second costs the gateway two answers a second. An answer for a page that was left is dropped.
 */
import { useEffect, useRef, useState } from "preact/hooks"
import type { Answer, Failure } from "./Api.ts"
import * as Live from "./Live.ts"

export interface Loaded<A> {
  /** The newest good answer. */
  readonly value: A | undefined
  /** Of the newest answer, if it was none. */
  readonly failure: Failure | undefined
  readonly reload: () => void
}

const pauseMinMs = 200

/** `key`: another one is another thing; asks again. */
export const useLoaded = <A>(key: string, ask: (ended: AbortSignal) => Promise<Answer<A>>): Loaded<A> => {
  const [state, setState] = useState<{ key: string; value?: A; failure?: Failure }>({ key })
  const latest = useRef(ask)
  latest.current = ask
  const again = useRef<() => void>(() => undefined)
  useEffect(() => {
    const ended = new AbortController()
    let isAsking = false
    let isDue = false
    const load = async (): Promise<void> => {
      if (isAsking) {
        isDue = true
        return
      }
      isAsking = true
      const from = performance.now()
      const answer = await latest.current(ended.signal)
      if (ended.signal.aborted) return
      setState((old) =>
        answer.ok
          ? { key, value: answer.value }
          : {
            key,
            failure: answer.failure,
            ...(old.key === key && old.value !== undefined ? { value: old.value } : {})
          }
      )
      setTimeout(() => {
        isAsking = false
        if (isDue && !ended.signal.aborted) {
          isDue = false
          void load()
        }
      }, Math.max(pauseMinMs, 2 * (performance.now() - from)))
    }
    again.current = () => void load()
    void load()
    return () => ended.abort()
  }, [key])
  const isOurs = state.key === key
  return {
    value: isOurs ? state.value : undefined,
    failure: isOurs ? state.failure : undefined,
    reload: () => again.current()
  }
}

/** Follows the gateway's events while the page is shown. `query`: of `GET /events`. */
export const useEvents = (
  query: Record<string, string | undefined>,
  onEvent: (event: string, data: unknown) => void,
  onGap: () => void
): void => {
  const latest = useRef({ onEvent, onGap })
  latest.current = { onEvent, onGap }
  useEffect(
    () =>
      Live.open({
        path: "events",
        query,
        onEvent: (event, data) => latest.current.onEvent(event, data),
        onGap: () => latest.current.onGap()
      }),
    [JSON.stringify(query)]
  )
}
