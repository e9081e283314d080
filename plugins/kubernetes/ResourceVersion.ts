/**
 * `metadata.resourceVersion` as a number that can be compared, which the scheduler's rules ask of a sandbox's version.
 *
 * Kubernetes promises the order within one resource type since 1.35 (KEP-5504); before that every API server on etcd gave it all the same: the text is etcd's revision.
 * What is no plain decimal number within JavaScript's exact integers is refused aloud, never guessed (docs/design/kubernetes.md, "Versions").
 */

/** `undefined`: no resource version that can be compared. */
export const parse = (text: unknown): number | undefined => {
  if (typeof text !== "string" || !/^[1-9]\d*$/.test(text)) return undefined
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : undefined
}
