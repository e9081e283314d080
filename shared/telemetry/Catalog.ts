/**
 * Every metric that a process of heddle shows, and nothing else: `Meters` takes no name that is not here, docs/reference/metrics.md is made of it, dashboards and alerts are
 * checked against it.
 *
 * Names follow Prometheus: base units, `_total` for counters, `heddle_` in front but for the three `process_` ones that every client library has.
 */
import type { Counter, Definition, Gauge, Histogram, Labels } from "./Definition.ts"

const counter = <const L extends Labels>(
  of: Definition["of"],
  name: string,
  help: string,
  labels: L,
  unit: Definition["unit"] = "1"
): Counter<L> => ({ kind: "counter", of, name, help, labels, unit })

const gauge = <const L extends Labels>(
  of: Definition["of"],
  name: string,
  help: string,
  labels: L,
  unit: Definition["unit"] = "1"
): Gauge<L> => ({ kind: "gauge", of, name, help, labels, unit })

const histogram = <const L extends Labels>(
  of: Definition["of"],
  name: string,
  help: string,
  labels: L,
  buckets: ReadonlyArray<number>,
  unit: Definition["unit"] = "seconds"
): Histogram<L> => ({ kind: "histogram", of, name, help, labels, buckets, unit })

// ------------------------------------------------------------------------------------------------------------------------ labels

/** `<namespace>/<pool>`. */
const pool = { max: 200 } as const
/** `<namespace>/<name>` of a definition, without its version. */
const definition = { max: 100 } as const
const taskType = { max: 64 } as const

/** What a claim was answered, design/04 section 1. */
export const claimOutcomes = [
  "Claimed",
  "QueueFull",
  "DeadlineExceeded",
  "Cancelled",
  "ShuttingDown",
  "Failed",
  "Invalid"
] as const
export const casOutcomes = ["success", "conflict", "gone", "unknown", "fenced", "error"] as const
export const runEnds = ["SUCCEEDED", "FAILED", "STOPPED", "PAUSED"] as const
export const taskEnds = ["SUCCEEDED", "FAILED", "KILLED", "PAUSED", "FAILOVER"] as const

/** How a request over HTTP was answered; `gone`: its client had left before. */
export const httpStatuses = ["2xx", "3xx", "4xx", "5xx", "gone"] as const

export const failoverKinds = [
  "MASTER_FAILOVER",
  "GLOBAL_MASTER_FAILOVER",
  "WORKER_FAILOVER",
  "SCHEDULER_FAILOVER"
] as const

/** Of a claim, of its parts, and of an append: half a millisecond to five seconds. */
const fine = [
  0.0005,
  0.001,
  0.002,
  0.003,
  0.005,
  0.0075,
  0.01,
  0.015,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5
] as const
/** Of what may take from a millisecond to a day. */
const wide = [
  0.001,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
  30,
  60,
  300,
  1_800,
  7_200,
  86_400
] as const
/** Of what is counted together. */
const sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024] as const

// ---------------------------------------------------------------------------------------------------------------- every process

export const buildInfo = gauge(
  "every",
  "heddle_build_info",
  "Always 1: which service runs here, in which version, on which runtime",
  { service: { max: 8 }, version: { max: 1 }, runtime: { max: 1 } }
)
export const ready = gauge("every", "heddle_ready", "1 when `/readyz` answers 200, else 0", {})
export const processStart = gauge(
  "every",
  "process_start_time_seconds",
  "When the process began, seconds since 1970",
  {},
  "seconds"
)
export const processCpu = counter(
  "every",
  "process_cpu_seconds_total",
  "CPU time of the process, in user and system mode",
  {},
  "seconds"
)
export const processMemory = gauge(
  "every",
  "process_resident_memory_bytes",
  "Memory of the process that is in RAM",
  {},
  "bytes"
)
export const heapUsed = gauge("every", "heddle_heap_used_bytes", "JavaScript heap in use", {}, "bytes")
export const eventLoopDelay = gauge(
  "every",
  "heddle_event_loop_delay_seconds",
  "How late the event loop came since the last scrape, by quantile, 10 ms of sampling interval not counted; 0 on runtimes that do not measure it",
  { quantile: ["0.5", "0.99", "1"] },
  "seconds"
)
export const natsConnected = gauge("every", "heddle_nats_connected", "1 while the connection to NATS stands", {})
export const natsReconnects = counter(
  "every",
  "heddle_nats_reconnects_total",
  "Connections to NATS after the first",
  {}
)
export const natsMessages = counter(
  "every",
  "heddle_nats_messages_total",
  "Messages of the connection to NATS",
  { direction: ["in", "out"] }
)
export const natsBytes = counter(
  "every",
  "heddle_nats_bytes_total",
  "Payload and headers of the connection to NATS",
  { direction: ["in", "out"] },
  "bytes"
)

