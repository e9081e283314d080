/**
 * What kube-controller-manager does that a client of ours can see: the garbage of an owner that is gone is removed in the background (Foreground and Orphan as asked for),
 * a namespace that is deleted takes its objects along, and a CRD that is written or removed makes its kind known or unknown.
 * Acts at once, in the write that gave the reason; the real one takes its time.
 */
import type { ApiStore, StoreEvent } from "./ApiStore.ts"
import * as CustomResource from "./CustomResource.ts"
import type { KubeObject } from "./Json.ts"
import * as Refusal from "./Refusal.ts"
import type { Resource } from "./Resource.ts"

const isGone = (error: unknown): boolean =>
  error instanceof Refusal.Refusal && (error.code === 404 || error.code === 409)

export class Controllers {
  readonly #store: ApiStore
  readonly #stop: () => void
  /** Owner's uid -> its dependents, so that a removal does not look at every object. */
  readonly #dependents = new Map<
    string,
    Map<string, { readonly resource: Resource; readonly namespace: string | undefined; readonly name: string }>
  >()

  constructor(store: ApiStore) {
    this.#store = store
    this.#stop = store.listen((event, resource) => this.#on(event, resource))
  }

  stop(): void {
    this.#stop()
  }

  #on(event: StoreEvent, resource: Resource): void {
    const { object, previous } = event
    if (object.metadata.ownerReferences !== previous?.metadata.ownerReferences || event.type === "DELETED") {
      this.#index(event, resource)
    }
    if (event.type === "DELETED") {
      this.#collect(object, "remove")
      for (const reference of object.metadata.ownerReferences ?? []) {
        const of = this.#store.findKind(reference.apiVersion, reference.kind)
        const owner = of === undefined ? undefined : this.#store.peek(of, object.metadata.namespace, reference.name)
        if (of === undefined || owner === undefined || owner.metadata.uid !== reference.uid) continue
        if (!this.#dependents.has(reference.uid)) this.#dropFinalizer(of, owner, "foregroundDeletion")
      }
    } else if (object.metadata.deletionTimestamp !== undefined) {
      const finalizers = object.metadata.finalizers ?? []
      if (finalizers.includes("orphan")) {
        this.#collect(object, "orphan")
        this.#dropFinalizer(resource, object, "orphan")
      } else if (finalizers.includes("foregroundDeletion")) {
        this.#collect(object, "remove")
        if ((this.#dependents.get(object.metadata.uid)?.size ?? 0) === 0) {
          this.#dropFinalizer(resource, object, "foregroundDeletion")
        }
      }
    }
    if (resource.group === "apiextensions.k8s.io") this.#onDefinition(event)
    if (resource.group === "" && resource.plural === "namespaces" && event.type === "DELETED") {
      this.#empty(object.metadata.name)
    }
  }

  #index(event: StoreEvent, resource: Resource): void {
    const { object, previous } = event
    for (const owner of previous?.metadata.ownerReferences ?? []) {
      const of = this.#dependents.get(owner.uid)
      of?.delete(object.metadata.uid)
      if (of?.size === 0) this.#dependents.delete(owner.uid)
    }
    if (event.type === "DELETED") return
    for (const owner of object.metadata.ownerReferences ?? []) {
      const of = this.#dependents.get(owner.uid) ?? new Map()
      of.set(object.metadata.uid, { resource, namespace: object.metadata.namespace, name: object.metadata.name })
      this.#dependents.set(owner.uid, of)
    }
  }

  #collect(owner: KubeObject, how: "remove" | "orphan"): void {
    const dependents = this.#dependents.get(owner.metadata.uid)
    if (dependents === undefined) return
    for (const { resource, namespace, name } of dependents.values()) {
      const dependent = this.#store.peek(resource, namespace, name)
      if (dependent === undefined) continue
      const left = (dependent.metadata.ownerReferences ?? []).filter((one) => one.uid !== owner.metadata.uid)
      try {
        // one of several owners: the others still hold it
        if (how === "orphan" || left.length > 0) {
          this.#store.patch(resource, namespace, name, "merge", {
            metadata: { ownerReferences: left.length === 0 ? null : left }
          })
        } else if (dependent.metadata.deletionTimestamp === undefined) this.#store.delete(resource, namespace, name)
      } catch (error) {
        if (!isGone(error)) throw error
      }
    }
  }

  #dropFinalizer(resource: Resource, object: KubeObject, finalizer: string): void {
    const { namespace, name } = object.metadata
    const current = this.#store.peek(resource, namespace, name)
    if (current === undefined || current.metadata.finalizers?.includes(finalizer) !== true) return
    const left = current.metadata.finalizers.filter((one) => one !== finalizer)
    this.#store.patch(resource, namespace, name, "merge", { metadata: { finalizers: left.length === 0 ? null : left } })
  }

  #onDefinition(event: StoreEvent): void {
    const { spec } = event.object
    if (event.type === "DELETED") {
      const resource = this.#store.find(spec.group, spec.names.plural)
      if (resource !== undefined) {
        for (const object of Array.from(this.#store.all(resource))) {
          this.#store.delete(resource, object.metadata.namespace, object.metadata.name)
        }
      }
      this.#store.undefine(spec.group, spec.names.plural)
    } else if (event.previous?.spec !== spec) this.#store.define(CustomResource.make(event.object))
  }

  #empty(namespace: string): void {
    for (const resource of this.#store.resources) {
      if (!resource.isNamespaced) continue
      for (const object of Array.from(this.#store.all(resource))) {
        if (object.metadata.namespace !== namespace) continue
        try {
          this.#store.delete(resource, namespace, object.metadata.name, { gracePeriodSeconds: 0 })
        } catch (error) {
          if (!isGone(error)) throw error
        }
      }
    }
  }
}
