import { assert, describe, it } from "@effect/vitest"
import { addressesIn, missingFrom, platformOf } from "./lockfile.ts"

describe("lockfile", () => {
  it("names the optional packages that the file lacks, by version and platform", () => {
    assert.deepStrictEqual(
      missingFrom({
        packages: {
          "": {},
          "node_modules/tool": {
            version: "1.2.3",
            dev: true,
            optionalDependencies: { "@tool/linux-x64": "1.2.3", "@tool/darwin-arm64": "1.2.3", "@tool/nested": "1.0.0" }
          },
          "node_modules/@tool/linux-x64": { version: "1.2.3" },
          "node_modules/tool/node_modules/@tool/nested": { version: "1.0.0" }
        }
      }),
      {
        "node_modules/@tool/darwin-arm64": {
          version: "1.2.3",
          cpu: ["arm64"],
          os: ["darwin"],
          dev: true,
          optional: true
        }
      }
    )
  })

  it("reads platforms from names", () => {
    assert.deepStrictEqual(platformOf("@oxlint/binding-linux-arm-musleabihf"), {
      cpu: ["arm"],
      libc: ["musl"],
      os: ["linux"]
    })
    assert.deepStrictEqual(platformOf("@deno/linux-arm64-glibc"), { cpu: ["arm64"], libc: ["glibc"], os: ["linux"] })
    assert.deepStrictEqual(platformOf("@oxlint/binding-win32-x64-msvc"), { cpu: ["x64"], os: ["win32"] })
    assert.deepStrictEqual(platformOf("fsevents"), {})
  })

  it("finds a registry's address", () => {
    assert.deepStrictEqual(
      addressesIn({ packages: { "": {}, a: { version: "1.0.0", resolved: "https://registry.example/a" } } }),
      ["a"]
    )
  })
})
