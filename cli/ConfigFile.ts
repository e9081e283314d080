/**
 * The last of the three sources of a setting: flag, then environment (`HEDDLE_*`), then file. design/02 "CLI".
 *
 * Files are `heddle.yaml` in the current folder and `~/.config/heddle/config.yaml` (`$XDG_CONFIG_HOME`), the nearer one first; `--config FILE` or
 * `HEDDLE_CONFIG` names one instead of both. A key is a flag's name: `nats: nats://10.0.0.5:4222`. An unknown key is an error that names the line:
 * a misspelt setting must not be silently without effect.
 */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import { CliFailure } from "./ExitCode.ts"
import * as FilePath from "./FilePath.ts"

/** Flags that a file or the environment may set, with the kind of value each takes. */
export const settings = {
  nats: "URL of the NATS server",
  "nats-creds": "path of a credentials file for the NATS server",
  "nats-user": "user at the NATS server",
  "nats-password": "the user's password",
  "nats-token": "token of the NATS server",
  namespace: "namespace of pools and definitions",
  output: "table, json, jsonl or yaml",
  color: "auto, always or never",
  timeout: "how long a request may take, such as 5s",
  "log-level": "trace, debug, info, warn, error or none",
  "data-dir": "where `heddle dev` keeps its streams",
  "nats-port": "port of the NATS server of `heddle dev`",
  pool: "pools of `heddle dev`, such as default=4",
  sync: "always or interval",
  plugins: "plugins of yours, such as [./kafka.ts, acme-heddle-plugin]",
  "plugin-config": "config of plugins by name, or the path of a file with it",
  "http-port": "port of the HTTP API of `heddle serve gateway` and `heddle dev`",
  "http-host": "address of that port",
  "status-port": "port of `/livez`, `/readyz` and `/metrics` of `heddle serve` and `heddle dev`",
  "status-host": "address of that port"
} as const
export type SettingName = keyof typeof settings

/** Who connects to NATS: a source that says one of them says all of it, so that the user of a file is not mixed with a token of the environment. */
export const identitySettings = ["nats-creds", "nats-user", "nats-password", "nats-token"] as const

/** `nats-port` is `HEDDLE_NATS_PORT`; `nats` is `HEDDLE_NATS_URL`, as for the services. */
export const envName = (name: SettingName): string =>
  name === "nats" ? "HEDDLE_NATS_URL" : `HEDDLE_${name.toUpperCase().replaceAll("-", "_")}`

/** The value of `--config` before anything is parsed, since the other flags' fallbacks depend on it. */
export const configFlag = (args: ReadonlyArray<string>): string | undefined => {
  const end = args.indexOf("--")
  const own = end < 0 ? args : args.slice(0, end)
  const at = own.findIndex((arg) => arg === "--config" || arg.startsWith("--config="))
  if (at < 0) return undefined
  const arg = own[at] ?? ""
  return arg === "--config" ? own[at + 1] : arg.slice("--config=".length)
}

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8")
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && (cause.code === "ENOENT" || cause.code === "ENOTDIR")) {
      return undefined
    }
    throw new CliFailure({
      exit: 2,
      message: `The configuration file ${path} cannot be read: ${FilePath.reason(cause)}.`,
      fix: "correct it, move it away, or name another with --config or HEDDLE_CONFIG."
    })
  }
}

const nearest = (name: string): string | undefined => {
  const letters = name.toLowerCase().replaceAll(/[-_]/g, "")
  return Object.keys(settings).find((known) =>
    known.startsWith(name.slice(0, 3)) || known.replaceAll("-", "") === letters
  )
}

