/**
 * The provider's way to a cluster in the same process and in its time, without HTTP: answers come in turns of their own, as from a socket.
 */
import type { Api } from "../../../plugins/kubernetes/ApiClient.ts"
import type { Cluster } from "../../../shared/testing/kube/Cluster.ts"
import * as Rbac from "../../../shared/testing/kube/Rbac.ts"
import * as Refusal from "../../../shared/testing/kube/Refusal.ts"
import * as Route from "../../../shared/testing/kube/Route.ts"

const queryText = (query: Readonly<Record<string, unknown>> | undefined): string =>
  new URLSearchParams(
    Object.entries(query ?? {}).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, String(value)] as [string, string]]
    )
  ).toString()

/** `after`: a turn of its own; not called any more for whoever is dead. `deleting`: the names of pods whose deletion is asked for. */
export const submitted = (
  cluster: Cluster,
  after: (ms: number, run: () => void) => void,
  note: (line: string) => void = () => {},
  deleting: Set<string> = new Set()
): Api => ({
  send: (_lane, request, done) => {
    let isDone = false
    const finish = (answer: Parameters<typeof done>[0]): void => {
      if (isDone) return
      isDone = true
      note(
        `  ${request.method} ${request.path.split("/pods")[1] ?? ""}: ${
          answer._tag === "Answered" ? answer.status : answer.reason
        }`
      )
      after(0, () => done(answer))
    }
    if (request.method === "DELETE") deleting.add(request.path.split("/pods/")[1] ?? "")
    const found = Route.route(
      request.method,
      request.path,
      queryText(request.query),
      request.contentType,
      cluster.find
    )
    if (found._tag === "Discovery") throw new Error(`not a resource: ${request.path}`)
    // What the server gets is what was sent, whatever becomes of the sender's objects.
    const body: unknown = request.body === undefined ? undefined : JSON.parse(JSON.stringify(request.body))
    cluster.submit({ ...found.request, ...(body === undefined ? {} : { body }) }, Rbac.admin, (outcome) =>
      finish(
        outcome._tag === "Lost"
          ? { _tag: "Lost", reason: "the connection broke" }
          : {
            _tag: "Answered",
            status: outcome.code,
            body: outcome.body,
            retryAfterMs: outcome.retryAfterSeconds === undefined ? undefined : outcome.retryAfterSeconds * 1_000
          }
      ))
    return () => finish({ _tag: "Lost", reason: "given up" })
  },
  watch: (path, query, handlers) => {
    const found = Route.route("GET", path, queryText(query), undefined, cluster.find)
    if (found._tag === "Discovery") throw new Error(`not a resource: ${path}`)
    let isClosed = false
    const tell = (run: () => void): void => after(0, () => isClosed || run())
    try {
      const watching = cluster.watch(found.request, Rbac.admin, {
        event: (event) => tell(() => handlers.event(event)),
        end: (isCut) => tell(() => handlers.ended({ _tag: "Lost", reason: isCut ? "cut" : "ended" }))
      })
      tell(handlers.opened)
      return {
        close: () => {
          isClosed = true
          watching.stop()
        }
      }
    } catch (error) {
      if (!(error instanceof Refusal.Refusal)) throw error
      tell(() => handlers.ended({ _tag: "Answered", status: error.code, body: error.status, retryAfterMs: undefined }))
      return {
        close: () => {
          isClosed = true
        }
      }
    }
  }
})
