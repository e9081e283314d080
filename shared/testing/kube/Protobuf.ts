/**
 * The few requests that come as Protocol Buffers whatever the server prefers: kubectl's self reviews (`kubectl auth can-i`, `whoami`), and the Secrets in which Helm keeps its releases.
 * Everything else speaks JSON.
 *
 * An envelope (`runtime.Unknown` behind the four bytes "k8s\0") names the kind and holds the object; of the object only strings, bytes, maps and messages are read, by the numbers of
 * the API's generated.proto.
 */
import type { Json, JsonObject } from "./Json.ts"
import * as Refusal from "./Refusal.ts"

type Field = Shape | "string" | "map of strings" | "map of bytes"
type Shape = { readonly [number: number]: readonly [name: string, field: Field] }

const envelope: Shape = {
  1: ["type", { 1: ["apiVersion", "string"], 2: ["kind", "string"] }],
  2: ["raw", "string"]
}
const resourceAttributes: Shape = {
  1: ["namespace", "string"],
  2: ["verb", "string"],
  3: ["group", "string"],
  4: ["version", "string"],
  5: ["resource", "string"],
  6: ["subresource", "string"],
  7: ["name", "string"]
}
const entry: Shape = { 1: ["key", "string"], 2: ["value", "string"] }
const objectMeta: Shape = {
  1: ["name", "string"],
  3: ["namespace", "string"],
  5: ["uid", "string"],
  6: ["resourceVersion", "string"],
  11: ["labels", "map of strings"],
  12: ["annotations", "map of strings"]
}
const kinds: Readonly<Record<string, Shape>> = {
  SelfSubjectAccessReview: {
    2: ["spec", {
      1: ["resourceAttributes", resourceAttributes],
      2: ["nonResourceAttributes", { 1: ["path", "string"], 2: ["verb", "string"] }]
    }]
  },
  SelfSubjectRulesReview: { 2: ["spec", { 1: ["namespace", "string"] }] },
  SelfSubjectReview: {},
  Secret: { 1: ["metadata", objectMeta], 2: ["data", "map of bytes"], 3: ["type", "string"] },
  DeleteOptions: { 4: ["propagationPolicy", "string"] }
}

/** `latin1` keeps bytes: what is nested is read from the text again. */
const read = (bytes: Buffer, shape: Shape, encoding: "utf8" | "latin1"): JsonObject => {
  const object: JsonObject = {}
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; at < bytes.length; shift += 7) {
      const byte = bytes[at++] ?? 0
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw Refusal.badRequest("the body ends within a number")
  }
  while (at < bytes.length) {
    const tag = varint()
    const wire = tag & 7
    if (wire === 0) {
      varint()
      continue
    }
    if (wire !== 2) throw Refusal.badRequest(`the body has a field of wire type ${wire}`)
    const length = varint()
    const part = bytes.subarray(at, at + length)
    at += length
    const known = shape[Math.floor(tag / 8)]
    if (known === undefined) continue
    const [name, field] = known
    if (field === "string") {
      // what was not given comes as an empty text
      if (length > 0) object[name] = part.toString(encoding)
    } else if (field === "map of strings" || field === "map of bytes") {
      const isBytes = field === "map of bytes"
      const { key = "", value = "" } = read(part, entry, isBytes ? "latin1" : encoding)
      object[name] = { ...object[name], [key]: isBytes ? Buffer.from(value, "latin1").toString("base64") : value }
    } else object[name] = read(part, field, encoding)
  }
  return object
}

/** Throws 415 for kinds that are spoken of in JSON here. */
export const decode = (body: Buffer): Json => {
  if (body.toString("latin1", 0, 4) !== "k8s\0") throw Refusal.badRequest("the body is no protobuf of Kubernetes")
  const { raw = "", type } = read(body.subarray(4), envelope, "latin1")
  const shape = kinds[type?.kind]
  if (shape === undefined) throw Refusal.unsupportedMediaType(["application/json", "application/yaml"])
  return { ...type, ...read(Buffer.from(raw, "latin1"), shape, "utf8") }
}
