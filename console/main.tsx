/** The console: static files that ask the gateway which has served them. docs/design/gateway.md. */
import { render } from "preact"
import { App } from "./App.tsx"
import "./style.css"

const place = document.getElementById("app")
if (place !== null) {
  place.replaceChildren()
  render(<App />, place)
}
