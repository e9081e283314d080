/**
 * The `nats` task type: publishes a message, stores one in a stream, or asks and takes the answers as outputs; with the executor's own connection (host-injected, see
 * shared/plugin/Messaging.ts). Nothing runs in the sandbox.
 *
 * Keeps true: a stored message carries the same `Nats-Msg-Id` in every attempt of a task in a run, so that a repetition is stored once (within the stream's duplicate
 * window); subjects of the mesh and of the server (`heddle.>`, `$JS.>`, `$SYS.>` and all others with `$`, inboxes) are refused unless the operator has named them; no more
 * of the answers is taken than outputs may have. Headers and data are not logged.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { MessagingFailed, Reply } from "../../shared/plugin/Messaging.ts"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"

const Pattern = Schema.String.check(
  Schema.isPattern(/^(?:[^\s.*>]+|\*)(?:\.(?:[^\s.*>]+|\*))*(?:\.>)?$/u, {
    message: "a subject such as heddle.rpc.workflow.start or $KV.orders.>"
  })
)

export const Config = Schema.Struct({
  /** Of the mesh's and the server's own subjects, those that tasks may use all the same; with wildcards. None when not given. */
  subjects: Schema.optionalKey(Schema.Array(Pattern))
})

/** What heddle and the server use themselves: a message there could be taken for one of theirs. */
const isReserved = (subject: string): boolean => /^(heddle|_INBOX|_R_|_GR_|_EN)(\.|$)|^\$/.test(subject)

/** NATS's matching of a literal subject. */
export const matches = (pattern: string, subject: string): boolean => {
  const wanted = pattern.split(".")
  const tokens = subject.split(".")
  for (const [i, token] of wanted.entries()) {
    if (token === ">") return tokens.length > i
    if (i >= tokens.length || token !== "*" && token !== tokens[i]) return false
  }
  return tokens.length === wanted.length
}

const HeaderValue = Schema.String.check(Schema.isPattern(/^[^\r\n]*$/u, { message: "a header's value: one line" }))
const HeaderFields = Schema.Record(Schema.String, HeaderValue).check(
  Schema.makeFilter((headers) => {
    const wrong = Object.keys(headers).find((name) => !/^[\x21-\x39\x3b-\x7e]+$/u.test(name))
    if (wrong !== undefined) return `${JSON.stringify(wrong)} is no header's name`
    return Object.keys(headers).some((name) => name.toLowerCase() === "nats-msg-id")
      ? "Nats-Msg-Id is set by mode: jetstream, to msgId when that is given"
      : undefined
  })
)

const Subject = Schema.String.check(
  Schema.isPattern(/^[^\s.*>]+(\.[^\s.*>]+)*$/u, { message: "a subject such as orders.new, without wildcards" })
)

export const With = Schema.Struct({
  /** Where to, without wildcards. Subjects of the mesh and of the server (`heddle.`, `$...`, `_INBOX.`) are refused. */
  subject: Subject,
  /** `publish` (to whoever listens now), `jetstream` (into a stream, acknowledged) or `request` (waits for an answer); `publish` when not given. */
  mode: Schema.optionalKey(Schema.Literals(["publish", "jetstream", "request"])),
  /** A text is sent as it stands, any other value as JSON; nothing when not given. */
  data: Schema.optionalKey(Schema.Unknown),
  /** Further headers, one value each. */
  headers: Schema.optionalKey(HeaderFields),
  /** How long to wait for the acknowledgement or the answers; 5s when not given. */
  timeout: Schema.optionalKey(DurationMs),
  /** Answers to a request to wait for, 1 to 64; 1 when not given. When the time is over those that came count, if there is one. */
  replies: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 64 }))),
  /** The `Nats-Msg-Id` in the mode `jetstream`; when not given it is made of instance, task, run and item, and the same in every attempt. */
  msgId: Schema.optionalKey(HeaderValue.check(Schema.isNonEmpty({ message: "a text that is not empty" })))
})
export type With = typeof With.Type

