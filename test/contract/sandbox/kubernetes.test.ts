/**
 * The Kubernetes provider's SandboxClient against the API-server double, whose containers run as processes of this machine. A real API server alone (envtest) has no kubelet, and
 * without one no exec.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { readdirSync, readFileSync } from "node:fs"
import * as Yaml from "yaml"
import * as Cluster from "../../../plugins/kubernetes/Cluster.ts"
import * as PodExec from "../../../plugins/kubernetes/PodExec.ts"
import type { Sandbox } from "../../../shared/protocol/Sandbox.ts"
import { Namespace, SandboxUid } from "../../../shared/protocol/Token.ts"
import { ApiServer, type ApiServerOptions } from "../../../shared/testing/kube/ApiServer.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import type { PolicyRule } from "../../../shared/testing/kube/Rbac.ts"
import { awaitGone, contract, exited, isAlive, lines, run } from "./Contract.ts"

const rules = Yaml.parseAllDocuments(readFileSync(new URL("../../../infra/crds/rbac.yaml", import.meta.url), "utf8"))
  .map((document) =>
    document.toJS() as { readonly metadata: { readonly name: string }; readonly rules: ReadonlyArray<PolicyRule> } // our own file
  )
  .find((role) => role.metadata.name === "heddle-task-executor")?.rules ?? []

/** A pod that runs, and a connection to it with exactly the executor's rights. */
const open = Effect.fnUntraced(function*(
  options: ApiServerOptions = {},
  pod: Json = {},
  grants: ReadonlyArray<PolicyRule> = rules
) {
  const server = yield* Effect.acquireRelease(
    Effect.promise(() =>
      ApiServer.start({
        exec: { onDisconnect: "leave" },
        ...options,
        users: {
          executor: { name: "executor", grants: [{ namespace: "default", rules: grants }] },
          admin: { name: "admin", grants: [{ rules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }] }] }
        }
      })
    ),
    (running) => Effect.promise(() => running.stop())
  )
  const call = (method: string, path: string, body?: Json) =>
    Effect.promise(async (): Promise<Json> => {
      const answer = await fetch(`${server.url}/api/v1/namespaces/default/pods${path}`, {
        method,
        headers: { authorization: "Bearer admin", "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      })
      return answer.json()
    })
  yield* call("POST", "", {
    metadata: { name: "box", annotations: pod.annotations ?? {} },
    spec: { containers: [{ name: "main", image: "local/sh:1", ...pod.container }] }
  })
  let seen: Json
  do {
    seen = yield* call("GET", "/box")
    yield* Effect.sleep(5)
  } while (seen.status?.containerStatuses?.[0]?.ready !== true)
  const cluster = Cluster.make(Effect.succeed({
    server: server.url,
    credentials: Effect.succeed({ headers: { authorization: "Bearer executor" }, tls: {}, agent: undefined })
  }))
  const sandbox: Sandbox = {
    uid: SandboxUid.make(seen.metadata.uid),
    name: "box",
    namespace: Namespace.make("mesh"),
    provider: "kubernetes",
    address: "kubernetes://default/box?ip=10.0.0.7",
    labels: {}
  }
  const { connect } = PodExec.make(cluster)
  const client = yield* connect(sandbox)
  const folder = (yield* run(client, { command: ["pwd"] }).pipe(Effect.orElseSucceed(() => ({ stdout: "" })))).stdout
    .trim()
  return {
    server,
    call,
    sandbox,
    connect,
    client,
    folder,
    vanish: Effect.asVoid(call("DELETE", "/box", { gracePeriodSeconds: 0 }))
  }
})

contract(
  "kubernetes",
  (env) => open({}, env === undefined ? {} : { annotations: { "heddle.dev/env": JSON.stringify(env) } })
)

describe("what only pods have", () => {
  it.live("the claim's environment is there, and the request's goes before it", () =>
    Effect.gen(function*() {
      const { client } = yield* open({}, {
        annotations: { "heddle.dev/env": JSON.stringify({ BOTH: "claim", CLAIM: "c" }) },
        container: { env: [{ name: "BOTH", value: "pod" }, { name: "POD", value: "p" }] }
      })
      const { stdout } = yield* run(client, { command: { script: "echo $BOTH $CLAIM $POD" }, env: {} })
      assert.strictEqual(stdout, "claim c p\n")
      const own = yield* run(client, { command: { script: "echo $BOTH $CLAIM" }, env: { BOTH: "task" } })
      assert.strictEqual(own.stdout, "task c\n")
    }), 180_000)

  it.live("nothing of the request stands on a command line of the launcher", () =>
    Effect.gen(function*() {
      const { client } = yield* open()
      const secret = "s3cr3t-value"
      const child = yield* client.exec({ command: { script: "echo up; sleep 300" }, env: { KEY: secret } })
      yield* lines(child, 1)
      const commands = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map((name) => {
        try {
          return readFileSync(`/proc/${name}/cmdline`, "latin1")
        } catch {
          return "" // it has ended
        }
      })
      assert.isTrue(commands.some((line) => line.includes("heddle\0")), "the launcher is there")
      assert.isFalse(commands.some((line) => line.includes(secret)))
    }), 180_000)

  it.live(
    "a connection that breaks is a lost sandbox, and its processes are swept before the scope is closed",
    () =>
      Effect.gen(function*() {
        const { client, server } = yield* open()
        const pids = yield* Effect.scoped(Effect.gen(function*() {
          const child = yield* client.exec({
            command: {
              script: "echo $$; setsid sh -c 'trap \"\" INT TERM; echo $$; while :; do sleep 1; done' & wait"
            },
            env: {},
            grace: { sigintMs: 30_000, sigtermMs: 30_000 }
          })
          const pids = (yield* lines(child, 2)).map(Number)
          server.cutConnections()
          const lost = yield* Effect.flip(child.exit)
          assert.match(lost.message, /the sandbox box is lost: the connection was closed/)
          return pids
        }))
        assert.lengthOf(pids, 2)
        for (const pid of pids) assert.isFalse(isAlive(pid), `${pid} is left`)
        assert.deepStrictEqual((yield* run(client, { command: ["true"] })).status, exited(0), "the pod itself is well")
      }),
    180_000
  )

  it.live(
    "an evicted pod and one that was made again under its name are lost, and say so",
    () =>
      Effect.gen(function*() {
        const { call, client, connect, sandbox, server } = yield* open()
        const child = yield* client.exec({ command: ["sleep", "300"], env: {} })
        server.cluster.kubelet?.evict("default", "box")
        const lost = yield* Effect.flip(child.exit)
        assert.match(lost.reason, /its pod has ended: Evicted|its pod is gone/)
        yield* call("DELETE", "/box", { gracePeriodSeconds: 0 })
        yield* call("POST", "", {
          metadata: { name: "box" },
          spec: { containers: [{ name: "main", image: "local/sh:1" }] }
        })
        const other = yield* Effect.flip(connect(sandbox))
        assert.strictEqual(other.reason, "another pod has its name now")
      }),
    180_000
  )

  it.live(
    "a pod that goes takes only its own processes, though a double beside it has one of the same uid",
    () =>
      Effect.gen(function*() {
        const mine = yield* open()
        const other = yield* open()
        assert.strictEqual(mine.sandbox.uid, other.sandbox.uid, "both come from the same seed")
        const child = yield* mine.client.exec({ command: { script: "echo $$; sleep 300" }, env: {} })
        const theirs = yield* other.client.exec({ command: { script: "echo $$; sleep 300" }, env: {} })
        const [pid] = (yield* lines(child, 1)).map(Number)
        const [gone] = (yield* lines(theirs, 1)).map(Number)
        yield* other.vanish
        assert.isTrue(yield* awaitGone(gone ?? 0))
        assert.isTrue(isAlive(pid ?? 0))
        yield* child.kill
        assert.strictEqual((yield* child.exit)._tag, "Signalled")
      }),
    180_000
  )

  it.live("a container that was started anew has lost its processes", () =>
    Effect.gen(function*() {
      const { client, server } = yield* open()
      const child = yield* client.exec({ command: { script: "echo $$; sleep 300" }, env: {} })
      const [pid] = (yield* lines(child, 1)).map(Number)
      server.cluster.kubelet?.crash("default", "box")
      assert.strictEqual((yield* Effect.flip(child.exit))._tag, "SandboxLost")
      assert.isTrue(yield* awaitGone(pid ?? 0))
    }), 180_000)

  it.live("missing rights say which; nothing runs", () =>
    Effect.gen(function*() {
      const { client } = yield* open({}, {}, [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }])
      const { status } = yield* run(client, { command: ["true"] })
      assert.match(
        status._tag === "NotStarted" ? status.reason : "",
        /cannot get resource "pods\/exec".*\(403\): bind the Role heddle-task-executor/
      )
      const blind = yield* open({}, {}, [])
      const refused = (yield* run(blind.client, { command: ["true"] })).status
      assert.match(
        refused._tag === "NotStarted" ? refused.reason : "",
        /cannot get resource "pods".*heddle-task-executor/
      )
    }), 180_000)

  it.live("an image without a shell is told as that", () =>
    Effect.gen(function*() {
      const { client } = yield* open({
        exec: {
          handler: (session) =>
            session.fail(
              "error executing command in container: failed to exec in container: OCI runtime exec failed: exec: \"/bin/sh\": stat /bin/sh: no such file or directory"
            )
        }
      })
      const { status } = yield* run(client, { command: ["true"] })
      assert.match(status._tag === "NotStarted" ? status.reason : "", /has no shell for heddle .*no such file/)
    }), 180_000)

  it.live("a reset command runs as a process of the pod, and its exit code decides", () =>
    Effect.gen(function*() {
      const { sandbox, server } = yield* open()
      const cluster = Cluster.make(Effect.succeed({
        server: server.url,
        credentials: Effect.succeed({ headers: { authorization: "Bearer executor" }, tls: {}, agent: undefined })
      }))
      const { resetHook } = PodExec.make(cluster)
      const pod = { namespace: "default", name: "box", uid: sandbox.uid, container: "main" }
      assert.isTrue(yield* resetHook(pod, ["sh", "-c", "echo; exit 0"]))
      assert.isFalse(yield* resetHook(pod, ["sh", "-c", "exit 1"]))
      assert.isFalse(yield* resetHook({ ...pod, name: "none" }, ["true"]))
    }), 180_000)

  it.live(
    "output of a process that was killed while nobody read does not grow without bound",
    () =>
      Effect.gen(function*() {
        const { client } = yield* open()
        const child = yield* client.exec({
          command: { script: "trap '' INT TERM; while :; do head -c 1000000 /dev/zero; done" },
          env: {},
          grace: { sigintMs: 300, sigtermMs: 300 }
        })
        yield* child.kill
        let read = 0
        yield* Stream.runForEach(child.output, ({ bytes }) => Effect.sync(() => (read += bytes.length)))
        assert.isBelow(read, 2 * 1024 * 1024)
      }),
    180_000
  )
})
