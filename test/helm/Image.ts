/**
 * What infra/docker/Dockerfile puts into the image, without an engine that builds it: its COPY lines and its ignore file, read and done by hand.
 */
import { assert } from "@effect/vitest"
import { cpSync, lstatSync, readFileSync, symlinkSync } from "node:fs"
import { basename, join, relative } from "node:path"
import { root } from "../../infra/bootstrap/nats-server.mjs"

const folder = join(root, "infra/docker")

export interface Copy {
  /** Of the context; or of an earlier stage when `stage` is there. */
  readonly sources: ReadonlyArray<string>
  readonly target: string
  readonly stage: string | undefined
}
export interface Stage {
  readonly name: string | undefined
  readonly from: string
  readonly copies: ReadonlyArray<Copy>
  readonly lines: ReadonlyArray<string>
}

export const text = readFileSync(join(folder, "Dockerfile"), "utf8")

/** Stages in order; the last one is the image. */
export const stages: ReadonlyArray<Stage> = text.split(/^(?=FROM )/m).slice(1).map((part) => {
  const lines = part.split("\n").filter((line) => line !== "" && !line.startsWith("#"))
  const [, from = "", name] = /^FROM (\S+)(?: AS (\S+))?/.exec(lines[0] ?? "") ?? []
  const copies = lines.filter((line) => line.startsWith("COPY ")).map((line) => {
    const words = line.split(/\s+/).slice(1)
    const stage = /^--from=(.+)/.exec(words[0] ?? "")?.[1]
    const paths = stage === undefined ? words : words.slice(1)
    return { sources: paths.slice(0, -1), target: paths.at(-1) ?? "", stage }
  })
  return { name, from, copies, lines }
})
export const image: Stage = stages.at(-1) ?? assert.fail("the Dockerfile has no stage")

const rules = readFileSync(join(folder, "Dockerfile.dockerignore"), "utf8").split("\n").filter((line) =>
  line !== "" && !line.startsWith("#")
).map((line) => {
  const isKept = line.startsWith("!")
  const pattern = line.replace(/^!/, "").replaceAll(".", "\\.").replaceAll("**/", "(?:.*/)?").replaceAll(
    /(?<![.)])\*/g,
    "[^/]*"
  )
  // what stands below a path shares its fate
  return { isKept, pattern: new RegExp(`^${pattern}(/.*)?$`) }
})

/** Whether a path of the checkout reaches the build: the last rule that fits says. */
export const isInContext = (path: string): boolean =>
  rules.reduce((kept, { isKept, pattern }) => pattern.test(path) ? isKept : kept, true)

/** Where a file of the checkout is in the image, below /app; undefined: nowhere. */
export const placeOf = (path: string): string | undefined => {
  if (!isInContext(path)) return undefined
  for (const { sources, stage, target } of image.copies) {
    if (stage !== undefined) continue
    for (const source of sources) {
      const isFolder = lstatSync(join(root, source)).isDirectory()
      if (isFolder && path.startsWith(`${source}/`)) return join(target, relative(source, path))
      if (path === source) return target.endsWith("/") ? join(target, basename(source)) : target
    }
  }
  return undefined
}

/** A stage's COPY lines done in a folder: sources are copied, packages are those of this checkout, what comes of another stage is not there. */
export const unpack = (stage: Stage, app: string): void => {
  for (const { sources, stage: from } of stage.copies) {
    if (from !== undefined) continue
    for (const source of sources) {
      cpSync(join(root, source), join(app, source), {
        recursive: true,
        filter: (path) => {
          const own = relative(root, path)
          return isInContext(own) ||
            (lstatSync(path).isDirectory() && !own.endsWith("/testing") && !own.endsWith("/dist"))
        }
      })
    }
  }
  symlinkSync(join(root, "node_modules"), join(app, "node_modules"))
}
