import { assert, describe, it } from "@effect/vitest"
import { outcome } from "../../shared/plugin/PoolProvider.ts"
import { last, setup, state } from "./ScriptedScheduler.ts"

describe("Creations", () => {
  it("no more than the pool lacks, however slow the watch: what was begun counts until it is seen", () => {
    const { scheduler, world } = setup({ idle: 0, size: 3 })
    assert.strictEqual(world.creates.length, 3)
    for (const one of world.creates) one.answer({ _tag: "Done" })
    scheduler.observe({ _tag: "Upsert", state: state("other", "Starting", 1) })
    scheduler.notifyIdle()
    assert.strictEqual(world.creates.length, 3)
    // Listed after it was answered, and not there: it is gone, and made anew under another name.
    scheduler.listed(scheduler.listing(), [])
    assert.strictEqual(world.creates.length, 6)
    assert.strictEqual(new Set(world.creates.map((_) => _.write)).size, 6)
  })

  it("so many at once, so many a second", () => {
    const { tickAt, world } = setup({ idle: 0, size: 10, creatingMax: 4, createPerSecond: 2 })
    assert.strictEqual(world.creates.length, 2)
    tickAt(1_499)
    assert.strictEqual(world.creates.length, 2)
    tickAt(1_500)
    assert.strictEqual(world.creates.length, 3)
    tickAt(2_000)
    tickAt(2_500)
    tickAt(4_000)
    assert.strictEqual(world.creates.length, 4, "none was seen yet: creatingMax")
  })

  it("an error pauses creating as such, longer each time; then it goes on under new names", () => {
    const { tickAt, world } = setup({ idle: 0, size: 1 })
    last(world.creates).answer(outcome.hardError("no quota", true))
    tickAt(1_999)
    assert.strictEqual(world.creates.length, 1)
    tickAt(2_000)
    assert.strictEqual(world.creates.length, 2)
    last(world.creates).answer(outcome.hardError("no quota", true))
    tickAt(3_999)
    assert.strictEqual(world.creates.length, 2)
    tickAt(4_000)
    assert.strictEqual(world.creates.length, 3)
  })
})
