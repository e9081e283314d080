/** The journal of a run: what each entry answered, what it changed, what it made happen. An entry's time puts the cursor there. */
import * as Api from "../Api.ts"
import { useLoaded } from "../Loading.ts"
import { clock, ms } from "../Time.ts"
import { Problem } from "./Problem.tsx"

const pageSize = 500
const pagesMax = 20

/** The words of an entry: its causes, then the transitions. */
const wordsOf = (entry: unknown): { readonly causes: string; readonly transitions: string } => {
  const tags = (list: unknown): string =>
    Array.isArray(list)
      ? list.map((each: unknown) => {
        if (typeof each !== "object" || each === null || !("_tag" in each)) return "?"
        const about = "task" in each ? each.task : "id" in each ? each.id : "status" in each ? each.status : undefined
        return about === undefined ? String(each._tag) : `${String(each._tag)} ${String(about)}`
      }).join(", ")
      : ""
  if (typeof entry !== "object" || entry === null) return { causes: "", transitions: "" }
  return {
    causes: tags("cause" in entry ? entry.cause : []),
    transitions: tags("transitions" in entry ? entry.transitions : [])
  }
}

export const History = ({ id, onMoment, seq, until }: {
  readonly id: string
  /** Of the run's newest entry: another one, and it is read again. */
  readonly seq: number
  readonly until: number | undefined
  readonly onMoment: (at: number) => void
}) => {
  const { failure, value } = useLoaded<{ items: Api.History["items"]; isCut: boolean }>(
    `${id} ${seq}`,
    async (ended) => {
      const items: Array<Api.History["items"][number]> = []
      let next: string | undefined
      for (let page = 0; page < pagesMax; page++) {
        const answer = await Api.get<Api.History>(
          `workflows/${Api.segment(id)}/history`,
          { limit: pageSize, next },
          ended
        )
        if (!answer.ok) return answer
        items.push(...answer.value.items)
        next = answer.value.next
        if (next === undefined) break
      }
      return { ok: true, value: { items, isCut: next !== undefined } }
    }
  )
  const items = value?.items.filter((item) => until === undefined || item.at === undefined || ms(item.at) <= until)
  return (
    <>
      <Problem failure={failure} />
      {items === undefined ? null : (
        <table class="history">
          <thead>
            <tr>
              <th>Seq</th>
              <th>Time</th>
              <th>Because of</th>
              <th>Changed</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {items.map((item) => {
              const { causes, transitions } = wordsOf(item.entry)
              const { at } = item
              return (
                <tr key={item.seq}>
                  <td>{item.seq}</td>
                  <td>
                    {at === undefined
                      ? ""
                      : <button type="button" class="link" onClick={() => onMoment(ms(at))}>{clock(at)}</button>}
                  </td>
                  <td class="long">{causes}</td>
                  <td class="long">{transitions}</td>
                  <td>
                    <details>
                      <summary>entry</summary>
                      <pre>{JSON.stringify(item.entry, undefined, 2)}</pre>
                    </details>
                  </td>
                </tr>
              )
            })}
          </tbody>
        </table>
      )}
      {value?.isCut === true
        ? (
          <p class="empty">
            Only the first {pageSize * pagesMax} entries are shown; <code>heddle workflows history {id}</code> has all.
          </p>
        )
        : null}
    </>
  )
}
