/**
 * What the agent of a local sandbox and its holder say to each other: frames of one kind byte, a length of four bytes (big endian) and a payload.
 *
 * Output travels as raw bytes, everything else as JSON. One connection is one exec: the holder sends `exec`, then perhaps `kill`; the agent answers
 * `started`, output, and last `exit`. A connection that ends without `exit` means that the sandbox is lost; one that the holder ends kills the process.
 */

/** Holder to agent. */
export const exec = 1
export const kill = 2
/** Agent to holder. */
export const started = 3
export const stdout = 4
export const stderr = 5
export const exit = 6

const headerBytes = 5
export const payloadBytesMax = 1024 * 1024

/** False when the socket's buffer is full: write no more until it drains. */
export const write = (socket, kind, payload) => {
  const body = payload instanceof Uint8Array ? payload : Buffer.from(JSON.stringify(payload), "utf8")
  const header = Buffer.allocUnsafe(headerBytes)
  header[0] = kind
  header.writeUInt32BE(body.length, 1)
  socket.cork()
  socket.write(header)
  const isRoomy = socket.write(body)
  socket.uncork()
  return isRoomy
}

export const json = (payload) => JSON.parse(Buffer.from(payload).toString("utf8"))

/** A function that takes bytes as they come and calls `onFrame(kind, payload)` for each whole frame. Throws on a frame that is too large. */
export const reader = (onFrame) => {
  let chunks = []
  let length = 0
  return (bytes) => {
    chunks.push(bytes)
    length += bytes.length
    while (length >= headerBytes) {
      if (chunks.length > 1 && chunks[0].length < headerBytes) chunks = [Buffer.concat(chunks)]
      const head = chunks[0]
      const size = ((head[1] << 24) | (head[2] << 16) | (head[3] << 8) | head[4]) >>> 0
      if (size > payloadBytesMax) throw new Error(`a frame of ${size} bytes`)
      if (length < headerBytes + size) return
      const all = chunks.length === 1 ? head : Buffer.concat(chunks)
      const end = headerBytes + size
      const rest = all.subarray(end)
      chunks = rest.length === 0 ? [] : [rest]
      length = rest.length
      onFrame(all[0], all.subarray(headerBytes, end))
    }
  }
}
