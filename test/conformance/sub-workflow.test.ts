import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SubWorkflow from "../../services/coordinator/engine/SubWorkflow.ts"
import * as Rendezvous from "../../services/coordinator/Rendezvous.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { shardOf } from "../../shared/protocol/Shard.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, MemberId, Shard, TaskInstanceId } from "../../shared/protocol/Token.ts"
import { StartAnswer } from "../../shared/protocol/Workflow.ts"
import * as Script from "./Script.ts"
import { declareDead, nextName, type Scene, shards, Site, survive } from "./Survival.ts"
import { type Case, conform, coordinator, type Mesh, type Running, type Spec, task, until, World } from "./World.ts"

// design/conformance-workflow.md: sub-workflows (A05 to A09, B04, B10, B15, C14 to C17). The child's acts are planned as `sub/<task>`.
const parentOf = (definition: string, more: Record<string, unknown> = {}): Spec => ({
  params: { region: "eu", day: "1" },
  tasks: [task("sub", [], { type: "sub-workflow", with: { definition, ...more } }), task("after", ["sub"])]
})
const two: Spec = { tasks: [task("x"), task("y", ["x"])] }

/** A definition with this name for the child, and a run of a parent. */
const family = (mesh: Mesh, name: string, plan: Script.Plan, request: Record<string, unknown> = {}) =>
  Effect.gen(function*() {
    yield* mesh.define(`${name}-child`, two)
    return yield* mesh.start(name, parentOf(`${name}-child`), plan, request)
  })

/** `x` of the child runs, and parent and child have been told what there was to tell. */
const underWay = (parent: Case, child: Case) =>
  Effect.gen(function*() {
    const held = yield* child.running("x")
    yield* child.reaches("x", "RUNNING")
    yield* parent.reaches("sub", "RUNNING")
    return held
  })

/** From here on it is dead, and nothing was on its way to it. */
const silence = (mesh: Mesh, running: Running) =>
  Effect.gen(function*() {
    yield* Effect.orDie(mesh.inboxIsEmpty)
    running.cut()
    yield* running.settled
    mesh.executor.isGone(running.name)
  })

/** The parent has this child and no other, and the mesh knows no other run of its definition. */
const isOnlyChild = (mesh: Mesh, name: string, parent: Case, child: Case) =>
  Effect.gen(function*() {
    const { attempts } = yield* parent.taskView("sub")
    assert.deepStrictEqual([...new Set(attempts.map((one) => one.child))], [child.id])
    const runs = yield* mesh.runsOf(`${name}-child`)
    assert.deepStrictEqual(runs.filter((id) => id.startsWith(`${parent.id.slice(0, 24)}-sub-`)), [child.id])
  })

