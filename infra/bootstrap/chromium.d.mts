export const findChromium: () => string | undefined
/** Whether there is one now. */
export const installChromium: () => boolean
