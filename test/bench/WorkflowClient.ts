/**
 * A program that runs workflows, as any client would: it knows the contract's messages and nothing else of the mesh.
 *
 * A start asks for its result with `Heddle-Reply-To`, so submit to result is one message each way. No reply subject is given: the answer
 * `{instanceId}` would be a second message back that nobody needs. Where a start may be refused, `confirmed` asks for that answer too.
 * Every run ends with a result that says SUCCEEDED, or the benchmark fails.
 */
import * as Effect from "effect/Effect"
import { Buffer } from "node:buffer"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import type { DefinitionEncoded } from "../../shared/protocol/Definition.ts"
import { header, rpc } from "../../shared/protocol/Subject.ts"
import type { WorkflowResult } from "../../shared/protocol/Workflow.ts"

/** The part of a result that the benchmark looks at. */
export type Result = Pick<WorkflowResult, "instanceId" | "state" | "reason">

interface Waiting {
  readonly done: (result: Result) => void
  readonly failed: (reason: Error) => void
  readonly deadline: number
  readonly body: string
}

const resultWithinMs = 60_000
const sweepMs = 1_000
const startSubject = rpc.workflow("start")

/** A definition that is stored, as a start names it. */
export interface Stored {
  readonly body: string
  readonly name: string
}

export interface WorkflowClient {
  /** Stores a definition; starts of it name its version. */
  readonly put: (definition: DefinitionEncoded) => Promise<Stored>
  /** From submit to result. `confirmed`: a refusal is seen at once, for one more message back. */
  readonly run: (stored: Stored, options?: { readonly confirmed?: boolean }) => Promise<Result>
  readonly close: () => void
}

const errorOf = (value: unknown): string | undefined => {
  if (typeof value !== "object" || value === null || !("error" in value)) return undefined
  return JSON.stringify(value.error)
}

/** Over an open connection; `ask` is for the requests that are not measured. */
export const make = async (
  connection: Connection,
  ask: (subject: string, body: unknown) => Promise<unknown>
): Promise<WorkflowClient> => {
  const waiting = new Map<string, Waiting>()
  const inbox = `${connection.inbox()}.`
  let counter = 0

  const settle = (key: string, entry: Waiting, value: unknown): void => {
    const error = errorOf(value)
    if (error !== undefined) {
      waiting.delete(key)
      return entry.failed(new Error(`${startSubject} ${entry.body} was refused: ${error}`))
    }
    const result = value as Result // the contract's answer; its state is checked by whoever waits
    if (result.state === undefined) return // {instanceId}: accepted, the result comes later
    waiting.delete(key)
    entry.done(result)
  }
  const subscription = connection.subscribeUnsafe(`${inbox}*`, (message) => {
    const key = message.subject.slice(inbox.length)
    const entry = waiting.get(key)
    if (entry === undefined) return
    if (message.status === 503) {
      waiting.delete(key)
      return entry.failed(new Error(`nobody answers on ${startSubject}`))
    }
    settle(
      key,
      entry,
      JSON.parse(Buffer.from(message.data.buffer, message.data.byteOffset, message.data.byteLength).toString())
    )
  })
  await Effect.runPromise(connection.flush)

  // One timer for all deadlines: a timer each would be measured too.
  const sweeper = setInterval(() => {
    const now = performance.now()
    for (const [key, entry] of waiting) {
      if (entry.deadline > now) continue
      waiting.delete(key)
      entry.failed(
        new Error(`no result of ${entry.body} within ${resultWithinMs} ms: the start or the run was lost, or refused`)
      )
    }
  }, sweepMs)
  sweeper.unref()

  return {
    put: async (definition) => {
      const answer = await ask(rpc.definition("put"), definition)
      const { name, version } = answer as { readonly name: string; readonly version: number } // DefinitionPut
      return { name, body: JSON.stringify({ definition: `${name}@${version}` }) }
    },
    run: (stored, options) =>
      new Promise((resolve, reject) => {
        const key = (counter++).toString(36)
        const subject = inbox + key
        const entry: Waiting = {
          body: stored.body,
          deadline: performance.now() + resultWithinMs,
          failed: reject,
          done: (result) =>
            result.state === "SUCCEEDED"
              ? resolve(result)
              : reject(
                new Error(
                  `${stored.name} ended ${result.state}: ${result.reason ?? "no reason given"} (${result.instanceId})`
                )
              )
        }
        waiting.set(key, entry)
        const headers = { [header.replyTo]: subject }
        if (
          !connection.publish(
            startSubject,
            stored.body,
            options?.confirmed === true ? { headers, reply: subject } : { headers }
          )
        ) {
          waiting.delete(key)
          reject(new Error(`the connection to NATS is down: ${startSubject} was not sent`))
        }
      }),
    close: () => {
      clearInterval(sweeper)
      subscription.unsubscribe()
    }
  }
}

/** Runs `count` pieces of work with at most `inFlight` at a time; each worker takes the next when it has done one. */
export const inFlight = async (count: number, most: number, work: (index: number) => Promise<void>): Promise<void> => {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: Math.min(most, count) }, worker))
}
