/**
 * The one switch of tests that speak to a Kubernetes API: the double, or, when KUBEBUILDER_ASSETS names a folder with kube-apiserver and etcd, those. The same tests, the same
 * assertions. What needs a kubelet is asked of `kubelet` here, which acts through the API with the administrator's token in both cases, so that it proves nothing the API does not do.
 *
 *   const cluster = await ClusterUnderTest.start({ crds })
 *   const namespace = await cluster.namespace()
 *   const user = await cluster.user([{ apiGroups: [""], resources: ["pods"], verbs: ["list", "watch", "patch"] }], namespace)
 *   const config = cluster.kubeConfig(user.token)
 *   await cluster.kubelet.run(namespace, "pod-1")
 *   await cluster.stop()
 */
import { KubeConfig } from "@kubernetes/client-node"
import { randomBytes } from "node:crypto"
import * as http from "node:http"
import * as https from "node:https"
import { setTimeout as delay } from "node:timers/promises"
import { ApiServer, type ApiServerOptions } from "./ApiServer.ts"
import type { Cluster } from "./Cluster.ts"
import type { Json } from "./Json.ts"
import { imageId } from "./Kubelet.ts"
import { admin, type PolicyRule, type User } from "./Rbac.ts"
import * as RealApiServer from "./RealApiServer.ts"

export interface Credentials {
  readonly name: string
  readonly token: string
}

export interface Response {
  readonly code: number
  readonly body: Json
  readonly headers: http.IncomingHttpHeaders
}

/** What the scheduler and a kubelet do to a pod, done through the API. */
export interface KubeletActions {
  /** POST of a binding: `spec.nodeName`. */
  readonly bind: (namespace: string, name: string, node?: string) => Promise<void>
  /** Bound, Running and Ready, with container statuses of the images in the spec. */
  readonly run: (
    namespace: string,
    name: string,
    options?: { readonly isReady?: boolean; readonly node?: string }
  ) => Promise<Json>
  /** The containers whose image changed come back with one restart more; Ready is False, then True. */
  readonly restart: (namespace: string, name: string) => Promise<Json>
  /** Failed, as an eviction leaves it. */
  readonly evict: (namespace: string, name: string) => Promise<Json>
  /** The end of a graceful deletion: gone. */
  readonly finish: (namespace: string, name: string) => Promise<void>
}

export interface ClusterUnderTest {
  readonly isReal: boolean
  readonly url: string
  /** PEM; undefined for the double, which speaks plain HTTP unless `double.isSecure` asks for TLS. */
  readonly ca: string | undefined
  readonly token: string
  /** `[major, minor]`. */
  readonly version: readonly [number, number]
  /** Only of the double: what no API gives (faults, compaction, the clock). */
  readonly double: Cluster | undefined
  readonly server: ApiServer | undefined
  readonly kubelet: KubeletActions
  /** A request with the administrator's token, or another's. `contentType` is of the body. */
  readonly call: (
    method: string,
    path: string,
    body?: Json,
    options?: { readonly token?: string; readonly contentType?: string }
  ) => Promise<Response>
  /** A request whose body is read as it comes (watches). `signal` breaks the connection. */
  readonly open: (
    path: string,
    options?: { readonly token?: string; readonly signal?: AbortSignal }
  ) => Promise<http.IncomingMessage>
  /** A namespace of its own, with a name nobody else has. */
  readonly namespace: () => Promise<string>
  /** A user with exactly these rights; `namespace` undefined: in the whole cluster. */
  readonly user: (rules: ReadonlyArray<PolicyRule>, namespace?: string) => Promise<Credentials>
  /** Writes a CustomResourceDefinition and waits until its kind is served. */
  readonly define: (crd: Json) => Promise<void>
  readonly kubeConfig: (token?: string) => KubeConfig
  readonly stop: () => Promise<void>
}

export interface ClusterUnderTestOptions {
  readonly crds?: ReadonlyArray<Json>
  /** Of the double only. The kubelet is off unless asked for: a real API server has none either. */
  readonly double?: Omit<ApiServerOptions, "users" | "crds">
}

const waitMs = 20_000

export const start = async (options: ClusterUnderTestOptions = {}): Promise<ClusterUnderTest> => {
  const folder = RealApiServer.assets()
  const cluster = folder === undefined ? await startDouble(options) : await startReal(folder)
  try {
    for (const crd of options.crds ?? []) await cluster.define(crd)
  } catch (error) {
    await cluster.stop()
    throw error
  }
  return cluster
}

interface Base {
  readonly url: string
  readonly ca: string | undefined
  readonly token: string
  readonly stop: () => Promise<void>
}

