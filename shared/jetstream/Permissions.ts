/**
 * What each service, the command line and a client need at a broker that gives permissions: as lists of subjects, and as the `users` of nats-server's configuration.
 *
 * Keeps true: nobody but coordinators publishes on the journal, the shards and the snapshots; executors and clients neither hear other members' requests nor read other streams than
 * they need; nobody changes or deletes a stream (CREATE makes what is missing and changes nothing that is there). A mesh runs with exactly these: test/e2e/permissions.test.ts.
 * docs/design/permissions.md.
 */
import { bucketName, name } from "./Streams.ts"

export const roles = ["coordinator", "pool-scheduler", "task-executor", "failover", "gateway", "client"] as const
export type PermissionRole = typeof roles[number]

export interface Permissions {
  readonly publish: ReadonlyArray<string>
  readonly subscribe: ReadonlyArray<string>
}

const streams = [...Object.values(name), ...Object.values(bucketName).map((bucket) => `KV_${bucket}`)]

const kv = (bucket: string): string => `KV_${bucket}`
const api = (verb: string): string => `$JS.API.${verb}`

/** The last message of a subject, one message, a range. */
const read = (stream: string): ReadonlyArray<string> => [
  api(`STREAM.MSG.GET.${stream}`),
  api(`DIRECT.GET.${stream}`),
  api(`DIRECT.GET.${stream}.>`),
  api(`CONSUMER.CREATE.${stream}.>`),
  api(`CONSUMER.MSG.NEXT.${stream}.>`),
  api(`CONSUMER.DELETE.${stream}.>`),
  api(`CONSUMER.INFO.${stream}.>`)
]
/** Also as one of several, with acknowledgements. */
const consume = (stream: string): ReadonlyArray<string> => [
  ...read(stream),
  api(`CONSUMER.NAMES.${stream}`),
  `$JS.ACK.${stream}.>`
]
/** Keys are read by all who write them. */
const write = (bucket: string): ReadonlyArray<string> => [`$KV.${bucket}.>`, ...read(kv(bucket))]

/** To see what there is. */
const look = [api("INFO"), ...streams.map((stream) => api(`STREAM.INFO.${stream}`))]
/** Of every service: it makes what is missing and keeps its own entry in the registry. */
const stand = [
  ...look,
  ...streams.map((stream) => api(`STREAM.CREATE.${stream}`)),
  ...write(bucketName.registry)
]
/** Of those that answer requests. */
const serve = [...stand, "_INBOX.>"]
const answers = ["_INBOX.>", "$SRV.>"]

