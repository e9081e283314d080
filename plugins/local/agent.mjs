/**
 * The agent: one warm sandbox of the local provider, as a process of its own. It runs what the holder of the sandbox sends over a unix socket.
 *
 * Keeps true: it ends when its parent ends (its stdin is a pipe from it), and everything it started ends before it; what a process leaves running is
 * killed when that process ends; an address is good for one holder (a reset listens on another socket); output is never buffered without bound.
 * Plain JavaScript without dependencies, so that a sandbox is warm in some 40 ms, and the same file runs on Node and on Deno.
 *
 * Parent: stdin takes lines `{"reset": n}` and `{"env": {}, "number": n}`; stdout gives `{"ready": address}`, `{"reset": n, "address"}`, `{"env": n}` and
 * `{"broken": reason}`.
 * Holder: frames in both directions, see Frame.mjs; one connection is one exec.
 */
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import { join, resolve } from "node:path"
import { setImmediate } from "node:timers"
import * as Frame from "./Frame.mjs"
import * as ProcessTree from "./ProcessTree.mjs"

/** Argument: `{"uid", "directory", "env"}`. */
const { directory, env: baseEnv, uid } = JSON.parse(process.argv[2])
const parentId = process.ppid
const work = join(directory, "work")
const home = join(directory, "home")
const temporary = join(directory, "tmp")
const run = join(directory, "run")
const sandboxMark = `HEDDLE_SANDBOX=${uid}`
/** Variables that the claim asks for, until the reset. */
let claimEnv = {}
const sandboxEnv = { ...baseEnv, HOME: home, TMPDIR: temporary, HEDDLE_SANDBOX: uid }

const killGraceDefaultMs = 5_000
/** Output that a process under a kill may leave unread by its holder. What is more is left out. */
const killBacklogBytesMax = 1024 * 1024
/** One argument of a program holds 128 KiB on Linux; a longer script goes through a file. */
const scriptArgumentBytesMax = 100_000
/** A stream that nobody writes to any more, but that stays open behind an ended process, is cut when it was quiet at so many looks. */
const drainLooks = 10
const drainLookMs = 50
/** Processes that were found to be foreign are not looked at again for so long: after that their ids may have come round. */
const foreignTrustMs = 60_000
const fifoPairs = 8

const tell = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)
const makeFolders = () => {
  for (const folder of [work, home, temporary]) fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
}

// Pipes. Node gives a child sockets, on which `echo x > /dev/stderr` fails; so output goes through named pipes, made some at a time. Deno gives real pipes.
const isDeno = "Deno" in globalThis
const fifos = []
let fifoCount = 0
let making
/** Resolves to false when there are none to be had. */
const makeFifos = () => {
  making ??= new Promise((done) => {
    const names = Array.from({ length: fifoPairs * 2 }, () => join(run, `f${fifoCount++}`))
    const child = spawn("mkfifo", ["-m", "600", ...names], {
      // Not in the sandbox's folder: it is none of its processes.
      cwd: "/",
      stdio: "ignore",
      env: { PATH: process.env.PATH }
    })
    const end = (code) => {
      if (code === 0) { while (names.length > 1) fifos.push([names.pop(), names.pop()]) }
      making = undefined
      done(code === 0)
    }
    child.once("error", end)
    child.once("exit", end)
  })
  return making
}

/** One end to read, one to give to the child; the name is gone at once. */
const openFifo = (path) => {
  const reading = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  const writing = fs.openSync(path, fs.constants.O_WRONLY)
  fs.unlinkSync(path)
  return { writing, stream: new net.Socket({ fd: reading, readable: true, writable: false }) }
}

const openOutput = async () => {
  if (isDeno) return undefined
  let pair = fifos.pop()
  // Others wait for the same ones: each round of making serves some of them.
  while (pair === undefined) {
    if (!await makeFifos()) return undefined
    pair = fifos.pop()
  }
  const opened = pair.map(openFifo)
  return { fds: opened.map((_) => _.writing), streams: opened.map((_) => _.stream) }
}

let execCount = 0
let isResetting = false
let isEnding = false
/** Something ran since the last reset: folders and variables are not fresh. */
let isUsed = false
/** Something ran since the last look that found nothing of this sandbox. */
let isLookDue = false
let foreign = new Set()
let foreignAt = performance.now()
const connections = new Set()
/** Whose processes may live. */
const execs = new Set()

