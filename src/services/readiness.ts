// Whether every Worker behind the gateway can answer now, and whether both encoders hold the same model.

import { AppError } from '../errors.ts'
import { awaitRpc, type RpcResult } from './rpc-result.ts'
import type {
  EncoderReadiness,
  ImageEncoderWorker,
  PixelsReadiness,
  PixelsWorker,
  TextEncoderWorker,
} from './inner-workers.ts'

export interface InnerWorkers {
  textEncoder: TextEncoderWorker
  imageEncoder: ImageEncoderWorker
  pixels: PixelsWorker
}

export type WorkerState<T> = ({ status: 'READY' } & T) | { status: 'UNHEALTHY'; code: string; message: string }

export interface Readiness {
  status: 'READY' | 'UNHEALTHY'
  workers: {
    textEncoder: WorkerState<EncoderReadiness>
    imageEncoder: WorkerState<EncoderReadiness>
    pixels: WorkerState<PixelsReadiness>
  }
}

/** Asks each Worker to load what it needs; encoders warm up as they load. */
export async function checkReadiness(workers: InnerWorkers): Promise<Readiness> {
  const [textEncoder, imageEncoder, pixels] = await Promise.all([
    stateOf('text encoder', () => workers.textEncoder.ready()),
    stateOf('image encoder', () => workers.imageEncoder.ready()),
    stateOf('pixels', () => workers.pixels.ready()),
  ])
  const areReady = [textEncoder, imageEncoder, pixels].every((state) => state.status === 'READY')
  const areOneModel =
    textEncoder.status === 'READY' &&
    imageEncoder.status === 'READY' &&
    textEncoder.space === imageEncoder.space &&
    textEncoder.weights === imageEncoder.weights
  return { status: areReady && areOneModel ? 'READY' : 'UNHEALTHY', workers: { textEncoder, imageEncoder, pixels } }
}

async function stateOf<T>(worker: string, ask: () => PromiseLike<RpcResult<T>>): Promise<WorkerState<T>> {
  try {
    return { status: 'READY', ...(await awaitRpc(worker, ask())) }
  } catch (error) {
    // Not ready is this service's answer, not its failure.
    if (error instanceof AppError) return { status: 'UNHEALTHY', code: error.code, message: error.message }
    throw error
  }
}
