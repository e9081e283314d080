/** The stored definitions, and one of them with its graph and a form that starts it. */
import { useMemo, useState } from "preact/hooks"
import * as Api from "../Api.ts"
import { useLoaded } from "../Loading.ts"
import { Graph } from "../part/Graph.tsx"
import { Problem } from "../part/Problem.tsx"
import { write } from "../Route.ts"
import { clock } from "../Time.ts"

export const Definitions = () => {
  const { failure, value } = useLoaded<Api.Definitions>(
    "definitions",
    (ended) => Api.get("definitions", { limit: 1_000 }, ended)
  )
  return (
    <>
      <h1>Definitions</h1>
      <Problem failure={failure} />
      {value === undefined ? null : value.items.length === 0
        ? (
          <p class="empty">
            No definitions. <code>npx heddle definitions put FILE</code> stores one.
          </p>
        )
        : (
          <table>
            <thead>
              <tr>
                <th>Name</th>
                <th>Namespace</th>
                <th class="number">Version</th>
                <th>Stored</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {value.items.map(({ createdAt, name, namespace, version }) => (
                <tr key={`${namespace}/${name}`}>
                  <td>
                    <a href={write({ page: "definition", name, namespace })}>{name}</a>
                  </td>
                  <td>{namespace}</td>
                  <td class="number">{version}</td>
                  <td>{createdAt === undefined ? "" : clock(createdAt)}</td>
                  <td>
                    <a href={write({ page: "runs", definition: name })}>runs</a>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
    </>
  )
}

export const Definition = ({ name, namespace }: { readonly name: string; readonly namespace: string | undefined }) => {
  const { failure, value } = useLoaded<Api.StoredDefinition>(
    `${namespace ?? ""}/${name}`,
    (ended) => Api.get(`definitions/${Api.segment(name)}`, { namespace }, ended)
  )
  const [params, setParams] = useState<string>()
  const [refused, setRefused] = useState<Api.Failure>()
  const spec = value?.definition.spec
  const tasks = useMemo(
    () => spec?.tasks.map((task) => ({ name: task.name, type: task.type, dependsOn: task.dependsOn ?? [] })) ?? [],
    [spec]
  )
  const start = async () => {
    let given: unknown
    try {
      given = JSON.parse(params ?? JSON.stringify(spec?.params ?? {}))
    } catch (error) {
      setRefused({ code: "InvalidJson", message: `the parameters are no JSON: ${String(error)}` })
      return
    }
    const answer = await Api.post<{ instanceId: string }>("workflows", {
      definition: name,
      ...(namespace === undefined ? {} : { namespace }),
      params: given
    })
    if (answer.ok) location.hash = write({ page: "run", id: answer.value.instanceId, tab: "graph" })
    else setRefused(answer.failure)
  }
  return (
    <>
      <h1>{name} {value === undefined ? null : <small>version {value.version}</small>}</h1>
      <Problem failure={failure} />
      {value === undefined ? null : (
        <>
          <form
            onSubmit={(event) => {
              event.preventDefault()
              void start()
            }}
          >
            <label>
              Parameters, as JSON
              <textarea
                rows={4}
                spellcheck={false}
                value={params ?? JSON.stringify(spec?.params ?? {}, undefined, 2)}
                onInput={(event) => setParams(event.currentTarget.value)}
              />
            </label>
            <Problem failure={refused} />
            <p class="buttons">
              <button class="primary" type="submit">Start a run</button>
              <a href={write({ page: "runs", definition: name })}>Runs of it</a>
            </p>
          </form>
          <Graph
            tasks={tasks}
            stateOf={undefined}
            selected={undefined}
            hrefOf={() => write({ page: "definition", name, ...(namespace === undefined ? {} : { namespace }) })}
          />
          <details>
            <summary>Definition</summary>
            <pre>{JSON.stringify(value.definition, undefined, 2)}</pre>
          </details>
        </>
      )}
    </>
  )
}
