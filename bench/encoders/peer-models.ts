// What the rivals need and the repository does not carry: their packages (bench/peers, with a lockfile of its own) and their
// models, made once from the checkpoint that our packages come from.
import { mkdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { contentStamp, isStampCurrent, writeStamp } from '../../tools/stamp.mjs'
import { flavaConfigSchema, toImageConfig, toTextConfig } from '../../src/flava/config.ts'
import { runCommand } from '../../tools/run-command.ts'
import { startProgress } from './byte-progress.ts'
import { openCheckpoint } from './checkpoint-tensors.ts'
import { imageGraph, textGraph } from './encoder-graph.ts'
import type { Precision } from './encoder-graph.ts'
import { writeOnnxModel } from './onnx-model.ts'

export type Modality = 'text' | 'image'

export const PEERS_DIR = resolve(import.meta.dirname, '../peers')
const MODELS_DIR = resolve(import.meta.dirname, '../../build/peer-models')

/** Raised when the same checkpoint gives another file. */
const GENERATOR_VERSION = '1'
const PRECISIONS: readonly Precision[] = ['int8', 'fp32']
const MODALITIES: readonly Modality[] = ['text', 'image']

/** Runs `npm ci` in bench/peers when its lockfile is not the one that was installed. */
export async function ensurePeerPackages(): Promise<void> {
  const stampPath = join(PEERS_DIR, 'node_modules', '.flava-stamp')
  const stamp = contentStamp([join(PEERS_DIR, 'package-lock.json')])
  if (isStampCurrent(stampPath, stamp)) return
  console.error('installing the rivals that bench/peers/package-lock.json pins (about 440 MB unpacked)')
  // onnxruntime-node's install script fetches GPU libraries; the CPU one is in the package.
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--prefix', PEERS_DIR]
  const { exitCode, output } = await runCommand('npm', args)
  if (exitCode !== 0) throw new Error(`bench/peers: npm ci failed\n${output}`)
  writeStamp(stampPath, stamp)
}

export function peerModelPath(modality: Modality, precision: Precision): string {
  return join(MODELS_DIR, `${modality}-${precision}.onnx`)
}

/** Writes build/peer-models/{text,image}-{int8,fp32}.onnx unless they are this checkpoint's already. */
export async function ensurePeerModels(checkpointDir: string): Promise<void> {
  const config = flavaConfigSchema.parse(JSON.parse(await readFile(join(checkpointDir, 'config.json'), 'utf8')))
  const tensors = await openCheckpoint(checkpointDir)
  try {
    const stampPath = join(MODELS_DIR, 'stamp.txt')
    const stamp = `${GENERATOR_VERSION} ${tensors.stamp}`
    if (isStampCurrent(stampPath, stamp)) return
    await mkdir(MODELS_DIR, { recursive: true })
    for (const precision of PRECISIONS) {
      for (const modality of MODALITIES) {
        const graph =
          modality === 'text'
            ? textGraph(tensors, toTextConfig(config.text_config), precision)
            : imageGraph(tensors, toImageConfig(config.image_config), precision)
        const sizeBytes = graph.initializers.reduce((sum, initializer) => sum + initializer.sizeBytes, 0)
        const path = peerModelPath(modality, precision)
        const progress = startProgress(`rivals' model ${modality}-${precision}.onnx`, sizeBytes)
        await writeOnnxModel(path, graph, progress.add)
        progress.stop()
      }
    }
    writeStamp(stampPath, stamp)
  } finally {
    await tensors.close()
  }
}
