/**
 * A pool as a Kubernetes object: `SandboxPool`, group heddle.dev/v1alpha1. What `kubectl apply` takes, and the status that is written back.
 *
 * Keeps true: it says nothing that `PoolSpec` does not say, plus how a pod is made and reset; its name and namespace are the pool's. The custom resource definition
 * in infra/crds is generated from these schemas (`npm run crds`), so the API server refuses what a mesh would refuse. Follows design/04 section 1.
 */
import * as Schema from "effect/Schema"
import { PoolSpec } from "./Pool.ts"
import { Labels } from "./Sandbox.ts"
import { DurationMs, Timestamp } from "./Time.ts"
import { MemberId, SessionId } from "./Token.ts"

export const group = "heddle.dev"
export const version = "v1alpha1"
export const apiVersion = `${group}/${version}`

const ContainerName = Schema.String.check(
  Schema.isPattern(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/u, { message: "the name of a container" }),
  Schema.isMaxLength(63)
)
const Image = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(1024))

/** One container of the template: `name` and `image` are checked here, everything else by the API server when a pod is made. */
export const TemplateContainer = Schema.StructWithRest(
  Schema.Struct({
    name: ContainerName,
    image: Image
  }),
  [Schema.Record(Schema.String, Schema.Unknown)]
)

/** The pods of a pool, as in a Deployment. */
export const PodTemplate = Schema.Struct({
  metadata: Schema.optionalKey(Schema.Struct({
    labels: Schema.optionalKey(Labels),
    annotations: Schema.optionalKey(Labels)
  })),
  /** A pod's spec. */
  spec: Schema.StructWithRest(
    Schema.Struct({
      containers: Schema.Array(TemplateContainer).check(Schema.isMinLength(1), Schema.isMaxLength(64))
    }),
    [Schema.Record(Schema.String, Schema.Unknown)]
  )
})
export type PodTemplate = typeof PodTemplate.Type

export const resetTimeoutDefaultMs = 60_000

/** How a pod that was given back becomes idle again. */
export const PodReset = Schema.Struct({
  /**
   * `delete` (when not given): the pod is deleted and another one made. `restart`: containers that have an image of their own here, or whose image the claim changed, are
   * restarted by changing the image. `exec`: a command runs in the pod. `none`: the next holder gets it as it is.
   */
  method: Schema.Literals(["delete", "restart", "exec", "none"]),
  /** For `restart`: a second image by container, the same content under another tag. Each reset changes to the one that does not run. */
  alternates: Schema.optionalKey(Schema.Record(Schema.String, Image)),
  /** For `exec`: where the command runs; the first container when not given. */
  container: Schema.optionalKey(ContainerName),
  /** For `exec`: exit code 0 means that the pod is as new. */
  command: Schema.optionalKey(Schema.Array(Schema.String).check(Schema.isMinLength(1), Schema.isMaxLength(64))),
  /** After this time a pod that is not idle again is deleted; 60 s when not given. */
  timeout: Schema.optionalKey(DurationMs)
})
export type PodReset = typeof PodReset.Type

export const agentTokenTtlDefaultMs = 3_600_000

/** Of pools with `exec: agent`. */
export const AgentSettings = Schema.Struct({
  /** Where pods reach NATS: `nats://nats.heddle.svc:4222`. Credentials are not part of it. */
  natsUrl: Schema.String.check(
    Schema.isPattern(/^(nats|tls):\/\/[^@\s]+$/u, {
      message: "a URL such as nats://nats.heddle.svc:4222, without user and password"
    }),
    Schema.isMaxLength(1024)
  ),
  /** How long an agent's token is good; it is renewed when half of it is over. From 10 s to 7 d; 1 h when not given. */
  tokenTtl: Schema.optionalKey(DurationMs.check(Schema.isBetween({ minimum: 10_000, maximum: 7 * 24 * 3_600_000 })))
})
export type AgentSettings = typeof AgentSettings.Type

const { config, name: _name, namespace: _namespace, provider, source: _source, ...shared } = PoolSpec.fields
const LabelValue = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/u, { message: "the value of a label" }),
  Schema.isMaxLength(63)
)

