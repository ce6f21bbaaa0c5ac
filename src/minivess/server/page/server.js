// Requests to the server that this page came from, and to no other host.
import { t } from './texts.js'

/**
 * @typedef {{ body?: object, form?: FormData, headers?: Record<string, string>, timeout_s?: number }} RequestOptions
 *
 * What `GET /review/capabilities` states, as far as the page uses it.
 * @typedef {object} Capabilities
 * @property {{ name: string, clicks: number }[]} tools
 * @property {string} next_image_strategy
 * @property {{ list: number }} limits
 */

/** A request that failed: `message` is what the server says; status 0 where no complete reply came. */
export class ServerError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message)
    this.status = status
  }

  /** Whether the same request may succeed later: no reply, no valid token, an overloaded server, or a fault inside it. */
  get temporary() {
    return [0, 401, 408, 429].includes(this.status) || this.status >= 500
  }
}

/**
 * Whether a failed request may succeed later; any other failure is a refusal.
 * @param {unknown} error
 */
export function isTemporary(error) {
  return error instanceof ServerError && error.temporary
}

export class Server {
  /** @param {string} token */
  constructor(token) {
    this.token = token
  }

  /**
   * Send a request and return its reply as JSON. `body` is sent as JSON, `form` as a form.
   * @param {string} method
   * @param {string} path
   * @param {RequestOptions} [options]
   * @returns {Promise<any>}
   */
  json(method, path, options) {
    return this.send(method, path, (reply) => reply.json(), options)
  }

  /**
   * Return a file.
   * @param {string} path
   * @returns {Promise<ArrayBuffer>}
   */
  bytes(path) {
    return this.send('GET', path, (reply) => reply.arrayBuffer(), { timeout_s: 600 })
  }

  /**
   * Send a request, and read the reply within the same time limit; a reply that is cut off is a lost one (status 0).
   * @template T
   * @param {string} method
   * @param {string} path
   * @param {(reply: Response) => Promise<T>} read
   * @param {RequestOptions} [options]
   */
  async send(method, path, read, { body, form, headers = {}, timeout_s = 60 } = {}) {
    const request = {
      method,
      headers: { Authorization: `Bearer ${this.token}`, ...(body && { 'Content-Type': 'application/json' }), ...headers },
      body: body ? JSON.stringify(body) : form,
      signal: AbortSignal.timeout(timeout_s * 1000),
    }
    try {
      const reply = await fetch(path, request)
      if (!reply.ok) throw new ServerError(reply.status, await reasonOf(reply))
      return await read(reply)
    } catch (error) {
      if (error instanceof ServerError) throw error
      const late = error instanceof Error && error.name === 'TimeoutError'
      throw new ServerError(0, late ? t`The server did not answer within ${timeout_s} s.` : t`The server does not answer.`)
    }
  }
}

/**
 * Return why a request failed, as the server says it.
 * @param {Response} reply
 */
async function reasonOf(reply) {
  if (reply.status === 401) return t`The token is not valid. Ask the administrator of this server for a new token, and connect again.`
  const text = await reply.text()
  try {
    const { detail } = JSON.parse(text)
    return typeof detail === 'string' ? detail : JSON.stringify(detail)
  } catch {
    return text.slice(0, 300) || t`The server answered with status ${reply.status}.`
  }
}

/**
 * Return a form of texts and files.
 * @param {Record<string, string | File>} values
 */
export function formOf(values) {
  const form = new FormData()
  for (const [name, value] of Object.entries(values)) form.append(name, value)
  return form
}

/**
 * Return what went wrong, in words.
 * @param {unknown} error
 */
export function errorText(error) {
  return error instanceof Error ? error.message : String(error)
}