const table: Readonly<Record<PermissionRole, Permissions>> = {
  coordinator: {
    publish: [
      ...serve,
      "heddle.journal.*",
      "heddle.wf.*.*.cmd",
      "heddle.wf.*.*.history",
      "heddle.archive.*.*",
      "heddle.pool.*.*.lane.*",
      "heddle.alert.*",
      "heddle.system.*",
      "heddle.member.*.control",
      "heddle.member.*.forwarded.>",
      "heddle.rpc.workflow.start",
      "heddle.rpc.pool.*.*.withdraw",
      ...consume(name.commands),
      ...read(name.journal),
      ...read(name.history),
      api(`STREAM.PURGE.${name.history}`),
      ...read(name.archive),
      ...consume(name.alerts),
      ...consume(name.system),
      ...write(bucketName.definitions),
      ...write(bucketName.shards),
      ...write(bucketName.snapshots),
      ...write(bucketName.schedules)
    ],
    subscribe: [
      ...answers,
      "heddle.ack.>",
      "heddle.member.*.register",
      "heddle.member.*.facts",
      "heddle.member.*.job-state",
      "heddle.member.*.forwarded.>",
      "heddle.rpc.definition.*",
      "heddle.rpc.workflow.*",
      "heddle.rpc.schedule.*",
      "heddle.rpc.backfill.*",
      "heddle.rpc.group.*"
    ]
  },
  "pool-scheduler": {
    publish: [
      ...serve,
      "heddle.pool.*.*.event",
      "heddle.pool.*.*.result.*",
      "heddle.pool.*.*.tidings",
      "heddle.system.*",
      "heddle.member.*.control",
      "heddle.member.*.job-state",
      "heddle.member.*.forwarded.>",
      "heddle.rpc.pool.>",
      "heddle.rpc.env.>",
      "heddle.sandbox.*.*.*.inbox.>",
      ...consume(name.claims),
      api(`STREAM.PURGE.${name.claims}`),
      ...consume(name.ready),
      ...consume(name.system),
      ...read(name.results),
      ...read(name.poolEvents),
      ...write(bucketName.pools)
    ],
    subscribe: [
      ...answers,
      "heddle.member.*.forwarded.>",
      "heddle.pool.*.*.claim",
      "heddle.pool.*.*.tidings",
      "heddle.rpc.pool.>",
      "heddle.rpc.env.>",
      "heddle.sandbox.*.*.*.from.token"
    ]
  },
  "task-executor": {
    publish: [
      ...serve,
      "heddle.member.*.register",
      "heddle.member.*.facts",
      "heddle.rpc.pool.list",
      "heddle.rpc.pool.*.*.dequeue",
      "heddle.rpc.pool.*.*.settle",
      "heddle.wf.*.*.cmd",
      "heddle.logs.*.*",
      "heddle.sandbox.*.*.*.to.>",
      ...read(kv(bucketName.shards))
    ],
    subscribe: [...answers, "heddle.ack.>", "heddle.member.*.control", "heddle.sandbox.*.*.*.from.output.*"]
  },
  failover: {
    publish: [
      ...serve,
      "heddle.system.*",
      ...consume(name.system),
      ...read(kv(bucketName.pools)),
      ...read(kv(bucketName.shards))
    ],
    subscribe: [...answers, "heddle.rpc.member.list", "heddle.rpc.failover.list"]
  },
  gateway: {
    publish: [
      ...stand,
      "heddle.rpc.definition.*",
      "heddle.rpc.workflow.*",
      "heddle.rpc.schedule.*",
      "heddle.rpc.backfill.*",
      "heddle.rpc.group.*",
      "heddle.rpc.env.>",
      ...["list", "apply", "scale", "delete"].map((verb) => `heddle.rpc.pool.${verb}`),
      ...["claim", "release", "renew", "cancel", "get", "pause", "resume", "snapshot"].map((verb) =>
        `heddle.rpc.pool.*.*.${verb}`
      ),
      "heddle.rpc.member.list",
      "heddle.rpc.failover.list",
      ...read(name.journal),
      ...read(name.history),
      ...read(name.archive),
      ...read(name.logs),
      ...read(name.poolEvents),
      ...read(name.system)
    ],
    subscribe: ["_INBOX.>"]
  },
  client: {
    publish: [
      ...look,
      "heddle.rpc.>",
      "$SRV.>",
      "heddle.pool.*.*.claim",
      "heddle.sandbox.*.*.*.to.>",
      ...read(name.journal),
      ...read(name.history),
      ...read(name.archive),
      ...read(name.logs),
      ...read(name.poolEvents),
      ...read(name.results),
      ...read(kv(bucketName.definitions)),
      ...read(kv(bucketName.registry)),
      ...read(kv(bucketName.snapshots))
    ],
    subscribe: ["_INBOX.>", "heddle.pool.*.*.result.*", "heddle.sandbox.*.*.*.from.output.*"]
  }
}

export const of = (role: PermissionRole): Permissions => ({
  publish: [...new Set(table[role].publish)].toSorted(),
  subscribe: [...new Set(table[role].subscribe)].toSorted()
})

/** For `authorization` of nats-server: one user a role. `passwordOf`: as the server's configuration reads it, a variable or a text in quotes. */
export const usersConfig = (passwordOf: (role: PermissionRole) => string): string =>
  `users: [\n${
    roles.map((role) => {
      const { publish, subscribe } = of(role)
      const list = (subjects: ReadonlyArray<string>) =>
        subjects.map((subject) => `        ${JSON.stringify(subject)}\n`).join("")
      return `  { user: ${JSON.stringify(role)}, password: ${
        passwordOf(role)
      }, permissions: {\n      publish: { allow: [\n${list(publish)}      ] }\n      subscribe: { allow: [\n${
        list(subscribe)
      }      ] }\n  } }\n`
    }).join("")
  }]\n`
