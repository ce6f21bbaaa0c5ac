// Strokes and answers on their way to the server: stored in this browser before they are sent, and sent in order.
import { ServerError, formOf } from './server.js'
import { t } from './texts.js'
import { Unsent } from './unsent.js'

/** @typedef {import('./unsent.js').Entry} Entry */

export class Outbox {
  /**
   * @param {Pick<import('./server.js').Server, 'json'>} server
   * @param {string} user whose entries are sent
   * @param {Storage} storage
   * @param {(unsent: number, stored: boolean) => void} onChange `stored`: false where the browser has no room for an entry
   */
  constructor(server, user, storage, onChange) {
    this.server = server
    this.unsent = new Unsent(user, storage)
    this.onChange = onChange
    /** @type {ServerError | null} */
    this.stopped = null // why the last send has left entries unsent
    /** @type {Map<string, ServerError>} */
    this.refused = new Map() // by key, since the page was opened
    /** @type {string[]} */
    this.notices = [] // what the user is told after the action: late refusals, damaged entries
  }

  get size() {
    return this.unsent.keys.length
  }

  /**
   * Store an entry, and send all entries. Return its key, and its reply or null while it is unsent.
   * @param {Entry} entry
   * @throws {ServerError} the server refuses it
   */
  async post(entry) {
    const key = this.unsent.add(entry)
    this.changed()
    const replies = await this.send(key)
    const refusal = this.refused.get(key)
    if (refusal) throw refusal
    return { key, reply: replies.get(key) ?? null }
  }

  /**
   * Send all entries, until one fails temporarily. A refused entry is removed, with those that come after it; refusals of
   * others than `mine` become notices. Return the replies by key.
   * @param {string} [mine] key of an entry whose refusal the caller reports
   */
  async send(mine = '') {
    /** @type {Map<string, any>} */
    const replies = new Map()
    const { entries, damaged } = this.unsent.read()
    const before = new Set([...this.refused.keys(), ...damaged])
    this.setAside(damaged, entries)
    this.stopped = null
    for (const [key, entry] of entries) {
      if (!this.unsent.has(key)) continue // refused with an earlier one, or sent by another tab
      try {
        replies.set(key, await this.sendOne(entry))
        this.remove(key)
      } catch (error) {
        if (!(error instanceof ServerError)) throw error
        if (error.temporary) {
          this.stopped = error
          break
        }
        this.refuse(key, error, entries)
      }
    }
    this.noteRefusals([...this.refused.keys()].filter((key) => !before.has(key)), mine)
    return replies
  }

  /** @param {Entry} entry */
  sendOne({ method, path, body, form, after = '' }) {
    const earlier = this.refused.get(after)
    if (earlier) throw earlier
    return this.server.json(method, path, { body, form: form && formOf(form) })
  }

  /**
   * Remove an entry that is refused, and those that come after it.
   * @param {string} key
   * @param {ServerError} error
   * @param {Map<string, Entry>} entries
   */
  refuse(key, error, entries) {
    this.refused.set(key, error)
    this.remove(key)
    for (const [later, { after }] of entries) if (after === key) this.refuse(later, error, entries)
  }

  /**
   * Set damaged entries aside, and refuse those that come after them.
   * @param {string[]} damaged keys
   * @param {Map<string, Entry>} entries
   */
  setAside(damaged, entries) {
    for (const key of damaged) {
      this.unsent.setAside(key)
      this.refuse(key, new ServerError(422, t`The stroke is damaged in this browser.`), entries)
    }
    if (damaged.length) this.notices.push(t`Damaged, set aside in this browser and not sent: ${damaged.length}. Look at the last regions again.`)
  }

  /**
   * @param {string[]} keys of the entries refused now
   * @param {string} mine
   */
  noteRefusals(keys, mine) {
    const reasons = new Set(keys.map((key) => this.refused.get(key)?.message))
    reasons.delete(this.refused.get(mine)?.message)
    for (const reason of reasons) this.notices.push(t`Refused: ${reason} It was sent late. Look at the region again.`)
  }

  /** Return what the user is to be told, once; '' for nothing. */
  takeNotices() {
    return this.notices.splice(0).join(' ')
  }

  /** @param {string} key */
  remove(key) {
    this.unsent.remove(key)
    this.changed()
  }

  changed() {
    this.onChange(this.size, this.unsent.unstored.size === 0)
  }
}
