// The queue of one image: its items (regions to review), the current one, and the user's own answers; requests and display.
import { voxelAt } from './grid.js'
import { inLanguage, t } from './texts.js'

/**
 * A region of the queue, as the server sends it.
 * @typedef {object} QueueItem
 * @property {string} id
 * @property {string} case the image
 * @property {string} model SHA-256 of the weights that predicted it
 * @property {import('./grid.js').Box} box
 * @property {number[]} centre_ras where the error is suspected
 * @property {string} kind
 * @property {string} reason
 * @property {number} expected_errors
 * @property {string} state
 * @property {string} by who reserved or answered it
 * @property {{ note?: string }} [answer]
 * @property {string} [skipped_note] what somebody wrote who has skipped it before
 * @property {boolean} [unreserved] taken from the list while the server did not answer
 */

const WORDS = new Map([['fixed', 'corrected'], ['leased', 'reserved'], ['pending', 'open']])

/**
 * Return a state of a region in words.
 * @param {string} state
 */
export function stateInWords(state) {
  return inLanguage(WORDS.get(state) ?? state)
}

export class Regions {
  /**
   * @param {import('./server.js').Server} server
   * @param {string} image
   * @param {number} limit most items of one list
   * @param {import('./panel.js').Panel} panel
   * @param {Pick<import('./viewer.js').Viewer, 'jump' | 'look' | 'grid'>} viewer
   * @param {number[][]} affine from voxels to RAS
   */
  constructor(server, image, limit, panel, viewer, affine) {
    this.affine = affine
    this.server = server
    this.image = image
    this.limit = limit
    this.panel = panel
    this.viewer = viewer
    /** @type {QueueItem[]} */
    this.items = [] // as they were listed last
    /** @type {QueueItem | null} */
    this.current = null
    /** @type {QueueItem[]} */
    this.answered = [] // by this user since the image was opened
    /** @type {QueueItem | null} */
    this.viewed = null // an answered one that the user has chosen from the list
    this.since = 0 // when the current item was shown, ms
    this.advised = false // whether the user was told what the server advises
    this.model = '' // whose mask is shown: an answer to the mask of another one is refused
    this.requests = 0 // of the list: a late reply to an earlier one is left out
    this.onChange = () => {} // another item is the current one, or the list was fetched
  }

  /** The current item, for actions that need one. */
  get required() {
    if (!this.current) throw new Error(t`Press N for the next region first.`)
    return this.current
  }

  /** Boxes of accepted and corrected regions: nothing in them changes any more. */
  get locked() {
    return this.items.filter(({ state }) => state === 'accepted' || state === 'fixed').map(({ box }) => box)
  }

  /** Fetch the list, and show it. */
  async list() {
    const request = ++this.requests
    const { places } = await this.server.json('GET', `/review/?image=${encodeURIComponent(this.image)}&limit=${this.limit}`)
    if (request !== this.requests) return
    this.items = places
    this.panel.queue(places, this.current)
    this.onChange()
  }

  /**
   * Make an item the current one, and go there.
   * @param {QueueItem | null} item
   */
  show(item) {
    this.current = item
    this.viewed = null
    this.since = performance.now()
    this.panel.message('')
    this.panel.region(item)
    if (item) this.goTo(item)
    this.onChange()
  }

  /**
   * Show an item in the views, with the crosshair where the error is suspected.
   * @param {QueueItem} item
   */
  goTo({ box, centre_ras: centre }) {
    this.viewer.jump(box, voxelAt(this.affine, centre).map((n, a) => Math.min(box[2 * a + 1] - 1, Math.max(box[2 * a], n))))
  }

  /** Reserve the best open region and go there. Return what the server advises, '' for nothing. */
  async next() {
    const { place, retrain_first: told = '' } = await this.server.json('POST', `/review/next?image=${encodeURIComponent(this.image)}`)
    const advice = this.advised ? '' : told // once an image
    this.advised = true
    this.show(place)
    const before = place?.skipped_note ? t`Somebody has skipped this region. Note: ${place.skipped_note}` : advice
    this.panel.message(place ? before : t`No region is left. Submit the mask as the label.`)
    return advice
  }

  /** Forget the image: replies that are still on their way show nothing. */
  close() {
    this.requests += 1
  }

  /**
   * Go to an item of the list: an open one is reserved, one that is answered is only shown.
   * @param {QueueItem} item
   * @param {boolean} [drawn] whether the user has drawn in the current one, which stays reserved then
   */
  async choose(item, drawn = false) {
    if (item.case !== this.image) throw new Error(t`That region is of ${item.case}. Choose one in the list of this image.`)
    if (item.state === 'pending' || item.state === 'leased') {
      const left = this.current
      this.show(await this.server.json('POST', `${pathOf(item)}/take`))
      if (left && left.id !== item.id && !left.unreserved && !drawn) await this.server.json('POST', `${pathOf(left)}/release`).catch(() => {})
      return
    }
    this.show(null)
    this.viewed = item
    this.panel.region(item)
    this.goTo(item)
    this.panel.message(t`This region is answered: ${stateInWords(item.state)}, by ${item.by}.${item.answer?.note ? t` Note: ${item.answer.note}.` : ''} Press U to withdraw that answer, N to go on.`)
  }

  /** Go to the best item that nobody has reserved in the list fetched last: the server does not answer. */
  showUnreserved() {
    const item = this.items.find(({ state }) => state === 'pending')
    this.show(item ? { ...item, unreserved: true } : null)
    this.panel.queue(this.items, this.current)
  }

  /**
   * Return the answer to an item as an entry of the outbox.
   * @param {QueueItem} item
   * @param {string} verdict
   * @param {string} note what the user wrote about it
   * @param {string} [after] key of the unsent stroke that it depends on
   * @returns {import('./unsent.js').Entry}
   */
  answerTo(item, verdict, note, after) {
    const seconds = Math.min(86400, (performance.now() - this.since) / 1000).toFixed(1)
    return { method: 'POST', path: `${pathOf(item)}/answer`, form: { verdict, seconds, ...(note && { note }), ...(this.model && { model: this.model }) }, ...(after && { after }) }
  }

  /**
   * Note the answer to an item.
   * @param {QueueItem} item
   * @param {string} verdict
   * @param {string} note that was sent with it
   */
  setAnswered(item, verdict, note) {
    const row = this.items.find(({ id }) => id === item.id)
    if (row) row.state = verdict
    this.answered.push({ ...item, answer: { note } })
  }

  /**
   * Withdraw an answer, and reserve the region: a ranking that ends meanwhile does not replace it.
   * @param {QueueItem} item
   */
  async reopen(item) {
    await this.server.json('DELETE', `${pathOf(item)}/answer?take=true`)
    this.answered = this.answered.filter(({ id }) => id !== item.id)
  }

  /** Let others have the current region. */
  async release() {
    if (this.current) await this.server.json('POST', `${pathOf(this.current)}/release`)
  }
}

/** @param {QueueItem} item */
function pathOf({ id }) {
  return `/review/places/${encodeURIComponent(id)}`
}
