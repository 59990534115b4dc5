// Which URLs webhooks are sent to. Names are not looked up here: what a public name means is the network's business.

const LOOPBACK_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]'])
const PRIVATE_SUFFIXES = ['localhost', 'local', 'internal', 'intranet', 'lan', 'home', 'corp', 'home.arpa', 'onion']

/**
 * What is wrong with it, undefined when nothing is. Told when an endpoint is made, and asked again with every delivery.
 * @param allowLoopback a service that is open on this machine may tell this machine, without TLS
 */
export function webhookUrlProblem(url: string, allowLoopback: boolean): string | undefined {
  if (!URL.canParse(url)) return 'expected an https URL'
  const { protocol, hostname, username, password, hash } = new URL(url)
  if (username !== '' || password !== '') return 'expected a URL without credentials'
  if (hash !== '') return 'expected a URL without a fragment'
  if (allowLoopback && LOOPBACK_HOSTS.has(hostname) && /^https?:$/.test(protocol)) return undefined
  if (protocol !== 'https:') return 'expected https'
  // The URL parser has turned every spelling of an IPv4 address into four decimals.
  const host = hostname.replace(/\.+$/, '')
  if (host.startsWith('[') || /^[\d.]+$/.test(host)) return 'expected a DNS name, got an address'
  const isPrivate = PRIVATE_SUFFIXES.some((suffix) => host === suffix || host.endsWith(`.${suffix}`))
  return isPrivate || !host.includes('.') ? 'expected a public DNS name' : undefined
}
