/**
 * A journal as coordinators write it, from runs of the real engine: the messages of one stream in order, each with its sequence and subject.
 *
 * Kept true here: what a message says is what the coordinator would have said (entries sealed with sha256, `prev` naming the message before); time is virtual, ids are
 * chosen, so the same script gives the same bytes.
 */
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as Decide from "../../services/coordinator/engine/Decide.ts"
import { graphOf, ScriptedRun, type Spec } from "../../services/coordinator/engine/ScriptedRun.ts"
import * as Semaphore from "../../services/coordinator/engine/Semaphore.ts"
import { Definition, DefinitionRef } from "../../shared/protocol/Definition.ts"
import type { Entry, JournalRecord, LifecycleEvent, StartData } from "../../shared/protocol/Journal.ts"
import { InstanceId, Shard, StreamSequence } from "../../shared/protocol/Token.ts"

export const sha256: Chain.Sha256 = (text) => createHash("sha256").update(text).digest("hex")

/** One line of a corpus file. `message` is a JournalMessage as `JSON.parse` gave it: hashes cover its text. */
export interface Line {
  readonly sequence: number
  readonly subject: string
  readonly message: { readonly v: number; readonly records: ReadonlyArray<unknown> }
}

const beginning = Date.UTC(2026, 10, 21, 22)
const shard = Shard.make(0)

/** A run whose entries go to the journal. */
class RecordedRun extends ScriptedRun {
  readonly #journal: Recorder

  constructor(journal: Recorder, spec: Spec | typeof Semaphore.graph, instance: string) {
    super(spec, { instance })
    this.#journal = journal
    this.now = journal.now
  }

  override take(decision: Decide.Decision): void {
    const before = this.entries.length
    super.take(decision)
    const entry = this.entries[before]
    if (entry !== undefined) this.#journal.write(entry)
  }

  /** What the coordinator writes after a defect of the engine. */
  poison(reason: string): void {
    this.take(Decide.poison(this.state, reason, this.now))
  }
}
export type Run = RecordedRun

export class Recorder {
  readonly lines: Array<Line> = []
  now = beginning
  readonly #last = new Map<InstanceId, { readonly sequence: number; readonly hash: string }>()
  readonly #runs = new Map<string, RecordedRun>()
  readonly #delivered = new Map<RecordedRun, number>()
  #member = "coordinator-1"
  #appends = 0
  #batch: Array<string> | undefined

  constructor() {
    this.#record({ _tag: "Opened", member: this.#member, startup: "s1", at: this.now })
    this.#append([JSON.stringify({ _tag: "Adopted", shard, snapshot: 0, at: this.now })])
  }

  /** Of ownership: written by the session, without an id. */
  #record(record: typeof JournalRecord.Encoded): void {
    this.#push(`{"v":1,"records":[${JSON.stringify(record)}]}`)
  }

  #append(records: ReadonlyArray<string>): void {
    this.#appends += 1
    this.#push(`{"v":1,"id":"s1:${this.#appends}","records":[${records.join(",")}]}`)
  }

  #push(body: string): void {
    this.lines.push({
      sequence: this.lines.length + 1,
      subject: `heddle.journal.${this.#member}-s1`,
      message: JSON.parse(body)
    })
  }

  /** An entry of a run, sealed as the coordinator seals it. */
  write(entry: Entry): void {
    const { hash: _, ...draft } = entry
    const last = this.#last.get(entry.instance)
    const sealed = Chain.sealEntry(
      last?.hash ?? Chain.genesis,
      { ...draft, shard, prev: StreamSequence.make(last?.sequence ?? 0) },
      sha256
    )
    this.#last.set(entry.instance, { sequence: this.lines.length + 1, hash: sealed.hash })
    if (this.#batch === undefined) this.#append([sealed.text])
    else this.#batch.push(sealed.text)
  }

  /** The turns of several instances in one message, as they wait for the append before. One turn for each instance. */
  together(turns: () => void): void {
    this.#batch = []
    turns()
    const batch = this.#batch
    this.#batch = undefined
    if (batch.length > 0) this.#append(batch)
  }

  /** A workflow that is started with its definition in its first entry, so that the journal needs no store. */
  run(instance: string, spec: Spec, start: Partial<StartData> = {}): Run {
    const definition = Schema.decodeSync(Schema.toEncoded(Definition))({
      apiVersion: "heddle.dev/v1",
      kind: "Workflow",
      metadata: { name: "corpus", namespace: "default" },
      spec
    })
    const ref = Schema.decodeSync(DefinitionRef)({
      namespace: "default",
      name: "corpus",
      version: 0,
      hash: sha256(JSON.stringify(definition))
    })
    const run = new RecordedRun(this, { ...graphOf(spec), definition: ref }, instance)
    this.#runs.set(instance, run)
    run.start({ inline: definition, ...start })
    return run
  }

  /** Delivers what instances say to each other, and makes the semaphores and children that they say it to. */
  settle(child?: Spec): void {
    for (;;) {
      const from = [...this.#runs.values()].find((run) => (this.#delivered.get(run) ?? 0) < run.sends.length)
      if (from === undefined) return
      const at = this.#delivered.get(from) ?? 0
      this.#delivered.set(from, at + 1)
      const send = from.sends[at]
      if (send === undefined) return
      this.now += 1
      const target = this.#runs.get(send.to)
      if (send.event._tag === "CHILD_START") {
        const { params, parent } = send.event
        if (target !== undefined) {
          target.now = Math.max(target.now, this.now)
          target.turn({ _tag: "WORKFLOW_RECOVER", mode: "recover", parent: parent.task })
        } else if (child === undefined) throw new Error(`nobody is ${send.to}`)
        else this.run(send.to, child, { params, parent })
      } else {
        const self = target ?? this.#semaphore(send.to)
        self.now = Math.max(self.now, this.now)
        self.turn(send.event as LifecycleEvent) // CHILD_START, the only other, was dealt with
      }
    }
  }

  #semaphore(id: InstanceId): RecordedRun {
    const made = new RecordedRun(this, Semaphore.graph, InstanceId.make(id))
    this.#runs.set(id, made)
    made.start()
    return made
  }

  runOf(instance: string): RecordedRun {
    const run = this.#runs.get(instance)
    if (run === undefined) throw new Error(`nobody is ${instance}`)
    return run
  }

  /** The children of sub-workflows, and semaphores: whoever was made by messages. */
  get instances(): ReadonlyArray<string> {
    return [...this.#runs.keys()]
  }

  /** Another coordinator seals the ledger and takes the shard over: what follows is in its own ledger. */
  takeOver(): void {
    this.#record({ _tag: "Sealed", by: "coordinator-2", at: this.now })
    this.#member = "coordinator-2"
    this.#appends = 0
    this.#record({ _tag: "Opened", member: this.#member, startup: "s1", at: this.now })
    this.#append([JSON.stringify({ _tag: "Adopted", shard, snapshot: 0, at: this.now })])
  }
}
