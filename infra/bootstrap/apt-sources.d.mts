/** One archive of the machine's apt configuration, and how the machine trusts it. */
export interface Mirror {
  readonly uri: string
  readonly signedBy: ReadonlyArray<string>
  readonly trusted: boolean
  /** An armored key that stands in the configuration itself. */
  readonly key?: string
}

export function parseList(text: string): Array<Mirror>
export function parseDeb822(text: string): Array<Mirror>
export function debianMirrors(folder: string): Array<Mirror>
export function oneLineSource(mirror: Mirror, suite: string, keyFile: string | undefined): string
