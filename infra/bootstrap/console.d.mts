/** Whether it had to be built. */
export const buildConsole: (node: string) => boolean
