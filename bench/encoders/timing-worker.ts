// A Worker that runs encoder passes when it is told to, so that workerd can be timed from outside: a request with no pass
// costs what HTTP costs, one with a pass that and the pass. Only benches start it; nothing here is served.
import relaxedSimd from '../../build/wasm/relaxed.wasm'
import simd128 from '../../build/wasm/simd128.wasm'
import { encodeImage, loadImageEncoder } from '../../src/flava/image-encoder.ts'
import { parseManifest } from '../../src/flava/manifest.ts'
import { encodeText, loadTextEncoder } from '../../src/flava/text-encoder.ts'
import { createSha256 } from '../../src/platform/digest.ts'
import { createKernels } from '../../src/wasm/kernels.ts'
import { MAX_BENCH_MEMORY_BYTES } from './bench-memory.ts'

type Work = 'hidden' | 'projected'
type Pass = (work: Work) => Float32Array<ArrayBuffer>

// Both by the names that the bench gives them.
const encoders = new Map<string, (input: ArrayBuffer, work: Work) => Float32Array<ArrayBuffer>>()
const passes = new Map<string, Pass>()

// oxlint-disable-next-line import/no-default-export -- workerd takes a Worker's handlers from there.
export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url)
    const name = searchParams.get('name') ?? ''
    switch (pathname) {
      case '/load':
        encoders.set(name, await load(searchParams, request))
        return new Response('loaded')
      case '/input': {
        const encode = encoders.get(searchParams.get('encoder') ?? '')
        const input = await request.arrayBuffer()
        if (!encode) return new Response('no such encoder', { status: 404 })
        passes.set(name, (work) => encode(input, work))
        return new Response('kept')
      }
      case '/run':
        return run(searchParams, passes.get(name))
      default:
        return new Response('no such path', { status: 404 })
    }
  },
} satisfies ExportedHandler

/** The body is the encoder's tensor file; the package's two JSON files come in the query. */
async function load(
  query: URLSearchParams,
  { body }: Request,
): Promise<(input: ArrayBuffer, work: Work) => Float32Array<ArrayBuffer>> {
  if (!body) throw new Error('expected the tensor file as the body')
  const manifest = parseManifest(JSON.parse(query.get('config') ?? ''), JSON.parse(query.get('preprocessor') ?? ''))
  const kernels = createKernels({ relaxedSimd, simd128 }, { maxBytes: MAX_BENCH_MEMORY_BYTES })
  if (query.get('modality') === 'image') {
    const encoder = await loadImageEncoder(kernels, manifest, body, createSha256)
    return (input, work) => copy(encodeImage(encoder, new Float32Array(input), 1, work)[0]?.data)
  }
  const encoder = await loadTextEncoder(kernels, manifest, body, createSha256)
  return (input, work) => copy(encodeText(encoder, [{ inputIds: new Int32Array(input) }], work)[0]?.data)
}

function run(query: URLSearchParams, pass: Pass | undefined): Response {
  if (!pass) return new Response('no such input', { status: 404 })
  const work = query.get('work') === 'hidden' ? 'hidden' : 'projected'
  let output = new Float32Array()
  for (let i = Number(query.get('passes')); i > 0; i -= 1) output = pass(work)
  return new Response(query.get('output') === 'yes' ? output : 'ran')
}

function copy(data: Float32Array | undefined): Float32Array<ArrayBuffer> {
  return new Float32Array(data ?? [])
}
