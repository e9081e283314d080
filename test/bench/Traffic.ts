/** How many messages each client of the broker has sent and got, from nats-server's own monitor: what a workflow costs on the wire. */
import * as Schema from "effect/Schema"

/** Sums over all connections of one name, seen from the client: what JetStream stores counts where it was sent, and again where it is delivered. */
export interface Traffic {
  readonly sent: number
  readonly received: number
  readonly bytesSent: number
  readonly bytesReceived: number
}

const Connections = Schema.Struct({
  connections: Schema.Array(Schema.Struct({
    name: Schema.optionalKey(Schema.String),
    in_msgs: Schema.Finite,
    out_msgs: Schema.Finite,
    in_bytes: Schema.Finite,
    out_bytes: Schema.Finite
  }))
})
const decode = Schema.decodeUnknownSync(Connections)
const connectionsMax = 1_024

/** The answer of the server's `/connz`, by connection name. */
export const parse = (answer: unknown): ReadonlyMap<string, Traffic> => {
  const found = new Map<string, Traffic>()
  for (const { in_bytes, in_msgs, name = "(no name)", out_bytes, out_msgs } of decode(answer).connections) {
    const before = found.get(name)
    found.set(name, {
      sent: in_msgs + (before?.sent ?? 0),
      received: out_msgs + (before?.received ?? 0),
      bytesSent: in_bytes + (before?.bytesSent ?? 0),
      bytesReceived: out_bytes + (before?.bytesReceived ?? 0)
    })
  }
  return found
}

/** Since the connections were made. */
export const read = async (monitorUrl: string): Promise<ReadonlyMap<string, Traffic>> => {
  const response = await fetch(`${monitorUrl}/connz?limit=${connectionsMax}`)
  return parse(await response.json())
}

/** Between two looks. */
export const since = (
  before: ReadonlyMap<string, Traffic>,
  after: ReadonlyMap<string, Traffic>
): ReadonlyMap<string, Traffic> =>
  new Map([...after].map(([name, now]) => {
    const from = before.get(name)
    return [name, {
      sent: now.sent - (from?.sent ?? 0),
      received: now.received - (from?.received ?? 0),
      bytesSent: now.bytesSent - (from?.bytesSent ?? 0),
      bytesReceived: now.bytesReceived - (from?.bytesReceived ?? 0)
    }]
  }))
