/**
 * The other side of a plugin that speaks HTTP, for its tests: a real server on a free port of this machine, gone with its scope.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

export interface HttpOther {
  readonly url: string
  /** Bodies of the requests so far, each once it was there as a whole. */
  readonly got: ReadonlyArray<string>
}

/** Nobody listens there: below the ports that systems give out, so that none comes to listen. */
export const nowhere = "http://127.0.0.1:2/"

/** `answer`: what a request gets; `undefined`: no answer as long as the server is there. */
export const scoped = (
  answer: (body: string) => { readonly status: number; readonly body?: string } | undefined
): Effect.Effect<HttpOther, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<HttpOther & { readonly close: () => void }>((resume) => {
        const got: Array<string> = []
        // an idle connection stays open: one that ends while the next request is on its way would fail it
        const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
          let body = ""
          request.setEncoding("utf8").on("data", (part: string) => body += part).on("end", () => {
            got.push(body)
            const said = answer(body)
            if (said !== undefined) {
              response.writeHead(said.status, { "content-type": "application/json" }).end(said.body ?? "")
            }
          })
        })
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as AddressInfo // it listens on TCP
          const close = () => {
            server.closeAllConnections()
            server.close()
          }
          resume(Effect.succeed({ url: `http://127.0.0.1:${port}/`, got, close }))
        })
      }),
      ({ close }) => Effect.sync(close)
    ),
    ({ got, url }) => ({ got, url })
  )
