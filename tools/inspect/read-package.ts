// Everything that a model package says of itself, read only after every byte of it has been held to its hash.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { ModelPackageError } from '../../src/errors.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import { readVerified } from '../../src/flava/package-file.ts'
import { loadManifest, readPackageJson } from '../../src/flava/package-source.ts'
import type { PackageSource } from '../../src/flava/package-source.ts'
import { imageTensors, textTensors } from '../../src/flava/package-layout.ts'
import type { TensorSpecs } from '../../src/flava/package-layout.ts'
import { createSafetensorsParser } from '../../src/flava/safetensors.ts'
import { checkHeader, checkIdentity } from '../../src/flava/weights.ts'
import { createTokenizer } from '../../src/tokenize/tokenizer.ts'
import { encoderMakeup } from '../export/package-parts.ts'
import type { EncoderMakeup } from '../export/package-parts.ts'
import { PARITY_FILE, readParityReport } from '../export/parity-report.ts'
import type { ParityReport } from '../export/parity-report.ts'
import { packageFolder } from '../model/package-folder.ts'
import { createSha256 } from '../model/sha256.ts'

export interface InspectedPackage {
  directory: string
  manifest: ModelManifest
  text: EncoderMakeup
  image: EncoderMakeup
  /** null: the package came without one. */
  parity: ParityReport | null
}

/** @throws ModelPackageError, UnsupportedPackageError or ModelUnavailableError that names the file and what is wrong */
export async function inspectPackage(directory: string): Promise<InspectedPackage> {
  const source = packageFolder(directory)
  const manifest = await loadManifest(source, createSha256)
  await checkIdentity(manifest, createSha256)
  await checkTensorFile(source, manifest, 'text', textTensors(manifest))
  await checkTensorFile(source, manifest, 'image', imageTensors(manifest))
  createTokenizer(await readPackageJson(source, manifest.files.tokenizer, createSha256), manifest.text.vocabSize)
  return {
    directory,
    manifest,
    text: encoderMakeup(manifest, 'text'),
    image: encoderMakeup(manifest, 'image'),
    parity: await readParity(directory, manifest),
  }
}

/** Length, hash, and each tensor's name, dtype and shape. */
async function checkTensorFile(
  source: PackageSource,
  manifest: ModelManifest,
  encoder: 'text' | 'image',
  specs: TensorSpecs,
): Promise<void> {
  const file = manifest.files[encoder]
  const parser = createSafetensorsParser(file.name, {
    onHeader: (header) => checkHeader(file.name, header, specs),
    onBytes: () => undefined,
  })
  await readVerified(await source.open(file), file, createSha256, (chunk) => parser.push(chunk))
  parser.end()
}

async function readParity(directory: string, { weights }: ModelManifest): Promise<ParityReport | null> {
  if (!existsSync(join(directory, PARITY_FILE))) return null
  const report = await parseParity(directory)
  if (report.weights === weights) return report
  throw new ModelPackageError(`${PARITY_FILE}: weights: expected ${weights}, got ${report.weights}: of another package`)
}

async function parseParity(directory: string): Promise<ParityReport> {
  try {
    return await readParityReport(directory)
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : 'not JSON'
    throw new ModelPackageError(`${PARITY_FILE}: ${reason}`, { cause })
  }
}
