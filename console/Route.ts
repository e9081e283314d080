/**
 * Which page an address means, and the address of a page. The address is the part behind `#`, so that the console works below any prefix.
 *
 * Kept true: `read(write(route))` is the route; an address nobody knows is the overview.
 */

export type Route =
  | { readonly page: "overview" }
  | { readonly page: "runs"; readonly state?: string; readonly definition?: string; readonly prefix?: string }
  | { readonly page: "run"; readonly id: string; readonly tab: RunTab; readonly task?: string }
  | { readonly page: "pools" }
  | { readonly page: "pool"; readonly namespace: string; readonly name: string }
  | { readonly page: "definitions" }
  | { readonly page: "definition"; readonly name: string; readonly namespace?: string }
  | { readonly page: "schedules" }
  | { readonly page: "mesh" }

export const runTabs = ["graph", "timeline", "history", "logs"] as const
export type RunTab = typeof runTabs[number]

const present = (query: URLSearchParams, names: ReadonlyArray<string>): Record<string, string> =>
  Object.fromEntries(names.flatMap((name) => {
    const value = query.get(name)
    return value === null || value === "" ? [] : [[name, value]]
  }))

export const read = (hash: string): Route => {
  const [path = "", search = ""] = hash.replace(/^#?\/?/u, "").split("?", 2)
  const query = new URLSearchParams(search)
  const [page, first, second] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part)
    } catch {
      return part
    }
  })
  switch (page) {
    case "runs":
      return first === undefined || first === ""
        ? { page: "runs", ...present(query, ["state", "definition", "prefix"]) }
        : {
          page: "run",
          id: first,
          tab: runTabs.find((tab) => tab === second) ?? "graph",
          ...present(query, ["task"])
        }
    case "pools":
      return first === undefined || second === undefined
        ? { page: "pools" }
        : { page: "pool", namespace: first, name: second }
    case "definitions":
      return first === undefined || first === ""
        ? { page: "definitions" }
        : { page: "definition", name: first, ...present(query, ["namespace"]) }
    case "schedules":
    case "mesh":
      return { page }
    default:
      return { page: "overview" }
  }
}

export const write = (route: Route): string => {
  const address = (path: ReadonlyArray<string>, query: Record<string, string | undefined> = {}) => {
    const set = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
    const search = set.length === 0 ? "" : `?${new URLSearchParams(set).toString()}`
    return `#/${path.map((part) => encodeURIComponent(part.toWellFormed())).join("/")}${search}`
  }
  switch (route.page) {
    case "overview":
      return "#/"
    case "runs":
      return address(["runs"], { state: route.state, definition: route.definition, prefix: route.prefix })
    case "run":
      return address(route.tab === "graph" ? ["runs", route.id] : ["runs", route.id, route.tab], { task: route.task })
    case "pool":
      return address(["pools", route.namespace, route.name])
    case "definition":
      return address(["definitions", route.name], { namespace: route.namespace })
    default:
      return address([route.page])
  }
}
