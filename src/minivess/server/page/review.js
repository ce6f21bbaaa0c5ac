// The review by one annotator: what each key and button does. Actions run one after the other, in the order of the keys.
import { Comparison } from './comparison.js'
import { Editing } from './editing.js'
import { OpenImage, maskBefore, statusOf } from './image.js'
import { predict } from './predict.js'
import { Regions, stateInWords } from './regions.js'
import { ServerError, isTemporary } from './server.js'
import { Suspects } from './suspects.js'
import { submit } from './submission.js'
import { t } from './texts.js'

const STEP = 'step' // of the draft

export class Review {
  /**
   * @param {import('./server.js').Server} server
   * @param {import('./viewer.js').Viewer} viewer
   * @param {import('./outbox.js').Outbox} outbox
   * @param {import('./server.js').Capabilities} capabilities
   * @param {import('./panel.js').Panel} panel
   * @param {import('./map.js').StackMap} map
   */
  constructor(server, viewer, outbox, capabilities, panel, map) {
    this.map = map
    this.suspects = new Suspects(server, viewer, panel)
    this.server = server
    this.viewer = viewer
    this.outbox = outbox
    this.capabilities = capabilities
    this.panel = panel
    /** @type {OpenImage | null} */
    this.image = null
    this.regions = new Regions(server, '', 1, panel, viewer, [])
    /** @type {Editing | null} */
    this.editing = null
    /** @type {ReturnType<typeof predict> | null} */
    this.prediction = null // that is waited for
    this.wanted = '' // the image that the user has chosen last
    this.queue = Promise.resolve() // of actions
    this.waiting = 0 // actions that are not over
    /** @type {string[]} */
    this.undoable = [] // what was done in the open image, the oldest first: ids of answered regions, and STEP
    this.aboutImage = '' // what is to be read of an image that was opened, once its first region is shown
  }

  /**
   * Do something after all that was asked for before; errors are shown, not thrown.
   * @param {() => unknown} action
   */
  enqueue(action) {
    this.waiting += 1
    this.queue = this.queue.then(action).catch((error) => this.failed(error)).then(() => {
      this.waiting -= 1
      const notices = this.outbox.takeNotices()
      if (notices) this.panel.message(notices, true)
    })
    return this.queue
  }

  /** Whether something that the user did is not yet on the server, nor stored in this browser. */
  get busy() {
    const { image, regions } = this
    return this.waiting > 0 || Boolean(image && regions.current && image.masks.penChanged(regions.current.box))
  }

  /**
   * Return the current region, where it is the one that was on the screen when the user asked for something.
   * @param {string} shown id of that region
   */
  regionShown(shown) {
    const item = this.regions.required
    if (item.id !== shown) throw new Error(t`Another region is shown now than when you pressed. Look at it, then answer.`)
    return item
  }

  /** @param {Error} error */
  failed(error) {
    const refused = error instanceof ServerError && !error.temporary
    this.panel.message(refused ? t`Refused: ${error.message}` : error.message, true)
    if (error instanceof ServerError && error.status === 401) this.panel.askForToken(error.message)
  }

  /** The parts that exist while an image is open. */
  get opened() {
    if (!this.image || !this.editing) throw new Error(t`Choose an image first.`)
    return { image: this.image, editing: this.editing }
  }

  /**
   * Note the image that the user has chosen; it goes before the segmentation of another one.
   * @param {string} name
   */
  want(name) {
    this.wanted = name
    this.prediction?.stop()
  }

  /**
   * Open an image; a model segments it first where that was not done yet. The image before stays where this one cannot be opened.
   * @param {string} name
   * @param {boolean} [again] whether the model segments it in any case
   */
  async open(name, again = false) {
    this.aboutImage = ''
    await this.editing?.catchUp()
    let status = await statusOf(this.server, name)
    if (again || !status.predicted) {
      if (this.wanted !== name) throw new Error(t`${name} was not segmented, because ${this.wanted} was chosen meanwhile.`)
      this.prediction = predict(this.server, name, this.panel)
      await this.prediction.done.finally(() => { this.prediction = null })
      status = await statusOf(this.server, name)
    }
    this.panel.message(t`Loading ...`)
    const answered = name === this.image?.name ? this.regions.answered : []
    this.image = await OpenImage.open(this.server, this.viewer, name, status)
    this.regions.close()
    this.regions = new Regions(this.server, name, this.capabilities.limits.list, this.panel, this.viewer, status.affine_ras)
    this.regions.answered = answered
    this.regions.model = status.model
    this.regions.onChange = () => this.showRegions()
    this.map.open(this.viewer.bytes, this.image.masks.grid)
    this.editing = new Editing(this.image, this.regions, this.outbox, this.capabilities.tools)
    this.editing.onStep = () => this.undoable.push(STEP)
    this.regions.show(null)
    const quality = status.quality && t`Expected quality of the prediction: ${status.quality}. `
    const newer = status.newer_model ? t`A newer model is published: Segment again shows what it makes of this image. ` : ''
    this.aboutImage = `${newer}${quality}${status.zones}`.trim() // once its first region is shown
    if (!answered.length) this.undoable = []
    this.panel.progress(status.progress)
    await this.regions.list()
  }

