// Reads the Debian mirror that this machine already uses out of its apt configuration, so that none is named here.
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** @typedef {import("./apt-sources.d.mts").Mirror} Mirror */

/** @param {string} uri */
function isDebianArchive(uri) {
  return /\/debian(\.list)?\/?$/.test(uri) && !/security/.test(uri)
}

/**
 * The one-line format: `deb [arch=amd64 signed-by=/path] uri suite component...`.
 * @param {string} text
 * @returns {Mirror[]}
 */
export function parseList(text) {
  const mirrors = []
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+\S+/.exec(line)
    if (match === null) continue
    const options = new Map(
      (match[1] ?? "").trim().split(/\s+/).filter(Boolean).map((pair) => {
        const at = pair.indexOf("=")
        return [pair.slice(0, at).toLowerCase(), pair.slice(at + 1)]
      })
    )
    mirrors.push({
      uri: match[2],
      signedBy: options.get("signed-by")?.split(",") ?? [],
      trusted: options.get("trusted") === "yes"
    })
  }
  return mirrors
}

/**
 * The deb822 format: stanzas of fields, where a field goes on in lines that begin with a blank.
 * @param {string} text
 * @returns {Mirror[]}
 */
export function parseDeb822(text) {
  const mirrors = []
  for (const stanza of text.split(/\n\s*\n/)) {
    /** @type {Map<string, string>} */
    const fields = new Map()
    let last = ""
    for (const line of stanza.split("\n")) {
      if (line.startsWith("#")) continue
      if (/^\s/.test(line)) {
        fields.set(last, `${fields.get(last)}\n${line.slice(1)}`)
        continue
      }
      const at = line.indexOf(":")
      if (at < 0) continue
      last = line.slice(0, at).trim().toLowerCase()
      fields.set(last, line.slice(at + 1).trim())
    }
    if (!/\bdeb\b(?!-)/.test(fields.get("types") ?? "") || fields.get("enabled")?.toLowerCase() === "no") continue
    const signedBy = fields.get("signed-by") ?? ""
    const isKey = signedBy.includes("BEGIN PGP")
    for (const uri of (fields.get("uris") ?? "").split(/\s+/).filter(Boolean)) {
      mirrors.push({
        uri,
        signedBy: isKey ? [] : signedBy.split(/\s+/).filter(Boolean),
        trusted: fields.get("trusted")?.toLowerCase() === "yes",
        // In the field an empty line of the key is written as a dot.
        ...(isKey
          ? { key: signedBy.split("\n").map((line) => line.trim() === "." ? "" : line).join("\n").trim() + "\n" }
          : {})
      })
    }
  }
  return mirrors
}

/**
 * The Debian archives in apt's configuration, in the order apt reads it.
 * @param {string} folder `/etc/apt`
 * @returns {Mirror[]}
 */
export function debianMirrors(folder) {
  /** @param {string} path */
  const read = (path) => {
    try {
      return readFileSync(path, "utf8")
    } catch {
      return ""
    }
  }
  /** @type {string[]} */
  let parts = []
  try {
    parts = readdirSync(join(folder, "sources.list.d")).sort()
  } catch {
    // No such folder: the one file is all there is.
  }
  const mirrors = parseList(read(join(folder, "sources.list")))
  for (const name of parts) {
    const text = read(join(folder, "sources.list.d", name))
    if (name.endsWith(".list")) mirrors.push(...parseList(text))
    if (name.endsWith(".sources")) mirrors.push(...parseDeb822(text))
  }
  return mirrors.filter((mirror) => isDebianArchive(mirror.uri))
}

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

/**
 * A private sources.list of one suite of that mirror, trusted as the machine trusts it.
 * @param {Mirror} mirror
 * @param {string} suite
 * @param {string | undefined} keyFile where the caller wrote `mirror.key`
 */
export function oneLineSource(mirror, suite, keyFile) {
  const signedBy = keyFile ?? (mirror.signedBy.length > 0 ? mirror.signedBy.join(",") : existing(debianKeyring))
  const options = [
    ...(signedBy === undefined ? [] : [`signed-by=${signedBy}`]),
    ...(mirror.trusted ? ["trusted=yes"] : [])
  ]
  return `deb ${options.length > 0 ? `[${options.join(" ")}] ` : ""}${mirror.uri} ${suite} main\n`
}

/** @param {string} path */
function existing(path) {
  try {
    readFileSync(path)
    return path
  } catch {
    return undefined
  }
}
