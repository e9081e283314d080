/**
 * Every error code of the contract with its meaning and its fix: the one table behind error answers, `heddle errors` and the reference page.
 *
 * Codes are stable: a client may branch on them. Follows design/02 ("Errors have stable codes").
 */
import * as Schema from "effect/Schema"

export const errorCodes = {
  InvalidJson: { meaning: "The body is not JSON.", fix: "Send a UTF-8 JSON object; `{}` is the smallest." },
  InvalidMessage: {
    meaning: "A field is missing, of the wrong type or out of range.",
    fix: "Correct the field that `path` names; `details` lists every problem."
  },
  InvalidName: {
    meaning: "A name holds something else than letters, digits, `_` and `-`, or is longer than 63.",
    fix: "Use 1 to 63 of A-Z a-z 0-9 _ -."
  },
  PayloadTooLarge: {
    meaning: "The message is larger than the service takes.",
    fix: "Keep requests under 1 MiB; put large values into the object store and pass a reference."
  },
  UnknownSubject: {
    meaning: "No rpc has this subject, or no route of the HTTP API this path.",
    fix: "See the reference of subjects and of the HTTP API, or `heddle errors`."
  },
  Unauthorized: {
    meaning: "The HTTP API wants a token, and none or a wrong one was sent.",
    fix: "Send `Authorization: Bearer <token>` with the gateway's HEDDLE_HTTP_TOKEN."
  },
  Forbidden: {
    meaning: "The request comes from a page of another web site, or names a host that is not the gateway's.",
    fix: "Call the HTTP API from a program, or from the console that the gateway serves."
  },
  InvalidDefinition: {
    meaning: "The workflow definition has problems.",
    fix: "`details` lists every one with its path; `heddle definitions validate FILE` shows their lines."
  },
  NoSuchPool: {
    meaning: "No pool has this name in this namespace.",
    fix: "`heddle pools ls` lists them; `heddle pools apply` makes one."
  },
  NoSuchEnv: { meaning: "No sandbox env has this name in this namespace.", fix: "Claim from a pool, or make the env." },
  NoSuchClaim: {
    meaning: "No live or recent claim has this id in this pool.",
    fix: "Check the claim id; results are kept for an hour."
  },
  NoSuchDefinition: {
    meaning: "No workflow definition has this name (or version).",
    fix: "`heddle definitions ls` lists them; `heddle definitions put FILE` adds one."
  },
  NoSuchInstance: { meaning: "No workflow instance has this id.", fix: "`heddle workflows ls` lists them." },
  NoSuchSchedule: { meaning: "No schedule has this name.", fix: "`heddle schedules ls` lists them." },
  NoSuchBackfill: { meaning: "No backfill has this name.", fix: "`heddle backfill ls` lists them." },
  NoSuchGroup: {
    meaning: "No concurrency group of this name is in use.",
    fix:
      "`heddle groups ls` lists them; a group is there once a task has asked for a slot, or `heddle groups set` has said how many it has."
  },
  Conflict: {
    meaning: "The id is in use with other content, or the state does not allow this.",
    fix: "Use another id, or read the current state first."
  },
  QueueFull: {
    meaning: "The queue of waiting claims is full.",
    fix: "Try again later; `details.queueLen` is its length. Scale the pool up."
  },
  QuotaExceeded: {
    meaning: "The team may not hold that many sandboxes of the pool.",
    fix: "Release some of the team's claims, or raise its quota; `details` has both numbers."
  },
  PoolDraining: {
    meaning: "The pool is being drained and gives nothing out.",
    fix: "Claim from another pool, or end it: `heddle pools drain POOL --undo`."
  },
  DeadlineExceeded: {
    meaning: "The deadline passed before it could be done.",
    fix: "Give a longer deadline, or scale the pool up."
  },
  ShuttingDown: { meaning: "The service is ending and takes nothing new.", fix: "Try again: another replica answers." },
  DispatchQueueClosed: {
    meaning: "The dispatch queue of this pool is closed.",
    fix: "Try again: the pool's next owner answers."
  },
  InvalidSessionId: {
    meaning: "A session id that is not greater than the current one.",
    fix: "Read the current session first."
  },
  NotOwner: {
    meaning: "This process does not own the shard or the pool (any more).",
    fix: "Ask the owner; `details.owner` names it when known."
  },
  Overloaded: {
    meaning: "The service has reached its bound of requests in progress.",
    fix: "Try again with back-off."
  },
  Unavailable: {
    meaning: "A part of the mesh that is needed does not answer.",
    fix: "`heddle doctor` shows what is missing."
  },
  Unsupported: { meaning: "This part of the contract is not built in this version.", fix: "See CHANGELOG.md." },
  Internal: { meaning: "A defect of heddle.", fix: "Report it with the log line that carries this message." }
} as const satisfies Record<string, { readonly meaning: string; readonly fix: string }>

export type ErrorCode = keyof typeof errorCodes
export const ErrorCode = Schema.Literals(Object.keys(errorCodes) as [ErrorCode, ...Array<ErrorCode>]) // keyof: Object.keys widens to string

/** One problem of a bad message or definition: where (`spec.tasks[2].dependsOn[0]`), what, and what was found there. */
export const Problem = Schema.Struct({
  path: Schema.String,
  message: Schema.String,
  value: Schema.optionalKey(Schema.Unknown),
  fix: Schema.optionalKey(Schema.String)
})
export type Problem = typeof Problem.Type

/** `{error: {code, message, path?, details?}}`: what a malformed or impossible request is answered with. */
export const ErrorBody = Schema.Struct({
  code: ErrorCode,
  message: Schema.String,
  path: Schema.optionalKey(Schema.String),
  details: Schema.optionalKey(Schema.Unknown)
})
export type ErrorBody = typeof ErrorBody.Type
export const ErrorAnswer = Schema.Struct({ error: ErrorBody })
export type ErrorAnswer = typeof ErrorAnswer.Type

/** The contract's error as a failure of an Effect: what an rpc handler fails with, and what a client gets. */
export class ContractError extends Schema.TaggedError<ContractError>()("ContractError", ErrorBody.fields) {
  get answer(): ErrorAnswer {
    const { code, message, path, details } = this
    return {
      error: { code, message, ...(path === undefined ? {} : { path }), ...(details === undefined ? {} : { details }) }
    }
  }
}
