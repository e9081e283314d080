/**
 * The watches of pods that the pools of a process share: one for each namespace of the cluster, however many pools have pods in it.
 *
 * Keeps true: a namespace is watched while one of its pools is open, and not longer; a pool is told of its own pods only, found by their labels.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Api } from "./ApiClient.ts"
import { at, textAt } from "./Json.ts"
import { label } from "./Names.ts"
import { podsPath } from "./PodRequests.ts"
import { type Timing, WatchFeed } from "./WatchFeed.ts"

/** Pods of whatever pool. */
const labelSelector = `${label.pool},${label.namespace}`

/** The part of a feed that a pool's pods are. */
export const keyOf = (pool: { readonly namespace: string; readonly name: string }): string =>
  `${pool.namespace}/${pool.name}`

const partOf = (pod: unknown): string => {
  const labels = at(pod, "metadata", "labels")
  return `${textAt(labels, label.namespace)}/${textAt(labels, label.pool)}`
}

export interface PodFeeds {
  /** The watch of a namespace, for as long as the scope lives. `client`: the same for all who live at the same time. */
  readonly of: (client: Api, namespace: string) => Effect.Effect<WatchFeed, never, Scope.Scope>
}

export const make = (timing: Partial<Timing> = {}): PodFeeds => {
  const held = new Map<string, { readonly feed: WatchFeed; readonly scope: Scope.Closeable; users: number }>()
  const acquire = (client: Api, namespace: string): Effect.Effect<WatchFeed> =>
    Effect.gen(function*() {
      const known = held.get(namespace)
      if (known !== undefined) {
        known.users++
        return known.feed
      }
      const feed = new WatchFeed({ ...timing, client, path: podsPath(namespace), labelSelector, partOf })
      const scope = Scope.makeUnsafe()
      held.set(namespace, { feed, scope, users: 1 })
      yield* Effect.forkIn(feed.run, scope) // its defect is told by `failure`, which each of its pools passes on
      return feed
    })
  const release = (namespace: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      const one = held.get(namespace)
      if (one === undefined || --one.users > 0) return Effect.void
      held.delete(namespace)
      return Scope.close(one.scope, Exit.void)
    })
  return {
    of: (client, namespace) => Effect.acquireRelease(acquire(client, namespace), () => release(namespace))
  }
}
