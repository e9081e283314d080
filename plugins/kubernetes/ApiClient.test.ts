import { assert, it } from "@effect/vitest"
import * as Http from "node:http"
import { type AddressInfo } from "node:net"
import { afterEach } from "vitest"
import type { Answer } from "./Answer.ts"
import { ApiClient, connectionsMax, type Lane } from "./ApiClient.ts"

const servers: Array<Http.Server> = []
const clients: Array<ApiClient> = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** An API server that does with each request what the test wants. */
const serve = async (handle: Http.RequestListener): Promise<ApiClient> => {
  // However slow the machine is, no connection is closed for having been idle.
  const server = Http.createServer({ keepAliveTimeout: 600_000 }, handle)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return reach((server.address() as AddressInfo).port) // it listens on TCP
}
const reach = (port: number): ApiClient => {
  const credentials = { headers: {}, tls: {}, agent: undefined }
  const client = new ApiClient({
    server: `http://127.0.0.1:${port}`,
    userAgent: "test",
    credentials: () => credentials,
    unauthorized: () => {},
    timeoutMs: 60_000,
    bodyBytesMax: 1_000_000
  })
  clients.push(client)
  return client
}
const send = (client: ApiClient, lane: Lane, path: string): Promise<Answer> =>
  new Promise((resolve) =>
    client.send(
      lane,
      lane === "read" ? { method: "GET", path } : { method: "PATCH", path, body: {} },
      resolve
    )
  )

it("reads and watches that are not answered hold up no write: each has connections of its own", async () => {
  const open: Array<string> = []
  const client = await serve((request, response) => {
    open.push(`${request.method} ${request.url ?? ""}`)
    if (request.method === "PATCH") response.end("{}")
  })
  // Far more of both than all connections for writes.
  for (let index = 0; index < 2 * connectionsMax.write; index++) void send(client, "read", `/read-${index}`)
  const watches = Array.from(
    { length: 2 * connectionsMax.write },
    (_, index) => client.watch(`/watch-${index}`, {}, { opened: () => {}, event: () => {}, ended: () => {} })
  )
  const answers = await Promise.all(Array.from({ length: 5 }, (_, index) => send(client, "write", `/write-${index}`)))
  assert.deepStrictEqual(answers.map((answer) => answer._tag === "Answered" && answer.status), [
    200,
    200,
    200,
    200,
    200
  ])
  assert.isAtMost(open.filter((one) => one.startsWith("GET /read")).length, connectionsMax.read)
  for (const watch of watches) watch.close()
})

it("at most 100 writes are under way at once, one on each connection, and the connections are used again", async () => {
  const waiting: Array<Http.ServerResponse> = []
  const sockets = new Map<unknown, number>()
  let most = 0
  let answered = 0
  const total = 3 * connectionsMax.write
  const client = await serve((request, response) => {
    const { socket } = request
    const others = (sockets.get(socket) ?? 0) + 1
    sockets.set(socket, others)
    assert.strictEqual(others, 1, "one request at a time on a connection")
    waiting.push(response)
    most = Math.max(most, waiting.length)
    // Nobody is answered before as many have come as may.
    if (waiting.length < Math.min(connectionsMax.write, total - answered)) return
    for (const one of waiting.splice(0)) {
      answered++
      sockets.set(one.req.socket, 0)
      one.end("{}")
    }
  })
  const answers = await Promise.all(
    Array.from({ length: total }, (_, index) => send(client, "write", `/write-${index}`))
  )
  assert.isTrue(answers.every((answer) => answer._tag === "Answered"))
  assert.deepStrictEqual([most, sockets.size], [connectionsMax.write, connectionsMax.write])
})

it("an answer that never came is Lost, a request that never left is NotSent", async () => {
  const client = await serve((request, response) => {
    if (request.url === "/cut") request.socket.destroy()
    else {
      // Half of an answer.
      response.writeHead(200, { "content-length": 100 })
      response.write("{", () => request.socket.destroy())
    }
  })
  assert.strictEqual((await send(client, "write", "/cut"))._tag, "Lost")
  assert.strictEqual((await send(client, "write", "/half"))._tag, "Lost")
  // Below the ports that systems give out: nobody comes to listen there.
  assert.strictEqual((await send(reach(2), "write", "/nobody"))._tag, "NotSent")
})
