/** The frame of every page: where one can go, whether the page is live, and the token where the gateway wants one. */
import { useEffect, useState } from "preact/hooks"
import * as Api from "./Api.ts"
import * as Live from "./Live.ts"
import { Definition, Definitions } from "./page/Definitions.tsx"
import { Mesh } from "./page/Mesh.tsx"
import { Overview } from "./page/Overview.tsx"
import { Pool } from "./page/Pool.tsx"
import { Pools } from "./page/Pools.tsx"
import { Run } from "./page/Run.tsx"
import { Runs } from "./page/Runs.tsx"
import { Schedules } from "./page/Schedules.tsx"
import * as Route from "./Route.ts"

const places = [["overview", "Overview"], ["runs", "Runs"], ["pools", "Pools"], ["definitions", "Definitions"], [
  "schedules",
  "Schedules"
], ["mesh", "Mesh"]] as const
const placeOf = (page: Route.Route["page"]): string =>
  page === "run" ? "runs" : page === "pool" ? "pools" : page === "definition" ? "definitions" : page

const Page = ({ route }: { readonly route: Route.Route }) => {
  switch (route.page) {
    case "overview":
      return <Overview />
    case "runs":
      return <Runs route={route} />
    case "run":
      return <Run key={route.id} route={route} />
    case "pools":
      return <Pools />
    case "pool":
      return <Pool key={`${route.namespace}/${route.name}`} namespace={route.namespace} name={route.name} />
    case "definitions":
      return <Definitions />
    case "definition":
      return <Definition key={route.name} name={route.name} namespace={route.namespace} />
    case "schedules":
      return <Schedules />
    case "mesh":
      return <Mesh />
  }
}

const Token = () => {
  const [text, setText] = useState("")
  return (
    <main>
      <h1>This gateway wants a token</h1>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          Api.setToken(text)
        }}
      >
        <label>
          Token (HEDDLE_HTTP_TOKEN of the gateway; kept for this tab)
          <input
            type="password"
            autocomplete="current-password"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <p class="buttons">
          <button class="primary" type="submit">Go on</button>
        </p>
      </form>
    </main>
  )
}

const words = { connecting: "connecting…", live: "live", lost: "connection lost, trying again" } as const

export const App = () => {
  const [route, setRoute] = useState(Route.read(location.hash))
  useEffect(() => {
    const change = () => setRoute(Route.read(location.hash))
    addEventListener("hashchange", change)
    return () => removeEventListener("hashchange", change)
  }, [])
  useEffect(() => {
    document.title = `${
      route.page === "run" ? route.id : places.find(([page]) => page === placeOf(route.page))?.[1] ?? ""
    } · heddle`
  }, [route])
  return (
    <>
      <header>
        <a class="brand" href={Route.write({ page: "overview" })}>heddle</a>
        <nav aria-label="Pages">
          {places.map(([page, word]) => (
            <a key={page} href={Route.write({ page })} aria-current={placeOf(route.page) === page ? "page" : undefined}>
              {word}
            </a>
          ))}
        </nav>
        <span class={`live ${Live.connection.value}`} role="status">{words[Live.connection.value]}</span>
      </header>
      {Api.isTokenWanted.value ? <Token /> : (
        <main>
          <Page key={Api.token.value} route={route} />
        </main>
      )}
    </>
  )
}