/** What a pool is made of. */
export const SandboxPoolSpec = Schema.Struct({
  /** Pool provider plugin; `kubernetes` when not given. */
  provider: Schema.optionalKey(provider),
  ...shared,
  /** The pods of the pool, as in a Deployment; needed by the provider `kubernetes`. */
  template: Schema.optionalKey(PodTemplate),
  /** How a pod that was given back becomes idle again; it is deleted and another one made when not given. */
  reset: Schema.optionalKey(PodReset),
  /** How processes are run in pods: `pod` (when not given), by `exec` of the cluster's API; `agent`, by heddle's agent in the first container's image, over NATS. */
  exec: Schema.optionalKey(Schema.Literals(["pod", "agent"])),
  /** Needed by `exec: agent`. */
  agent: Schema.optionalKey(AgentSettings),
  /** Whose pool it is: label `team` of its sandboxes. */
  team: Schema.optionalKey(LabelValue),
  /** Label `user` of its sandboxes. */
  user: Schema.optionalKey(LabelValue),
  /** The SandboxEnv that it belongs to: label `env` of its sandboxes. */
  env: Schema.optionalKey(LabelValue),
  /** For other providers than `kubernetes`: what they take. */
  config
})
export type SandboxPoolSpec = typeof SandboxPoolSpec.Type

/** As in every Kubernetes API. */
export const Condition = Schema.Struct({
  /** What is said to be so. */
  type: Schema.String.check(Schema.isMaxLength(316)),
  /** Whether it is. */
  status: Schema.Literals(["True", "False", "Unknown"]),
  /** Why, in one word for programs. */
  reason: Schema.String.check(Schema.isMaxLength(1024)),
  /** Why, for people. */
  message: Schema.String.check(Schema.isMaxLength(32_768)),
  /** Since when the status is what it is. */
  lastTransitionTime: Timestamp,
  /** The `metadata.generation` that it is about. */
  observedGeneration: Schema.optionalKey(Schema.Int)
})
export type Condition = typeof Condition.Type

/**
 * Written by the pool's owner, at most every 3 s: when `pendingRequests` changes by a fifth or crosses zero, when something else that is shown has changed, and every minute.
 */
export const SandboxPoolStatus = Schema.Struct({
  /** The `metadata.generation` that the pool runs by. */
  observedGeneration: Schema.optionalKey(Schema.Int),
  /** Sandboxes that exist, whatever their phase: what the scale subresource shows. */
  replicas: Schema.optionalKey(Schema.Int),
  /** Selects the pool's pods: for the scale subresource. */
  selector: Schema.optionalKey(Schema.String),
  /** Idle and claimed ones of all: `18/20`. */
  ready: Schema.optionalKey(Schema.String),
  /** What the pool means to have now. */
  target: Schema.optionalKey(Schema.Int),
  /** Sandboxes by phase. */
  phases: Schema.optionalKey(Schema.Struct({
    starting: Schema.optionalKey(Schema.Int),
    idle: Schema.optionalKey(Schema.Int),
    running: Schema.optionalKey(Schema.Int),
    stopping: Schema.optionalKey(Schema.Int)
  })),
  /** Claims without a terminal result: the same counter as `queueLen` of the pool's snapshot. */
  pendingRequests: Schema.optionalKey(Schema.Int),
  /** The pool scheduler that owns the pool. */
  owner: Schema.optionalKey(MemberId),
  /** Of the owner: grows with each change of owner. */
  session: Schema.optionalKey(SessionId),
  /** When the owner last wrote: every minute even if nothing changes. Old: no pool scheduler is left that could say more. */
  lastHeartbeatTime: Schema.optionalKey(Timestamp),
  /**
   * `Accepted`: the mesh takes the spec (reasons `Applied`, `Refused`). `Ready`: an owner serves claims (`Serving`); else `Draining`, `Refused`, or Unknown with `NoOwner`.
   */
  conditions: Schema.optionalKey(Schema.Array(Condition).check(Schema.isMaxLength(16)))
})
export type SandboxPoolStatus = typeof SandboxPoolStatus.Type
