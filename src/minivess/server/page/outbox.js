// Strokes and answers, kept in this browser before they are sent, and sent in order as soon as the server answers.
import { formOf } from './server.js'

export class Outbox {
  /** What a person has not sent yet, an entry each: another person's work, and that of another tab, stays. */
  constructor(server, person, { onChange, onRefused }) {
    Object.assign(this, { server, onChange, onRefused })
    this.prefix = `minivess.unsent.${person}.`
    this.homeless = [] // where this browser has no room: kept as long as the page is open
    this.count = 0
    this.stopped = null // why the last request is still kept
  }

  /** Each with its `key`, the oldest first. */
  get items() {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix)).sort()
    return [...keys.map((key) => ({ ...JSON.parse(localStorage.getItem(key)), key })), ...this.homeless]
  }

  /**
   * Keep a request, where one is given, and send all that is kept. Gives the reply, null where the request waits;
   * throws where it is refused for good. What is refused of what was kept before is told to onRefused.
   */
  async send(item) {
    const mine = item && this.keep(item)
    let reply = null
    this.stopped = null
    for (let first = this.items[0]; first; first = this.items[0]) {
      const { key, method, path, body, form } = first
      try {
        const told = await this.server.json(method, path, { body, form: form && formOf(form) })
        if (key === mine) reply = told
      } catch (error) {
        if (error.passing || error.status === 401) {
          this.stopped = error
          return reply
        }
        this.drop(key)
        if (key === mine) throw error
        this.onRefused(error)
        continue
      }
      this.drop(key)
    }
    return reply
  }

  keep(item) {
    const key = `${this.prefix}${String(Date.now()).padStart(15, '0')}.${String(this.count++).padStart(6, '0')}.${Math.random()}`
    try {
      localStorage.setItem(key, JSON.stringify(item))
    } catch {
      this.homeless.push({ ...item, key })
    }
    this.tell()
    return key
  }

  drop(key) {
    localStorage.removeItem(key)
    this.homeless = this.homeless.filter((item) => item.key !== key)
    this.tell()
  }

  tell() {
    this.onChange(this.items.length, this.homeless.length === 0)
  }
}