// ------------------------------------------------------------------------------------------------------------------- coordinator

export const durability = gauge(
  "coordinator",
  "heddle_durability_info",
  "Always 1: when the NATS server writes to disk, as far as it is known (`always`: before each acknowledgement)",
  { fsync: ["always", "every", "unknown"] }
)
export const durabilityInterval = gauge(
  "coordinator",
  "heddle_durability_fsync_interval_seconds",
  "The longest that an acknowledged write is only in the server's memory: 0 with `always`, what is assumed when it is unknown",
  {},
  "seconds"
)
export const durabilityReplicas = gauge(
  "coordinator",
  "heddle_durability_replicas",
  "Servers that hold each stream of the mesh",
  {}
)
export const runsStarted = counter(
  "coordinator",
  "heddle_runs_started_total",
  "Runs that began, and that began again by a rerun, a recovery or a run of single tasks",
  { definition }
)
export const runsEnded = counter("coordinator", "heddle_runs_ended_total", "Runs that came to rest, by how", {
  definition,
  state: runEnds
})
export const runDuration = histogram(
  "coordinator",
  "heddle_run_duration_seconds",
  "From the start of a run to its rest",
  { state: runEnds },
  wide
)
export const instances = gauge(
  "coordinator",
  "heddle_instances",
  "Instances of this coordinator's shards: in memory (live, at rest and about to leave, semaphores), and passive ones, whose runs go on outside of memory",
  { held: ["memory", "passive"] }
)
export const tasksSubmitted = counter(
  "coordinator",
  "heddle_tasks_submitted_total",
  "Attempts of tasks that became due, retries included",
  {}
)
export const tasksStarted = counter(
  "coordinator",
  "heddle_tasks_started_total",
  "Attempts that were placed: at an executor, in the coordinator, or as a sub-workflow",
  {}
)
export const tasksEnded = counter("coordinator", "heddle_tasks_ended_total", "Attempts that ended, by how", {
  state: taskEnds
})
export const taskRetries = counter(
  "coordinator",
  "heddle_task_retries_total",
  "Failed attempts after which the task is tried again",
  {}
)
export const scheduleToStart = histogram(
  "coordinator",
  "heddle_task_schedule_to_start_seconds",
  "From when an attempt could run (its slot of a concurrency group held) to its registration by an executor; attempts of tasks with a `delay` are left out",
  {},
  wide
)
export const ledgerAppends = counter(
  "coordinator",
  "heddle_ledger_appends_total",
  "Answers to appends to the journal: stored, refused since another coordinator sealed the ledger (`fenced`: it is read then whether that is so), or `unknown` until read",
  { outcome: ["acked", "fenced", "unknown"] }
)
export const ledgerRecords = histogram(
  "coordinator",
  "heddle_ledger_append_records",
  "Entries that one append carries: turns of instances that had collected while the one before was written",
  {},
  sizes,
  "1"
)
export const ledgerSeconds = histogram(
  "coordinator",
  "heddle_ledger_append_seconds",
  "From sending an append to its answer",
  {},
  fine
)
export const journalBytes = counter(
  "coordinator",
  "heddle_journal_bytes_total",
  "Size of what was sent to the journal; text beyond ASCII counts a byte a character",
  {},
  "bytes"
)
export const shardsOwned = gauge("coordinator", "heddle_shards_owned", "Shards that this coordinator serves", {})
export const shardTakeovers = counter(
  "coordinator",
  "heddle_shard_takeovers_total",
  "Shards that came to this coordinator: never owned before, handed over by one that lives, or taken from one that is gone",
  { from: ["nobody", "handover", "dead"] }
)
export const adoptionSeconds = histogram(
  "coordinator",
  "heddle_shard_adoption_seconds",
  "From the decision to take shards to serving them: sealing, compare-and-set, reading the state, ADOPTED; one for all shards of a take-over",
  {},
  wide
)

