// Strokes and answers, kept in this browser before they are sent, and sent in order as soon as the server answers.
import { formOf } from './server.js'

export class Outbox {
  /** What a person has not sent yet: another person's work in the same browser stays theirs. */
  constructor(server, person, { onChange, onRefused }) {
    Object.assign(this, { server, onChange, onRefused })
    this.name = `minivess.unsent.${person}`
    this.stopped = null // why the last request is still kept
    this.items = JSON.parse(localStorage.getItem(this.name) ?? '[]')
  }

  /**
   * Keep a request, where one is given, and send all that is kept. Gives the reply, null where the request waits;
   * throws where it is refused for good. What is refused of what was kept before is told to onRefused.
   */
  async send(item) {
    if (item) this.keep([...this.items, item])
    while (this.items.length) {
      const first = this.items[0]
      const { method, path, body, form } = first
      let reply
      try {
        reply = await this.server.json(method, path, { body, form: form && formOf(form) })
      } catch (error) {
        if (error.passing || error.status === 401) {
          this.stopped = error
          return null
        }
        this.keep(this.items.slice(1))
        if (first === item) throw error
        this.onRefused(error)
        continue
      }
      this.keep(this.items.slice(1))
      if (first === item) return reply
    }
    return null
  }

  keep(items) {
    this.items = items
    try {
      localStorage.setItem(this.name, JSON.stringify(items))
      this.onChange(items.length, true)
    } catch {
      this.onChange(items.length, false) // no room in this browser: it is kept as long as the page is open
    }
  }
}
