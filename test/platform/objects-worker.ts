// The ObjectStore on R2 over HTTP, so that a test can send it real streams.

import { AppError } from '../../src/errors.ts'
import { r2Objects } from '../../src/platform/r2-objects.ts'

// oxlint-disable-next-line import/no-default-export -- the runtime finds a Worker’s handlers there
export default {
  async fetch(request, { FILES }) {
    try {
      return await answer(request, FILES)
    } catch (error) {
      if (error instanceof AppError) return Response.json({ code: error.code }, { status: error.status })
      throw error
    }
  },
} satisfies ExportedHandler<{ FILES: R2Bucket }>

async function answer(request: Request, bucket: R2Bucket): Promise<Response> {
  const objects = r2Objects(bucket)
  const { pathname, searchParams } = new URL(request.url)
  const key = pathname.slice(1)
  const number = (name: string): number => Number(searchParams.get(name))
  const body = request.body ?? new Blob([]).stream()
  switch (request.method) {
    case 'PUT':
      return Response.json(
        searchParams.has('bytes')
          ? await objects.put(key, inJavaScript(body, searchParams), number('bytes'))
          : await objects.putUnsized(key, inJavaScript(body, searchParams), number('max')),
      )
    case 'GET': {
      const range = searchParams.has('length') ? { offset: number('offset'), length: number('length') } : undefined
      const found = await objects.get(key, range)
      return found === undefined
        ? new Response(null, { status: 404 })
        : new Response(found.body, { headers: { 'x-bytes': String(found.bytes) } })
    }
    case 'POST':
      return Response.json((await objects.digest(key)) ?? null)
    default:
      await objects.delete(searchParams.getAll('key'))
      return Response.json((await bucket.list()).objects.map((object) => object.key))
  }
}

/** With `js`: as a stream that JavaScript makes, which the runtime cannot fill a buffer from. */
function inJavaScript(body: ReadableStream<Uint8Array>, parameters: URLSearchParams): ReadableStream<Uint8Array> {
  if (!parameters.has('js')) return body
  const reader = body.getReader()
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
  })
}