  /** Show the regions on the map, and what is suspected in the current one. */
  showRegions() {
    const { items, current } = this.regions
    this.map.show(items, current?.id)
    if (this.suspects.id !== (current?.id ?? '')) this.suspects.show(current)
  }

  /** Fetch and show the queue and the progress, while the user goes on. */
  refresh() {
    const { regions } = this
    regions.list().catch(() => {})
    statusOf(this.server, this.opened.image.name).then(({ progress }) => { if (regions === this.regions) this.panel.progress(progress) }, () => {})
  }

  /** Send what is unsent and show what the server has; throw where that cannot be done now. */
  async catchUp() {
    const { image, editing } = this.opened
    await editing.catchUp()
    if (image.stale) throw this.outbox.stopped ?? new ServerError(0, t`The server does not answer.`)
  }

  /** Send what is unsent, and go to the next region, unless one waits for its answer. */
  async next() {
    const unsent = this.outbox.size
    await this.catchUp()
    if (this.regions.current && !this.regions.current.unreserved) {
      this.panel.message(unsent ? t`All your work is sent.` : t`Answer this region first: accept it (A) or skip it (S).`)
    } else {
      await this.nextRegion()
      this.panel.alsoSay(this.aboutImage || (unsent ? t`All your work is sent.` : ''))
      this.aboutImage = ''
    }
    this.refresh()
  }

  /**
   * Reserve the next region and go there. The image is opened again where another model has predicted it since: its mask is another one.
   * @returns {Promise<string>} what the server advises
   */
  async nextRegion() {
    const advice = await this.regions.next()
    return (await this.openedAgain()) ? this.regions.next() : advice
  }

  /** Open the image again where the current region is of another model than the mask that is shown. Return whether it was. */
  async openedAgain() {
    const { current, model } = this.regions
    if (!current || !model || current.model === model) return false
    await this.open(this.opened.image.name)
    return true
  }

  /**
   * Go to a region of the list.
   * @param {import('./regions.js').QueueItem} item
   */
  async choose(item) {
    const { image, editing } = this.opened
    await editing.catchUp()
    const { current } = this.regions
    try {
      await this.regions.choose(item, Boolean(current && image.masks.corrected(current.box)))
      if (await this.openedAgain()) await this.regions.choose({ ...item, state: 'pending' })
    } finally {
      this.refresh() // also after a refusal: the list is of an earlier ranking then
    }
  }

  /**
   * Take a click of a tool.
   * @param {string} tool that was selected then
   * @param {number[]} ijk
   * @param {string} shown region that was on the screen then
   */
  async click(tool, ijk, shown) {
    this.regionShown(shown)
    await this.opened.editing.click(tool, ijk)
  }

  /**
   * Accept the region as it is shown: unchanged, or corrected.
   * @param {string} shown region that was on the screen when the user accepted
   */
  async accept(shown) {
    const { box } = this.regionShown(shown)
    if (this.viewer.comparison) throw new Error(t`You see the model before left of the line. Press Y to see the mask as it is now, then answer.`)
    await this.opened.editing.catchUp()
    await this.answer(this.opened.image.masks.corrected(box) ? 'fixed' : 'accepted')
  }

  /** @param {string} shown region that was on the screen when the user skipped */
  async skip(shown) {
    this.regionShown(shown)
    await this.opened.editing.catchUp()
    await this.answer('skipped')
  }

  /** @param {string} verdict */
  async answer(verdict) {
    const { regions, outbox, opened: { image, editing } } = this
    const item = regions.required
    const { note } = this.panel
    const { reply } = await this.post(regions.answerTo(item, verdict, note, editing.unsentStrokes.get(item.id)))
    this.panel.note = ''
    if (verdict !== 'skipped') image.masks.accept(item.box)
    regions.setAnswered(item, verdict, note)
    this.undoable.push(item.id)
    try {
      if (!reply && outbox.stopped) throw outbox.stopped
      const advice = await this.nextRegion()
      if (this.regions.current && !advice) this.panel.message(t`Region ${stateInWords(verdict)}.`)
      this.refresh()
    } catch (error) {
      this.regions.show(null) // another object where the image was opened again
      if (!(error instanceof ServerError && error.temporary)) throw error
      this.opened.image.stale = true
      this.regions.showUnreserved()
      throw new ServerError(error.status, t`${error.message} Go on: unsent answers stay in this browser, and are sent when the server answers again (N).`)
    }
  }

