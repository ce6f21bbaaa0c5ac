// Stand-ins for what only a browser has, and a server of scripted replies.
import { ServerError } from '../../../src/minivess/server/page/server.js'

/** localStorage, as far as it is used; `room`: how many entries fit. */
export function storage(room = Infinity) {
  return Object.create({
    getItem(key) { return Object.hasOwn(this, key) ? this[key] : null },
    setItem(key, text) {
      if (Object.keys(this).length >= room) throw new Error('QuotaExceededError')
      this[key] = String(text)
    },
    removeItem(key) { delete this[key] },
  })
}

/** A server that notes requests; `reply(method, path, options)` gives a reply, or a status that is thrown. */
export class ScriptedServer {
  constructor(reply = () => ({})) {
    this.reply = reply
    this.requests = []
  }

  async json(method, path, options = {}) {
    this.requests.push(`${method} ${path}`)
    const reply = this.reply(method, path, options)
    if (typeof reply === 'number') throw new ServerError(reply, `status ${reply}`)
    return reply
  }
}

/** The panel, as far as messages go. */
export function panel() {
  return { said: [], message(text) { if (text) this.said.push(text) }, region() {}, queue() {} }
}

/** A viewer that shows a mask. */
export function viewer(mask) {
  return { mask, refreshed: 0, jumps: [], refresh() { this.refreshed++ }, jump(box) { this.jumps.push(box) }, look() {} }
}
