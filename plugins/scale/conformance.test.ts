import * as Effect from "effect/Effect"
import { describe, it } from "vitest"
import * as ScalePolicySuite from "../../shared/plugin/suite/ScalePolicySuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import * as HttpOther from "../../shared/testing/HttpOther.ts"
import { buffer } from "./Buffer.ts"
import { webhook } from "./Webhook.ts"
import { schedule } from "./Windows.ts"

const keeps = (subject: ScalePolicySuite.Subject) =>
  Suite.run(
    { describe, it },
    `${subject.policy.name} keeps what a scale policy promises`,
    ScalePolicySuite.promises(subject)
  )

keeps({
  policy: buffer,
  configs: [undefined, {}, { idleShare: 0.2 }, { spare: 3, idleShare: 1.5 }],
  wrongConfigs: [{ idleShare: -1 }, { spare: "many" }, { spare: 1.5 }],
  coversDemand: true
})

keeps({
  policy: schedule,
  configs: [
    { windows: [{ cron: "0 8 * * MON-FRI", duration: "10h", minIdle: 20, min: 5 }] },
    {
      timezone: "Europe/Berlin",
      windows: [{ cron: "0 8 * * *", duration: "1h", min: 1 }, { cron: "30 7 * * MON", duration: "3h", max: 9 }]
    }
  ],
  wrongConfigs: [undefined, { windows: [] }, { windows: [{ cron: "whenever", duration: "1h" }] }]
})

const configOf = (answer: Parameters<typeof HttpOther.scoped>[0]) =>
  Effect.map(HttpOther.scoped(answer), ({ url }) => ({ url, timeout: "1m" }))
keeps({
  policy: webhook,
  configs: [{ url: "https://example.org/x" }, { url: "http://localhost:1/", every: "1s", timeout: "2s" }],
  wrongConfigs: [undefined, {}, { url: "ftp://example.org" }, { url: "https://example.org/x", every: "0s" }],
  fetch: {
    answered: configOf(() => ({ status: 200, body: "{\"target\":12}" })),
    refused: configOf(() => ({ status: 200, body: "{\"target\":\"twelve\"}" })),
    silent: configOf(() => undefined)
  }
})