const assemble = async (
  base: Base,
  rest: Pick<ClusterUnderTest, "isReal" | "double" | "server"> & {
    readonly user: (
      rules: ReadonlyArray<PolicyRule>,
      namespace: string | undefined,
      call: ClusterUnderTest["call"]
    ) => Promise<Credentials>
  }
): Promise<ClusterUnderTest> => {
  const module = base.ca === undefined ? http : https
  const agent = new module.Agent({ keepAlive: true, maxSockets: 64, ...(base.ca === undefined ? {} : { ca: base.ca }) })
  const send = (
    method: string,
    path: string,
    token: string,
    body: string | undefined,
    contentType: string,
    signal?: AbortSignal
  ) =>
    new Promise<http.IncomingMessage>((resolve, reject) => {
      const sent = module.request(`${base.url}${path}`, {
        method,
        agent,
        ...(signal === undefined ? {} : { signal }),
        headers: {
          ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { "content-type": contentType, "content-length": Buffer.byteLength(body) })
        }
      }, resolve)
      sent.on("error", reject)
      sent.end(body)
    })
  const open: ClusterUnderTest["open"] = (path, more = {}) =>
    send("GET", path, more.token ?? base.token, undefined, "", more.signal)
  const call: ClusterUnderTest["call"] = async (method, path, body, more = {}) => {
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body)
    const response = await send(method, path, more.token ?? base.token, text, more.contentType ?? "application/json")
    const chunks: Array<Buffer> = []
    for await (const chunk of response) chunks.push(chunk)
    const answer = Buffer.concat(chunks).toString()
    let parsed: Json = answer
    try {
      parsed = JSON.parse(answer)
    } catch {
      // health and metrics are plain text
    }
    return { code: response.statusCode ?? 0, body: parsed, headers: response.headers }
  }
  const stop = async () => {
    agent.destroy()
    await base.stop()
  }
  const told = (await call("GET", "/version")).body
  return {
    isReal: rest.isReal,
    double: rest.double,
    server: rest.server,
    url: base.url,
    ca: base.ca,
    token: base.token,
    // a server built without its version knows none: it counts as an old one
    version: [Number.parseInt(told.major, 10) || 1, Number.parseInt(told.minor, 10) || 0],
    kubelet: kubeletActions(call),
    call,
    open,
    namespace: async () => {
      const name = `test-${randomBytes(5).toString("hex")}`
      expectCode(await call("POST", "/api/v1/namespaces", { metadata: { name } }), 201)
      return name
    },
    user: (rules, namespace) => rest.user(rules, namespace, call),
    define: async (crd) => {
      expectCode(await call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd), 201)
      const { group, versions, names } = crd.spec
      const version = versions.find((one: Json) => one.storage === true).name
      const until = performance.now() + waitMs
      while ((await call("GET", `/apis/${group}/${version}/${names.plural}`)).code !== 200) {
        if (performance.now() > until) throw new Error(`${names.plural}.${group} is not served after ${waitMs} ms`)
        await delay(50)
      }
    },
    kubeConfig: (token) => {
      const config = new KubeConfig()
      config.loadFromOptions({
        clusters: [{
          name: "test",
          server: base.url,
          // the client speaks plain HTTP only where TLS is not asked to be checked
          ...(base.ca === undefined ? { skipTLSVerify: true } : { caData: Buffer.from(base.ca).toString("base64") })
        }],
        users: [{ name: "test", token: token ?? base.token }],
        contexts: [{ name: "test", cluster: "test", user: "test" }],
        currentContext: "test"
      })
      return config
    },
    stop
  }
}

const expectCode = (response: Response, code: number): Json => {
  if (response.code !== code) {
    throw new Error(`${code} expected, not ${response.code}: ${JSON.stringify(response.body)}`)
  }
  return response.body
}

const startDouble = async (options: ClusterUnderTestOptions): Promise<ClusterUnderTest> => {
  const token = "admin"
  const users: Record<string, User> = { [token]: admin }
  const server = await ApiServer.start({ kubelet: false, bookmarkEveryMs: 1_000, ...options.double, users })
  const { cluster } = server
  let count = 0
  return assemble({ url: server.url, ca: server.ca, token, stop: () => server.stop() }, {
    isReal: false,
    double: cluster,
    server,
    user: async (rules, namespace) => {
      const name = `tester-${++count}`
      cluster.users.set(`token-of-${name}`, { name, grants: [{ namespace, rules }] })
      return { name, token: `token-of-${name}` }
    }
  })
}

const rbac = "/apis/rbac.authorization.k8s.io/v1"

