import { assert, describe, it } from "@effect/vitest"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { debianMirrors, oneLineSource, parseDeb822, parseList } from "./apt-sources.mjs"

describe("apt sources", () => {
  it("reads the one-line format with its options", () => {
    assert.deepStrictEqual(
      parseList([
        "# deb http://commented.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm main contrib",
        "deb-src http://mirror.example/debian bookworm main",
        "deb [arch=amd64 signed-by=/a.gpg,/b.gpg trusted=yes] http://other.example/debian/ bookworm main"
      ].join("\n")),
      [
        { uri: "http://mirror.example/debian", signedBy: [], trusted: false },
        { uri: "http://other.example/debian/", signedBy: ["/a.gpg", "/b.gpg"], trusted: true }
      ]
    )
  })

  it("reads deb822 stanzas, comments between fields, and skips what is disabled or source only", () => {
    assert.deepStrictEqual(
      parseDeb822([
        "Types: deb deb-src",
        "# http://snapshot.example/debian",
        "URIs: http://mirror.example/debian",
        "Suites: bookworm bookworm-updates",
        "Signed-By: /usr/share/keyrings/k.gpg",
        "",
        "Types: deb",
        "Enabled: no",
        "URIs: http://off.example/debian",
        "",
        "Types: deb-src",
        "URIs: http://source.example/debian"
      ].join("\n")),
      [{ uri: "http://mirror.example/debian", signedBy: ["/usr/share/keyrings/k.gpg"], trusted: false }]
    )
  })

  it("keeps a key that stands in the stanza", () => {
    const [mirror] = parseDeb822([
      "Types: deb",
      "URIs: http://mirror.example/debian",
      "Signed-By:",
      " -----BEGIN PGP PUBLIC KEY BLOCK-----",
      " .",
      " abc",
      " -----END PGP PUBLIC KEY BLOCK-----"
    ].join("\n"))
    assert.deepStrictEqual(mirror?.signedBy, [])
    assert.strictEqual(mirror?.key, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n")
  })

  it("takes Debian archives only: no security archive, no third party", () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-apt-"))
    try {
      mkdirSync(join(folder, "sources.list.d"))
      writeFileSync(
        join(folder, "sources.list"),
        "deb http://mirror.example/debian-security bookworm-security main\ndeb http://vendor.example/apt stable main\n"
      )
      writeFileSync(
        join(folder, "sources.list.d", "b.sources"),
        "Types: deb\nURIs: http://second.example/debian/\nSuites: bookworm\n"
      )
      writeFileSync(join(folder, "sources.list.d", "a.list"), "deb http://first.example/debian bookworm main\n")
      assert.deepStrictEqual(debianMirrors(folder).map((mirror) => mirror.uri), [
        "http://first.example/debian",
        "http://second.example/debian/"
      ])
      assert.deepStrictEqual(debianMirrors(join(folder, "none")), [])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it("trusts the new suite as the machine trusts the mirror", () => {
    const mirror = { uri: "http://mirror.example/debian", signedBy: ["/k.gpg"], trusted: false }
    assert.strictEqual(
      oneLineSource(mirror, "sid", undefined),
      "deb [signed-by=/k.gpg] http://mirror.example/debian sid main\n"
    )
    assert.strictEqual(
      oneLineSource({ ...mirror, trusted: true }, "sid", "/tmp/key.asc"),
      "deb [signed-by=/tmp/key.asc trusted=yes] http://mirror.example/debian sid main\n"
    )
  })
})
