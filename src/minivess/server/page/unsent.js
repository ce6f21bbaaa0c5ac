// The unsent entries of one user in the storage of this browser; those of other users are left alone.

/**
 * A request that must not be lost; `after` is the key of an entry with which it is refused.
 * @typedef {{ method: string, path: string, body?: object, form?: Record<string, string>, after?: string }} Entry
 */

const TIME = /^(\d{15})\./ // what follows the user's name in the key of an entry

export class Unsent {
  /**
   * @param {string} user
   * @param {Storage} storage localStorage, which holds one server's entries only: it belongs to the address of the page
   */
  constructor(user, storage) {
    this.storage = storage
    this.prefix = `minivess.unsent.${user}.`
    this.asidePrefix = `minivess.aside.${user}.`
    /** @type {Map<string, Entry>} */
    this.unstored = new Map() // where this browser has no room: lost when the page is closed
  }

  /** Keys of the entries, oldest first. */
  get keys() {
    const stored = Object.keys(this.storage).filter((key) => key.startsWith(this.prefix) && TIME.test(key.slice(this.prefix.length)))
    return [...stored, ...this.unstored.keys()].sort()
  }

  /**
   * Store an entry. Return its key.
   * @param {Entry} entry
   */
  add(entry) {
    const [, last] = this.keys.at(-1)?.slice(this.prefix.length).match(TIME) ?? [0, 0]
    const time = Math.max(Date.now(), Number(last) + 1) // after all others, also where the clock was set back
    const key = `${this.prefix}${String(time).padStart(15, '0')}.${Math.random()}`
    try {
      this.storage.setItem(key, JSON.stringify(entry))
    } catch {
      this.unstored.set(key, entry)
    }
    return key
  }

  /** Parse each entry once, oldest first; `damaged` are the keys of those that are no entries. */
  read() {
    /** @type {Map<string, Entry>} */
    const entries = new Map()
    const damaged = []
    for (const key of this.keys) {
      const text = this.storage.getItem(key)
      const entry = this.unstored.get(key) ?? parse(text)
      if (entry) entries.set(key, entry)
      else if (text !== null) damaged.push(key) // null: another tab has sent it
    }
    return { entries, damaged }
  }

  /** @param {string} key */
  has(key) {
    return this.unstored.has(key) || this.storage.getItem(key) !== null
  }

  /** @param {string} key */
  remove(key) {
    this.unstored.delete(key)
    this.storage.removeItem(key)
  }

  /**
   * Keep a damaged entry under another key, where it is not sent.
   * @param {string} key
   */
  setAside(key) {
    const text = this.storage.getItem(key) ?? ''
    this.storage.removeItem(key) // makes the room that is needed for it
    this.storage.setItem(this.asidePrefix + key.slice(this.prefix.length), text)
  }
}

/**
 * Return an entry, or null where the text is damaged.
 * @param {string | null} text
 * @returns {Entry | null}
 */
function parse(text) {
  try {
    const entry = JSON.parse(text ?? '')
    return typeof entry.method === 'string' && typeof entry.path === 'string' ? entry : null
  } catch {
    return null
  }
}