const startReal = async (folder: string): Promise<ClusterUnderTest> => {
  const real = await RealApiServer.start(folder)
  const free = [...real.users]
  return assemble({ url: real.url, ca: real.ca, token: real.adminToken, stop: real.stop }, {
    isReal: true,
    double: undefined,
    server: undefined,
    user: async (rules, namespace, call) => {
      const user = free.shift()
      if (user === undefined) throw new Error("no user is left: raise usersCount in RealApiServer.ts")
      const [scope, role, binding] = namespace === undefined
        ? [rbac, "ClusterRole", "ClusterRoleBinding"]
        : [`${rbac}/namespaces/${namespace}`, "Role", "RoleBinding"]
      expectCode(
        await call("POST", `${scope}/${role.toLowerCase()}s`, {
          apiVersion: "rbac.authorization.k8s.io/v1",
          kind: role,
          metadata: { name: user.name },
          rules
        }),
        201
      )
      expectCode(
        await call("POST", `${scope}/${binding.toLowerCase()}s`, {
          apiVersion: "rbac.authorization.k8s.io/v1",
          kind: binding,
          metadata: { name: user.name },
          subjects: [{ kind: "User", name: user.name, apiGroup: "rbac.authorization.k8s.io" }],
          roleRef: { kind: role, name: user.name, apiGroup: "rbac.authorization.k8s.io" }
        }),
        201
      )
      // the authorizer's caches follow the write by a watch
      const until = performance.now() + waitMs
      const rule = rules[0]
      const [resource, subresource] = (rule?.resources[0] ?? "").split("/")
      const attributes = {
        verb: rule?.verbs[0],
        group: rule?.apiGroups[0],
        resource,
        subresource,
        namespace,
        name: rule?.resourceNames?.[0]
      }
      while (rules.length > 0) {
        const review = await call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
          apiVersion: "authorization.k8s.io/v1",
          kind: "SelfSubjectAccessReview",
          spec: { resourceAttributes: attributes }
        }, { token: user.token })
        if (review.body?.status?.allowed === true) break
        if (performance.now() > until) throw new Error(`the rights of ${user.name} are not in force after ${waitMs} ms`)
        await delay(20)
      }
      return user
    }
  })
}

const mergePatch = "application/merge-patch+json"

const kubeletActions = (call: ClusterUnderTest["call"]): KubeletActions => {
  const path = (namespace: string, name: string) => `/api/v1/namespaces/${namespace}/pods/${name}`
  const read = async (namespace: string, name: string) => expectCode(await call("GET", path(namespace, name)), 200)
  const status = async (namespace: string, name: string, patch: Json) =>
    expectCode(
      await call("PATCH", `${path(namespace, name)}/status`, { status: patch }, { contentType: mergePatch }),
      200
    )
  const condition = (type: string, isTrue: boolean) => ({
    type,
    status: isTrue ? "True" : "False",
    lastProbeTime: null,
    lastTransitionTime: new Date().toISOString().slice(0, 19) + "Z"
  })
  const conditions = (
    isReady: boolean
  ) => [
    condition("PodScheduled", true),
    condition("Initialized", true),
    condition("ContainersReady", isReady),
    condition("Ready", isReady)
  ]
  const container = (spec: Json, uid: string, restartCount: number, isReady: boolean) => ({
    name: spec.name,
    image: spec.image,
    imageID: imageId(spec.image),
    containerID: `containerd://${uid}-${spec.name}-${restartCount}`,
    ready: isReady,
    started: isReady,
    restartCount,
    state: { running: { startedAt: new Date().toISOString().slice(0, 19) + "Z" } },
    lastState: {}
  })
  const bind: KubeletActions["bind"] = async (namespace, name, node = "node-1") => {
    expectCode(
      await call("POST", `${path(namespace, name)}/binding`, {
        apiVersion: "v1",
        kind: "Binding",
        metadata: { name, namespace },
        target: { apiVersion: "v1", kind: "Node", name: node }
      }),
      201
    )
  }
  return {
    bind,
    run: async (namespace, name, options = {}) => {
      const isReady = options.isReady ?? true
      const pod = await read(namespace, name)
      if (pod.spec.nodeName === undefined) await bind(namespace, name, options.node)
      return status(namespace, name, {
        phase: "Running",
        podIP: "10.64.0.1",
        podIPs: [{ ip: "10.64.0.1" }],
        conditions: conditions(isReady),
        containerStatuses: pod.spec.containers.map((one: Json) => container(one, pod.metadata.uid, 0, isReady))
      })
    },
    restart: async (namespace, name) => {
      const pod = await read(namespace, name)
      const next = (isReady: boolean) =>
        pod.spec.containers.map((one: Json) => {
          const had = (pod.status.containerStatuses ?? []).find((other: Json) => other.name === one.name)
          return had === undefined || had.image === one.image
            ? had
            : container(one, pod.metadata.uid, had.restartCount + 1, isReady)
        })
      await status(namespace, name, { conditions: conditions(false), containerStatuses: next(false) })
      return status(namespace, name, { conditions: conditions(true), containerStatuses: next(true) })
    },
    evict: (namespace, name) =>
      status(namespace, name, {
        phase: "Failed",
        reason: "Evicted",
        message: "The node was low on resource: memory.",
        conditions: conditions(false)
      }),
    finish: async (namespace, name) => {
      expectCode(await call("DELETE", path(namespace, name), { gracePeriodSeconds: 0 }), 200)
    }
  }
}
