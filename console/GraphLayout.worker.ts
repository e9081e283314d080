/** Lays graphs out beside the page, so that it never stands still. */
import { layout } from "./GraphLayout.ts"
import type { GraphTask } from "./GraphPlaces.ts"

self.addEventListener("message", ({ data }: MessageEvent<ReadonlyArray<GraphTask>>) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker has one listener, and no origins
  self.postMessage(layout(data))
})
