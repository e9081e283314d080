/**
 * Events of a pool (`heddle.pool.<ns>.<pool>.event`) as a person looks at them; what the command does not know it leaves out, never refuses.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

export interface Seen {
  readonly sequence: number
  readonly at: string
  readonly kind: string
  readonly claimId: string
  readonly sandbox: string
  readonly holder: string
  readonly leaseExpiresAt?: string
}

const Time = Schema.Union([Schema.String, Schema.Finite])
const Event = Schema.Struct({
  kind: Schema.optionalKey(Schema.String),
  _tag: Schema.optionalKey(Schema.String),
  at: Time,
  claimId: Schema.String,
  holder: Schema.optionalKey(Schema.String),
  leaseExpiresAt: Schema.optionalKey(Time),
  /** Its uid; `name` is what people call it. */
  sandbox: Schema.optionalKey(Schema.Union([Schema.String, Schema.Struct({ name: Schema.String })])),
  name: Schema.optionalKey(Schema.String)
})
const decode = Schema.decodeUnknownOption(Event)

const timeText = (time: string | number) => typeof time === "number" ? new Date(time).toISOString() : time

const candidates = (value: unknown): ReadonlyArray<unknown> =>
  Array.isArray(value)
    ? value
    : typeof value === "object" && value !== null && "events" in value && Array.isArray(value.events)
    ? value.events
    : [value]

/** The claim events of one message. */
export const parse = (sequence: number, text: string): ReadonlyArray<Seen> =>
  candidates(JSON.parse(text)).flatMap((value) => {
    const event = Option.getOrUndefined(decode(value))
    if (event === undefined) return []
    return [{
      sequence,
      at: timeText(event.at),
      kind: event.kind ?? event._tag ?? "",
      claimId: event.claimId,
      sandbox: event.name !== undefined
        ? event.name
        : event.sandbox === undefined
        ? ""
        : typeof event.sandbox === "string"
        ? event.sandbox
        : event.sandbox.name,
      holder: event.holder ?? "",
      ...(event.leaseExpiresAt === undefined ? {} : { leaseExpiresAt: timeText(event.leaseExpiresAt) })
    }]
  })

const holds = new Set(["Claimed", "Adopted", "Renewed"])

/** `held` after one more event: claims in the order in which they were made. */
export const fold = <Event extends Seen>(held: Map<string, Event>, event: Event): void => {
  if (holds.has(event.kind)) held.set(event.claimId, event)
  else held.delete(event.claimId)
}
