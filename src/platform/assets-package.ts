// A model package as static files behind an assets binding: for packages whose files stay below 25 MiB each.
import { ModelPackageError, ModelUnavailableError } from '../errors.ts'
import type { PackageSource } from '../flava/package-source.ts'
import { inLargeChunks } from './large-chunks.ts'

export function assetsPackage(assets: Pick<Fetcher, 'fetch'>): PackageSource {
  return {
    openConfig: () => openFile(assets, 'config.json'),
    open: async ({ name }) => inLargeChunks(await openFile(assets, name)),
  }
}

async function openFile(assets: Pick<Fetcher, 'fetch'>, file: string): Promise<ReadableStream<Uint8Array>> {
  const response = await fetchFile(assets, file)
  if (!response.ok) {
    await response.body?.cancel()
    throw new ModelUnavailableError(`${file}: expected it in the model package, got status ${response.status}`)
  }
  if (response.body === null) throw new ModelPackageError(`${file}: expected content, got none`)
  return response.body
}

async function fetchFile(assets: Pick<Fetcher, 'fetch'>, file: string): Promise<Response> {
  try {
    // The host is never looked up; the binding takes the path.
    return await assets.fetch(`https://model/${file}`)
  } catch (cause) {
    throw new ModelUnavailableError(`${file}: the assets did not answer`, { cause })
  }
}