// ---------------------------------------------------------------------------------------------------------------- pool-scheduler

export const poolsOwned = gauge("pool-scheduler", "heddle_pools_owned", "Pools that this scheduler serves", {})
export const poolTakeovers = counter(
  "pool-scheduler",
  "heddle_pool_takeovers_total",
  "Pools that came to this scheduler: from nobody (new, or given back), or from one that is gone",
  { from: ["nobody", "dead"] }
)
export const claims = counter(
  "pool-scheduler",
  "heddle_claims_total",
  "Claims answered, by outcome: those of clients (each member of a batch is one), and those that tasks make",
  { pool, for: ["client", "task"], outcome: claimOutcomes }
)
export const claimSeconds = histogram(
  "pool-scheduler",
  "heddle_claim_duration_seconds",
  "From the arrival of a client's claim at the scheduler to its sandbox",
  { pool },
  fine
)
export const claimWaitSeconds = histogram(
  "pool-scheduler",
  "heddle_claim_queue_wait_seconds",
  "The part of it before the first write: in the queue, until a sandbox was idle",
  { pool },
  fine
)
export const casSeconds = histogram(
  "pool-scheduler",
  "heddle_claim_cas_seconds",
  "Of each compare-and-set write of a claim, from its sending to its answer",
  { pool },
  fine
)
export const cas = counter(
  "pool-scheduler",
  "heddle_claim_cas_total",
  "Compare-and-set writes of claims, by the provider's answer; `conflict`: somebody else had changed the sandbox, `unknown`: read back then",
  { pool, outcome: casOutcomes }
)
export const claimsEnded = counter(
  "pool-scheduler",
  "heddle_claims_ended_total",
  "Claims that held a sandbox and hold it no more: given back, lease expired, or the sandbox was lost",
  { pool, how: ["released", "expired", "lost"] }
)
export const leasesRenewed = counter("pool-scheduler", "heddle_claim_leases_renewed_total", "Leases lengthened", {
  pool
})
export const claimsAdopted = counter(
  "pool-scheduler",
  "heddle_claims_adopted_total",
  "Claims of an earlier owner of the pool that go on here",
  { pool }
)
export const queueLength = gauge(
  "pool-scheduler",
  "heddle_claim_queue_length",
  "Claims that wait or are being written",
  {
    pool
  }
)
export const quotaBlocked = gauge(
  "pool-scheduler",
  "heddle_claim_quota_blocked",
  "Claims that wait only since their team has reached its quota",
  { pool }
)
export const sandboxes = gauge(
  "pool-scheduler",
  "heddle_pool_sandboxes",
  "Sandboxes by state: `idle` may be claimed at once, `creating` are asked for, `other` are on their way between the states",
  { pool, state: ["idle", "claimed", "creating", "other"] }
)
export const poolTarget = gauge("pool-scheduler", "heddle_pool_target", "Sandboxes that the pool means to have", {
  pool
})
export const creations = counter(
  "pool-scheduler",
  "heddle_sandbox_creations_total",
  "Creations, by the provider's answer",
  {
    pool,
    outcome: ["done", "error"]
  }
)
export const deletions = counter(
  "pool-scheduler",
  "heddle_sandbox_deletions_total",
  "Sandboxes deleted by the scheduler",
  {
    pool
  }
)
export const tasksWaiting = gauge(
  "pool-scheduler",
  "heddle_pool_tasks_waiting",
  "Tasks in the pool's lanes as far as they are read, which wait for a sandbox",
  { pool }
)
export const dispatchQueue = gauge(
  "pool-scheduler",
  "heddle_pool_dispatch_queue_length",
  "Tasks that have a sandbox and wait for an executor to ask for work",
  { pool }
)

// ----------------------------------------------------------------------------------------------------------------- task-executor

