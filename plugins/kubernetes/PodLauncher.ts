/**
 * What runs inside the pod around a process: a POSIX shell script, sent over stdin, that gives `exec` of Kubernetes what it lacks: environment, working directory, a
 * process tree that can be ended, an outputs file, and an exit that cannot be taken for something else. Also the reading of what it writes.
 *
 * Keeps true: nothing of the request stands on a command line of the launcher; nothing runs before the whole script has arrived, so a connection that breaks earlier may be
 * made again; the tree ends with its root, on the line `kill`, and when stdin ends (its holder is gone); what the launcher says is told apart from output by a marker that
 * nobody else knows. Asks of the image: `/bin/sh`, `head`, `cat`, `mkdir`, `rm`, `sleep`, a folder to write to, and takes `setsid` and `grep` where they are there.
 * Pure. docs/design/kubernetes.md, "Exec".
 */
import {
  type Collected,
  type ExecRequest,
  type ExitStatus,
  killGraceDefault
} from "../../shared/plugin/SandboxClient.ts"

/** One argument of a program holds 128 KiB on Linux; a longer script goes through a file. */
const scriptArgumentBytesMax = 100_000
const reasonCharactersMax = 1_000

export interface LaunchOptions {
  /** Of this exec: 32 hexadecimal digits that nobody can guess. Names its folder and marks its processes. */
  readonly id: string
  readonly sandbox: string
  readonly request: ExecRequest
  /** What the claim asks for; the request's own come after it. */
  readonly claimEnv: Readonly<Record<string, string>>
}

/** What stands on the command line: the script of so many bytes is read from stdin, then evaluated. */
export const commandOf = (script: Uint8Array): ReadonlyArray<string> => [
  "/bin/sh",
  "-c",
  "eval \"$(head -c \"$1\")\"",
  "heddle",
  String(script.length)
]

/** Before each of the launcher's words, on both streams. */
export const markerOf = (id: string): string => `\u001eheddle:${id}:`

/** A line for the launcher's stdin. */
export const killLine = (grace: { readonly sigintMs: number; readonly sigtermMs: number }): string =>
  `kill ${milliseconds(grace.sigintMs)} ${milliseconds(grace.sigtermMs)}\n`

const milliseconds = (value: number): number => Math.max(0, Math.min(Math.round(value), 3_600_000))

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''").replaceAll("\0", "")}'`

/** A shell takes no other name, and some of these it does not let anybody set. */
const isShellName = (name: string): boolean =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !/^(UID|EUID|PPID|SHELLOPTS|BASHOPTS|BASH_.*|_hd_.*)$/.test(name)

/**
 * Functions that find and end the processes of the exec `_hd_id`, whose root's id stands in `_hd_root` (may be empty).
 *
 * A process has no environment for two moments of its life. While it ends: what was found once stays a member until it is gone (`_hd_known`, id and start). While it starts a
 * program: after a look that found nothing, nothing may be blank, and then nothing marked (`_hd_ishidden`).
 */
