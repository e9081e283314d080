/**
 * The state of an API server: objects by kind, one counter of resourceVersions over all of them, a bounded history of changes by kind, and the watchers.
 *
 * Keeps true: an object once stored never changes (a write stores a new one that shares its unchanged parts); resourceVersions only grow, and a write that changes
 * nothing takes none; watchers see the changes of one kind in the order of their versions, with none missing, or are told 410; a list's pages show one moment.
 * Everything is synchronous and in memory, with time and chance injected, so that it serves an HTTP server and a simulation alike. Methods throw `Refusal`.
 * The cost of a write does not grow with the number of objects; a list's does.
 */
import type { Applied } from "./Apply.ts"
import * as Apply from "./Apply.ts"
import { equal, isObject, type Json, type JsonObject, type KubeObject, type ObjectMeta, without } from "./Json.ts"
import { type KubeClock, type Random, timestamp, uuid } from "./KubeClock.ts"
import * as Meta from "./ObjectMeta.ts"
import * as Patch from "./Patch.ts"
import * as Refusal from "./Refusal.ts"
import { apiVersion, type Resource, resourceKey } from "./Resource.ts"
import * as Selector from "./Selector.ts"

export interface StoreEvent {
  readonly resourceVersion: number
  readonly type: "ADDED" | "MODIFIED" | "DELETED"
  /** Of a removal: the last state, with the resourceVersion of the removal. */
  readonly object: KubeObject
  readonly previous: KubeObject | undefined
}

export type WatchEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: KubeObject }
  | { readonly type: "BOOKMARK"; readonly object: Json }
  | { readonly type: "ERROR"; readonly object: Refusal.Status }

export interface Selection {
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
}

export interface ListOptions extends Selection {
  readonly limit?: number | undefined
  readonly continue?: string | undefined
  readonly resourceVersion?: string | undefined
  readonly resourceVersionMatch?: string | undefined
}

export interface ListResult {
  readonly items: ReadonlyArray<KubeObject>
  readonly resourceVersion: string
  readonly continue?: string
  readonly remainingItemCount?: number
}

export interface WatchOptions extends Selection {
  readonly resourceVersion?: string | undefined
  readonly resourceVersionMatch?: string | undefined
  readonly allowWatchBookmarks?: boolean | undefined
  readonly sendInitialEvents?: boolean | undefined
}

export interface Watcher {
  /** Sends a bookmark now, when the watch allows them. */
  readonly bookmark: () => void
  readonly stop: () => void
}

export interface WriteOptions {
  /** What becomes of fields that the kind does not know: dropped without a word (when not given), with `warn`, or the write is refused. */
  readonly fieldValidation?: "Ignore" | "Warn" | "Strict" | undefined
  readonly warn?: ((text: string) => void) | undefined
  readonly dryRun?: boolean | undefined
  readonly fieldManager?: string | undefined
  readonly force?: boolean | undefined
}

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number | undefined
  readonly preconditions?:
    | { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined }
    | undefined
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan" | undefined
  readonly dryRun?: boolean | undefined
}

export type PatchType = "json" | "merge" | "strategic" | "apply"

export interface StoreOptions {
  readonly clock: KubeClock
  readonly random: Random
  /** Changes kept by kind; a watch or a page that needs an older one is told 410. Default 100,000. */
  readonly historyLengthMax?: number
}

interface Watching {
  readonly matches: Selector.Predicate | undefined
  readonly namespace: string | undefined
  readonly send: (event: WatchEvent) => void
  /** Changes up to this version were told, or were not asked for. */
  since: number
}

interface Snapshot {
  readonly resourceVersion: number
  /** In the order of their keys. */
  readonly objects: ReadonlyArray<KubeObject>
}

const snapshotsMax = 32

export interface Collection {
  readonly resource: Resource
  readonly objects: Map<string, KubeObject>
  /** A ring without wrap: `history[first..]`, cut when half of it is dead. */
  history: Array<StoreEvent>
  first: number
  /** Changes up to this version are forgotten. */
  forgotten: number
  readonly watchers: Set<Watching>
  sorted: Snapshot | undefined
  readonly snapshots: Map<number, Snapshot>
}

const keyOf = (resource: Resource, namespace: string | undefined, name: string): string =>
  resource.isNamespaced ? `${namespace ?? ""}/${name}` : name
const keyOfObject = (resource: Resource, object: KubeObject): string =>
  keyOf(resource, object.metadata.namespace, object.metadata.name)

const generated = "bcdfghjklmnpqrstvwxz2456789"

const statusKept = new Set(["apiVersion", "kind", "metadata", "status"])

interface Continue {
  readonly rv: number
  /** The key of the last object of the page before. */
  readonly start: string
}

const encodeContinue = (token: Continue): string =>
  Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", ...token })).toString("base64url")
const decodeContinue = (text: string): Continue => {
  try {
    const token: Json = JSON.parse(Buffer.from(text, "base64url").toString())
    if (token?.v === "meta.k8s.io/v1" && typeof token.rv === "number" && typeof token.start === "string") return token
  } catch {
    // falls through: whatever it is, it is not ours
  }
  throw Refusal.badRequest("continue key is not valid: encoded version is not supported")
}

const continueExpired =
  "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."

const parseVersion = (text: string | undefined, field = "resourceVersion"): number => {
  if (text === undefined || text === "" || text === "0") return 0
  if (!/^[0-9]+$/.test(text)) {
    throw Refusal.failure(
      400,
      "BadRequest",
      `Invalid value: ${JSON.stringify(text)}: ${field}: strconv.ParseUint: invalid syntax`
    )
  }
  return Number(text)
}

