/**
 * What the corpus holds: for each feature a script of runs. `make.ts` writes the journals of those that have no file yet; a file is never written again, so a script
 * here may be changed only until its file is committed, and says afterwards how the file was made.
 */
import * as Fork from "../../services/coordinator/engine/Fork.ts"
import type { Spec } from "../../services/coordinator/engine/ScriptedRun.ts"
import * as Semaphore from "../../services/coordinator/engine/Semaphore.ts"
import type { LifecycleEvent } from "../../shared/protocol/Journal.ts"
import { InstanceId, Namespace, RequestId, StreamSequence, TaskName } from "../../shared/protocol/Token.ts"
import type { Recorder, Run } from "./Recorder.ts"

type Task = Spec["tasks"][number]
const shell = (name: string, more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  with: { run: "true" },
  ...more
})
const pause: LifecycleEvent = { _tag: "WORKFLOW_PAUSE", reason: "maintenance" }
const stop: LifecycleEvent = { _tag: "WORKFLOW_STOP", reason: "not needed any more" }
const recover = (mode: "resume" | "recover" | "rerun"): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode })

/** Registered, running, succeeded: each in its own turn. */
const complete = (run: Run, name: string, outputs: Readonly<Record<string, unknown>> = {}): void => {
  run.register(name)
  run.pass(10)
  run.running(name)
  run.pass(1_000)
  run.succeed(name, outputs)
}