const tree = `
_hd_known=' '
_hd_nap() { sleep "$1" 2>/dev/null || sleep 1; }
_hd_add() {
_hd_found="$_hd_found $1:$2"
case "$_hd_known" in
*" $1:$3 "*) ;;
*) _hd_known="$_hd_known$1:$3 ";;
esac
}
_hd_ishidden() {
for _hd_path in $(grep -Lsz = /proc/[0-9]*/environ; grep -lszxF "HEDDLE_EXEC=$_hd_id" /proc/[0-9]*/environ); do
read -r _hd_line < "\${_hd_path%/environ}/stat" || continue
set -- \${_hd_line##*) }
case "$1:$2" in Z:*|X:*|*:0|*:2) continue;; esac
return 0
done
return 1
}
_hd_members() {
_hd_wanted=" $_hd_root "
for _hd_path in $(grep -lszxF "HEDDLE_EXEC=$_hd_id" /proc/[0-9]*/environ); do
_hd_path=\${_hd_path#/proc/}
_hd_wanted="$_hd_wanted\${_hd_path%/environ} "
done
_hd_found= _hd_others=
while IFS= read -r _hd_line; do
_hd_pid=\${_hd_line%% *}
case "$_hd_pid" in ''|*[!0-9]*) continue;; esac
set -- \${_hd_line##*) }
case "$1" in Z|X|'') continue;; esac
if [ -n "$_hd_root" ] && { [ "$3" = "$_hd_root" ] || [ "$4" = "$_hd_root" ]; }; then
_hd_wanted="$_hd_wanted$_hd_pid "
fi
case "$_hd_known" in
*" $_hd_pid:\${20} "*) _hd_wanted="$_hd_wanted$_hd_pid ";;
esac
case "$_hd_wanted" in
*" $_hd_pid "*) _hd_add "$_hd_pid" "$3" "\${20}";;
*) _hd_others="$_hd_others $_hd_pid:$2:\${20}:$3";;
esac
done <<_hd_end
$(cat /proc/[0-9]*/stat)
_hd_end
_hd_grown=1
while [ "$_hd_grown" = 1 ]; do
_hd_grown=0 _hd_rest=
for _hd_one in $_hd_others; do
_hd_pid=\${_hd_one%%:*} _hd_group=\${_hd_one##*:} _hd_parent=\${_hd_one#*:} _hd_parent=\${_hd_parent%%:*}
case "$_hd_wanted" in
*" $_hd_parent "*)
_hd_start=\${_hd_one#*:*:} _hd_wanted="$_hd_wanted$_hd_pid " _hd_grown=1
_hd_add "$_hd_pid" "$_hd_group" "\${_hd_start%%:*}"
;;
*) _hd_rest="$_hd_rest $_hd_one";;
esac
done
_hd_others=$_hd_rest
done
}
_hd_signal() {
_hd_members
_hd_isgroup=
for _hd_one in $_hd_found; do
[ "\${_hd_one##*:}" = "$_hd_root" ] && [ -n "$_hd_root" ] && _hd_isgroup=1
done
[ -z "$_hd_isgroup" ] || kill -s "$1" -- "-$_hd_root"
for _hd_one in $_hd_found; do
[ -n "$_hd_isgroup" ] && [ "\${_hd_one##*:}" = "$_hd_root" ] || kill -s "$1" "\${_hd_one%%:*}"
done
}
_hd_sweep() {
_hd_round=0 _hd_empty=0
while [ "$_hd_round" -lt 200 ]; do
_hd_round=$((_hd_round + 1))
_hd_signal KILL
if [ -n "$_hd_found" ]; then
_hd_empty=0
_hd_nap 0.02
elif [ "$_hd_empty" -lt 4 ] && _hd_ishidden; then
_hd_empty=$((_hd_empty + 1))
_hd_nap 0.02
else
return 0
fi
done
return 1
}
`

/**
 * The line that ends a here-document which holds `text`. dash 0.5.12 loses bytes of a line that begins as this one does and goes on with a character that is not ASCII: so
 * it begins with a character that no line begins so with.
 */
const endOf = (name: string, text: string): string => {
  const lines = text.split("\n")
  const isLost = (end: string) =>
    lines.some((line) => {
      let same = 0
      while (same < line.length && line[same] === end[same]) same++
      return same > 0 && line.charCodeAt(same) > 127
    })
  const ends = Array.from("_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", (_) => `${_}hd_${name}`)
  return ends.find((end) => !isLost(end)) ?? `_hd_${name}`
}

