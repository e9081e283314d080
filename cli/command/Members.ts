/** `heddle members`: the registry as the failover service sees it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { MemberList } from "../../shared/protocol/Member.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as Connection from "../Connection.ts"
import { duration, Output } from "../Output.ts"

export const run = Effect.gen(function*() {
  const output = yield* Output
  const page = yield* Connection.call(Subject.rpc.memberList, MemberList, {})
  const now = yield* Clock.currentTimeMillis
  yield* output.page(
    page,
    [
      { title: "ROLE", value: (member) => member.role },
      { title: "MEMBER", value: (member) => member.member },
      { title: "HOST", value: (member) => member.host },
      { title: "PID", value: (member) => String(member.pid), alignRight: true },
      { title: "VERSION", value: (member) => member.version },
      { title: "UP", value: (member) => duration(Math.max(0, now - Date.parse(member.startedAt))), alignRight: true },
      {
        title: "",
        value: (member) =>
          [
            member.slots === undefined ? "" : `${member.slots} slots`,
            member.pools === undefined ? "" : member.pools.map((pool) => `${pool.namespace}/${pool.name}`).join(" "),
            member.durability ?? ""
          ].filter((text) => text !== "").join(", ")
      }
    ],
    "No members. What to do: `heddle dev` starts everything; `heddle serve SERVICE` one service."
  )
}).pipe(Connection.provide)
