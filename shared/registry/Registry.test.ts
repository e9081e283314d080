import { assert, describe, it } from "@effect/vitest"
import type * as Kv from "../jetstream/Kv.ts"
import type { Member } from "../protocol/Member.ts"
import { MemberId, Shard, StartupId } from "../protocol/Token.ts"
import * as Registry from "./Registry.ts"
import * as ShardMap from "./ShardMap.ts"

const member: Member = {
  member: MemberId.make("a"),
  startup: StartupId.make("s1"),
  role: "coordinator",
  host: "h",
  pid: 1,
  version: "0",
  startedAt: "2026-11-22T00:00:00Z"
}
const put = (value: unknown): Kv.WatchEvent => ({
  _tag: "Put",
  key: "coordinator.a",
  value: JSON.stringify(value),
  revision: 1
})
const removed = (reason: "Deleted" | "Expired" | "Gone"): Kv.WatchEvent => ({
  _tag: "Removed",
  key: "coordinator.a",
  revision: 2,
  reason
})

describe("Registry.eventsOf", () => {
  const names = (events: ReadonlyArray<Kv.WatchEvent>) => {
    const known = new Map<string, Member>()
    return events.flatMap((event) => Registry.eventsOf(known, event)).map((event) =>
      event._tag === "Left" ? `Left ${event.reason}` : event._tag
    )
  }
  it("a renewal is no event, other content is", () =>
    assert.deepStrictEqual(names([put(member), put(member), put({ ...member, slots: 2 })]), ["Joined", "Changed"]))
  it("another startup id is another life", () =>
    assert.deepStrictEqual(names([put(member), put({ ...member, startup: "s2" })]), [
      "Joined",
      "Left Replaced",
      "Joined"
    ]))
  it("tells good-bye from expiry", () => {
    assert.deepStrictEqual(names([put(member), removed("Deleted"), put(member), removed("Expired")]), [
      "Joined",
      "Left Closed",
      "Joined",
      "Left Expired"
    ])
  })
  it("nobody leaves who was not there, and nonsense joins nobody", () =>
    assert.deepStrictEqual(names([removed("Expired"), put({ no: "member" })]), []))
})

describe("ShardMap.shardOfKey", () => {
  it("knows shards from other keys", () => {
    assert.deepStrictEqual(["shard.0", "shard.4095", "shard.4096", "mesh", "shard.x"].map(ShardMap.shardOfKey), [
      Shard.make(0),
      Shard.make(4095),
      undefined,
      undefined,
      undefined
    ])
  })
})