/** The launcher for one request. UTF-8; ends with a call, so that a part of it does nothing. */
export const scriptOf = (options: LaunchOptions): Uint8Array => {
  const { claimEnv, id, request, sandbox } = options
  const { collect, command, cwd } = request
  const grace = request.grace ?? killGraceDefault
  const marker = `\\036heddle:${id}:`
  const isLong = "script" in command && new TextEncoder().encode(command.script).length > scriptArgumentBytesMax
  const env: Record<string, string> = {
    ...claimEnv,
    ...request.env,
    HEDDLE_SANDBOX: sandbox,
    HEDDLE_EXEC: id
  }
  if (collect !== undefined) delete env[collect.env]
  const names = Object.keys(env)
  const odd = names.filter((name) => !isShellName(name) && name !== "" && !name.includes("="))
  const words = "script" in command
    ? [quote(command.shell ?? "/bin/sh"), ...(isLong ? ["\"$_hd_dir/script\""] : ["-c", quote(command.script)])]
    : command.map(quote)
  const program = words[0]
  const folder = cwd === undefined ? undefined : cwd.startsWith("/") ? cwd : `./${cwd}`
  const said = "script" in command ? command.shell ?? "/bin/sh" : command[0] ?? ""
  const child = [
    "exec 4<&-",
    "_hd_dir=$1",
    "printf '%s\\n' \"$$\" > \"$_hd_dir/pid\"",
    "[ ! -e \"$_hd_dir/killing\" ] || kill -s KILL \"$$\"",
    "_hd_fail() { printf '%s' \"$1\" > \"$_hd_dir/failed\"; exit 127; }",
    "unset CDPATH",
    ...(folder === undefined
      ? []
      : [`cd ${quote(folder)} 2>/dev/null || _hd_fail ${quote(`no such directory: ${cwd ?? ""}`)}`]),
    ...(odd.length === 0 ? [] : ["_hd_env=$(command -v env) || _hd_fail 'the image has no program env'"]),
    ...names.filter(isShellName).map((name) => `export ${name}=${quote(env[name] ?? "")}`),
    ...(collect === undefined ? [] : [
      isShellName(collect.env)
        ? `export ${collect.env}="$_hd_dir/collect"`
        : "_hd_fail 'the variable for the outputs has a name that no shell takes'"
    ]),
    ...(program === undefined || said === ""
      ? ["_hd_fail 'the command is empty'"]
      : [
        `command -v ${program} >/dev/null 2>&1 || _hd_fail ${quote(`${said}: no such program`)}`,
        `printf '${marker}started\\n' >&2`,
        `trap 'printf %s "$_hd_reason" > "$_hd_dir/failed"' EXIT`,
        `_hd_reason=${quote(`${said}: it cannot be run (no right to, no program, or too long arguments)`)}`,
        `exec ${
          odd.length === 0
            ? ""
            : `"$_hd_env" ${odd.map((name) => quote(`${name}=${env[name] ?? ""}`)).join(" ")} `
        }${words.join(" ")}`
      ])
  ].join("\n")
  const end = endOf(id, child)
  const scriptEnd = endOf(`${id}_script`, "script" in command ? command.script : "")
  const text = `_hd_main() {
exec 3<&0 9>&2 </dev/null 2>/dev/null
_hd_id=${id} _hd_root= _hd_dir= _hd_setsid=
_hd_say() { printf '${marker}' >&9; printf "$@" >&9; }
_hd_over() { printf '${marker}'; [ -z "$_hd_dir" ] || rm -rf "$_hd_dir"; exit 0; }
for _hd_base in "\${TMPDIR:-/tmp}" /tmp /dev/shm "$PWD"; do
if mkdir -m 700 "$_hd_base/heddle-$_hd_id"; then _hd_dir=$_hd_base/heddle-$_hd_id; break; fi
done
if [ -z "$_hd_dir" ]; then
_hd_say 'notstarted there is no folder to write to: mount an emptyDir at /tmp\\n'
_hd_over
fi
: > "$_hd_dir/collect"
! command -v setsid >/dev/null || _hd_setsid=setsid
(
exec >/dev/null 9>&-
_hd_within() {
_hd_left=$1 _hd_step=20
while [ "$_hd_left" -gt 0 ]; do
if [ -e "$_hd_dir/ended" ]; then
_hd_members
[ -n "$_hd_found" ] || return 0
fi
[ "$_hd_left" -ge "$_hd_step" ] || _hd_step=$_hd_left
_hd_nap "$((_hd_step / 1000)).$(printf %03d $((_hd_step % 1000)))"
_hd_left=$((_hd_left - _hd_step))
[ "$_hd_step" -ge 160 ] || _hd_step=$((_hd_step * 2))
done
return 1
}
_hd_int=${milliseconds(grace.sigintMs)} _hd_term=${milliseconds(grace.sigtermMs)}
while IFS= read -r _hd_line <&3; do
case "$_hd_line" in
"kill "*)
set -- $_hd_line
_hd_int=$2 _hd_term=$3
break
;;
esac
done
: > "$_hd_dir/killing"
for _hd_phase in INT:$_hd_int TERM:$_hd_term; do
[ "\${_hd_phase#*:}" -gt 0 ] || continue
if [ -s "$_hd_dir/pid" ]; then read -r _hd_root < "$_hd_dir/pid"; fi
_hd_signal "\${_hd_phase%%:*}"
if _hd_within "\${_hd_phase#*:}"; then exit 0; fi
done
if [ -s "$_hd_dir/pid" ]; then read -r _hd_root < "$_hd_dir/pid"; fi
until _hd_sweep && [ -e "$_hd_dir/ended" ]; do _hd_nap 0.02; [ -e "$_hd_dir" ] || exit 0; done
) & _hd_reader=$!
exec 3<&-
${
    isLong && "script" in command
      ? `cat > "$_hd_dir/script" <<'${scriptEnd}'\n${command.script}\n${scriptEnd}\n`
      : ""
  }(
export HEDDLE_EXEC=$_hd_id
exec $_hd_setsid /bin/sh -c 'eval "$(cat <&4)"' sh "$_hd_dir" 4<<'${end}' 2>&9 9>&-
${child}
${end}
)
_hd_code=$?
: > "$_hd_dir/ended"
[ -e "$_hd_dir/killing" ] || kill -s KILL "$_hd_reader"
wait "$_hd_reader"
if [ -s "$_hd_dir/pid" ]; then read -r _hd_root < "$_hd_dir/pid"; fi
_hd_sweep
if [ -e "$_hd_dir/failed" ]; then
_hd_say 'notstarted %s\\n' "$(cat "$_hd_dir/failed")"
_hd_over
fi
${
    collect === undefined
      ? `_hd_say 'exit %s - 0\\n' "$_hd_code"`
      : `_hd_file=$_hd_dir/collect _hd_size=0 _hd_more=0
if [ -f "$_hd_file" ] && [ ! -L "$_hd_file" ]; then _hd_size=$(($(head -c ${
        collect.bytesMax + 1
      } "$_hd_file" | wc -c))); fi
if [ "$_hd_size" -gt ${collect.bytesMax} ]; then _hd_size=${collect.bytesMax} _hd_more=1; fi
_hd_say 'exit %s %s %s\\n' "$_hd_code" "$_hd_size" "$_hd_more"
[ "$_hd_size" -eq 0 ] || head -c "$_hd_size" "$_hd_file" >&9`
  }
_hd_over
}
${tree}
_hd_main
`
  return new TextEncoder().encode(text)
}

