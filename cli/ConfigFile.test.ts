import { assert, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as ConfigFile from "./ConfigFile.ts"
import { CliFailure } from "./ExitCode.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-config-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const setting = (name: ConfigFile.SettingName, args: ReadonlyArray<string>, env: Record<string, string>, cwd: string) =>
  Effect.flatMap(
    ConfigFile.provider(args, env, cwd),
    (provider) => Config.String(ConfigFile.envName(name)).parse(provider)
  )

it.effect("environment before the near file before the far one", () =>
  Effect.gen(function*() {
    const cwd = yield* folder
    mkdirSync(join(cwd, "xdg/heddle"), { recursive: true })
    writeFileSync(join(cwd, "xdg/heddle/config.yaml"), "nats: far\nnamespace: far\noutput: yaml\n")
    writeFileSync(join(cwd, "heddle.yaml"), "nats: near\nnamespace: near\npool: [a=1, b=2]\n")
    const env = { XDG_CONFIG_HOME: join(cwd, "xdg"), HEDDLE_NATS_URL: "env" }
    assert.strictEqual(yield* setting("nats", [], env, cwd), "env")
    assert.strictEqual(yield* setting("namespace", [], env, cwd), "near")
    assert.strictEqual(yield* setting("output", [], env, cwd), "yaml")
    assert.strictEqual(yield* setting("pool", [], env, cwd), "a=1 b=2")
  }))

it.effect("who connects to NATS comes from one source: nothing of a farther one is mixed in", () =>
  Effect.gen(function*() {
    const cwd = yield* folder
    mkdirSync(join(cwd, "xdg/heddle"), { recursive: true })
    writeFileSync(join(cwd, "xdg/heddle/config.yaml"), "nats-token: far\ntimeout: 9s\n")
    writeFileSync(join(cwd, "heddle.yaml"), "nats-user: near\nnats-password: secret\n")
    const identity = (env: Record<string, string>) =>
      Effect.flatMap(
        ConfigFile.provider([], { XDG_CONFIG_HOME: join(cwd, "xdg"), ...env }, cwd),
        (provider) =>
          Effect.all(
            [...ConfigFile.identitySettings, "timeout" as const].map((name) =>
              Effect.orElseSucceed(Config.String(ConfigFile.envName(name)).parse(provider), () => "-")
            )
          )
      )
    assert.deepStrictEqual(yield* identity({}), ["-", "near", "secret", "-", "9s"])
    assert.deepStrictEqual(yield* identity({ HEDDLE_NATS_CREDS: "a.creds" }), ["a.creds", "-", "-", "-", "9s"])
    // one source that says two things is a mistake, and told by whoever connects
    assert.deepStrictEqual(yield* identity({ HEDDLE_NATS_CREDS: "a", HEDDLE_NATS_TOKEN: "t" }), [
      "a",
      "-",
      "-",
      "t",
      "9s"
    ])
  }))

it.effect("--config names one file instead, and it must be there", () =>
  Effect.gen(function*() {
    const cwd = yield* folder
    writeFileSync(join(cwd, "heddle.yaml"), "nats: near\n")
    writeFileSync(join(cwd, "other.yaml"), "nats: other\n")
    const env = { XDG_CONFIG_HOME: cwd }
    assert.strictEqual(yield* setting("nats", ["claim", "--config", join(cwd, "other.yaml")], env, cwd), "other")
    assert.strictEqual(yield* setting("nats", [`--config=${join(cwd, "other.yaml")}`], env, cwd), "other")
    const failed = yield* Effect.flip(setting("nats", ["--config", join(cwd, "none.yaml")], env, cwd))
    assert.instanceOf(failed, CliFailure)
    assert.strictEqual(failed instanceof CliFailure ? failed.exit : 0, 2)
  }))

it("what follows -- belongs to the command in the sandbox", () => {
  assert.isUndefined(ConfigFile.configFlag(["claim", "p", "--exec", "--", "--config", "x"]))
})

it.effect("a misspelt setting is told with its line and the likely one", () =>
  Effect.gen(function*() {
    const cwd = yield* folder
    writeFileSync(join(cwd, "heddle.yaml"), "nats: a\nnameSpace: b\n")
    const failed = yield* Effect.flip(ConfigFile.provider([], { XDG_CONFIG_HOME: cwd }, cwd))
    assert.strictEqual(failed.exit, 2)
    assert.deepStrictEqual(failed.problems, [
      `${join(cwd, "heddle.yaml")}:2:1: no setting is called "nameSpace"; did you mean namespace?`
    ])
  }))

it.effect("a user without a home has no file there, and everything else goes on", () =>
  Effect.gen(function*() {
    const cwd = yield* folder
    writeFileSync(join(cwd, "heddle.yaml"), "namespace: near\n")
    const provider = yield* ConfigFile.provider([], {}, cwd, () => {
      throw new Error("uv_os_homedir returned ENOENT")
    })
    assert.strictEqual(yield* Config.String(ConfigFile.envName("namespace")).parse(provider), "near")
  }))

it.effect("a configuration file that is none is told with the flag", () =>
  Effect.gen(function*() {
    const cwd = yield* folder
    const told = (args: ReadonlyArray<string>) =>
      Effect.map(Effect.flip(ConfigFile.provider(args, { XDG_CONFIG_HOME: cwd }, cwd)), (failed) => {
        assert.strictEqual(failed.exit, 2)
        return `${failed.message} ${failed.fix}`
      })
    assert.match(yield* told(["--config", ""]), /--config is empty/)
    assert.match(yield* told(["--config", cwd]), /cannot be read: it is a folder .*--config/)
    assert.match(yield* told(["--config", join(cwd, "none")]), /There is no configuration file .*--config/)
    mkdirSync(join(cwd, "heddle.yaml"))
    assert.match(yield* told([]), /heddle\.yaml cannot be read: it is a folder .*--config/)
  }))
