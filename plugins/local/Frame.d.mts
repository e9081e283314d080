import type { Socket } from "node:net"

export const exec: 1
export const kill: 2
export const started: 3
export const stdout: 4
export const stderr: 5
export const exit: 6
export const payloadBytesMax: number
export const write: (socket: Socket, kind: number, payload: Uint8Array | object) => boolean
export const json: (payload: Uint8Array) => unknown
export const reader: (onFrame: (kind: number, payload: Uint8Array) => void) => (bytes: Uint8Array) => void
