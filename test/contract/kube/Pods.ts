/**
 * Objects that the contract suite writes, and a reader of watch streams: one JSON object a line, with a deadline on each wait.
 */
import type { ClusterUnderTest } from "../../../shared/testing/kube/ClusterUnderTest.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"

export const merge = { contentType: "application/merge-patch+json" } as const
export const strategic = { contentType: "application/strategic-merge-patch+json" } as const
export const json = { contentType: "application/json-patch+json" } as const
export const apply = { contentType: "application/apply-patch+yaml" } as const

export const pod = (name: string, more: { readonly metadata?: Json; readonly spec?: Json } = {}): Json => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, ...more.metadata },
  spec: { containers: [{ name: "main", image: "registry.example/app:1" }], ...more.spec }
})

export const podPath = (namespace: string, name?: string): string =>
  `/api/v1/namespaces/${namespace}/pods${name === undefined ? "" : `/${name}`}`

export interface Stream {
  /** The next event; fails when none comes in time. */
  readonly next: () => Promise<Json>
  /** Events until one fits (inclusive). */
  readonly until: (fits: (event: Json) => boolean) => Promise<ReadonlyArray<Json>>
  /** The events that are left when the server ends the stream. */
  readonly rest: () => Promise<ReadonlyArray<Json>>
  readonly stop: () => void
}

const waitMs = 90_000

/** Opens a watch and reads it. Not closed by itself: call `stop`. */
export const watch = async (cluster: ClusterUnderTest, path: string, token?: string): Promise<Stream> => {
  const abort = new AbortController()
  const response = await cluster.open(path, { signal: abort.signal, ...(token === undefined ? {} : { token }) })
  if (response.statusCode !== 200) throw new Error(`watch ${path}: ${response.statusCode}`)
  const events: Array<Json> = []
  const state = { isOver: false }
  let wake: () => void = () => undefined
  let text = ""
  response.setEncoding("utf8")
  response.on("data", (chunk: string) => {
    text += chunk
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
      events.push(JSON.parse(text.slice(0, end)))
      text = text.slice(end + 1)
    }
    wake()
  })
  const over = () => {
    state.isOver = true
    wake()
  }
  response.on("end", over)
  response.on("close", over)
  response.on("error", over)
  const wait = () =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no event within ${waitMs} ms on ${path}`)), waitMs)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  const next = async () => {
    while (events.length === 0) {
      if (state.isOver) throw new Error(`the watch is over: ${path}`)
      await wait()
    }
    return events.shift()
  }
  return {
    next,
    until: async (fits) => {
      const seen: Array<Json> = []
      for (;;) {
        const event = await next()
        seen.push(event)
        if (fits(event)) return seen
      }
    },
    rest: async () => {
      while (!state.isOver) await wait()
      return events
    },
    stop: () => {
      response.removeAllListeners("error").on("error", () => undefined)
      abort.abort()
    }
  }
}
