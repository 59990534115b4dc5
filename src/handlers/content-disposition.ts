// content-disposition of a download: a name in ASCII for all clients, the whole name for those of RFC 6266.

/** @param filename any text; quotes, backslashes and what is not printable ASCII are kept out of the quoted form */
export function attachment(filename: string): string {
  const ascii = filename.replaceAll(/[^\x20-\x7e]|["\\%]/g, '_')
  return `attachment; filename="${ascii}"; filename*=UTF-8''${percentEncoded(filename)}`
}

/** RFC 8187: everything but attr-char, which encodeURIComponent leaves a few marks too many of. */
function percentEncoded(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replaceAll(
    /['()*]/g,
    (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
