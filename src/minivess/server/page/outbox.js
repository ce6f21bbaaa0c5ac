// What could not be sent, kept in this browser and sent in order as soon as the server answers again.

export class Outbox {
  constructor(server, { onChange, onRefused }) {
    this.server = server
    this.onChange = onChange
    this.onRefused = onRefused
    this.items = JSON.parse(localStorage.getItem('minivess.unsent') ?? '[]')
    this.sending = false
  }

  get size() {
    return this.items.length
  }

  add(item) {
    this.items.push(item)
    this.keep()
  }

  keep() {
    localStorage.setItem('minivess.unsent', JSON.stringify(this.items))
    this.onChange(this.items.length)
  }

  /** Send what is kept, in order; stops at the first that the server does not take yet. */
  async send(formOf) {
    if (this.sending) return
    this.sending = true
    try {
      while (this.items.length) {
        const { method, path, body, form } = this.items[0]
        try {
          await this.server.ask(method, path, { body, form: form && formOf(form) })
        } catch (error) {
          if (error.passing || error.status === 401) return
          this.onRefused(this.items[0], error)
        }
        this.items.shift()
        this.keep()
      }
    } finally {
      this.sending = false
    }
  }
}