const readCollected = (path, bytesMax) => {
  let fd
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK | fs.constants.O_NOFOLLOW)
    if (!fs.fstatSync(fd).isFile()) return { text: "", truncated: false }
    const buffer = Buffer.alloc(bytesMax + 1)
    let length = 0
    for (;;) {
      const read = fs.readSync(fd, buffer, length, buffer.length - length, length)
      length += read
      if (read === 0 || length === buffer.length) break
    }
    return { text: buffer.subarray(0, Math.min(length, bytesMax)).toString("utf8"), truncated: length > bytesMax }
  } catch {
    return { text: "", truncated: false }
  } finally {
    if (fd !== undefined) fs.closeSync(fd)
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
/** A while, after which whatever had come from any stream was read: the immediate comes behind the events of its turn. */
const drainLook = () => new Promise((done) => setTimeout(() => setImmediate(done), drainLookMs))

/** Ends everything of the sandbox, `of` an exec too; nothing starts meanwhile. Resolves to the number that cannot be ended. */
const killSandbox = (of) => {
  const sweep = async () => {
    isLookDue = false
    if (performance.now() - foreignAt > foreignTrustMs) {
      foreign = new Set()
      foreignAt = performance.now()
    }
    const seen = await ProcessTree.killAll({ ...of, mark: sandboxMark, folder: directory, skip: foreign })
    foreign = seen.foreign
    return seen.left
  }
  const running = (sweeping ?? Promise.resolve()).then(sweep)
  sweeping = running
  return running.finally(() => {
    if (sweeping === running) sweeping = undefined
  })
}
let sweeping

/** Runs one process for one connection; resolves when nothing of it is left. */
class Exec {
  constructor(socket, request) {
    this.socket = socket
    this.request = request
    this.id = ++execCount
    this.streams = []
    this.isPaused = false
    this.quietLooks = 0
    this.killing = undefined
    this.exit = undefined
    this.ended = new Promise((done) => {
      this.end = done
    })
  }

  send(kind, payload) {
    if (this.socket.destroyed) return true
    return Frame.write(this.socket, kind, payload)
  }

  async start() {
    const { collect, command, cwd, env } = this.request
    const argv = Array.isArray(command) ? command : this.scriptCommand(command)
    const folder = cwd === undefined ? work : resolve(work, cwd)
    if (argv.length === 0 || typeof argv[0] !== "string" || argv[0] === "") {
      return this.notStarted("the command is empty")
    }
    if (!fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
      return this.notStarted(`no such directory: ${folder}`)
    }
    this.collectPath = collect === undefined ? undefined : join(run, `collect-${this.id}`)
    if (this.collectPath !== undefined) fs.writeFileSync(this.collectPath, "", { mode: 0o600 })
    const output = await openOutput()
    // oxlint-disable-next-line no-unmodified-loop-condition -- another exec's end sets it
    while (sweeping !== undefined) await sweeping.catch(() => {})
    if (isResetting || isEnding || this.socket.destroyed || this.killing !== undefined) {
      for (const fd of output?.fds ?? []) fs.closeSync(fd)
      for (const stream of output?.streams ?? []) stream.destroy()
      this.exit = { signal: "SIGINT" }
      if (!isResetting && !isEnding) this.send(Frame.exit, this.exit)
      this.finish()
      return
    }
    isUsed = true
    isLookDue = true
    this.selection = { mark: `HEDDLE_EXEC=${uid}.${this.id}`, roots: [], known: new Map() }
    execs.add(this)
    let child
    try {
      child = spawn(argv[0], argv.slice(1), {
        cwd: folder,
        detached: true,
        env: {
          ...sandboxEnv,
          ...claimEnv,
          ...env,
          ...(collect === undefined ? {} : { [collect.env]: this.collectPath }),
          HEDDLE_SANDBOX: uid,
          HEDDLE_EXEC: `${uid}.${this.id}`
        },
        stdio: output === undefined ? ["ignore", "pipe", "pipe"] : ["ignore", ...output.fds]
      })
    } catch (error) {
      for (const stream of output?.streams ?? []) stream.destroy()
      return this.notStarted(error instanceof Error ? error.message : String(error))
    } finally {
      for (const fd of output?.fds ?? []) fs.closeSync(fd)
    }
    if (typeof child.pid === "number") {
      this.selection.roots.push(child.pid)
      const start = ProcessTree.startOf(child.pid)
      if (start !== undefined) this.selection.known.set(child.pid, start)
    }
    this.streams = output?.streams ?? [child.stdout, child.stderr]
    this.streams.forEach((stream, index) => this.forward(stream, index === 0 ? Frame.stdout : Frame.stderr))
    child.once("error", (error) => {
      if (this.exit !== undefined) return
      this.exit = { notStarted: `${argv[0]}: ${error.code === "ENOENT" ? "no such program" : error.message}` }
      this.settle()
    })
    child.once("exit", (code, signal) => {
      if (this.exit !== undefined) return
      this.exit = signal === null ? { code } : { signal }
      this.settle()
    })
    if (typeof child.pid === "number") this.send(Frame.started, { pid: child.pid })
  }

  scriptCommand({ script, shell = "/bin/sh" }) {
    if (Buffer.byteLength(script) <= scriptArgumentBytesMax) return [shell, "-c", script]
    this.scriptPath = join(run, `script-${this.id}`)
    fs.writeFileSync(this.scriptPath, script, { mode: 0o600 })
    return [shell, this.scriptPath]
  }

  forward(stream, kind) {
    stream.on("data", (chunk) => {
      this.quietLooks = 0
      if (this.killing !== undefined && this.socket.writableLength > killBacklogBytesMax) return
      if (!this.send(kind, chunk) && !this.isPaused && this.killing === undefined) {
        this.isPaused = true
        for (const each of this.streams) each.pause()
      }
    })
    stream.on("error", () => stream.destroy())
  }

  resume() {
    if (!this.isPaused) return
    this.isPaused = false
    this.quietLooks = 0
    for (const stream of this.streams) stream.resume()
  }

  notStarted(reason) {
    this.exit = { notStarted: reason }
    this.send(Frame.exit, this.exit)
    this.finish()
  }

  /** The process has ended: what it left is ended too, then the streams, then the holder is told. */
  async settle() {
    if (this.killing !== undefined) await this.killing
    execs.delete(this)
    // Alone, everything of the sandbox is its: then a reset needs no further look.
    if (execs.size === 0) await killSandbox(this.selection)
    else await ProcessTree.killAll(this.selection)
    const isOpen = (stream) => !stream.readableEnded && !stream.destroyed
    const closed = Promise.all(
      this.streams.filter(isOpen).map((stream) => new Promise((done) => stream.once("close", done)))
    )
    this.quietLooks = 0
    while (this.streams.some(isOpen) && !this.socket.destroyed) {
      // Looks are counted, not time: an agent that was busy, or a machine that stood still, has read nothing meanwhile.
      await Promise.race([drainLook(), closed])
      if (!this.isPaused && ++this.quietLooks > drainLooks) break
    }
    for (const stream of this.streams) stream.destroy()
    const collected = this.collectPath === undefined
      ? undefined
      : readCollected(this.collectPath, this.request.collect.bytesMax)
    this.send(Frame.exit, collected === undefined ? this.exit : { ...this.exit, collected })
    this.finish()
  }

  finish() {
    execs.delete(this)
    for (const path of [this.collectPath, this.scriptPath]) {
      if (path !== undefined) fs.rmSync(path, { force: true, recursive: true })
    }
    this.socket.end()
    this.end()
  }

  /** SIGINT, then SIGTERM, then SIGKILL to the whole tree; each but the last waits its time for all of it to end. */
  kill(grace) {
    this.killing ??= (async () => {
      this.resume()
      if (this.selection === undefined) return
      const { sigintMs = killGraceDefaultMs, sigtermMs = killGraceDefaultMs } = grace ?? this.request.grace ?? {}
      for (const [signal, waitMs] of [["SIGINT", sigintMs], ["SIGTERM", sigtermMs]]) {
        if (waitMs <= 0) continue
        ProcessTree.signalAll(this.selection, signal)
        const until = performance.now() + waitMs
        for (let round = 1; performance.now() < until; round++) {
          await sleep(Math.min(5 * round, 50, Math.max(1, until - performance.now())))
          if (this.exit !== undefined && ProcessTree.members(this.selection).length === 0) return
        }
      }
      await ProcessTree.killAll(this.selection)
    })()
    return this.killing
  }
}

const onConnection = (socket) => {
  connections.add(socket)
  let exec
  const reader = Frame.reader((kind, payload) => {
    if (kind === Frame.exec && exec === undefined) {
      exec = new Exec(socket, Frame.json(payload))
      socket.exec = exec
      exec.start().catch((error) => exec.notStarted(error instanceof Error ? error.message : String(error)))
    } else if (kind === Frame.kill && exec !== undefined) exec.kill(Frame.json(payload))
  })
  socket.on("data", (chunk) => {
    try {
      reader(chunk)
    } catch {
      // Not our protocol: whoever it is gets no answer.
      socket.destroy()
    }
  })
  socket.on("drain", () => exec?.resume())
  socket.on("error", () => socket.destroy())
  socket.on("close", () => {
    connections.delete(socket)
    // The holder is gone while its process runs.
    if (exec !== undefined && exec.exit === undefined) exec.kill()
    exec?.resume()
  })
}

let generation = 0
let server
const listen = () =>
  new Promise((done, failed) => {
    const path = join(directory, `s${++generation}`)
    server = net.createServer({ allowHalfOpen: false }, onConnection)
    server.once("error", failed)
    server.listen(path, () => done(`unix:${path}`))
  })

/** Ends all that runs here, at once. */
const killEverything = async () => {
  server?.close()
  const running = []
  for (const socket of connections) {
    if (socket.exec !== undefined) running.push(socket.exec)
    socket.destroy()
  }
  const left = isLookDue || execs.size > 0 ? await killSandbox({}) : 0
  await Promise.race([
    Promise.all(running.map((exec) => exec.selection === undefined ? undefined : exec.ended)),
    sleep(2_000)
  ])
  return left
}

const removeTree = (path) => {
  try {
    fs.rmSync(path, { recursive: true, force: true })
  } catch {
    // Folders without rights: give them back, then again.
    const open = (folder) => {
      fs.chmodSync(folder, 0o700)
      for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
        if (entry.isDirectory()) open(join(folder, entry.name))
      }
    }
    open(path)
    fs.rmSync(path, { recursive: true, force: true })
  }
}

