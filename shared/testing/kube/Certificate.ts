/**
 * A certificate for 127.0.0.1 that signs itself, made at start: programs such as kubectl send a token over TLS only.
 *
 * Node makes keys and signatures, but no certificates; this is the least of X.509 (RFC 5280) in DER that a strict client takes: P-256, SHA-256, the address as subject alternative name.
 */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto"

export interface Certificate {
  /** PEM. It is its own authority. */
  readonly certificate: string
  /** PEM. */
  readonly key: string
}

const tlv = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Buffer => {
  const body = Buffer.concat(parts)
  const { length } = body
  const head = length < 0x80
    ? [length]
    : length < 0x100
    ? [0x81, length]
    : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...head]), body])
}
const sequence = (...parts: ReadonlyArray<Uint8Array>) => tlv(0x30, ...parts)
const integer = (...bytes: ReadonlyArray<number>) => tlv(0x02, Buffer.from(bytes))
const hex = (tag: number, text: string) => tlv(tag, Buffer.from(text, "hex"))
const bits = (value: Uint8Array) => tlv(0x03, Buffer.from([0]), value)
const utcTime = (ms: number) =>
  tlv(0x17, Buffer.from(`${new Date(ms).toISOString().slice(2, 19).replaceAll(/[-:T]/g, "")}Z`))

const ecdsaWithSha256 = "2a8648ce3d040302"
const commonName = "550403"
const subjectAltName = "551d11"
const basicConstraints = "551d13"
const dayMs = 86_400_000

/** Valid from yesterday for 30 days. */
export const make = (nowMs: number): Certificate => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const algorithm = sequence(hex(0x06, ecdsaWithSha256))
  const name = sequence(tlv(0x31, sequence(hex(0x06, commonName), tlv(0x0c, Buffer.from("kube-test")))))
  const names = sequence(tlv(0x87, Buffer.from([127, 0, 0, 1])), tlv(0x82, Buffer.from("localhost")))
  const isTrue = hex(0x01, "ff")
  const serial = randomBytes(8)
  serial[0] = 0x40 | ((serial[0] ?? 0) & 0x3f) // positive, without a leading zero
  const body = sequence(
    tlv(0xa0, integer(2)),
    tlv(0x02, serial),
    algorithm,
    name,
    sequence(utcTime(nowMs - dayMs), utcTime(nowMs + 30 * dayMs)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    tlv(
      0xa3,
      sequence(
        sequence(hex(0x06, basicConstraints), isTrue, tlv(0x04, sequence(isTrue))),
        sequence(hex(0x06, subjectAltName), tlv(0x04, names))
      )
    )
  )
  const der = sequence(body, algorithm, bits(sign("sha256", body, { key: privateKey, dsaEncoding: "der" })))
  const lines = der.toString("base64").replaceAll(/(.{64})/g, "$1\n").trimEnd()
  return {
    certificate: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString()
  }
}
