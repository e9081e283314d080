import { assert, it } from "@effect/vitest"
import { MemberId, Shard } from "../../shared/protocol/Token.ts"
import * as Rendezvous from "./Rendezvous.ts"

const members = ["coordinator-a", "coordinator-b", "coordinator-c"].map((name) => MemberId.make(name))
const shards = Array.from({ length: 64 }, (_, i) => Shard.make(i))

it("a coordinator that leaves moves only its own shards", () => {
  const before = shards.map((shard) => Rendezvous.winner(shard, members))
  const after = shards.map((shard) => Rendezvous.winner(shard, members.slice(0, 2)))
  for (const [i, owner] of before.entries()) {
    if (owner !== members[2]) assert.strictEqual(after[i], owner)
  }
})

it("each of three gets a fair part of 64 shards", () => {
  for (const member of members) {
    const share = shards.filter((shard) => Rendezvous.winner(shard, members) === member).length
    assert.isTrue(share >= 10 && share <= 34, `${member} owns ${share}`)
  }
})

it("no members, no owner", () => {
  assert.isUndefined(Rendezvous.winner(Shard.make(0), []))
})