export class ApiStore {
  readonly clock: KubeClock
  readonly random: Random
  readonly #historyLengthMax: number
  readonly #collections = new Map<string, Collection>()
  readonly #listeners = new Set<(event: StoreEvent, resource: Resource) => void>()
  /** Changes that are stored and not yet told: a watcher that writes must not make others see its change before the one it reacts to. */
  readonly #untold: Array<{ readonly event: StoreEvent; readonly collection: Collection }> = []
  #isTelling = false
  #resourceVersion = 1

  constructor(options: StoreOptions) {
    this.clock = options.clock
    this.random = options.random
    this.#historyLengthMax = options.historyLengthMax ?? 100_000
  }

  /** The version of the last write of any kind. */
  get resourceVersion(): number {
    return this.#resourceVersion
  }

  get resources(): ReadonlyArray<Resource> {
    return [...this.#collections.values()].map((collection) => collection.resource)
  }

  /** Makes a kind known, or replaces what is known of it; its objects stay. */
  define(resource: Resource): void {
    const key = resourceKey(resource.group, resource.plural)
    const before = this.#collections.get(key)
    this.#collections.set(key, {
      resource,
      objects: before?.objects ?? new Map(),
      history: before?.history ?? [],
      first: before?.first ?? 0,
      forgotten: before?.forgotten ?? this.#resourceVersion,
      watchers: before?.watchers ?? new Set(),
      sorted: before?.sorted,
      snapshots: before?.snapshots ?? new Map()
    })
  }

  /** Forgets a kind with its objects; its watches end with 410. */
  undefine(group: string, plural: string): void {
    const key = resourceKey(group, plural)
    const collection = this.#collections.get(key)
    if (collection === undefined) return
    this.#collections.delete(key)
    for (const watcher of collection.watchers) {
      watcher.send({ type: "ERROR", object: Refusal.expired("the resource is gone").status })
    }
    collection.watchers.clear()
  }

  find(group: string, plural: string): Resource | undefined {
    return this.#collections.get(resourceKey(group, plural))?.resource
  }

  findKind(apiVersionOf: string, kind: string): Resource | undefined {
    for (const { resource } of this.#collections.values()) {
      if (resource.kind === kind && apiVersion(resource) === apiVersionOf) return resource
    }
    return undefined
  }

  /** Called after each change, before the write returns: the kubelet and the controllers of the double live on it. */
  listen(listener: (event: StoreEvent, resource: Resource) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #collection(resource: Resource): Collection {
    const collection = this.#collections.get(resourceKey(resource.group, resource.plural))
    if (collection === undefined) throw Refusal.noSuchPath()
    return collection
  }

  /** How many objects of a kind there are. */
  count(resource: Resource): number {
    return this.#collection(resource).objects.size
  }

  /** The object as stored, or undefined. */
  peek(resource: Resource, namespace: string | undefined, name: string): KubeObject | undefined {
    return this.#collection(resource).objects.get(keyOf(resource, namespace, name))
  }

  /** All objects of a kind, in no order. */
  all(resource: Resource): Iterable<KubeObject> {
    return this.#collection(resource).objects.values()
  }

  get(resource: Resource, namespace: string | undefined, name: string): KubeObject {
    const object = this.peek(resource, namespace, name)
    if (object === undefined) throw Refusal.notFound(resource, name)
    return object
  }

  #predicate(resource: Resource, selection: Selection): Selector.Predicate | undefined {
    const { field, selectableFields } = resource.strategy
    return Selector.both(
      Selector.labels(selection.labelSelector),
      Selector.fields(selection.fieldSelector, field, selectableFields)
    )
  }

  #now(collection: Collection): Snapshot {
    const before = collection.sorted
    if (before !== undefined && before.resourceVersion === this.#lastChange(collection)) return before
    const keys = [...collection.objects.keys()].sort()
    const objects: Array<KubeObject> = Array.from({ length: keys.length })
    for (let index = 0; index < keys.length; index++) {
      const object = collection.objects.get(keys[index] ?? "")
      if (object !== undefined) objects[index] = object
    }
    return (collection.sorted = { resourceVersion: this.#lastChange(collection), objects })
  }

  #lastChange(collection: Collection): number {
    return collection.history.at(-1)?.resourceVersion ?? collection.forgotten
  }

  /** The objects as they were at a version, or undefined when the history does not go back that far. */
  #snapshotAt(collection: Collection, resourceVersion: number): Snapshot | undefined {
    if (resourceVersion >= this.#lastChange(collection)) return this.#now(collection)
    const known = collection.snapshots.get(resourceVersion)
    if (known !== undefined) return known
    if (resourceVersion < collection.forgotten) return undefined
    const objects = new Map(collection.objects)
    for (let index = collection.history.length - 1; index >= collection.first; index--) {
      const event = collection.history[index]
      if (event === undefined || event.resourceVersion <= resourceVersion) break
      const key = keyOfObject(collection.resource, event.object)
      if (event.previous === undefined) objects.delete(key)
      else objects.set(key, event.previous)
    }
    const snapshot = {
      resourceVersion,
      objects: [...objects.keys()].sort().map((key) => objects.get(key)).filter((object) => object !== undefined)
    }
    this.#keep(collection, snapshot)
    return snapshot
  }

  #keep(collection: Collection, snapshot: Snapshot): void {
    collection.snapshots.set(snapshot.resourceVersion, snapshot)
    const oldest = collection.snapshots.keys().next()
    if (collection.snapshots.size > snapshotsMax && oldest.done !== true) collection.snapshots.delete(oldest.value)
  }

  list(resource: Resource, options: ListOptions = {}): ListResult {
    const collection = this.#collection(resource)
    const matches = this.#predicate(resource, options)
    const limit = options.limit ?? 0
    let resourceVersion = this.#resourceVersion
    let snapshot: Snapshot | undefined
    let start = ""
    if (options.continue !== undefined && options.continue !== "") {
      if (options.resourceVersion !== undefined && options.resourceVersion !== "" && options.resourceVersion !== "0") {
        throw Refusal.badRequest("specifying resource version is not allowed when using continue")
      }
      const token = decodeContinue(options.continue)
      start = token.start
      // a token of -1 goes on with whatever is there now
      if (token.rv !== -1) {
        resourceVersion = token.rv
        snapshot = this.#snapshotAt(collection, token.rv)
        if (snapshot === undefined) throw Refusal.expired(continueExpired, encodeContinue({ rv: -1, start }))
      }
    } else {
      const wanted = parseVersion(options.resourceVersion)
      const match = options.resourceVersionMatch
      if (match !== undefined && match !== "" && match !== "Exact" && match !== "NotOlderThan") {
        throw Refusal.invalid({ group: "meta.k8s.io", plural: "listoptions", kind: "ListOptions" }, "", [
          Refusal.cause.notSupported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""])
        ])
      }
      if (match && (options.resourceVersion === undefined || options.resourceVersion === "")) {
        throw Refusal.invalid({ group: "meta.k8s.io", plural: "listoptions", kind: "ListOptions" }, "", [
          Refusal.cause.forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided"
          )
        ])
      }
      if (match === "Exact" && wanted === 0) {
        throw Refusal.invalid({ group: "meta.k8s.io", plural: "listoptions", kind: "ListOptions" }, "", [
          Refusal.cause.forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""
          )
        ])
      }
      if (wanted > this.#resourceVersion) throw Refusal.tooLargeResourceVersion(wanted, this.#resourceVersion)
      // with a limit and no match the server has always read "not older than" as "exactly"
      if (wanted > 0 && (match === "Exact" || (!match && limit > 0))) {
        resourceVersion = wanted
        snapshot = this.#snapshotAt(collection, wanted)
        if (snapshot === undefined) {
          throw Refusal.expired(
            `The resourceVersion for the provided list is too old: ${wanted}`
          )
        }
      }
    }
    snapshot ??= this.#now(collection)
    const { objects } = snapshot
    const { namespace } = options
    const items: Array<KubeObject> = []
    let index = start === "" ? 0 : this.#after(resource, objects, start)
    let isCut = false
    for (; index < objects.length; index++) {
      const object = objects[index]
      if (object === undefined) continue
      if (namespace !== undefined && namespace !== "" && object.metadata.namespace !== namespace) continue
      if (matches !== undefined && !matches(object)) continue
      if (limit > 0 && items.length >= limit) {
        isCut = true
        break
      }
      items.push(object)
    }
    if (!isCut) return { items, resourceVersion: String(resourceVersion) }
    if (snapshot === collection.sorted) this.#keep(collection, { resourceVersion, objects })
    const last = items.at(-1)
    let remaining = 0
    if (matches === undefined) {
      for (let rest = index; rest < objects.length; rest++) {
        if (namespace === undefined || namespace === "" || objects[rest]?.metadata.namespace === namespace) remaining++
      }
    }
    return {
      items,
      resourceVersion: String(resourceVersion),
      continue: encodeContinue({ rv: resourceVersion, start: last === undefined ? "" : keyOfObject(resource, last) }),
      // with a selector the server does not count what it has not read
      ...(matches === undefined ? { remainingItemCount: remaining } : {})
    }
  }

  #after(resource: Resource, objects: ReadonlyArray<KubeObject>, key: string): number {
    let low = 0
    let high = objects.length
    while (low < high) {
      const middle = (low + high) >> 1
      const object = objects[middle]
      if (object !== undefined && keyOfObject(resource, object) <= key) low = middle + 1
      else high = middle
    }
    return low
  }

  /** `send` is called while this runs for what is there already, later from within the writes. After an ERROR nothing more is sent. */
  watch(resource: Resource, options: WatchOptions, send: (event: WatchEvent) => void): Watcher {
    const collection = this.#collection(resource)
    const matches = this.#predicate(resource, options)
    const namespace = options.namespace === "" ? undefined : options.namespace
    const wanted = parseVersion(options.resourceVersion)
    const listOptions = { group: "meta.k8s.io", plural: "listoptions", kind: "ListOptions" }
    if (options.sendInitialEvents !== undefined && options.resourceVersionMatch !== "NotOlderThan") {
      throw Refusal.invalid(listOptions, "", [
        Refusal.cause.forbidden(
          "resourceVersionMatch",
          "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        )
      ])
    }
    if (options.sendInitialEvents === undefined && options.resourceVersionMatch) {
      throw Refusal.invalid(listOptions, "", [
        Refusal.cause.forbidden(
          "resourceVersionMatch",
          "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
      ])
    }
    const isWatched = (object: KubeObject): boolean =>
      (namespace === undefined || object.metadata.namespace === namespace) && (matches === undefined || matches(object))
    const bookmark = (isInitialEnd = false): WatchEvent => ({
      type: "BOOKMARK",
      object: {
        kind: resource.kind,
        apiVersion: apiVersion(resource),
        metadata: {
          resourceVersion: String(this.#resourceVersion),
          creationTimestamp: null,
          ...(isInitialEnd ? { annotations: { "k8s.io/initial-events-end": "true" } } : {})
        },
        ...resource.strategy.bookmark
      }
    })
    const watching: Watching = { matches, namespace, send, since: 0 }
    const isFromNow = wanted === 0
    if (options.sendInitialEvents === true || (isFromNow && options.sendInitialEvents !== false)) {
      for (const object of this.#now(collection).objects) if (isWatched(object)) send({ type: "ADDED", object })
      if (options.sendInitialEvents === true && options.allowWatchBookmarks === true) send(bookmark(true))
    } else if (!isFromNow) {
      if (wanted < collection.forgotten) {
        send({
          type: "ERROR",
          object: Refusal.expired(`too old resource version: ${wanted} (${collection.forgotten + 1})`).status
        })
        return { bookmark: () => undefined, stop: () => undefined }
      }
      for (let index = this.#firstAfter(collection, wanted); index < collection.history.length; index++) {
        const event = collection.history[index]
        if (event !== undefined) this.#tell(watching, event)
      }
    }
    watching.since = Math.max(wanted, this.#resourceVersion)
    collection.watchers.add(watching)
    return {
      bookmark: () => {
        if (options.allowWatchBookmarks === true && collection.watchers.has(watching)) send(bookmark())
      },
      stop: () => {
        collection.watchers.delete(watching)
      }
    }
  }

  #firstAfter(collection: Collection, resourceVersion: number): number {
    let low = collection.first
    let high = collection.history.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((collection.history[middle]?.resourceVersion ?? 0) <= resourceVersion) low = middle + 1
      else high = middle
    }
    return low
  }

  /** A selector that begins or ceases to match makes a change into an ADDED or a DELETED. */
  #tell(watching: Watching, event: StoreEvent): void {
    const { matches, namespace, send } = watching
    if (namespace !== undefined && event.object.metadata.namespace !== namespace) return
    if (matches === undefined) {
      send({ type: event.type, object: event.object })
      return
    }
    const { object, previous } = event
    const did = previous !== undefined && matches(previous)
    const does = event.type !== "DELETED" && matches(object)
    if (does) send({ type: did ? "MODIFIED" : "ADDED", object })
    else if (did) {
      send({
        type: "DELETED",
        object: event.type === "DELETED" ? object : withVersion(previous, String(event.resourceVersion))
      })
    }
  }

  /** Forgets the history up to now (or to a version), as etcd's compaction does. */
  compact(upTo = this.#resourceVersion): void {
    for (const collection of this.#collections.values()) {
      collection.first = this.#firstAfter(collection, upTo)
      collection.forgotten = Math.max(collection.forgotten, Math.min(upTo, this.#resourceVersion))
      this.#trim(collection, true)
    }
  }

  #trim(collection: Collection, force = false): void {
    const alive = collection.history.length - collection.first
    if (alive > this.#historyLengthMax) {
      const event = collection.history[collection.first]
      collection.forgotten = Math.max(collection.forgotten, event?.resourceVersion ?? 0)
      collection.first++
    }
    if (force || collection.first > this.#historyLengthMax) {
      collection.history = collection.history.slice(collection.first)
      collection.first = 0
      for (const version of collection.snapshots.keys()) {
        if (version < collection.forgotten) collection.snapshots.delete(version)
      }
    }
  }

  #commit(
    collection: Collection,
    type: StoreEvent["type"],
    object: KubeObject,
    previous: KubeObject | undefined
  ): KubeObject {
    const resourceVersion = ++this.#resourceVersion
    const stored = withVersion(object, String(resourceVersion))
    const key = keyOfObject(collection.resource, stored)
    if (type === "DELETED") collection.objects.delete(key)
    else collection.objects.set(key, stored)
    const event: StoreEvent = { resourceVersion, type, object: stored, previous }
    collection.history.push(event)
    this.#trim(collection)
    this.#untold.push({ event, collection })
    if (!this.#isTelling) this.#tellAll()
    return stored
  }

  #tellAll(): void {
    this.#isTelling = true
    try {
      for (let next = this.#untold.shift(); next !== undefined; next = this.#untold.shift()) {
        const { event, collection } = next
        for (const watcher of collection.watchers) if (event.resourceVersion > watcher.since) this.#tell(watcher, event)
        for (const listener of this.#listeners) listener(event, collection.resource)
      }
    } finally {
      this.#isTelling = false
    }
  }

  #nameFor(metadata: Partial<ObjectMeta>): string | undefined {
    if (metadata.name !== undefined && metadata.name !== "") return metadata.name
    const prefix = metadata.generateName
    if (prefix === undefined || prefix === "") return undefined
    let suffix = ""
    for (let index = 0; index < 5; index++) suffix += generated[(this.random() * generated.length) | 0]
    return prefix.slice(0, 58) + suffix
  }

  create(resource: Resource, namespace: string | undefined, body: Json, options: WriteOptions = {}): KubeObject {
    return this.#create(resource, namespace, body, options, undefined)
  }

  #create(
    resource: Resource,
    namespace: string | undefined,
    body: Json,
    options: WriteOptions,
    applied: Applied | undefined
  ): KubeObject {
    const collection = this.#collection(resource)
    const { strategy } = resource
    checkKind(resource, body)
    const problem = strategy.typeProblem?.(body)
    if (problem !== undefined) throw Refusal.badRequest(problem)
    const sent: JsonObject = body.metadata ?? {}
    if (resource.isNamespaced) {
      if (sent["namespace"] !== undefined && sent["namespace"] !== "" && sent["namespace"] !== namespace) {
        throw Refusal.badRequest(
          "the namespace of the provided object does not match the namespace sent on the request"
        )
      }
      this.#needNamespace(namespace ?? "", resource, sent["name"] ?? "")
    }
    if (sent["resourceVersion"] !== undefined && sent["resourceVersion"] !== "") {
      throw Refusal.unexplained(500, "resourceVersion should not be set on objects to be created")
    }
    checkFields(resource, body, options)
    const name = this.#nameFor(sent)
    const metadata: JsonObject = {
      ...(name === undefined ? {} : { name }),
      ...(sent["generateName"] === undefined ? {} : { generateName: sent["generateName"] }),
      ...(resource.isNamespaced ? { namespace } : {}),
      uid: uuid(this.random),
      resourceVersion: "",
      ...(strategy.hasGeneration ? { generation: 1 } : {}),
      creationTimestamp: timestamp(this.clock.nowMs())
    }
    for (const field of ["labels", "annotations", "ownerReferences", "finalizers"]) {
      const value = sent[field]
      if (isObject(value) || Array.isArray(value)) { if (Object.keys(value).length > 0) metadata[field] = value }
    }
    if (applied !== undefined) metadata["managedFields"] = applied.managedFields
    let object: JsonObject = { ...withoutNulls(body), apiVersion: apiVersion(resource), kind: resource.kind, metadata }
    if (strategy.hasStatus && "status" in object) object = without(object, "status")
    let typed = object as KubeObject // the three members every object has were set above
    typed = strategy.fill?.(typed) ?? typed
    if (strategy.hasStatus) {
      const status = strategy.initialStatus?.({ ...typed, status: body.status })
      if (status !== undefined) typed = { ...typed, status }
    }
    const causes = [...Meta.validate(typed.metadata, resource), ...(strategy.validate?.(typed) ?? [])]
    if (causes.length > 0) throw Refusal.invalid(resource, name ?? "", causes)
    if (collection.objects.has(keyOfObject(resource, typed))) {
      if (sent["name"] === undefined || sent["name"] === "") {
        throw Refusal.failure(
          409,
          "AlreadyExists",
          `${
            Refusal.qualified(resource)
          } "${name}" already exists, the server was not able to generate a unique name for the object`,
          { name: name ?? "", kind: resource.plural, retryAfterSeconds: 1 }
        )
      }
      throw Refusal.alreadyExists(resource, name ?? "")
    }
    if (resource.isCustom === true && applied === undefined) {
      const { fieldManager = "unknown" } = options
      const time = timestamp(this.clock.nowMs())
      typed = { ...typed, metadata: Apply.withCreation(typed, fieldManager, time) }
    }
    if (options.dryRun === true) return typed
    return this.#commit(collection, "ADDED", typed, undefined)
  }

  #needNamespace(name: string, resource: Resource, objectName: string): void {
    const namespaces = this.#collections.get("namespaces")
    if (namespaces === undefined) return
    const namespace = namespaces.objects.get(name)
    if (namespace === undefined) throw Refusal.notFound(namespaces.resource, name)
    if (namespace.metadata.deletionTimestamp !== undefined) {
      throw Refusal.failure(
        403,
        "Forbidden",
        `${
          Refusal.qualified(resource)
        } "${objectName}" is forbidden: unable to create new content in namespace ${name} because it is being terminated`,
        {
          name: objectName,
          kind: resource.plural,
          causes: [{
            reason: "NamespaceTerminating",
            message: `namespace ${name} is being terminated`,
            field: "metadata.namespace"
          }]
        }
      )
    }
  }

  update(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    body: Json,
    options: WriteOptions & { readonly subresource?: "status" | undefined } = {}
  ): KubeObject {
    const current = this.peek(resource, namespace, name)
    checkKind(resource, body)
    const problem = resource.strategy.typeProblem?.(body)
    if (problem !== undefined) throw Refusal.badRequest(problem)
    const metadata: JsonObject = body.metadata ?? {}
    if (metadata["name"] !== name) {
      throw Refusal.badRequest(
        metadata["name"] === undefined || metadata["name"] === ""
          ? "name must be provided"
          : `the name of the object (${String(metadata["name"])}) does not match the name on the URL (${name})`
      )
    }
    if (
      resource.isNamespaced && metadata["namespace"] !== undefined && metadata["namespace"] !== "" &&
      metadata["namespace"] !== namespace
    ) {
      throw Refusal.badRequest("the namespace of the provided object does not match the namespace sent on the request")
    }
    if (current === undefined) {
      if (!resource.strategy.isCreatedByUpdate || options.subresource !== undefined) {
        throw Refusal.notFound(resource, name)
      }
      if (metadata["resourceVersion"] !== undefined && metadata["resourceVersion"] !== "") {
        throw Refusal.notFound(resource, name)
      }
      return this.create(resource, namespace, body, options)
    }
    if (metadata["uid"] !== undefined && metadata["uid"] !== "" && metadata["uid"] !== current.metadata.uid) {
      throw Refusal.conflict(
        resource,
        name,
        `Precondition failed: UID in precondition: ${
          String(metadata["uid"])
        }, UID in object meta: ${current.metadata.uid}`
      )
    }
    const next = withoutNulls({
      ...body,
      apiVersion: current.apiVersion,
      kind: current.kind,
      metadata: {
        ...metadata,
        ...(current.metadata.namespace === undefined ? {} : { namespace: current.metadata.namespace })
      }
    })
    return this.#write(resource, current, next as KubeObject, options)
  }

  /** `patch` as decoded from the body. `apply` creates what is not there. */
  patch(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    type: PatchType,
    patch: Json,
    options: WriteOptions & { readonly subresource?: "status" | undefined } = {}
  ): KubeObject {
    const current = this.peek(resource, namespace, name)
    if (type === "apply") return this.#apply(resource, namespace, name, current, patch, options)
    if (current === undefined) throw Refusal.notFound(resource, name)
    const patched = type === "json"
      ? Patch.json(current, patch)
      : type === "merge"
      ? Patch.merge(current, patch)
      : Patch.strategic(current, patch, resource.kind)
    if (patched === current) return current
    if (!isObject(patched)) throw Refusal.unreadablePatch("the patched object is no object")
    if (patched["apiVersion"] !== current.apiVersion || patched["kind"] !== current.kind) {
      throw Refusal.unreadablePatch(
        `${String(patched["kind"])} in version "${
          String(patched["apiVersion"])
        }" cannot be handled as a ${resource.kind}`
      )
    }
    const { metadata } = patched
    if (metadata !== current.metadata) {
      try {
        Meta.checkTypes(patched, resource.kind)
      } catch (refusal) {
        if (refusal instanceof Refusal.Refusal) throw Refusal.unreadablePatch(refusal.message)
        throw refusal
      }
      if (metadata?.name !== name) {
        throw Refusal.badRequest(
          `the name of the object (${String(metadata?.name)}) does not match the name on the URL (${name})`
        )
      }
      if ((metadata.namespace ?? "") !== (current.metadata.namespace ?? "")) {
        throw Refusal.badRequest(
          `the namespace of the object (${String(metadata.namespace)}) does not match the namespace on the request (${
            namespace ?? ""
          })`
        )
      }
    }
    if (patched["spec"] !== current.spec) {
      const problem = resource.strategy.typeProblem?.(patched)
      if (problem !== undefined) throw Refusal.unreadablePatch(problem)
    }
    return this.#write(resource, current, patched as KubeObject, options)
  }

  #apply(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    current: KubeObject | undefined,
    body: Json,
    options: WriteOptions & { readonly subresource?: "status" | undefined }
  ): KubeObject {
    checkKind(resource, body)
    const { fieldManager } = options
    if (fieldManager === undefined || fieldManager === "") {
      throw Refusal.invalid({ group: "meta.k8s.io", plural: "patchoptions", kind: "PatchOptions" }, "", [
        Refusal.cause.required("fieldManager", "is required for apply patch")
      ])
    }
    if (body.metadata?.name !== undefined && body.metadata.name !== name) {
      throw Refusal.badRequest(
        `the name of the object (${String(body.metadata.name)}) does not match the name on the URL (${name})`
      )
    }
    if (body.metadata?.managedFields !== undefined && body.metadata.managedFields !== null) {
      throw Refusal.badRequest("metadata.managedFields must be nil")
    }
    if (
      body.metadata?.resourceVersion !== undefined && current !== undefined &&
      body.metadata.resourceVersion !== current.metadata.resourceVersion
    ) {
      throw Refusal.conflict(resource, name, Refusal.isModified)
    }
    const applied = Apply.apply({
      current,
      config: body,
      kind: resource.kind,
      apiVersion: apiVersion(resource),
      manager: fieldManager,
      force: options.force === true,
      time: timestamp(this.clock.nowMs()),
      subresource: options.subresource
    })
    if (applied.conflicts.length > 0) throw Apply.conflict(applied.conflicts)
    if (current === undefined) {
      const named = { ...applied.object, metadata: { ...applied.object.metadata, name } }
      return this.#create(resource, namespace, named, options, applied)
    }
    return this.#write(resource, current, applied.object as KubeObject, options, true)
  }

  /** The common end of update and patch: version check, what the server sets, validation, generation, removal after the last finalizer. */
  #write(
    resource: Resource,
    current: KubeObject,
    wanted: KubeObject,
    options: WriteOptions & { readonly subresource?: "status" | undefined },
    isApply = false
  ): KubeObject {
    const collection = this.#collection(resource)
    const { strategy } = resource
    const { name } = current.metadata
    const sentVersion = wanted.metadata?.resourceVersion
    if (sentVersion === undefined || sentVersion === "" || sentVersion === null) {
      if (!strategy.isUnconditionalUpdateAllowed && !isApply) {
        throw Refusal.invalid({ ...resource, kind: resource.plural }, name, [
          {
            reason: "FieldValueInvalid",
            field: "metadata.resourceVersion",
            message: "Invalid value: 0x0: must be specified for an update"
          }
        ])
      }
    } else if (sentVersion !== current.metadata.resourceVersion) {
      if (!/^[0-9]+$/.test(String(sentVersion))) {
        throw Refusal.unexplained(500, `strconv.ParseUint: parsing ${JSON.stringify(sentVersion)}: invalid syntax`)
      }
      throw Refusal.conflict(resource, name, Refusal.isModified)
    }
    if (wanted !== current) checkFields(resource, wanted, options)
    const isStatus = options.subresource === "status"
    const carried = Meta.carryOver(wanted.metadata, current.metadata)
    let next: KubeObject = wanted.metadata === carried.metadata ? wanted : { ...wanted, metadata: carried.metadata }
    if (isStatus) {
      // the status of a custom resource changes nothing but the status; that of a built-in kind lets labels and annotations through
      const metadata = strategy.hasGeneration
        ? current.metadata
        : withOwnersOf(next.metadata, current.metadata)
      next = strategy.hasGeneration || !onlyStatusDiffers(next, current)
        ? { ...current, metadata, ...(next.status === undefined ? {} : { status: next.status }) }
        : { ...next, metadata }
    } else if (strategy.hasStatus) next = Meta.keepStatus(next, current)
    next = strategy.fill?.(next, current) ?? next
    // equal parts take the reference they had, which makes the rest of this cheap
    if (next.spec !== current.spec && equal(next.spec, current.spec)) next = { ...next, spec: current.spec }
    const causes = carried.causes
    causes.push(...Meta.validate(next.metadata, resource, current.metadata))
    if (isStatus) {
      if (next.status !== current.status) {
        causes.push(...(strategy.validateStatus ?? noCauses)(next, current))
      }
    } else if (!sameContent(next, current)) {
      causes.push(...(strategy.validateUpdate?.(next, current) ?? []))
      if (causes.length === 0) causes.push(...(strategy.validate?.(next) ?? []))
    }
    if (causes.length > 0) throw Refusal.invalid(resource, name, causes)
    if (current.metadata.managedFields !== undefined && !isApply) {
      next = {
        ...next,
        metadata: Apply.withUpdate(
          next,
          current,
          options.fieldManager ?? "unknown",
          timestamp(this.clock.nowMs()),
          options.subresource
        )
      }
    }
    const isRemoved = current.metadata.deletionTimestamp !== undefined &&
      (next.metadata.finalizers?.length ?? 0) === 0 &&
      (current.metadata.finalizers?.length ?? 0) > 0 && (current.metadata.deletionGracePeriodSeconds ?? 0) === 0
    if (!isRemoved && sameMetadata(next.metadata, current.metadata) && equalBesidesMetadata(next, current)) {
      return current
    }
    if (strategy.hasGeneration && !isStatus && !sameSpec(next, current, strategy.hasStatus)) {
      next = { ...next, metadata: { ...next.metadata, generation: (current.metadata.generation ?? 0) + 1 } }
    }
    if (options.dryRun === true) return next
    return this.#commit(collection, isRemoved ? "DELETED" : "MODIFIED", next, current)
  }

  /** Writes fields no client may (`spec.nodeName` by a binding, `deletionTimestamp`), for the double's own controllers. */
  overwrite(resource: Resource, current: KubeObject, next: KubeObject): KubeObject {
    return this.#commit(this.#collection(resource), "MODIFIED", next, current)
  }

  delete(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    options: DeleteOptions = {}
  ): { readonly object: KubeObject; readonly isRemoved: boolean } {
    const current = this.get(resource, namespace, name)
    const { uid, resourceVersion } = options.preconditions ?? {}
    // told by its kind here, and by its plural everywhere else
    const asKind = { ...resource, plural: resource.kind }
    if (uid !== undefined && uid !== current.metadata.uid) {
      throw Refusal.conflict(
        asKind,
        name,
        `the UID in the precondition (${uid}) does not match the UID in record (${current.metadata.uid}). The object might have been deleted and then recreated`
      )
    }
    if (resourceVersion !== undefined && resourceVersion !== current.metadata.resourceVersion) {
      throw Refusal.conflict(
        asKind,
        name,
        `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${current.metadata.resourceVersion}). The object might have been modified`
      )
    }
    const asked = options.gracePeriodSeconds
    if (
      asked !== undefined && (!Number.isInteger(asked) || asked < 0) && resource.strategy.graceSeconds === undefined
    ) {
      throw Refusal.badRequest("gracePeriodSeconds must be a non-negative integer")
    }
    const grace = resource.strategy.graceSeconds?.(current, asked) ?? 0
    const finalizers = finalizersFor(current, options.propagationPolicy)
    const collection = this.#collection(resource)
    const before = current.metadata.deletionTimestamp
    const hadGrace = current.metadata.deletionGracePeriodSeconds ?? 0
    // a pod that its kubelet is already ending: a later deletion can only shorten the wait
    if (before !== undefined && hadGrace > 0 && grace >= hadGrace) return { object: current, isRemoved: false }
    const nowMs = this.clock.nowMs()
    if (grace === 0 && finalizers.length === 0) {
      // what a kubelet may have is marked as ending before it goes, even when it goes at once: two changes
      const isMarked = resource.strategy.graceSeconds === undefined || (before !== undefined && hadGrace === 0)
      const marked = isMarked
        ? current
        : {
          ...current,
          metadata: { ...current.metadata, deletionTimestamp: timestamp(nowMs), deletionGracePeriodSeconds: 0 }
        }
      if (options.dryRun === true) return { object: marked, isRemoved: true }
      const last = isMarked ? current : this.#commit(collection, "MODIFIED", marked, current)
      // somebody who was told of the mark was faster
      if (this.peek(resource, namespace, name) !== last) return { object: last, isRemoved: true }
      const metadata = last.metadata.finalizers === undefined
        ? last.metadata
        : without(last.metadata, "finalizers") as unknown as ObjectMeta // what is required is still there
      return { object: this.#commit(collection, "DELETED", { ...last, metadata }, last), isRemoved: true }
    }
    if (before !== undefined && grace >= hadGrace && equal(finalizers, current.metadata.finalizers ?? [])) {
      return { object: current, isRemoved: false }
    }
    const seconds = before === undefined ? grace : Math.min(grace, hadGrace)
    const metadata: ObjectMeta = {
      ...current.metadata,
      ...(finalizers.length === 0 ? {} : { finalizers }),
      deletionTimestamp: before === undefined
        ? timestamp(nowMs + seconds * 1000)
        : timestamp(Date.parse(before) - (hadGrace - seconds) * 1000),
      deletionGracePeriodSeconds: seconds,
      ...(current.metadata.generation === undefined || before !== undefined
        ? {}
        : { generation: current.metadata.generation + 1 })
    }
    const next = { ...current, metadata }
    if (options.dryRun === true) return { object: next, isRemoved: false }
    return { object: this.#commit(collection, "MODIFIED", next, current), isRemoved: false }
  }

  deleteCollection(resource: Resource, selection: ListOptions, options: DeleteOptions = {}): ListResult {
    const listed = this.list(resource, selection)
    for (const object of listed.items) {
      try {
        this.delete(resource, object.metadata.namespace, object.metadata.name, options)
      } catch (refusal) {
        // gone in the meantime: a finalizer's owner or a listener was faster
        if (!(refusal instanceof Refusal.Refusal) || refusal.code !== 404) throw refusal
      }
    }
    return listed
  }
}

/** Throws 400 where the writer wants to hear of fields that nobody knows. */
const checkFields = (resource: Resource, object: KubeObject, options: WriteOptions): void => {
  const { fieldValidation, warn } = options
  if (fieldValidation === undefined || fieldValidation === "Ignore" || resource.strategy.unknownFields === undefined) {
    return
  }
  const texts = resource.strategy.unknownFields(object).map((field) => `unknown field ${JSON.stringify(field)}`)
  if (texts.length === 0) return
  if (fieldValidation === "Strict") {
    throw Refusal.badRequest(
      `${resource.kind} in version ${
        JSON.stringify(resource.version)
      } cannot be handled as a ${resource.kind}: strict decoding error: ${texts.join(", ")}`
    )
  }
  for (const text of texts) warn?.(text)
}

const noCauses = (): ReadonlyArray<Refusal.Cause> => []

const withVersion = (object: KubeObject, resourceVersion: string): KubeObject => ({
  ...object,
  metadata: { ...object.metadata, resourceVersion }
})

const withOwnersOf = (next: ObjectMeta, current: ObjectMeta): ObjectMeta =>
  next.ownerReferences === current.ownerReferences
    ? next
    : current.ownerReferences === undefined
    ? without(next, "ownerReferences") as unknown as ObjectMeta // what is required is still there
    : { ...next, ownerReferences: current.ownerReferences }

const onlyStatusDiffers = (next: KubeObject, current: KubeObject): boolean => {
  for (const key in next) if (!statusKept.has(key) && next[key] !== current[key]) return false
  for (const key in current) if (!(key in next)) return false
  return true
}

const sameContent = (next: KubeObject, current: KubeObject): boolean => {
  for (const key in next) if (key !== "metadata" && next[key] !== current[key]) return false
  for (const key in current) if (!(key in next)) return false
  return true
}

const sameMetadata = (next: ObjectMeta, current: ObjectMeta): boolean =>
  next === current || equal(
    next.resourceVersion === current.resourceVersion ? next : { ...next, resourceVersion: current.resourceVersion },
    current
  )

const equalBesidesMetadata = (next: KubeObject, current: KubeObject): boolean => {
  for (const key in next) if (key !== "metadata" && !equal(next[key], current[key])) return false
  for (const key in current) if (key !== "metadata" && !(key in next)) return false
  return true
}

/** What moves a generation: everything but metadata and, where it is written apart, status. */
const sameSpec = (next: KubeObject, current: KubeObject, hasStatus: boolean): boolean => {
  const counts = (key: string) => key !== "metadata" && !(hasStatus && key === "status")
  for (const key in next) if (counts(key) && !equal(next[key], current[key])) return false
  for (const key in current) if (counts(key) && !(key in next)) return false
  return true
}

const finalizersFor = (object: KubeObject, policy: DeleteOptions["propagationPolicy"]): ReadonlyArray<string> => {
  const own = (object.metadata.finalizers ?? []).filter((one) =>
    policy === undefined || (one !== "foregroundDeletion" && one !== "orphan")
  )
  if (policy === "Foreground") return [...own, "foregroundDeletion"]
  if (policy === "Orphan") return [...own, "orphan"]
  return own
}

/** A client's `null` says "not set". Only the top levels of metadata and spec are looked at; deeper nulls are the schema's business. */
const withoutNulls = (body: JsonObject): JsonObject => {
  let next = body
  for (const key in body) if (body[key] === null) next = without(next, key)
  if (isObject(next["metadata"])) {
    let metadata = next["metadata"]
    for (const key in metadata) if (metadata[key] === null) metadata = without(metadata, key)
    if (metadata !== next["metadata"]) next = { ...next, metadata }
  }
  return next
}

const checkKind = (resource: Resource, body: Json): void => {
  Meta.checkTypes(body, resource.kind)
  if (
    body.kind !== undefined && body.kind !== "" &&
    (body.kind !== resource.kind || (body.apiVersion !== undefined && body.apiVersion !== apiVersion(resource)))
  ) {
    throw Refusal.badRequest(
      `${String(body.kind)} in version "${String(body.apiVersion ?? "")}" cannot be handled as a ${resource.kind}`
    )
  }
}