  /**
   * Send an answer. With 409 (another annotator was faster, or there is a newer model) open the image again and go on.
   * @param {import('./unsent.js').Entry} entry
   */
  async post(entry) {
    const { image, editing } = this.opened
    try {
      return await editing.post(entry)
    } catch (error) {
      if (error instanceof ServerError && error.status === 409) {
        await this.open(image.name)
        await this.regions.next()
      }
      throw error
    }
  }

  /** Undo what was done last in the image, a step of the draft or an answer; the answer of an answered region where one is shown. */
  async undo() {
    const { regions, opened: { editing } } = this
    const { viewed } = regions
    await this.catchUp()
    const answer = viewed ?? regions.answered.find(({ id }) => id === this.undoable.at(-1))
    if (!answer && await editing.undo()) return this.forget(STEP)
    const item = answer ?? regions.answered.at(-1)
    if (!item) return this.panel.message(t`There is nothing to undo.`)
    await this.withdraw(item)
    await editing.reload()
    await regions.release()
    await regions.choose({ ...item, state: 'pending' })
    if (await this.openedAgain()) await this.regions.choose({ ...item, state: 'pending' }) // it is of the newest model now
    if (item.answer?.note && !this.panel.note) this.panel.note = item.answer.note
    this.panel.message(viewed ? t`The answer is withdrawn.` : t`Your last answer is withdrawn.`)
    this.refresh()
  }

  /**
   * Withdraw an answer. One that the server refuses to withdraw is not asked for again.
   * @param {import('./regions.js').QueueItem} item
   */
  async withdraw(item) {
    const { regions, opened: { image } } = this
    try {
      await image.orStale(regions.reopen(item))
    } catch (error) {
      if (isTemporary(error)) throw error
      regions.answered = regions.answered.filter(({ id }) => id !== item.id)
      this.forget(item.id)
      throw error
    }
    this.forget(item.id)
  }

  /**
   * Forget the newest of some actions: it is undone.
   * @param {string} action id of an answered region, or STEP
   */
  forget(action) {
    const place = this.undoable.lastIndexOf(action)
    if (place >= 0) this.undoable.splice(place, 1)
  }

  /**
   * Undo the newest steps of the draft; answers stay.
   * @param {number} count
   */
  async undoSteps(count) {
    await this.catchUp()
    for (let left = count; left && await this.opened.editing.undo();) {
      left -= 1
      this.forget(STEP)
    }
  }

  /** Go to the next error that is suspected in this region. */
  nextError() {
    this.suspects.next()
  }

  redo() {
    return this.opened.editing.redo()
  }

  /** Show or hide the uncertainty of the model. */
  async heat() {
    if (this.viewer.heat) return this.viewer.hideHeat()
    await this.viewer.showHeat(await this.server.bytes(`${this.opened.image.path}/heat?format=nii.gz`))
  }

  /** Let the newest model segment the open image; what was answered stays. */
  async segmentAgain() {
    const { name, status } = this.opened.image
    if (this.wanted !== name || !status.newer_model) return // another image was chosen meanwhile, or it is done already
    await this.open(name, true)
    await this.regions.next()
    this.refresh()
  }

  /** Compare the mask with that of the model before, or end that. */
  async compare() {
    const { image } = this.opened
    if (this.viewer.comparison) {
      this.panel.message('')
      return this.viewer.compare(null)
    }
    if (!image.status.model_before) throw new Error(t`No other model has segmented this image before. Where a newer model is published, press Segment again first.`)
    await this.opened.editing.catchUp()
    const comparison = new Comparison(await maskBefore(this.server, image), this.viewer.mask)
    this.viewer.compare(comparison)
    this.panel.message(comparison.inWords)
  }

  /** Send the mask as the label of the image; while regions are open the user is asked first. */
  async submit() {
    this.opened.image.stale = true // others may have answered regions since it was opened
    await this.catchUp()
    const { progress } = await statusOf(this.server, this.opened.image.name)
    if (!this.panel.confirmSubmission(progress)) return this.panel.message(t`Nothing was submitted. Go on with the regions (N).`)
    this.panel.message(await submit(this.server, this.opened.image, await this.viewer.file()))
  }
}
