/**
 * Spans of what has ended, sent by OTLP over HTTP when the environment names an endpoint; nothing at all when it does not.
 *
 * Kept true here: a span is made when what it tells of is over, in one go and short, so none is lost with a process that dies in the middle of a long run, and nothing of it is on
 * the way of the work. What belongs together is known by the W3C trace context that the journal holds (`START.traceparent`), so whoever goes on with a run goes on with its
 * trace. Only these spans are sent: Effect's own tracer stays as it is. What the endpoint does not take is dropped after some tries; the work never waits for it.
 *
 * `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT` (`/v1/traces` is added); `OTEL_EXPORTER_OTLP_HEADERS`; `OTEL_SDK_DISABLED`.
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { hash } from "node:crypto"

/** Something that is over. Times in milliseconds since the epoch. */
export interface Ended {
  /** Of few different values: a definition's, a task's, a pool's. */
  readonly name: string
  readonly kind: Tracer.SpanKind
  /** The trace context that it happened in. */
  readonly parent: string | undefined
  readonly startedAt: number
  readonly endedAt: number
  readonly attributes: Readonly<Record<string, string | number | undefined>>
  /** What happened on the way, and when. */
  readonly events?: ReadonlyArray<readonly [name: string, at: number | undefined]>
  /** Why it failed; absent: it did not. */
  readonly error?: string | undefined
  /** It is itself the span that `parent` names (one that `rootOf` made). */
  readonly isParent?: boolean
  /** Its own trace context, where others name it as theirs (one that `childOf` made of `parent`); made up when not given. */
  readonly self?: string | undefined
}

export interface Spans {
  readonly ended: (span: Ended) => void
}

/** Of the process; `undefined`: nobody wants spans. */
export const ProcessSpans = Context.Reference<Spans | undefined>("heddle/telemetry/ProcessSpans", {
  defaultValue: () => undefined
})

/** The trace context of something that came with none: the same whoever asks, and however often. */
export const rootOf = (id: string): string => {
  const text = hash("sha256", `heddle trace ${id}`, "hex")
  return `00-${text.slice(0, 32)}-${text.slice(32, 48)}-01`
}

/** W3C trace context; what is none is ignored, as that says. */
const traceContext = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** The header `traceparent`, if it is a trace context. */
export const contextOf = (text: string | undefined): string | undefined =>
  text !== undefined && traceContext.test(text) ? text : undefined

/** The trace context of a span below `parent` that is known before it is made: the same whoever asks. */
export const childOf = (parent: string, id: string): string => {
  const [version, traceId, spanId, flags] = parent.split("-")
  return `${version}-${traceId}-${hash("sha256", `heddle span ${spanId} ${id}`, "hex").slice(0, 16)}-${flags}`
}

/** `undefined`: it is none. */
const parentOf = (traceparent: string | undefined): Tracer.ExternalSpan | undefined => {
  const [, traceId, spanId, flags] = traceparent?.split("-") ?? []
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined
  return Tracer.externalSpan({ traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 })
}

const nanos = (ms: number): bigint => BigInt(Math.round(ms * 1_000)) * 1_000n

/** Makes spans with `tracer`. */
export const make = (tracer: Tracer.Tracer): Spans => ({
  ended: ({ attributes, endedAt, error, events, isParent, kind, name, parent: traceparent, self, startedAt }) => {
    const parent = parentOf(traceparent)
    if (parent?.sampled === false) return
    const span = tracer.span({
      name,
      parent: isParent === true ? Option.none() : Option.fromUndefinedOr(parent),
      annotations: Context.empty(),
      links: [],
      startTime: nanos(startedAt),
      kind,
      root: parent === undefined || isParent === true,
      sampled: true
    })
    // Its ids were given to others before it was made: Effect's span makes up its own at the first look, unless they are there.
    const own = isParent === true ? parent : parentOf(self)
    if (own !== undefined) Object.assign(span, { _traceId: own.traceId, _spanId: own.spanId })
    for (const [key, value] of Object.entries(attributes)) if (value !== undefined) span.attribute(key, value)
    for (const [event, at] of events ?? []) if (at !== undefined) span.event(event, nanos(at))
    span.end(nanos(Math.max(startedAt, endedAt)), error === undefined ? Exit.void : Exit.fail(error))
  }
})

/** `key=value` with commas between them, percent-encoded, as OpenTelemetry has it. */
const headersOf = (text: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    text.split(",").flatMap((pair) => {
      const at = pair.indexOf("=")
      return at <= 0 ? [] : [[pair.slice(0, at).trim(), decodeURIComponent(pair.slice(at + 1).trim())]]
    })
  )

const settings = Config.all({
  isDisabled: Config.Boolean("OTEL_SDK_DISABLED").pipe(Config.withDefault(false)),
  traces: Config.option(Config.URL("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
  base: Config.option(Config.URL("OTEL_EXPORTER_OTLP_ENDPOINT")),
  headers: Config.String("OTEL_EXPORTER_OTLP_HEADERS").pipe(Config.withDefault(""))
})

/** As the environment says; what is left at the end is sent within 3 s. */
export const fromEnvironment = (
  resource: { readonly serviceName: string; readonly serviceVersion: string; readonly instance: string }
): Effect.Effect<Spans | undefined, Config.ConfigError, Scope.Scope> =>
  Effect.gen(function*() {
    const { base, headers, isDisabled, traces } = yield* settings
    const endpoint = Option.getOrUndefined(traces)?.href ??
      Option.getOrUndefined(Option.map(base, (url) => `${url.href.replace(/\/$/, "")}/v1/traces`))
    if (endpoint === undefined || isDisabled) return undefined
    // loaded by those who want spans: a tenth of a second, and memory
    const [FetchHttpClient, OtlpExporter, OtlpSerialization, OtlpTracer] = yield* Effect.promise(() =>
      Promise.all([
        import("effect/http/FetchHttpClient"),
        import("effect/observability/OtlpExporter"),
        import("effect/observability/OtlpSerialization"),
        import("effect/observability/OtlpTracer")
      ])
    )
    const context = yield* Layer.build(
      Layer.mergeAll(FetchHttpClient.layer, OtlpSerialization.layerJson, OtlpExporter.layerFlusher)
    )
    const tracer = yield* OtlpTracer.make({
      url: endpoint,
      headers: headersOf(headers),
      resource: {
        serviceName: resource.serviceName,
        serviceVersion: resource.serviceVersion,
        attributes: { "service.instance.id": resource.instance }
      },
      exportInterval: "1 second"
    }).pipe(Effect.provide(context))
    return make(tracer)
  })
