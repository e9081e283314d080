import { assert, it } from "@effect/vitest"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Doctor from "./Doctor.ts"

const unavailable = (message: string) => Doctor.unreachable(new ContractError({ code: "Unavailable", message }))

it("a server that does not answer: what was found, then one advice, which does not send back to doctor", () => {
  assert.deepStrictEqual(
    unavailable(
      "no NATS server at nats://10.0.0.7:4222 within 2 s: connection refused. Start one (`heddle dev`) or set HEDDLE_NATS_URL; `heddle doctor` shows more."
    ),
    {
      check: "nats",
      state: "problem",
      detail: "no NATS server at nats://10.0.0.7:4222 within 2 s: connection refused",
      fix: "start one with `heddle dev`, or name it: --nats URL."
    }
  )
})

it("a server that refuses us: the advice is about credentials, not about starting a server", () => {
  assert.deepInclude(
    unavailable("NATS at nats://h:4222 refuses user \"a\": Authorization Violation. Set HEDDLE_NATS_CREDS to ..."),
    {
      detail: "NATS at nats://h:4222 refuses user \"a\": Authorization Violation",
      fix: "Set HEDDLE_NATS_CREDS to ..."
    }
  )
  const notUrl = new CliFailure({
    exit: 2,
    message: "\"x y\" is no URL of a NATS server.",
    fix: "write nats://host:port."
  })
  assert.deepInclude(Doctor.unreachable(notUrl), {
    detail: "\"x y\" is no URL of a NATS server.",
    fix: "write nats://host:port."
  })
})

it("no nats-server: where it was looked for; one that somebody named is not told to be missing", () => {
  const named = Doctor.noBinary(
    "heddle needs nats-server 2.12.0. Looked in:\n  - HEDDLE_NATS_SERVER=/x: is version 2.10.1\nWhat to do: ...",
    true
  )
  assert.include(named.detail, "(HEDDLE_NATS_SERVER=/x: is version 2.10.1)")
  assert.match(named.fix ?? "", /^correct HEDDLE_NATS_SERVER/)
  const none = Doctor.noBinary("Looked in:\n  - PATH: no nats-server\n  - /t/nats-server: not there", false)
  assert.include(none.detail, "(PATH: no nats-server; /t/nats-server: not there)")
  assert.match(none.fix ?? "", /^`npm run bootstrap` gets one/)
})
