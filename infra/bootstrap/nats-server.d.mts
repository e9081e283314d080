/** Where a nats-server binary is, and its version (`2.15.1`). */
export interface NatsServerBinary {
  readonly path: string
  readonly version: string
}

/**
 * The nats-server to start: `$HEDDLE_NATS_SERVER`, PATH, the checkout's tool folder, and else it gets one (release archive, Debian package).
 * Rejects with an Error whose message says what was tried and what to do. `install: false` never touches the network.
 * `log` takes progress lines; by default they go to standard error.
 */
export function findNatsServer(
  options?: { readonly install?: boolean; readonly log?: (message: string) => void }
): Promise<NatsServerBinary>

/** A release of nats-server: where its archives are, and the SHA-256 of each by platform (`linux-amd64`). */
export interface Release {
  readonly version: string
  readonly base: string
  readonly sha256: Readonly<Record<string, string>>
}

/** The release that is fetched where there is no server. */
export const release: Release

/** Fetches this platform's archive into `folder`, checks its sum before anything of it is unpacked, and moves the server into the tool folder. */
export function fromRelease(folder: string, from?: Release): Promise<NatsServerBinary>

/** The least and the compared version are `major.minor.patch`; a pre-release counts as its version. */
export function isAtLeast(version: string, least: string): boolean

/** Reads the output of `nats-server --version`. */
export function parseVersion(text: string): string | undefined

/** The checkout. */
export const root: string

/** The ignored folder for tools that the machine lacks: `$HEDDLE_TOOLS` or `.heddle/tools`. */
export function toolFolder(): string
