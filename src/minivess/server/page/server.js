// Requests to the server that this page came from, and to no other host.

/** What the server refused, in its own words; status 0 where nothing came back. */
export class ServerError extends Error {
  constructor(status, words) {
    super(words)
    this.status = status
  }

  /** Whether the same request may work later: nobody answered, or the server is overloaded or ill. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500
  }
}

export class Server {
  constructor(token) {
    this.token = token
  }

  /** Send a request; `body` is sent as JSON, `form` as a form. Gives the Response. */
  async ask(method, path, { body, form, headers = {}, timeout_s = 60 } = {}) {
    const given = { Authorization: `Bearer ${this.token}`, ...headers }
    if (body !== undefined) given['Content-Type'] = 'application/json'
    let answer
    try {
      answer = await fetch(path, {
        method,
        headers: given,
        body: body === undefined ? form : JSON.stringify(body),
        signal: AbortSignal.timeout(timeout_s * 1000),
      })
    } catch (error) {
      const late = error.name === 'TimeoutError'
      throw new ServerError(0, late ? `The server did not answer within ${timeout_s} s.` : 'The server does not answer.')
    }
    if (!answer.ok) throw new ServerError(answer.status, await words(answer))
    return answer
  }

  async json(method, path, options) {
    return (await this.ask(method, path, options)).json()
  }

  async bytes(path) {
    return (await this.ask('GET', path, { timeout_s: 600 })).arrayBuffer()
  }
}

async function words(answer) {
  if (answer.status === 401) return 'The token is not valid (any more). Connect again; whoever runs the server gives you one.'
  const text = await answer.text()
  try {
    const detail = JSON.parse(text).detail
    return typeof detail === 'string' ? detail : JSON.stringify(detail)
  } catch {
    return text.slice(0, 300) || `The server answered ${answer.status}.`
  }
}

/** Build a form of texts and files. */
export function formOf(values) {
  const form = new FormData()
  for (const [name, value] of Object.entries(values)) {
    if (value instanceof File) form.append(name, value, value.name)
    else form.append(name, String(value))
  }
  return form
}
