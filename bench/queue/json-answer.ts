// A JSON object out of an HTTP answer, or an error that shows the refusal.

export async function readJsonAnswer(response: Response): Promise<Record<string, unknown>> {
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.url}: ${response.status} ${text}`)
  const answer: Record<string, unknown> = JSON.parse(text)
  return answer
}
