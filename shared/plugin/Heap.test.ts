import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { Heap } from "./Heap.ts"

const Key = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 }))
const Step = Schema.Union([
  Schema.TaggedStruct("Push", { key: Key }),
  Schema.TaggedStruct("Shift", {}),
  Schema.TaggedStruct("Delete", { at: Key }),
  Schema.TaggedStruct("Move", { at: Key, key: Key })
])

it.prop("gives the least one, whatever was pushed, taken out and moved before", [
  Schema.Array(Step).check(Schema.isMaxLength(80))
], ([steps]) => {
  interface Item {
    key: number
    readonly made: number
  }
  const isBefore = (a: Item, b: Item) => a.key < b.key || a.key === b.key && a.made < b.made
  const heap = new Heap<Item>(isBefore)
  const model: Array<Item> = []
  const least = () => model.toSorted((a, b) => isBefore(a, b) ? -1 : 1)[0]
  for (const [made, step] of steps.entries()) {
    switch (step._tag) {
      case "Push": {
        const item = { key: step.key, made }
        model.push(item)
        heap.push(item)
        heap.push(item)
        break
      }
      case "Shift": {
        const item = least()
        if (item !== undefined) model.splice(model.indexOf(item), 1)
        assert.strictEqual(heap.shift(), item)
        break
      }
      case "Delete": {
        const [item] = model.splice(step.at % Math.max(model.length, 1), 1)
        if (item === undefined) break
        assert.isTrue(heap.delete(item))
        assert.isFalse(heap.has(item) || heap.delete(item))
        break
      }
      case "Move": {
        const item = model[step.at % Math.max(model.length, 1)]
        if (item === undefined) break
        item.key = step.key
        heap.moved(item)
        break
      }
    }
    assert.strictEqual(heap.size, model.length)
    assert.strictEqual(heap.first, least())
  }
})
