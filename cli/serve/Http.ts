/**
 * Where the gateway of `heddle serve` and `heddle dev` listens: `--http-host`, `--http-port`. docs/design/gateway.md "Security".
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { HttpConfig } from "./Services.ts"
import * as Status from "./Status.ts"

export interface Input {
  readonly httpHost: Option.Option<string>
  readonly httpPort: Option.Option<string>
}

const hostDefault = "127.0.0.1"

/** `portDefault`: when none is given. The URL stands in `url` as soon as it listens. */
export const config = Effect.fnUntraced(function*(input: Input, portDefault: number) {
  const port = yield* Status.portOf("--http-port", Option.getOrElse(input.httpPort, () => String(portDefault)))
  const told: { url: string | undefined } = { url: undefined }
  const http: HttpConfig = {
    host: yield* Status.hostOf("--http-host", input.httpHost, hostDefault),
    port,
    listening: (url) => {
      told.url = url
    }
  }
  return { http, url: () => told.url }
})
