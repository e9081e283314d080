/**
 * A Node process looked into from outside, over the inspector's WebSocket: the size of its heap when nothing is left to collect, and a CPU profile of a span of its life.
 *
 * The process has to run with `--inspect=127.0.0.1:0`; it prints the address on standard error. Nothing runs in it for this but what is asked for.
 */
import * as Schema from "effect/Schema"
import type { CpuProfile } from "./Profile.ts"

/** The flag that the process is started with. */
export const flag = "--inspect=127.0.0.1:0"

/** The address in what the process has printed; undefined: it has not said so yet. */
export const addressOf = (log: string): string | undefined => /^Debugger listening on (ws:\/\/\S+)$/m.exec(log)?.[1]

export interface Inspector {
  /** Bytes in use after a full collection. */
  readonly heapBytes: () => Promise<number>
  /** Runs `work` and tells what the process did meanwhile. */
  readonly profiled: <A>(work: () => Promise<A>) => Promise<{ readonly result: A; readonly profile: CpuProfile }>
  readonly close: () => void
}

const Answer = Schema.Struct({
  id: Schema.optionalKey(Schema.Int),
  result: Schema.optionalKey(Schema.Unknown),
  error: Schema.optionalKey(Schema.Struct({ message: Schema.String }))
})
const decode = Schema.decodeUnknownSync(Schema.fromJsonString(Answer))
const decodeHeap = Schema.decodeUnknownSync(Schema.Struct({ usedSize: Schema.Finite }))
const samplingUs = 500

export const connect = async (address: string): Promise<Inspector> => {
  const socket = new WebSocket(address)
  const waiting = new Map<
    number,
    { readonly done: (result: unknown) => void; readonly failed: (error: Error) => void }
  >()
  let count = 0
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve(), { once: true })
    socket.addEventListener("error", () => reject(new Error(`no inspector at ${address}`)), { once: true })
  })
  socket.addEventListener("close", () => {
    for (const { failed } of waiting.values()) failed(new Error("the process has ended"))
    waiting.clear()
  })
  socket.addEventListener("message", ({ data }) => {
    const { error, id, result } = decode(data)
    const asked = id === undefined ? undefined : waiting.get(id)
    if (id === undefined || asked === undefined) return
    waiting.delete(id)
    if (error === undefined) asked.done(result)
    else asked.failed(new Error(error.message))
  })
  const ask = (method: string, params: object = {}): Promise<unknown> =>
    new Promise((done, failed) => {
      const id = ++count
      waiting.set(id, { done, failed })
      socket.send(JSON.stringify({ id, method, params }))
    })
  return {
    heapBytes: async () => {
      await ask("HeapProfiler.collectGarbage")
      await ask("HeapProfiler.collectGarbage")
      return decodeHeap(await ask("Runtime.getHeapUsage")).usedSize
    },
    profiled: async (work) => {
      await ask("Profiler.enable")
      await ask("Profiler.setSamplingInterval", { interval: samplingUs })
      await ask("Profiler.start")
      const result = await work()
      const stopped = await ask("Profiler.stop") as { readonly profile: CpuProfile } // the protocol's own shape, what `--cpu-prof` writes
      await ask("Profiler.disable")
      return { result, profile: stopped.profile }
    },
    close: () => socket.close()
  }
}
