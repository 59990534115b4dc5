// A byte stream in pieces of a useful size: the runtime's own bodies come in 4 KiB, and each piece costs a turn of the event
// loop at every stage it passes (a file of 40 MiB takes a third of the time).

const PIECE_BYTES = 256 * 1024
/**
 * After so many pieces others get their turn. Between two streams of one process, as with local R2, there is always a next
 * piece, and nothing else would run until the last: no heartbeat, for a file of half a gigabyte.
 */
const PIECES_A_TURN = 4

/** `read` of the Streams standard with its option `min`, which the runtime has and its types do not. */
interface PieceReader {
  read(
    view: Uint8Array<ArrayBuffer>,
    options: { min: number },
  ): Promise<{ done: boolean; value?: Uint8Array<ArrayBuffer> | undefined }>
  cancel(reason?: unknown): Promise<void>
}

/**
 * A stream that is not read to its end is cancelled.
 * @param body a byte stream, as requests and objects have
 * @param memory own: each piece may be kept. shared: all lie in one buffer, and each is valid until the next is asked for,
 *   so that gigabytes leave no garbage behind
 */
export async function* inPieces(
  body: ReadableStream<Uint8Array>,
  memory: 'own' | 'shared',
): AsyncGenerator<Uint8Array, undefined, undefined> {
  const reader: PieceReader = body.getReader({ mode: 'byob' })
  let buffer = new ArrayBuffer(PIECE_BYTES)
  let isOver = false
  try {
    for (let piece = 1; !isOver; piece += 1) {
      const { done, value } = await reader.read(new Uint8Array(buffer), { min: PIECE_BYTES })
      isOver = done
      if (value !== undefined && value.byteLength > 0) yield value
      if (piece % PIECES_A_TURN === 0) await new Promise((resolve) => setTimeout(resolve))
      // Reading has taken the buffer away; it comes back with the piece.
      if (!isOver) buffer = memory === 'shared' && value !== undefined ? value.buffer : new ArrayBuffer(PIECE_BYTES)
    }
  } finally {
    if (!isOver) await reader.cancel().catch(() => undefined)
  }
}
