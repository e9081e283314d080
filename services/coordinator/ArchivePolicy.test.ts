import { assert, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { Namespace } from "../../shared/protocol/Token.ts"
import * as Archive from "./Archive.ts"
import * as ArchivePolicy from "./ArchivePolicy.ts"

const day = 86_400_000
const parsed = (text: string) => Result.getOrThrow(ArchivePolicy.parse(text))

it("an age for all, others for single namespaces, never", () => {
  const policy = parsed("30d, batch=1d, audit=never")
  assert.strictEqual(ArchivePolicy.afterMsOf(policy, Namespace.make("default")), 30 * day)
  assert.strictEqual(ArchivePolicy.afterMsOf(policy, Namespace.make("batch")), day)
  assert.isUndefined(ArchivePolicy.afterMsOf(policy, Namespace.make("audit")))
  assert.deepStrictEqual(ArchivePolicy.ages(policy), [day, 30 * day])
  assert.deepStrictEqual(ArchivePolicy.ages(parsed("batch=1d")), [day, 30 * day])
})

it("how often it is looked at: a tenth of the least age, an hour at most; not at all when nothing is ever due", () => {
  assert.strictEqual(Archive.sweepEveryMs(parsed("30d")), 3_600_000)
  assert.strictEqual(Archive.sweepEveryMs(parsed("never,batch=100s")), 10_000)
  assert.strictEqual(Archive.sweepEveryMs(parsed("0s")), 1_000)
  assert.isUndefined(Archive.sweepEveryMs(parsed("never")))
})

it("what is no policy is named", () => {
  for (const text of ["", "soon", "30d,a b=1d", "30d,batch=", "30d,batch=soon"]) {
    const result = ArchivePolicy.parse(text)
    assert.isTrue(Result.isFailure(result), text)
    if (Result.isFailure(result)) assert.match(result.failure.message, /is no archive policy: write an age/u)
  }
})
