/**
 * A port for a server that cannot choose one itself and tell it (a route, a certificate or an argument names it before it runs).
 *
 * Nothing holds it until that server does: one that finds it taken has to be started again with another.
 */
import { createServer } from "node:net"

/** A TCP port of 127.0.0.1 that nobody listens on now. */
export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(
        () => (typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no port")))
      )
    })
  })