export const features: Readonly<Record<string, (journal: Recorder) => void>> = {
  plain: (journal) => {
    const run = journal.run("plain-1", {
      params: { number: 4, double: "${{ params.number * 2 }}" },
      env: { STAGE: "test" },
      tasks: [
        shell("a"),
        shell("b", { dependsOn: ["a"], params: { n: "${{ tasks.a.outputs.n }}" } }),
        shell("c", { dependsOn: ["a"], priority: 7 }),
        shell("d", { dependsOn: ["b", "c"], forbidden: true }),
        shell("e", { dependsOn: ["d"] })
      ]
    }, { params: { number: 5 }, priority: 6 })
    complete(run, "a", { n: 5, names: ["x", "y"] })
    run.register("b")
    run.register("c")
    run.running("b")
    run.turn({ _tag: "TASK_RUNTIME_CONTEXT_CHANGED", id: run.newest("b"), by: run.by(2), context: { percent: 50 } })
    run.succeed("c")
    run.turn({ _tag: "TASK_SUCCEEDED", id: run.newest("b"), by: run.by(3), outputs: { sum: 9 }, exitCode: 0 })
    complete(run, "e")
  },
  retry: (journal) => {
    const run = journal.run("retry-1", {
      tasks: [
        shell("fixed", { retry: { times: 2, interval: "10s" } }),
        shell("grows", {
          retry: { times: 3, interval: "1s", backoff: "exponential", intervalMax: "3s", jitter: true }
        }),
        shell("fatal", { retry: { times: 3 }, dependsOn: ["fixed"] })
      ]
    })
    run.fail("fixed")
    for (let i = 0; i < 3; i++) {
      run.fail("grows", `attempt ${i + 1}`)
      run.pass(5_000)
    }
    run.succeed("grows")
    run.pass(20_000)
    run.succeed("fixed")
    run.register("fatal")
    run.turn({ _tag: "TASK_FATAL", id: run.newest("fatal"), by: run.by(), reason: "wrong arguments" })
  },
  delay: (journal) => {
    const run = journal.run("delay-1", { tasks: [shell("a", { delay: "1m" }), shell("b", { delay: "5s" })] })
    run.pass(10_000)
    complete(run, "b")
    run.pass(60_000)
    complete(run, "a")
  },
  timeout: (journal) => {
    const run = journal.run("timeout-1", {
      tasks: [
        shell("warn", { timeout: { after: "10s", strategy: "warn" } }),
        shell("fail", { timeout: { after: "10s" }, retry: { times: 1, interval: "1s" } }),
        shell("both", { timeout: { after: "10s", strategy: "warn-fail" } }),
        shell("nobody", { dispatchTimeout: "20s" })
      ]
    })
    for (const name of ["warn", "fail", "both"]) run.register(name)
    run.pass(11_000)
    run.succeed("warn")
    run.ended("fail", "TASK_KILLED")
    run.ended("both", "TASK_KILLED")
    run.pass(2_000)
    complete(run, "fail")
    run.pass(20_000)
    const late = journal.run("timeout-2", {
      timeout: { after: "1h" },
      tasks: [shell("a"), shell("b", { dependsOn: ["a"] })]
    })
    late.register("a")
    late.pass(3_600_000)
    late.ended("a", "TASK_KILLED")
    const warned = journal.run("timeout-3", { timeout: { after: "1h", strategy: "warn" }, tasks: [shell("a")] })
    warned.pass(3_600_000)
    warned.succeed("a")
  },
  "failure-end": (journal) => {
    const run = journal.run("failure-end-1", {
      failureStrategy: "end",
      tasks: [shell("bad"), shell("long"), shell("queued"), shell("behind", { dependsOn: ["long"] })]
    })
    run.register("bad")
    run.register("long")
    run.fail("bad")
    run.ended("long", "TASK_KILLED")
  },
  "failure-continue": (journal) => {
    const run = journal.run("failure-continue-1", {
      tasks: [
        shell("bad"),
        shell("long"),
        shell("behind", { dependsOn: ["long"] }),
        shell("never", { dependsOn: ["bad"] })
      ]
    })
    run.fail("bad")
    complete(run, "long")
    complete(run, "behind")
  },
  join: (journal) => {
    const rules = ["all_success", "all_done", "one_success", "one_failed", "none_failed", "always"] as const
    const spec: Spec = {
      tasks: [
        shell("good"),
        shell("other"),
        ...rules.map((join) => shell(join, { join, dependsOn: ["good", "other"] }))
      ]
    }
    const mixed = journal.run("join-1", spec)
    mixed.succeed("good")
    mixed.fail("other")
    for (const name of ["all_done", "one_success", "one_failed", "always"]) complete(mixed, name)
    const fine = journal.run("join-2", spec)
    fine.succeed("good")
    fine.succeed("other")
    for (const name of ["all_success", "all_done", "one_success", "none_failed", "always"]) complete(fine, name)
  },
  "for-each": (journal) => {
    const spec: Spec = {
      params: { regions: ["eu", "us", "ap"] },
      tasks: [
        shell("load", {
          forEach: { items: "params.regions", parallelism: 2 },
          params: { region: "${{ item }}" },
          retry: { times: 1, interval: "1s" }
        }),
        shell("report", { dependsOn: ["load"] })
      ]
    }
    const run = journal.run("for-each-1", spec)
    run.succeed("load[0]", { rows: 1 })
    run.fail("load[1]")
    run.succeed("load[2]", { rows: 3 })
    run.pass(1_000)
    run.succeed("load[1]", { rows: 2 })
    complete(run, "report")
    const failing = journal.run("for-each-2", spec)
    failing.succeed("load[0]")
    failing.fail("load[1]")
    failing.pass(1_000)
    failing.fail("load[1]")
    failing.succeed("load[2]")
    const empty = journal.run("for-each-3", spec, { params: { regions: [] } })
    complete(empty, "report")
  },
  switch: (journal) => {
    const spec: Spec = {
      params: { full: false },
      tasks: [
        { name: "how", type: "switch", with: { cases: [{ when: "params.full", next: "all" }], default: "some" } },
        shell("all", { dependsOn: ["how"] }),
        shell("some", { dependsOn: ["how"] }),
        shell("after-all", { dependsOn: ["all"] }),
        shell("join", { dependsOn: ["all", "some"], join: "none_failed" })
      ]
    }
    const run = journal.run("switch-1", spec)
    complete(run, "some")
    complete(run, "join")
    const full = journal.run("switch-2", spec, { params: { full: true } })
    complete(full, "all")
    complete(full, "after-all")
    complete(full, "join")
    journal.run("switch-3", spec, { params: { full: "yes" } })
  },
  condition: (journal) => {
    const run = journal.run("condition-1", {
      tasks: [
        shell("primary"),
        shell("mirror"),
        {
          name: "gate",
          type: "condition",
          dependsOn: ["primary", "mirror"],
          with: {
            when: { or: [{ task: "primary" }, { and: [{ task: "primary", is: "failed" }, { task: "mirror" }] }] },
            success: ["publish"],
            failed: ["tell"]
          }
        },
        shell("publish", { dependsOn: ["gate"] }),
        shell("tell", { dependsOn: ["gate"] })
      ]
    })
    run.fail("primary")
    run.succeed("mirror")
    complete(run, "publish")
  },
  "on-commit": (journal) => {
    const spec: Spec = {
      onCommit: { type: "shell", with: { run: "publish" }, retry: { times: 1, interval: "1s" } },
      tasks: [shell("a")]
    }
    const run = journal.run("on-commit-1", spec)
    complete(run, "a", { page: "p.html" })
    run.fail("onCommit")
    run.pass(1_000)
    complete(run, "onCommit")
    const failing = journal.run("on-commit-2", spec)
    complete(failing, "a")
    failing.fail("onCommit")
    failing.pass(1_000)
    failing.fail("onCommit")
  },
  "on-cleanup": (journal) => {
    const spec: Spec = { onCleanup: { type: "shell", with: { run: "rm" } }, tasks: [shell("a")] }
    const run = journal.run("on-cleanup-1", spec)
    run.fail("a")
    complete(run, "onCleanup")
    const stopped = journal.run("on-cleanup-2", spec)
    stopped.register("a")
    stopped.turn(stop)
    stopped.ended("a", "TASK_KILLED")
    stopped.fail("onCleanup", "the disk is gone")
  },
  "pause-resume": (journal) => {
    const run = journal.run("pause-1", {
      tasks: [
        shell("stops"),
        shell("runs-on"),
        shell("queued"),
        shell("delayed", { delay: "1h" }),
        shell("next", { dependsOn: ["runs-on"] })
      ]
    })
    run.register("stops")
    run.register("runs-on")
    run.turn(pause)
    run.ended("stops", "TASK_PAUSED")
    run.succeed("runs-on")
    run.pass(60_000)
    run.turn(recover("resume"))
    for (const name of ["stops", "queued", "next"]) complete(run, name)
    run.pass(3_600_000)
    complete(run, "delayed")
  },
  stop: (journal) => {
    const run = journal.run("stop-1", {
      tasks: [
        shell("runs"),
        shell("queued"),
        shell("waits", { retry: { times: 1, interval: "1h" } }),
        shell("behind", { dependsOn: ["runs"] })
      ]
    })
    run.fail("waits")
    run.register("runs")
    run.turn(stop)
    run.pass(1_000)
    run.turn(stop)
    run.ended("runs", "TASK_KILLED")
  },
  recover: (journal) => {
    const spec: Spec = { tasks: [shell("a"), shell("b", { dependsOn: ["a"] }), shell("c", { dependsOn: ["b"] })] }
    const run = journal.run("recover-1", spec)
    complete(run, "a", { n: 1 })
    run.fail("b")
    run.pass(60_000)
    run.turn(recover("recover"))
    complete(run, "b")
    complete(run, "c")
  },
  rerun: (journal) => {
    const spec: Spec = { tasks: [shell("a"), shell("b", { dependsOn: ["a"] })] }
    const run = journal.run("rerun-1", spec)
    complete(run, "a")
    complete(run, "b")
    run.pass(60_000)
    run.turn(recover("rerun"))
    complete(run, "a", { again: true })
    complete(run, "b")
  },
  failover: (journal) => {
    const run = journal.run("failover-1", {
      tasks: [shell("lost"), shell("kept"), shell("killed"), shell("last", { dependsOn: ["lost", "kept"] })]
    })
    for (const name of ["lost", "kept", "killed"]) run.register(name)
    run.running("kept")
    journal.now = run.now
    journal.takeOver()
    run.turn({ _tag: "TASK_FAILOVER", id: run.newest("kept"), lost: false, reason: "the coordinator changed" })
    run.turn({ _tag: "TASK_FAILOVER", id: run.newest("lost"), lost: true, reason: "the executor is gone" })
    run.register("lost", run.placement("ex-2"))
    run.succeed("kept")
    run.turn({ _tag: "TASK_SUCCEEDED", id: run.newest("lost"), by: run.by(1, "ex-2"), outputs: { from: "ex-2" } })
    run.turn(stop)
    run.turn({ _tag: "TASK_FAILOVER", id: run.newest("killed"), lost: true, reason: "the sandbox is gone" })
  },
  "hand-off": (journal) => {
    const spec: Spec = {
      tasks: [
        shell("a"),
        shell("b", { dependsOn: ["a"], timeout: { after: "1h" } }),
        shell("c", { dependsOn: ["a"] }),
        shell("d", { dependsOn: ["b", "c"] })
      ]
    }
    const run = journal.run("hand-off-1", spec)
    run.register("a")
    run.turn({ _tag: "TASK_SUCCEEDED", id: run.newest("a"), by: run.by(2), outputs: { x: 1 }, offer: 1 })
    run.succeed("b")
    complete(run, "c")
    complete(run, "d")
    const together = journal.run("hand-off-2", spec)
    together.register("a")
    together.turn({
      _tag: "TASK_SUCCEEDED",
      id: together.newest("a"),
      by: together.by(2),
      outputs: {},
      offer: 3,
      together: true
    })
    together.succeed("b")
    together.turn({ _tag: "TASK_SUCCEEDED", id: together.newest("c"), by: together.by(4), outputs: {}, offer: 1 })
    together.succeed("d")
  },
  "dry-run": (journal) => {
    journal.run("dry-run-1", {
      onCommit: { type: "shell", with: { run: "publish" } },
      tasks: [
        shell("a"),
        { name: "how", type: "switch", dependsOn: ["a"], with: { cases: [{ when: "true", next: "b" }], default: "c" } },
        shell("b", { dependsOn: ["how"] }),
        shell("c", { dependsOn: ["how"] })
      ]
    }, { dryRun: true })
  },
  "start-nodes": (journal) => {
    const spec: Spec = {
      tasks: [shell("a"), shell("b", { dependsOn: ["a"] }), shell("c", { dependsOn: ["b"] }), shell("z")]
    }
    for (const [i, dependType] of (["TASK_ONLY", "TASK_PRE", "TASK_POST"] as const).entries()) {
      const run = journal.run(`start-nodes-${i + 1}`, spec, { startNodes: ["b" as never], dependType }) // a name of the spec
      if (dependType === "TASK_PRE") complete(run, "a")
      complete(run, "b")
      if (dependType === "TASK_POST") complete(run, "c")
    }
  },
  "concurrency-group": (journal) => {
    const spec: Spec = { tasks: [shell("load", { group: { name: "warehouse", slots: 1, priority: 7 } })] }
    const first = journal.run("group-1", spec)
    const second = journal.run("group-2", spec)
    const third = journal.run("group-3", spec)
    journal.settle()
    journal.together(() => {
      first.register("load")
      third.turn({ _tag: "TASK_FORCE_START", id: third.newest("load") })
    })
    journal.settle()
    first.succeed("load")
    journal.settle()
    complete(third, "load")
    complete(second, "load")
    journal.settle()
  },
  "group-slots": (journal) => {
    const spec: Spec = { tasks: [shell("load", { group: { name: "warehouse", slots: 1 } })] }
    const runs = ["1", "2", "3", "4"].map((n) => journal.run(`group-slots-${n}`, spec))
    journal.settle()
    const group = { namespace: Namespace.make("default"), name: "warehouse" }
    const id = Semaphore.idOfGroup(group.namespace, group.name)
    const last = runs[3]
    journal.runOf(id).turn({
      _tag: "SLOT_PRIORITY",
      from: InstanceId.make("group-slots-4"),
      ticket: last?.newest("load") ?? "",
      priority: 9
    })
    journal.runOf(id).turn({ _tag: "SLOT_LIMIT", group, slots: 2 })
    journal.settle()
    journal.runOf(id).turn({ _tag: "SLOT_LIMIT", group })
    for (const run of [runs[0], last, runs[1], runs[2]]) {
      if (run !== undefined) complete(run, "load")
      journal.settle()
    }
  },
  serial: (journal) => {
    const of = (executionType: "serial-wait" | "serial-discard"): Spec => ({ executionType, tasks: [shell("a")] })
    const first = journal.run("serial-1", of("serial-wait"))
    const second = journal.run("serial-2", of("serial-wait"))
    journal.settle()
    journal.run("serial-3", of("serial-discard"))
    journal.settle()
    first.succeed("a")
    journal.settle()
    second.succeed("a")
    journal.settle()
  },
  "sub-workflow": (journal) => {
    const child: Spec = { tasks: [shell("x")] }
    const mother = journal.run("mother-1", {
      params: { region: "eu" },
      tasks: [
        { name: "sub", type: "sub-workflow", with: { definition: "child", params: { day: "1" } } },
        shell("after", { dependsOn: ["sub"] })
      ]
    })
    journal.settle(child)
    const born = journal.runOf(journal.instances.find((instance) => instance !== "mother-1") ?? "")
    born.register("x")
    born.succeed("x", { rows: 3 })
    journal.settle(child)
    complete(mother, "after")
  },
  "sub-workflow-recover": (journal) => {
    const child: Spec = { tasks: [shell("x")] }
    const mother = journal.run("mother-2", {
      tasks: [
        { name: "sub", type: "sub-workflow", with: { definition: "child" } },
        shell("after", { dependsOn: ["sub"] })
      ]
    })
    journal.settle(child)
    const born = journal.runOf(journal.instances.find((instance) => instance !== "mother-2") ?? "")
    born.fail("x")
    journal.settle(child)
    mother.pass(60_000)
    mother.turn(recover("recover"))
    journal.settle(child)
    complete(born, "x", { rows: 3 })
    journal.settle(child)
    complete(mother, "after")
  },
  "force-success": (journal) => {
    const run = journal.run("force-success-1", { tasks: [shell("a"), shell("b", { dependsOn: ["a"] })] })
    run.fail("a")
    run.pass(60_000)
    run.turn({ _tag: "WORKFLOW_FORCE_SUCCESS", task: TaskName.make("a"), reason: "done by hand" })
    run.turn(recover("recover"))
    complete(run, "b")
  },
  "run-task": (journal) => {
    const run = journal.run("run-task-1", {
      tasks: [shell("a"), shell("b", { dependsOn: ["a"] }), shell("c", { dependsOn: ["b"] })]
    })
    for (const name of ["a", "b", "c"]) complete(run, name)
    run.pass(60_000)
    run.turn({ _tag: "WORKFLOW_RUN_TASK", task: TaskName.make("b") })
    complete(run, "b", { again: true })
  },
  "request-id": (journal) => {
    const run = journal.run("request-id-1", { tasks: [shell("a")] })
    run.turn({ _tag: "WORKFLOW_PAUSE", reason: "maintenance", request: RequestId.make("p-1") })
    run.register("a")
    run.turn({ _tag: "WORKFLOW_STOP", request: RequestId.make("s-1") })
    run.ended("a", "TASK_KILLED")
    run.pass(60_000)
    run.turn({ _tag: "WORKFLOW_RECOVER", mode: "rerun", request: RequestId.make("r-1") })
    run.turn({ _tag: "WORKFLOW_RECOVER", mode: "rerun", request: RequestId.make("r-1") })
    complete(run, "a", { again: true })
  },
  fork: (journal) => {
    const spec: Spec = {
      params: { number: 2 },
      tasks: [
        shell("a"),
        {
          name: "gate",
          type: "switch",
          dependsOn: ["a"],
          with: { cases: [{ when: "true", next: "b" }], default: "c" }
        },
        shell("b", { dependsOn: ["gate"] }),
        shell("c", { dependsOn: ["gate"] }),
        shell("d", { dependsOn: ["b"] })
      ]
    }
    const original = journal.run("fork-0", spec)
    complete(original, "a", { rows: 3 })
    complete(original, "b")
    original.fail("d")
    original.pass(60_000)
    const taken = Fork.startOf(original.state, StreamSequence.make(journal.lines.length))
    const fork = journal.run("fork-1", spec, { ...taken, params: { number: 4 } })
    complete(fork, "d", { again: true })
  },
  "force-start": (journal) => {
    const spec: Spec = { tasks: [shell("load", { group: { name: "warehouse", slots: 1 } })] }
    const first = journal.run("force-start-1", spec)
    journal.settle()
    const second = journal.run("force-start-2", spec)
    journal.settle()
    second.turn({ _tag: "WORKFLOW_FORCE_START", task: TaskName.make("load"), reason: "urgent" })
    journal.settle()
    complete(second, "load")
    complete(first, "load")
    journal.settle()
  },
  dependent: (journal) => {
    const spec: Spec = {
      tasks: [
        {
          name: "wait",
          type: "dependent",
          timeout: { after: "1h" },
          with: { all: [{ workflow: "nightly", within: "24h" }] }
        },
        shell("after", { dependsOn: ["wait"] })
      ]
    }
    const run = journal.run("dependent-1", spec)
    run.pass(60_000)
    run.turn({ _tag: "TASK_SUCCEEDED", id: run.newest("wait"), outputs: { runs: { nightly: "nightly-1" } } })
    complete(run, "after")
    const late = journal.run("dependent-2", spec)
    late.pass(3_600_000)
  },
  poison: (journal) => {
    const run = journal.run("poison-1", { tasks: [shell("a"), shell("b")] })
    run.register("a")
    run.poison("RangeError: 3 of 2")
  },
  "poison-abandons": (journal) => {
    const run = journal.run("poison-2", { tasks: [shell("a"), shell("b")] })
    run.register("a")
    run.register("b")
    run.poison("RangeError: 3 of 2")
    run.turn(recover("recover"))
    complete(run, "a")
    complete(run, "b")
  }
}
