/** Times and lengths of time for people. Pure. */

export const ms = (at: string): number => Date.parse(at)

const two = (value: number): string => String(value).padStart(2, "0")

/** `14:03:09`, or with the day when that is not today's. */
export const clock = (at: string | number, now = Date.now()): string => {
  const date = new Date(at)
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  return date.toDateString() === new Date(now).toDateString()
    ? time
    : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`
}

/** `830 ms`, `4.2 s`, `3 m 20 s`, `2 h 5 m`, `3 d 4 h`. */
export const length = (milliseconds: number): string => {
  const positive = Math.max(0, milliseconds)
  if (positive < 1_000) return `${Math.round(positive)} ms`
  if (positive < 60_000) return `${(positive / 1_000).toFixed(positive < 10_000 ? 1 : 0)} s`
  const seconds = Math.round(positive / 1_000)
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 1_440) return `${Math.floor(minutes / 60)} h ${minutes % 60} m`
  return `${Math.floor(minutes / 1_440)} d ${Math.floor(minutes / 60) % 24} h`
}

export const since = (at: string, now: number): string => length(now - ms(at))