/** `With`, held to the subjects that the operator allows beside other people's. */
export const withOf = ({ subjects = [] }: typeof Config.Type) =>
  Schema.Struct({
    ...With.fields,
    subject: Subject.check(
      Schema.makeFilter((subject) =>
        isReserved(subject) && !subjects.some((pattern) => matches(pattern, subject))
          ? "a subject of one's own: those that begin with heddle., $ or _INBOX. belong to the mesh and the server (HEDDLE_NATS_TASK_SUBJECTS of the services lists exceptions)"
          : undefined
      )
    )
  }).check(
    Schema.makeFilter(({ mode, msgId, replies }) =>
      replies !== undefined && mode !== "request"
        ? "replies is of requests: say mode: request"
        : msgId !== undefined && mode !== "jetstream"
        ? "msgId is of stored messages: say mode: jetstream"
        : undefined
    )
  )

export const answerBytesMax = 256 * 1024
const timeoutDefaultMs = 5_000
/** Of a micro service (ADR-32) that answers with an error. */
const serviceErrorHeader = "Nats-Service-Error"
const serviceErrorCodeHeader = "Nats-Service-Error-Code"

const valueOf = ({ data, headers }: Reply) => {
  const text = new TextDecoder().decode(data)
  try {
    return { headers, json: JSON.parse(text) as unknown }
  } catch {
    return { headers, text }
  }
}

const outcomeOf = (subject: string, replies: ReadonlyArray<Reply>, isList: boolean): TaskType.TaskOutcome => {
  const bytes = replies.reduce((sum, { data }) => sum + data.length, 0)
  if (bytes > answerBytesMax) {
    return {
      _tag: "Fatal",
      reason:
        `the answers on ${subject} have ${bytes} bytes, more than outputs may have (${answerBytesMax}): let the other side put them into a store and answer with their name`
    }
  }
  const refused = replies.find(({ headers }) => serviceErrorCodeHeader in headers || serviceErrorHeader in headers)
  if (refused !== undefined) {
    const { [serviceErrorCodeHeader]: code = "", [serviceErrorHeader]: text = "" } = refused.headers
    return {
      _tag: "Failed",
      reason: `${subject} answered with an error: ${[code, text].filter((_) => _ !== "").join(" ")}`
    }
  }
  const values = replies.map(valueOf)
  return { _tag: "Succeeded", outputs: isList ? { replies: values, count: values.length } : { ...values[0] } }
}

const failedOutcome = ({ isPermanent, message }: MessagingFailed): TaskType.TaskOutcome => ({
  _tag: isPermanent ? "Fatal" : "Failed",
  reason: message
})

export const nats = (config: typeof Config.Type): TaskType.TaskType =>
  TaskType.effectful<With>({
    type: "nats",
    description: "Publishes, stores or requests on a NATS subject, from the executor; answers become outputs.",
    with: withOf(config),
    run: ({ log, messaging, spec, with: options }) => {
      const { data, headers = {}, mode = "publish", replies, subject, timeout: timeoutMs = timeoutDefaultMs } = options
      const body = data === undefined ? "" : typeof data === "string" ? data : JSON.stringify(data)
      const say = (text: string) =>
        Effect.sync(() => log("system", new TextEncoder().encode(`${mode} ${subject}: ${text}\n`)))
      const done: Effect.Effect<TaskType.TaskOutcome, MessagingFailed> = mode === "jetstream"
        ? messaging.store(subject, body, { headers, msgId: options.msgId ?? TaskType.idempotencyKey(spec), timeoutMs })
          .pipe(
            Effect.tap(({ duplicate, sequence }) =>
              say(`stored at sequence ${sequence}${duplicate ? ", by an earlier attempt" : ""}`)
            ),
            Effect.map((outputs) => ({ _tag: "Succeeded", outputs: { ...outputs } }))
          )
        : mode === "request"
        ? messaging.request(subject, body, { headers, timeoutMs, repliesMax: replies ?? 1 }).pipe(
          Effect.tap((answers) => say(`${answers.length} answers`)),
          Effect.map((answers) => outcomeOf(subject, answers, replies !== undefined))
        )
        : messaging.publish(subject, body, { headers }).pipe(
          Effect.andThen(say("sent")),
          Effect.as({ _tag: "Succeeded", outputs: {} })
        )
      return done.pipe(Effect.catch((error) => Effect.as(say(error.message), failedOutcome(error))))
    }
  })