describe("sub-workflow", () => {
  layer(World.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("A05 a sub-workflow succeeds: both SUCCEEDED, linked", () =>
      conform(function*({ executor, mesh }) {
        const one = yield* family(mesh, "A05", { "sub/x": Script.hold, "sub/y": Script.succeed({ rows: 3 }) })
        const child = yield* one.child("sub")
        yield* child.running("x")
        yield* one.reaches("sub", "RUNNING")
        yield* child.succeed("x")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual((yield* child.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "sub:SUCCEEDED/1 after:SUCCEEDED/1")
        assert.strictEqual(yield* child.summary, "x:SUCCEEDED/1 y:SUCCEEDED/1")
        assert.strictEqual((yield* child.view).parent, one.id)
        assert.strictEqual((yield* child.view).definition.name, "A05-child")
        yield* isOnlyChild(mesh, "A05", one, child)
        // the outputs of the child are those of the task
        assert.deepStrictEqual((yield* one.taskView("sub")).outputs, { rows: 3 })
        assert.strictEqual(executor.specsOf(one.id)[0]?.params["rows"], 3)
      }))

    it.effect("A06 a dry run creates no child", () =>
      conform(function*({ mesh }) {
        const one = yield* family(mesh, "A06", {}, { dryRun: true })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "sub:SUCCEEDED/0 after:SUCCEEDED/0")
        assert.deepStrictEqual(yield* mesh.runsOf("A06-child"), [])
      }))

    it.effect("A07 child FAILED: the parent's task FAILED, the parent FAILED", () =>
      conform(function*({ mesh }) {
        const one = yield* family(mesh, "A07", { "sub/x": Script.fail("exit 7") })
        const result = yield* one.result
        const child = yield* one.child("sub")
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, `task sub failed: ${child.id}: task x failed: exit 7`)
        assert.strictEqual(yield* one.summary, "sub:FAILED/1 after:-/0")
        assert.strictEqual((yield* child.view).state, "FAILED")
        assert.strictEqual(yield* child.summary, "x:FAILED/1 y:-/0")
      }))

    it.effect("A08 the child sees the parent's global params", () =>
      conform(function*({ executor, mesh }) {
        yield* mesh.define("A08-child", {
          params: { day: "of the child", own: "child", region: "nowhere" },
          tasks: [task("x", [], { with: { run: "${{ params.region }} ${{ params.day }} ${{ params.own }}" } })]
        })
        const one = yield* mesh.start("A08", parentOf("A08-child", { params: { day: "2" } }), {}, {
          params: { region: "us" }
        })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        const child = yield* one.child("sub")
        // start param of the parent, what the task gives, the child's own default
        assert.deepStrictEqual(executor.specsOf(child.id)[0]?.with, { run: "us 2 child" })
        assert.deepStrictEqual((yield* child.view).params, { region: "us", day: "2", own: "child" })
      }))

    it.effect("A09 the child inherits the schedule time, and its child from it", () =>
      conform(function*(world) {
        const { executor, mesh } = world
        const scheduled = task("x", [], { with: { run: "${{ params.scheduledAt }} ${{ params.date }}" } })
        yield* mesh.define("A09-grandchild", { tasks: [scheduled] })
        yield* mesh.define("A09-child", {
          tasks: [scheduled, task("sub", ["x"], { type: "sub-workflow", with: { definition: "A09-grandchild" } })]
        })
        yield* mesh.define("A09-parent", parentOf("A09-child"))
        yield* Rpc.call(mesh.nats, Subject.rpc.schedule("put"), Schema.Unknown, {
          metadata: { name: "A09" },
          spec: { cron: "0 3 * * *", timezone: "Europe/Berlin", workflow: { definition: "A09-parent" } }
        })
        const { instanceId } = yield* Rpc.call(mesh.nats, Subject.rpc.schedule("trigger"), StartAnswer, {
          name: "A09",
          scheduledAt: "2026-02-01T23:30:00.000Z"
        })
        const one = mesh.of(instanceId)
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        const child = yield* one.child("sub")
        const grandchild = yield* child.child("sub")
        for (const each of [child, grandchild]) {
          assert.deepStrictEqual(executor.specsOf(each.id)[0]?.with, { run: "2026-02-01T23:30:00.000Z 2026-02-02" })
        }
        // started again, it is for the same time
        yield* one.command("rerun")
        yield* until("the second run of the child", Effect.sync(() => one.ran().length === 2))
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        const second = yield* one.child("sub")
        assert.notStrictEqual(second.id, child.id)
        assert.strictEqual((yield* second.view).params["scheduledAt"], "2026-02-01T23:30:00.000Z")
        yield* Rpc.call(mesh.nats, Subject.rpc.schedule("delete"), Schema.Unknown, { name: "A09" })
        yield* until(
          "its timer is gone",
          Effect.sync(() => !world.coordinator.stats().timers.some((key) => key.startsWith("schedule/")))
        )
      }))

    it.effect("B04 pause with a sub-workflow: both PAUSED", () =>
      conform(function*({ mesh }) {
        const one = yield* family(mesh, "B04", { "sub/x": Script.holdDeaf })
        const child = yield* one.child("sub")
        yield* child.running("x")
        yield* one.command("pause")
        yield* child.workflowReaches("READY_PAUSE")
        yield* child.succeed("x")
        assert.strictEqual((yield* one.result).state, "PAUSED")
        assert.strictEqual((yield* child.result).state, "PAUSED")
        assert.strictEqual(yield* one.summary, "sub:PAUSED/1 after:-/0")
        assert.strictEqual(yield* child.summary, "x:SUCCEEDED/1 y:PAUSED/1")
        yield* one.command("resume")
        yield* one.workflowReaches("SUCCEEDED")
      }))

    it.effect("B10 stop with a sub-workflow: the child STOPPED, the task KILLED, the parent STOPPED", () =>
      conform(function*({ executor, mesh }) {
        const one = yield* family(mesh, "B10", { "sub/x": Script.hold })
        const child = yield* one.child("sub")
        yield* child.running("x")
        yield* one.command("stop")
        assert.strictEqual((yield* one.result).state, "STOPPED")
        assert.strictEqual((yield* child.result).state, "STOPPED")
        assert.strictEqual(yield* one.summary, "sub:KILLED/1 after:-/0")
        assert.strictEqual(yield* child.summary, "x:KILLED/1 y:-/0")
        assert.deepStrictEqual(
          executor.controls.filter(({ instance }) => instance === child.id).map(({ id, kind }) => `${kind} ${id}`),
          ["kill x:1:1"]
        )
        // a child that somebody stops by itself is a killed task
        const other = yield* family(mesh, "B10", { "sub/x": Script.hold })
        const stopped = yield* other.child("sub")
        yield* stopped.running("x")
        yield* stopped.command("stop")
        assert.strictEqual((yield* other.result).state, "STOPPED")
        assert.strictEqual(yield* other.summary, "sub:KILLED/1 after:-/0")
      }))

    it.effect("B15 recover paused: the same child instance resumes", () =>
      conform(function*({ mesh }) {
        const one = yield* family(mesh, "B15", { "sub/x": Script.holdDeaf })
        const child = yield* one.child("sub")
        yield* child.running("x")
        yield* one.command("pause")
        yield* child.workflowReaches("READY_PAUSE")
        yield* child.succeed("x")
        assert.strictEqual((yield* one.result).state, "PAUSED")
        yield* one.command("resume")
        yield* one.workflowReaches("SUCCEEDED")
        assert.strictEqual((yield* child.result).state, "SUCCEEDED")
        assert.deepStrictEqual(child.ran(), ["x:1:1", "y:1:2"])
        assert.strictEqual((yield* child.view).runNumber, 1)
        yield* isOnlyChild(mesh, "B15", one, child)
        // and a failed one is recovered: the same child goes on where it failed
        const failing = yield* family(mesh, "B15", { "sub/y": [Script.fail(), Script.succeed()] })
        assert.strictEqual((yield* failing.result).state, "FAILED")
        const failed = yield* failing.child("sub")
        yield* failing.command("recover")
        yield* failing.workflowReaches("SUCCEEDED")
        assert.deepStrictEqual(failed.ran(), ["x:1:1", "y:1:1", "y:1:2"])
        yield* isOnlyChild(mesh, "B15", failing, failed)
      }))
  })

  layer(Site.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("C14 parent and child on one dead coordinator: no second child", () =>
      survive(function*({ crash, executor, first, mesh }) {
        // the child runs
        const running = yield* family(mesh, "C14", { "sub/x": Script.hold })
        yield* underWay(running, yield* running.child("sub"))
        // the child ends while nobody owns either
        const ending = yield* family(mesh, "C14", { "sub/y": Script.hold })
        const ended = yield* ending.child("sub")
        const { spec } = yield* ended.running("y")
        // the child's task is taken from the lane while nobody answers: the next owner has to emit it again
        const asking = yield* family(mesh, "C14", { "sub/x": Script.leave })
        const asked = yield* asking.child("sub")
        const isOnLane = (its: typeof asked) => executor.lane.has(`${its.id}/x:1:1`)
        yield* until("the child's task is on the lane", Effect.sync(() => isOnLane(asked)))
        // the parent has just been told that it is started
        const early = yield* family(mesh, "C14", { "sub/x": Script.leave })
        const before = executor.reported.length
        yield* silence(mesh, first)
        executor.take(asked.id)
        assert.isFalse(isOnLane(asked))
        executor.end(spec, { _tag: "SUCCEEDED", outputs: { rows: 1 } })
        yield* until("the report is stored", Effect.sync(() => executor.reported.length > before))
        yield* crash
        const child = yield* running.child("sub")
        yield* child.succeed("x")
        const late = yield* early.child("sub")
        // what the dead owner emitted may be on the lane too: taking that leads to nothing
        for (const its of [asked, late]) {
          yield* until(
            "the child's task is taken from the lane",
            Effect.sync(() => {
              executor.take(its.id)
              return executor.of(its.id, "x")
            })
          )
          yield* its.succeed("x")
        }
        for (const [one, its] of [[running, child], [ending, ended], [asking, asked], [early, late]] as const) {
          assert.strictEqual((yield* one.result).state, "SUCCEEDED")
          assert.strictEqual((yield* its.result).state, "SUCCEEDED")
          assert.strictEqual(yield* one.summary, "sub:SUCCEEDED/1 after:SUCCEEDED/1")
          assert.deepStrictEqual(its.ran(), ["x:1:1", "y:1:1"])
          yield* isOnlyChild(mesh, "C14", one, its)
        }
      }))

    /** Two coordinators, and a run whose parent and child are at different ones; `alive` has one of them, `dead` (which still lives) the other. */
    const apart = (scene: Scene, name: string, childAt: "alive" | "dead", plan: Script.Plan) =>
      Effect.gen(function*() {
        const { first: alive, mesh } = scene
        const winners = (second: string) =>
          Array.from({ length: shards }, (_, shard) =>
            Rendezvous.winner(Shard.make(shard), [MemberId.make(alive.name), MemberId.make(second)]))
        // names under which each has a share
        let secondName = nextName()
        while (
          winners(secondName).every((one) =>
            one === alive.name
          ) ||
          !winners(secondName).includes(MemberId.make(alive.name))
        ) {
          secondName = nextName()
        }
        const owners = winners(secondName)
        const dead = yield* coordinator(secondName, { clock: alive.clock })
        const share = (member: string): number => owners.filter((one) => one === member).length
        yield* until(
          "each serves its share",
          Effect.sync(() => alive.stats().shards === share(alive.name) && dead.stats().shards === share(dead.name))
        )
        const ownerOf = (id: InstanceId) => owners[shardOf(id, shards)]
        const [parentOwner, childOwner] = childAt === "dead" ? [alive.name, dead.name] : [dead.name, alive.name]
        const attempt = TaskInstanceId.make("sub:1:1")
        let instanceId = InstanceId.make(`${name}-${alive.name}-0`)
        for (
          let i = 1;
          ownerOf(instanceId) !== parentOwner || ownerOf(SubWorkflow.childId(instanceId, attempt)) !== childOwner;
          i++
        ) {
          instanceId = InstanceId.make(`${name}-${alive.name}-${i}`)
        }
        const parent = yield* family(mesh, name, plan, { instanceId })
        const child = yield* parent.child("sub")
        assert.strictEqual(child.id, SubWorkflow.childId(instanceId, attempt))
        /** `dead` answers nobody any more, and nobody has been told. */
        const cut = silence(mesh, dead)
        const takenOver = Effect.gen(function*() {
          yield* Effect.orDie(declareDead(mesh, dead))
          yield* until("one serves all shards", Effect.sync(() => alive.stats().shards === shards))
        })
        return { parent, child, cut, takenOver }
      })

    it.effect("C15 the parent's coordinator lives, the child's is dead: the child goes on, the same one", () =>
      survive(function*(scene) {
        const { executor, mesh } = scene
        const { child, cut, parent, takenOver } = yield* apart(scene, "C15", "dead", {
          "sub/x": Script.hold,
          "sub/y": Script.hold
        })
        const { spec } = yield* underWay(parent, child)
        yield* cut
        // its task ends while nobody owns the child
        const before = executor.reported.length
        executor.end(spec, { _tag: "SUCCEEDED", outputs: {} })
        yield* until("the report is stored", Effect.sync(() => executor.reported.length > before))
        assert.strictEqual((yield* parent.view).state, "RUNNING")
        yield* takenOver
        yield* child.succeed("y", { rows: 2 })
        assert.strictEqual((yield* parent.result).state, "SUCCEEDED")
        assert.strictEqual((yield* child.result).state, "SUCCEEDED")
        assert.deepStrictEqual((yield* parent.taskView("sub")).outputs, { rows: 2 })
        assert.deepStrictEqual(child.ran(), ["x:1:1", "y:1:1"])
        yield* isOnlyChild(mesh, "C15", parent, child)
      }))

    it.effect("C16 the child's coordinator lives, the parent's is dead: what the child said is not lost, no second child", () =>
      survive(function*(scene) {
        const { mesh } = scene
        const { child, cut, parent, takenOver } = yield* apart(scene, "C16", "alive", { "sub/x": Script.hold })
        yield* underWay(parent, child)
        yield* cut
        // the child ends while nobody owns the parent
        yield* child.succeed("x")
        assert.strictEqual((yield* child.result).state, "SUCCEEDED")
        yield* takenOver
        assert.strictEqual((yield* parent.result).state, "SUCCEEDED")
        assert.strictEqual(yield* parent.summary, "sub:SUCCEEDED/1 after:SUCCEEDED/1")
        assert.deepStrictEqual(child.ran(), ["x:1:1", "y:1:1"])
        yield* isOnlyChild(mesh, "C16", parent, child)
        // one whose child still runs is taken over as well
        const other = yield* family(mesh, "C16", { "sub/x": Script.hold })
        const its = yield* other.child("sub")
        yield* its.succeed("x")
        assert.strictEqual((yield* other.result).state, "SUCCEEDED")
      }))

    it.effect("C17 a pending pause or stop reaches the child after the failover", () =>
      survive(function*(scene) {
        const { crash, executor, first, mesh } = scene
        for (const [verb, rest, settled] of [["pause", "PAUSED", "PAUSED"], ["stop", "STOPPED", "KILLED"]] as const) {
          // the child's owner is dead when the command comes
          const name = `C17${verb}`
          const { child, cut, parent, takenOver } = yield* apart(scene, name, "dead", { "sub/x": Script.holdPausable })
          yield* underWay(parent, child)
          yield* cut
          yield* parent.command(verb)
          assert.strictEqual((yield* parent.view).state, verb === "pause" ? "READY_PAUSE" : "READY_STOP")
          yield* takenOver
          assert.strictEqual((yield* parent.result).state, rest)
          assert.strictEqual((yield* child.result).state, rest)
          assert.strictEqual(yield* parent.summary, `sub:${settled}/1 after:-/0`)
          assert.strictEqual(yield* child.summary, `x:${settled}/1 y:-/0`)
        }
        // the parent's owner is dead before it could tell anybody
        const both: Array<readonly [Case, Case, "pause" | "stop"]> = []
        for (const verb of ["pause", "stop"] as const) {
          const one = yield* family(mesh, "C17", { "sub/x": Script.holdPausable })
          const child = yield* one.child("sub")
          yield* underWay(one, child)
          both.push([one, child, verb])
        }
        executor.isReachable = false
        yield* mesh.nats.flush
        for (const [one, , verb] of both) yield* one.command(verb)
        yield* silence(mesh, first)
        executor.isReachable = true
        yield* mesh.nats.flush
        yield* crash
        for (const [one, child, verb] of both) {
          const rest = verb === "pause" ? "PAUSED" : "STOPPED"
          assert.strictEqual((yield* one.result).state, rest)
          assert.strictEqual((yield* child.result).state, rest)
          assert.deepStrictEqual(child.ran(), ["x:1:1"])
        }
      }))
  })
})
