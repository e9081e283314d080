import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as FilePath from "./FilePath.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-path-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

it.effect("whatever is no file is told with the flag that names it and what to do, and never waited for", () =>
  Effect.gen(function*() {
    const at = yield* folder
    const file = join(at, "file")
    writeFileSync(file, "text")
    symlinkSync(join(at, "loop"), join(at, "loop"))
    assert.strictEqual(yield* FilePath.read(file, { of: "-f" }), "text")
    const cases: ReadonlyArray<readonly [string, 2 | 3, RegExp]> = [
      ["", 2, /^-f is empty\.$/],
      [at, 2, /^-f .* cannot be read: it is a folder \(EISDIR\)\.$/],
      [join(file, "below"), 2, /^-f .* cannot be read: .* no folder \(ENOTDIR\)\.$/],
      [join(at, "loop"), 2, /^-f .* cannot be read: its links go in a circle \(ELOOP\)\.$/],
      [join(at, "none"), 3, /^There is no file .*none\.$/],
      ["/proc/x", 3, /^There is no file \/proc\/x\.$/],
      ["/proc/x/y", 3, /^There is no file \/proc\/x\/y\.$/]
    ]
    for (const [path, exit, message] of cases) {
      const failed = yield* Effect.flip(FilePath.read(path, { of: "-f" }))
      assert.match(failed.message, message)
      assert.strictEqual(failed.exit, exit, failed.message)
      assert.notStrictEqual(failed.fix ?? "", "", failed.message)
    }
    const own = yield* Effect.flip(FilePath.read(join(at, "none"), { of: "--nats-creds", exit: 2 }))
    assert.strictEqual(own.exit, 2)
    const dash = yield* Effect.flip(FilePath.read("-", { of: "--nats-creds", isStdin: false }))
    assert.match(dash.message, /There is no file -\./)
  }))

it.effect("a file is written, or it is told why it cannot be", () =>
  Effect.gen(function*() {
    const at = yield* folder
    const file = join(at, "file")
    yield* FilePath.write(file, "text", "--file")
    assert.strictEqual(readFileSync(file, "utf8"), "text")
    for (const path of ["", at, join(file, "below"), join(at, "none", "file"), "/proc/x"]) {
      const failed = yield* Effect.flip(FilePath.write(path, "text", "--file"))
      assert.strictEqual(failed.exit, 2)
      assert.match(`${failed.message} ${failed.fix}`, /--file/)
    }
  }))

it.effect("a folder is made with all that is missing above it; below what takes none it is refused at once", () =>
  Effect.gen(function*() {
    const at = yield* folder
    const deep = join(at, "a", "b", "c")
    FilePath.makeFolder(deep)
    FilePath.makeFolder(deep)
    assert.isTrue(existsSync(deep))
    const file = join(at, "file")
    writeFileSync(file, "")
    for (const path of ["/proc/x", "/proc/x/y/z", "/dev/null/x", file, join(file, "below")]) {
      assert.throws(() => FilePath.makeFolder(path))
    }
    chmodSync(at, 0o500)
    // Root may all the same.
    if (process.getuid?.() !== 0) assert.throws(() => FilePath.makeFolder(join(at, "more")), /EACCES/)
    chmodSync(at, 0o700)
  }))
