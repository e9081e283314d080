/**
 * Which requests may be asked again although nobody knows whether they were done: those for which doing it twice is doing it once.
 *
 * They only read, set what they name, carry an id that makes a repetition join the first, or remove something (then "there is none" may be the answer to the first). design/02 ("Headers").
 */
import type * as Subject from "../shared/protocol/Subject.ts"

const repeatableVerbs: Readonly<Record<string, ReadonlySet<string>>> = {
  definition: new Set(["put", "get", "list", "validate", "delete"]),
  workflow: new Set(["start", "get", "list", "result", "history"]),
  pool: new Set([
    "list",
    "apply",
    "claim",
    "release",
    "renew",
    "cancel",
    "get",
    "snapshot",
    "scale",
    "pause",
    "resume",
    "delete"
  ]),
  env: new Set(["list", "apply", "claim", "delete"]),
  schedule: new Set(["put", "get", "list", "pause", "resume", "preview", "trigger", "delete"]),
  backfill: new Set(["start", "get", "list", "stop"]),
  group: new Set(["list", "get", "set", "prioritize"]),
  member: new Set(["list"]),
  failover: new Set(["list"])
}
/** Commands to an instance: their id travels in the header `Nats-Msg-Id`. */
const commandVerbs: ReadonlySet<string> = new Set<Subject.WorkflowVerb>([
  "pause",
  "resume",
  "stop",
  "rerun",
  "recover",
  "run-task",
  "force-success",
  "force-start"
])
/** The field of the body without which a repetition would be another one; a backfill's name is always there. */
const keyOf: Readonly<Record<string, string>> = {
  "workflow.start": "instanceId",
  "pool.claim": "claimId",
  "env.claim": "claimId",
  "schedule.trigger": "scheduledAt"
}

const wordsOf = (subject: string) => {
  const tokens = subject.split(".")
  return { kind: tokens[2] ?? "", verb: tokens.at(-1) ?? "" }
}

/** Is done once for one id in the header `Nats-Msg-Id`. */
export const takesId = (subject: string): boolean => {
  const { kind, verb } = wordsOf(subject)
  return kind === "workflow" && commandVerbs.has(verb)
}

/** `id`: of the header. */
export const isRepeatable = (subject: string, body: unknown, id: string | undefined): boolean => {
  if (takesId(subject)) return id !== undefined
  const { kind, verb } = wordsOf(subject)
  if (repeatableVerbs[kind]?.has(verb) !== true) return false
  const key = keyOf[`${kind}.${verb}`]
  return key === undefined || typeof body === "object" && body !== null && key in body
}