/** The settings of one file as the environment would give them. */
export const parse = async (path: string, text: string): Promise<Readonly<Record<string, string>>> => {
  const { LineCounter, isMap, isScalar, parseDocument } = await import("yaml")
  const counter = new LineCounter()
  const document = parseDocument(text, { lineCounter: counter })
  const problems: Array<string> = document.errors.map((error) => {
    const at = counter.linePos(error.pos[0])
    return `${path}:${at.line}:${at.col}: ${error.message.split("\n")[0] ?? ""}`
  })
  const found: Record<string, string> = {}
  if (isMap(document.contents)) {
    for (const { key, value } of document.contents.items) {
      const name = isScalar(key) ? String(key.value) : ""
      const at = counter.linePos(isScalar(key) ? key.range?.[0] ?? 0 : 0)
      const data: unknown = value === null || typeof value !== "object"
        ? value
        : (value as { toJSON(): unknown }).toJSON() // a yaml node
      if (!Object.hasOwn(settings, name)) {
        const meant = nearest(name)
        problems.push(
          `${path}:${at.line}:${at.col}: no setting is called ${JSON.stringify(name)}${
            meant === undefined ? "" : `; did you mean ${meant}?`
          }`
        )
      } else if (Array.isArray(data)) {
        found[envName(name as SettingName)] = data.join(name === "plugins" ? "," : " ") // hasOwn
      } else if (name === "plugin-config" && isMap(value)) found[envName(name)] = JSON.stringify(data)
      else if (["string", "number", "boolean"].includes(typeof data)) {
        found[envName(name as SettingName)] = String(data) // hasOwn
      } else problems.push(`${path}:${at.line}:${at.col}: ${name} is ${settings[name as SettingName]}`) // hasOwn
    }
  } else if (document.contents !== null && problems.length === 0) {
    problems.push(`${path}:1:1: a configuration file is a map of settings`)
  }
  if (problems.length > 0) {
    throw new CliFailure({
      exit: 2,
      message: `${path} is not a valid configuration file.`,
      problems,
      fix: `correct it, or move it away. Settings: ${Object.keys(settings).join(", ")}.`
    })
  }
  return found
}

const notEmpty = (text: string | undefined): string | undefined => text === "" ? undefined : text

/** Nobody's, of a user without a home (no HOME, and a uid that the system does not know, as in some containers): there is no file of theirs then. */
const homeSettings = (home: () => string): string | undefined => {
  try {
    return join(home(), ".config")
  } catch {
    return undefined
  }
}

const identityNames: ReadonlySet<string> = new Set(identitySettings.map(envName))

/** A nearer source over what the farther ones say. */
const over = (
  farther: Readonly<Record<string, string>>,
  nearer: Readonly<Record<string, string>>
): Readonly<Record<string, string>> => {
  const isIdentity = Object.keys(nearer).some((name) => identityNames.has(name))
  const kept = Object.entries(farther).filter(([name]) => !(isIdentity && identityNames.has(name)))
  return { ...Object.fromEntries(kept), ...nearer }
}

/** Environment before files. Fails with exit code 2 when a file that was named is missing, or a file is not valid. */
export const provider = (
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
  home: () => string = homedir
): Effect.Effect<ConfigProvider.ConfigProvider, CliFailure> =>
  Effect.tryPromise({
    try: async () => {
      const flagged = configFlag(args)
      if (flagged === "") throw new CliFailure({ exit: 2, message: "--config is empty.", fix: "name a file." })
      const named = flagged ?? notEmpty(env["HEDDLE_CONFIG"])
      const settingsFolder = notEmpty(env["XDG_CONFIG_HOME"]) ?? homeSettings(home)
      const files = named === undefined
        ? [
          join(cwd, "heddle.yaml"),
          ...(settingsFolder === undefined ? [] : [join(settingsFolder, "heddle", "config.yaml")])
        ]
        : [named]
      let merged: Readonly<Record<string, string>> = {}
      for (const path of files.toReversed()) {
        const text = read(path)
        if (text !== undefined) merged = over(merged, await parse(path, text))
        else if (named !== undefined) {
          throw new CliFailure({
            exit: 2,
            message: `There is no configuration file ${path}.`,
            fix: flagged === undefined ? "correct HEDDLE_CONFIG." : "correct --config."
          })
        }
      }
      const set = Object.entries(env).filter((entry): entry is [string, string] =>
        entry[0].startsWith("HEDDLE_") && entry[1] !== undefined && entry[1] !== ""
      )
      return ConfigProvider.fromEnvRecord(over(merged, Object.fromEntries(set)))
    },
    catch: (cause) =>
      cause instanceof CliFailure
        ? cause
        : new CliFailure({ exit: 2, message: `The configuration cannot be read: ${String(cause)}` })
  })
