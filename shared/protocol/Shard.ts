/**
 * Which shard an instance belongs to: `fnv1a(instance id) % N`, the same as the server's `{{partition(N, 1)}}` (design/01 section 3).
 */
import { type InstanceId, Shard } from "./Token.ts"

export const shardCountDefault = 64

/** 32-bit FNV-1a of the text's UTF-8 bytes; ids are ASCII, so code units are bytes. */
export const fnv1a = (text: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    hash ^= text.charCodeAt(i)
    hash = Math.imul(hash, 0x01000193) >>> 0
  }
  return hash
}

export const shardOf = (instance: InstanceId, shardCount: number): Shard => Shard.make(fnv1a(instance) % shardCount)
