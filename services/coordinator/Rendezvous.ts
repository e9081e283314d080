/**
 * Which live coordinator should own a shard: rendezvous hashing over the members, so that a coordinator that comes or goes moves only its own share.
 *
 * Liveness only: two coordinators that disagree for a moment about who is alive are kept apart by sealing, the CAS and ADOPTED (design/01 section 3).
 */
import { fnv1a } from "../../shared/protocol/Shard.ts"
import type { MemberId, Shard } from "../../shared/protocol/Token.ts"

// FNV alone keeps similar names close together; the finalizer of MurmurHash3 spreads them
const spread = (hash: number): number => {
  let h = hash
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  h ^= h >>> 16
  return h >>> 0
}

/** The member that should own `shard`; `undefined` when there is none. Ties go to the smaller name. */
export const winner = (shard: Shard, members: Iterable<MemberId>): MemberId | undefined => {
  let best: MemberId | undefined
  let bestScore = -1
  for (const member of members) {
    const score = spread(fnv1a(`${member}/${shard}`))
    if (score > bestScore || (score === bestScore && best !== undefined && member < best)) {
      best = member
      bestScore = score
    }
  }
  return best
}