export const slotsTotal = gauge(
  "task-executor",
  "heddle_executor_slots",
  "Tasks that this executor runs at one time",
  {}
)
export const slotsUsed = gauge("task-executor", "heddle_executor_slots_used", "Slots that a task holds", {})
export const reportsPending = gauge(
  "task-executor",
  "heddle_executor_reports_pending",
  "Attempts with facts that no coordinator has acknowledged yet",
  {}
)
export const attemptsEnded = counter(
  "task-executor",
  "heddle_executor_attempts_total",
  "Attempts that ended here, by the fact that is reported; `superseded`: another attempt counts, nothing is reported",
  { outcome: ["SUCCEEDED", "FAILED", "FATAL", "KILLED", "PAUSED", "SANDBOX_LOST", "superseded"] }
)
export const taskSeconds = histogram(
  "task-executor",
  "heddle_task_exec_seconds",
  "Of each attempt, from its start at the executor to its end, by task type",
  { type: taskType },
  wide
)

// ---------------------------------------------------------------------------------------------------------------------- failover

export const members = gauge("failover", "heddle_members", "Processes in the registry, by role", {
  role: ["coordinator", "pool-scheduler", "task-executor", "failover", "gateway"]
})
export const failoverActive = gauge(
  "failover",
  "heddle_failover_active",
  "1 in the failover service that publishes, 0 in those that stand by",
  {}
)
export const failovers = counter(
  "failover",
  "heddle_failovers_total",
  "Failovers that this service decided on, by kind; each replica decides, the mesh acts on one",
  { kind: failoverKinds }
)
export const failoverDetection = histogram(
  "failover",
  "heddle_failover_detection_seconds",
  "From the first sign that a member is gone (its registration expired) to the decision",
  {},
  wide
)

// ----------------------------------------------------------------------------------------------------------------------- gateway

/** The `operationId` of a route of the API, or `page` (the console's files), `probe` (`/livez`, `/readyz`, `/metrics`), `openapi`, `none` (no route, or refused before). */
const route = { max: 64 } as const

export const httpRequests = counter(
  "gateway",
  "heddle_http_requests_total",
  "Requests over HTTP that were answered, by the route's `operationId` (`page`: the console's files, `probe`: `/livez`, `/readyz`, `/metrics`, `none`: no route, or refused before) and the class of the status; `gone`: the client had left",
  { route, status: httpStatuses }
)
export const httpSeconds = histogram(
  "gateway",
  "heddle_http_request_duration_seconds",
  "From the arrival of a request to its answer, waits included; event streams, which last, are left out",
  { route },
  wide
)
export const httpOpen = gauge(
  "gateway",
  "heddle_http_open",
  "In progress: requests, waits (for a claim, for the end of a run) and event streams; beyond 256, 1,024 and 256 one more is answered 429",
  { kind: ["request", "wait", "stream"] }
)
export const httpSlowReaders = counter(
  "gateway",
  "heddle_http_slow_readers_total",
  "Event streams that were closed since their reader was more than 1,024 events or 4 MiB behind; it goes on from its cursor when it connects again",
  {}
)

/** In the order of the page. */
export const all: ReadonlyArray<Definition> = [
  buildInfo,
  ready,
  natsConnected,
  natsReconnects,
  natsMessages,
  natsBytes,
  processStart,
  processCpu,
  processMemory,
  heapUsed,
  eventLoopDelay,
  claims,
  claimSeconds,
  claimWaitSeconds,
  casSeconds,
  cas,
  claimsEnded,
  claimsAdopted,
  leasesRenewed,
  queueLength,
  quotaBlocked,
  sandboxes,
  poolTarget,
  creations,
  deletions,
  tasksWaiting,
  dispatchQueue,
  poolsOwned,
  poolTakeovers,
  runsStarted,
  runsEnded,
  runDuration,
  instances,
  tasksSubmitted,
  tasksStarted,
  tasksEnded,
  taskRetries,
  scheduleToStart,
  ledgerAppends,
  ledgerRecords,
  ledgerSeconds,
  journalBytes,
  shardsOwned,
  shardTakeovers,
  adoptionSeconds,
  durability,
  durabilityInterval,
  durabilityReplicas,
  slotsTotal,
  slotsUsed,
  taskSeconds,
  attemptsEnded,
  reportsPending,
  members,
  failoverActive,
  failovers,
  failoverDetection,
  httpRequests,
  httpSeconds,
  httpOpen,
  httpSlowReaders
]
