/**
 * Versions of nats-server, and the least that heddle needs: older ones drop flags of streams and writes without a word (design/01 section 2, guides nats.md section 1.3).
 */

export const least = "2.12.0"

/** `2.9.10` is older than `2.12.0`; a pre-release counts as its version. Pure. */
export const isOlder = (version: string, least: string): boolean => {
  const left = version.split("-", 1)[0]?.split(".").map(Number) ?? []
  const right = least.split(".").map(Number)
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}
