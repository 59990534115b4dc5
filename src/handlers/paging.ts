// OpenAI's cursors: `after` is the last id of the page before.

import { z } from 'zod'

const MAX_PAGE = 100

/** @param byDefault how many a page has when the request does not say */
export function pageQuery(byDefault: number) {
  return z.object({
    after: z.string().max(64).optional().meta({ description: 'Id of the last one of the page before.' }),
    limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(byDefault),
  })
}
