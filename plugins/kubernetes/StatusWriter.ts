/**
 * Writes parts of the status of objects by server-side apply: each writer owns its fields, so the pool's owner and the source never take each other's away.
 *
 * Best effort and bounded: one write at a time for each object, the latest wish replaces an earlier one that waits, a failed one is tried again with the next wish or after a pause.
 */
import * as Answer from "./Answer.ts"
import { type Api, applyPatch } from "./ApiClient.ts"
import type { JsonObject } from "./Json.ts"

export interface StatusTarget {
  readonly apiVersion: string
  readonly kind: string
  /** `/apis/heddle.dev/v1alpha1/namespaces/default/sandboxpools/web`. */
  readonly path: string
  readonly name: string
  /** A new object of the same name is not ours to write. */
  readonly uid: string
}

/** Whose fields they are. */
export type Manager = "heddle-pool" | "heddle-source"

export interface StatusPorts {
  readonly later: (afterMs: number, run: () => void) => void
  readonly warn: (message: string, details: Readonly<Record<string, unknown>>) => void
}

const retryMinMs = 1_000
const retryMaxMs = 30_000

export class StatusWriter {
  private readonly api: Api
  private readonly target: StatusTarget
  private readonly manager: Manager
  private readonly ports: StatusPorts
  private wanted: JsonObject | undefined
  private written = ""
  private isWriting = false
  private failures = 0

  constructor(api: Api, target: StatusTarget, manager: Manager, ports: StatusPorts) {
    this.api = api
    this.target = target
    this.manager = manager
    this.ports = ports
  }

  write(status: JsonObject): void {
    this.wanted = status
    this.next()
  }

  private next(): void {
    const status = this.wanted
    if (this.isWriting || status === undefined) return
    const text = JSON.stringify(status)
    this.wanted = undefined
    if (text === this.written) return
    this.isWriting = true
    const { apiVersion, kind, name, path, uid } = this.target
    this.api.send("write", {
      method: "PATCH",
      path: `${path}/status`,
      query: { fieldManager: this.manager, force: true },
      contentType: applyPatch,
      body: { apiVersion, kind, metadata: { name, uid }, status }
    }, (answer) => {
      const verdict = Answer.verdict(answer)
      const settled = (): void => {
        this.isWriting = false
        this.next()
      }
      switch (verdict._tag) {
        case "Done":
          this.written = text
          this.failures = 0
          return settled()
        case "NotFound":
        case "Conflict":
          // Deleted, or another object has its name: nobody waits for this status.
          this.wanted = undefined
          return settled()
        case "Later":
        case "Refused":
        case "Expired":
        case "Unknown": {
          if (this.failures === 0) {
            this.ports.warn("the status of an object cannot be written", { object: path, reason: verdict.message })
          }
          this.wanted ??= status
          const waitMs = Math.min(retryMinMs * 2 ** Math.min(this.failures++, 10), retryMaxMs)
          return this.ports.later(verdict._tag === "Later" ? Math.max(verdict.afterMs, waitMs) : waitMs, settled)
        }
      }
    })
  }
}
