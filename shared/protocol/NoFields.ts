/** The body of a request that needs no field: `{}`, or nothing at all. Fields are ignored, as everywhere; what is no object is refused, as everywhere. design/02. */
import * as Schema from "effect/Schema"

export const NoFields = Schema.Record(Schema.String, Schema.Unknown)
export type NoFields = typeof NoFields.Type
