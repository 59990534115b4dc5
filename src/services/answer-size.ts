// How long an answer may be: it is built in memory, in several forms at once, in an isolate of 128 MB.

export const MAX_ANSWER_BYTES = 24 * 1024 * 1024