/** Ends everything of an exec whose connection was lost, and says `swept`. */
export const sweepOf = (id: string): Uint8Array =>
  new TextEncoder().encode(`_hd_main() {
exec </dev/null 9>&2 2>/dev/null
_hd_id=${id} _hd_root=
_hd_sweep
rm -rf "\${TMPDIR:-/tmp}/heddle-$_hd_id" "/tmp/heddle-$_hd_id" "/dev/shm/heddle-$_hd_id" "$PWD/heddle-$_hd_id"
printf '\\036heddle:${id}:swept\\n' >&9
printf '\\036heddle:${id}:'
exit 0
}
${tree}
_hd_main
`)

/** As shells name the signals that end a process: 128 and the number. Numbers that are the same on all of Linux. */
const signals: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  5: "SIGTRAP",
  6: "SIGABRT",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  13: "SIGPIPE",
  14: "SIGALRM",
  15: "SIGTERM"
}

/** A shell tells a signal as 128 and its number, and nothing in a pod can tell that from a program which ends so by itself. */
export const statusOf = (code: number, collected: Collected | undefined): ExitStatus => {
  const signal = code > 128 ? signals[code - 128] : undefined
  return signal === undefined ? { _tag: "Exited", code, collected } : { _tag: "Signalled", signal, collected }
}

/** Divides a stream at the marker: what is before it is output. A beginning of the marker at the end of a chunk waits for the next. */
export class MarkerSplitter {
  private readonly marker: Buffer
  private held: Buffer = Buffer.alloc(0)

  constructor(id: string) {
    this.marker = Buffer.from(markerOf(id))
  }