const reset = async (number) => {
  isResetting = true
  try {
    claimEnv = {}
    if (isUsed || connections.size > 0) {
      const left = await killEverything()
      if (left > 0) throw new Error(`${left} processes cannot be killed`)
      for (const folder of [work, home, temporary]) removeTree(folder)
      makeFolders()
      isUsed = false
    } else server.close()
    const address = await listen()
    isResetting = false
    tell({ reset: number, address })
  } catch (error) {
    tell({ broken: error instanceof Error ? error.message : String(error) })
  }
}

/** The parent is gone or wants no more: nothing stays behind. */
const end = async () => {
  if (isEnding) return
  isEnding = true
  try {
    isLookDue = true
    foreign = new Set()
    await killEverything()
    // It would make files in a folder that is being removed, and outlive this process.
    await making
    removeTree(directory)
    // The parent is dead: the last agent removes the pool's folder, where only the file `owner` is left.
    const folder = resolve(directory, "..")
    if (process.ppid !== parentId && fs.readdirSync(folder).length <= 1) removeTree(folder)
  } catch {
    // Another agent was faster.
  }
  process.exit(0)
}

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, end)
process.stdout.on("error", end)
let pending = ""
process.stdin.setEncoding("utf8")
process.stdin.on("data", (chunk) => {
  pending += chunk
  for (let at = pending.indexOf("\n"); at >= 0; at = pending.indexOf("\n")) {
    const message = JSON.parse(pending.slice(0, at))
    pending = pending.slice(at + 1)
    if (typeof message.reset === "number") reset(message.reset)
    if (message.env !== undefined) {
      claimEnv = message.env
      tell({ env: message.number })
    }
  }
})
process.stdin.on("end", end)
process.stdin.on("error", end)

fs.mkdirSync(run, { recursive: true, mode: 0o700 })
makeFolders()
tell({ ready: await listen(), pid: process.pid })
if (!isDeno) makeFifos()
