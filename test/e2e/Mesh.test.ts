import { assert, describe, it } from "@effect/vitest"
import { existsSync } from "node:fs"
import { Mesh } from "./Mesh.ts"

const brokerOnly = { coordinators: 0, poolSchedulers: 0, executors: 0, failovers: 0 } as const

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe("Mesh", () => {
  it("two at once do not meet, and leave nothing behind", async () => {
    const [first, second] = await Promise.all([Mesh.start(brokerOnly), Mesh.start(brokerOnly)])
    assert.notStrictEqual(first.natsUrl, second.natsUrl)
    assert.notStrictEqual(first.folder, second.folder)
    const pids = [first, second].map((mesh) => mesh.processes.get("nats-server")?.pid ?? 0)
    assert.deepStrictEqual(pids.map(isAlive), [true, true])
    await Promise.all([first.stop(), second.stop()])
    assert.deepStrictEqual(pids.map(isAlive), [false, false])
    assert.deepStrictEqual([first, second].map((mesh) => existsSync(mesh.folder)), [false, false])
  })

  it("the broker comes back at the same address with another process", async () => {
    await using mesh = await Mesh.start(brokerOnly)
    const { natsUrl } = mesh
    const { pid } = await mesh.kill("nats-server")
    assert.isFalse(isAlive(pid))
    assert.isFalse(mesh.processes.has("nats-server"))
    const again = await mesh.start("nats-server")
    assert.notStrictEqual(again.pid, pid)
    assert.strictEqual(mesh.natsUrl, natsUrl)
    assert.isAbove(mesh.usage("nats-server")?.peakMb ?? 1, 0)
  })

  it("nobody answers: the failure says what was asked", async () => {
    await using mesh = await Mesh.start(brokerOnly)
    const failure = await mesh.ask("heddle.rpc.member.list", {}).catch((error: unknown) => error)
    assert.match(String(failure), /nobody answers on heddle\.rpc\.member\.list/)
  })

  it("a service that is killed comes back under its name as another life; in the end all end with code 0", async () => {
    const mesh = await Mesh.start({ coordinators: 1, poolSchedulers: 0, executors: 0, failovers: 1 })
    const first = mesh.processes.get("coordinator-1")
    const ended = await mesh.kill("coordinator-1")
    assert.deepStrictEqual([ended.pid, ended.signal], [first?.pid, "SIGKILL"])
    assert.isFalse(mesh.processes.has("coordinator-1"))
    const second = await mesh.start("coordinator-1")
    assert.notStrictEqual(second.pid, first?.pid)
    assert.deepStrictEqual((await mesh.stop()).map(({ code, name }) => [name, code]).sort(), [
      ["coordinator-1", 0],
      ["failover-1", 0]
    ])
    assert.isFalse(isAlive(second.pid))
  })

  it("a service that ends by itself fails whoever waits, with the end of its log", async () => {
    await using mesh = await Mesh.start({ coordinators: 0, poolSchedulers: 0, executors: 0, failovers: 1 })
    process.kill(mesh.processes.get("failover-1")?.pid ?? 0, "SIGKILL") // not through the mesh: nobody has asked for it
    const failure = await mesh.until("never", async () => false).catch((error: unknown) => error)
    assert.match(String(failure), /failover-1 ended by itself \(SIGKILL\)/)
    assert.include(String(failure), `"ready":true`)
  })
})