  /** `rest`: what comes after the marker, if it is there. */
  push(bytes: Uint8Array): { readonly output: Buffer; readonly rest: Buffer | undefined } {
    const { marker } = this
    const all = this.held.length === 0
      ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      : Buffer.concat([this.held, bytes])
    const at = all.indexOf(marker)
    if (at >= 0) {
      this.held = Buffer.alloc(0)
      return { output: all.subarray(0, at), rest: all.subarray(at + marker.length) }
    }
    let keep = Math.min(marker.length - 1, all.length)
    // Not `compare` with bounds: Deno 2.9 measures the source's end by the target.
    while (keep > 0 && !marker.subarray(0, keep).equals(all.subarray(all.length - keep))) keep--
    this.held = Buffer.from(all.subarray(all.length - keep))
    return { output: all.subarray(0, all.length - keep), rest: undefined }
  }

  /** What waits, when nothing more comes. */
  flush(): Buffer {
    const { held } = this
    this.held = Buffer.alloc(0)
    return held
  }
}

export interface LauncherHandlers {
  readonly output: (stream: "stdout" | "stderr", bytes: Uint8Array) => void
  readonly started: () => void
  /** Both streams have been read to their ends. */
  readonly ended: (status: ExitStatus) => void
  readonly swept?: () => void
}

const headerBytesMax = 16 * 1024

/** Reads both streams of one launcher. Throws on what no launcher writes. */
export class LauncherReader {
  private readonly handlers: LauncherHandlers
  private readonly stdout: MarkerSplitter
  private readonly stderr: MarkerSplitter
  private isStdoutOver = false
  private status: ExitStatus | undefined
  /** After a marker on stderr. */
  private pending: Buffer | undefined
  private exit:
    | { readonly code: number; readonly size: number | undefined; readonly truncated: boolean }
    | undefined

  constructor(id: string, handlers: LauncherHandlers) {
    this.handlers = handlers
    this.stdout = new MarkerSplitter(id)
    this.stderr = new MarkerSplitter(id)
  }

  pushStdout(bytes: Uint8Array): void {
    if (this.isStdoutOver) return
    const { output, rest } = this.stdout.push(bytes)
    if (output.length > 0) this.handlers.output("stdout", output)
    if (rest === undefined) return
    this.isStdoutOver = true
    this.settle()
  }

  pushStderr(bytes: Uint8Array): void {
    if (this.status !== undefined) return
    if (this.pending !== undefined) return this.word(Buffer.concat([this.pending, bytes]))
    const { output, rest } = this.stderr.push(bytes)
    if (output.length > 0) this.handlers.output("stderr", output)
    if (rest !== undefined) this.word(rest)
  }

  private word(bytes: Buffer): void {
    this.pending = bytes
    if (this.exit === undefined) {
      const end = bytes.indexOf(0x0a)
      if (end < 0) {
        if (bytes.length > headerBytesMax) throw new Error("a line without an end")
        return
      }
      const line = bytes.subarray(0, end).toString("utf8")
      const rest = bytes.subarray(end + 1)
      if (line === "started" || line === "swept") {
        this.pending = undefined
        if (line === "started") this.handlers.started()
        else this.handlers.swept?.()
        if (rest.length > 0) this.pushStderr(rest)
        return
      }
      if (line.startsWith("notstarted ")) {
        this.status = { _tag: "NotStarted", reason: line.slice("notstarted ".length).slice(0, reasonCharactersMax) }
        return this.settle()
      }
      const match = /^exit (\d{1,3}) (-|\d{1,9}) ([01])$/.exec(line)
      if (match === null) throw new Error(`the line ${JSON.stringify(line.slice(0, 80))}`)
      this.exit = {
        code: Number(match[1]),
        size: match[2] === "-" ? undefined : Number(match[2]),
        truncated: match[3] === "1"
      }
      this.pending = bytes = rest
    }
    const { code, size, truncated } = this.exit
    if (bytes.length < (size ?? 0)) return
    this.status = statusOf(
      code,
      size === undefined ? undefined : { text: bytes.subarray(0, size).toString("utf8"), truncated }
    )
    this.settle()
  }

  private settle(): void {
    if (this.isStdoutOver && this.status !== undefined) this.handlers.ended(this.status)
  }
}
