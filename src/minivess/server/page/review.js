// The review of one image: places come, are mended and answered; nothing that was done is lost.
import { meet, volumeOf } from './grid.js'
import { predict } from './predict.js'
import { ServerError, formOf } from './server.js'

const CLICKS = { path: 2, connect: 2, cut: 1, remove: 1 }
const STEPS = { draw: 'what was drawn', path: 'path', connect: 'connection', cut: 'cut', remove: 'branch removed' }
const DONE = { accepted: 'Accepted.', fixed: 'Mended and kept.', skipped: 'Skipped: it stays as not looked at.' }

export class Review {
  constructor(server, viewer, outbox, show) {
    Object.assign(this, { server, viewer, outbox, show })
    this.image = ''
    this.place = null
    this.places = [] // as they were listed last
    this.answered = []
    this.clicks = []
    this.stale = false // a reply was lost: the server may have done what is not shown
    this.prediction = null // that is waited for
    this.queue = Promise.resolve() // one thing after the other, in the order of the keys
  }

  /** Do something after all that was asked for before; what goes wrong is said and not thrown. */
  then(work) {
    this.queue = this.queue.then(work).catch((error) => {
      this.show.message(error.message, true)
      if (error.status === 401) this.show.refused(error.message)
    })
    return this.queue
  }

  get address() {
    return addressOf(this.image)
  }

  /** Boxes of accepted places: nothing in them changes any more. */
  get locked() {
    return this.places.filter(({ state }) => state === 'accepted' || state === 'fixed').map(({ box }) => box)
  }

  // ---- image ----------------------------------------------------------------------------------------------------------

  /** Take an image; the one before is left only when all of this one is there. */
  async open(image) {
    await this.settle()
    const address = addressOf(image)
    let standing = await this.server.json('GET', address)
    if (!standing.predicted) {
      this.prediction = predict(this.server, image, this.show)
      await this.prediction.done.finally(() => { this.prediction = null })
      standing = await this.server.json('GET', address)
    }
    this.show.message('Loading ...')
    const names = ['volume', 'mask', 'draft/mask']
    const [volume, accepted, draft] = await Promise.all(names.map((name) => this.server.bytes(`${address}/${name}?format=nii.gz`)))
    Object.assign(this, { image, place: null, places: [], answered: [], clicks: [], stale: false, revision: standing.revision })
    this.show.place(null)
    this.viewer.pen(null, 1)
    this.base = await this.viewer.show(volume, accepted, standing.shape)
    this.grid = this.viewer.grid
    this.viewer.nv.drawBitmap = await this.viewer.bitmapOf(draft)
    this.viewer.refresh()
    this.held = this.viewer.bitmap.slice()
    this.show.message(standing.retrain_first || standing.zones || '')
    this.show.progress(standing.progress)
    await this.list()
  }

  /** Say which image to look at next: that of the best place nobody is at, or else what the server's strategy says. */
  async nextImage() {
    const { places } = await this.server.json('GET', '/review/?state=pending&limit=1')
    if (places.length) return places[0].case
    return (await this.server.json('POST', '/activelearning/uncertainty', { body: {} })).id
  }

  async list() {
    const { places } = await this.server.json('GET', `/review/?image=${encodeURIComponent(this.image)}&limit=1000`)
    this.places = places
    this.show.queue(places, this.place?.id)
  }

  /** Show queue and progress of now, beside what goes on. */
  refresh() {
    this.list().catch(() => {})
    this.server.json('GET', this.address).then(({ progress }) => this.show.progress(progress), () => {})
  }

  // ---- places ---------------------------------------------------------------------------------------------------------

  /** Go to the next place, unless one waits for its answer; sends what was kept. */
  async next() {
    if (!this.image) throw new Error('Choose an image first.')
    await this.settle()
    const kept = this.outbox.items.length
    await this.outbox.send()
    if (this.outbox.items.length) throw this.outbox.stopped
    if (this.place && !this.place.unreserved) {
      this.show.message(kept ? 'What was kept is sent.' : 'Answer this place first (A), or skip it (S).')
    } else await this.takeNext()
    this.refresh()
  }

  /** Reserve the next place and go there; gives what the server advises. */
  async takeNext() {
    const told = await this.server.json('POST', `/review/next?image=${encodeURIComponent(this.image)}`)
    this.take(told.place)
    if (!told.place) this.show.message('No place is left. Submit the mask as the label.')
    else if (told.retrain_first) this.show.message(told.retrain_first)
    return told.retrain_first
  }

  /** Go to a place of the list; one that was answered is only looked at. */
  async choose(place) {
    await this.settle()
    if (place.state === 'pending' || place.state === 'leased') {
      this.take(await this.server.json('POST', `/review/places/${encodeURIComponent(place.id)}/take`))
      this.refresh()
      return
    }
    this.take(null)
    this.show.place(place)
    this.viewer.jump(place.box)
    this.show.message(`This place is answered: ${place.state}, by ${place.by}. N goes on.`)
  }

  take(place) {
    this.place = place
    this.clicks = []
    this.since = performance.now()
    this.show.message('')
    this.show.place(place)
    if (place) this.viewer.jump(place.box)
  }

  /** Say that the place is right: as it was drawn, or as it has been mended. */
  async accept() {
    this.needsPlace()
    await this.settle()
    await this.answer(this.grid.same(this.viewer.bitmap, this.base, this.place.box) ? 'accepted' : 'fixed')
  }

  async skip() {
    this.needsPlace()
    await this.settle()
    await this.answer('skipped')
  }

  needsPlace() {
    if (!this.place) throw new Error('Ask for a place first (N).')
  }

  async answer(verdict) {
    const place = this.place
    const seconds = Math.min(86400, (performance.now() - this.since) / 1000).toFixed(1)
    const path = `/review/places/${encodeURIComponent(place.id)}/answer`
    const reply = await this.sent({ method: 'POST', path, form: { verdict, seconds } })
    if (verdict !== 'skipped') this.grid.copy(this.viewer.bitmap, this.base, place.box)
    const row = this.places.find(({ id }) => id === place.id)
    if (row) row.state = verdict
    this.answered.push(place)
    if (!reply && this.outbox.stopped) return this.goOnAlone()
    const advice = await this.takeNext()
    if (this.place && !advice) this.show.message(DONE[verdict])
    this.refresh()
  }

  /** The server is away: go on with the places that were listed; the answers are kept. */
  goOnAlone() {
    const place = this.places.find(({ state }) => state === 'pending')
    this.take(place ? { ...place, unreserved: true } : null)
    this.show.queue(this.places, place?.id)
    const { status, message } = this.outbox.stopped
    throw new ServerError(status, `${message} Your answer is kept here; go on, it is sent when the server is back (N).`)
  }

  /** Send something that must not be lost; gives the reply, null where it waits in the outbox. */
  async sent(item) {
    try {
      return await this.outbox.send(item)
    } catch (error) {
      if (error.status === 409) await this.changed()
      else await this.reload().catch(() => {}) // what is shown is what the server has
      throw error
    }
  }

  /** Somebody else was faster, or a newer model has drawn the image anew: look again. */
  async changed() {
    await this.open(this.image)
    await this.takeNext()
  }

  // ---- mending --------------------------------------------------------------------------------------------------------

  /** Take what the pen did and did not tell, since it left the picture before it was lifted; catch up with the server. */
  async settle() {
    if (this.place && !this.grid.same(this.viewer.bitmap, this.held, this.place.box)) await this.stroke()
    if (!this.stale) return
    await this.outbox.send()
    if (this.outbox.items.length) return // the masks are to hold what is kept: later
    try {
      await this.reload()
    } catch (error) {
      if (!error.passing) throw error
    }
  }

  /** Take what the pen did: inside the place it is kept, outside it and over what is accepted it is put back. */
  async stroke() {
    const { viewer, grid, place, held } = this
    if (!place) {
      viewer.bitmap.set(held)
      viewer.refresh()
      throw new Error('Ask for a place first (N): only inside it something is mended.')
    }
    for (const locked of this.locked) grid.copy(held, viewer.bitmap, meet(locked, place.box))
    const changed = !grid.same(viewer.bitmap, held, place.box)
    grid.copy(viewer.bitmap, held, place.box)
    viewer.bitmap.set(held)
    viewer.refresh()
    if (!changed) throw new Error('Nothing changes outside the frame, nor in places that are answered.')
    const drawn = await grid.pack(held, place.box)
    const told = await this.sent({ method: 'POST', path: `${this.address}/draft/draw`, body: { box: place.box, voxels: drawn } })
    if (told) {
      await this.apply(told)
      this.show.message('Drawn. U takes it back.')
    } else if (this.outbox.stopped) this.show.message(`Drawn, and kept here until it can be sent. ${this.outbox.stopped.message}`, true)
  }

  /** Take a click of a tool that asks the server. */
  async click(tool, ijk) {
    this.needsPlace()
    await this.settle()
    this.clicks.push(ijk)
    if (this.clicks.length < CLICKS[tool]) return this.show.message('And the other end.')
    const points = this.clicks
    this.clicks = []
    const told = await this.draft('prompt', { body: { tool, points, place: this.place.id } })
    await this.apply(told)
    this.show.message(told.step ? `${nameOf(told.step)}: ${told.step.voxels} voxels, ${slicesOf(told.step.box)}. U takes it back.` : 'That changes nothing here.')
  }

  /** Take back the last step of the draft, or else the last answer. */
  async undo() {
    await this.settle()
    await this.outbox.send()
    if (this.outbox.items.length) throw this.outbox.stopped
    const told = await this.draft('undo')
    if (told.step) return this.showStep('Taken back', told)
    const place = this.answered.at(-1)
    if (!place) return this.show.message('There is nothing to take back.')
    await this.server.ask('DELETE', `/review/places/${encodeURIComponent(place.id)}/answer`)
    this.answered.pop()
    await this.reload()
    if (this.place) await this.server.ask('POST', `/review/places/${encodeURIComponent(this.place.id)}/release`)
    this.take(place)
    this.show.message('The last answer is taken back.')
    this.refresh()
  }

  async redo() {
    await this.settle()
    const told = await this.draft('redo')
    if (told.step) await this.showStep('Done again', told)
    else this.show.message('There is nothing to do again.')
  }

  /** Ask for a change of the draft; where the reply is lost it may have happened all the same. */
  async draft(what, options) {
    try {
      return await this.server.json('POST', `${this.address}/draft/${what}`, options)
    } catch (error) {
      this.stale ||= error.passing
      throw error
    }
  }

  /** Show a step that was taken back or done again, also where it lies in another place. */
  async showStep(words, told) {
    await this.apply(told)
    const name = nameOf(told.step)
    if (this.place && volumeOf(meet(told.step.box, this.place.box))) return this.show.message(`${words}: ${name}.`)
    this.take(null)
    this.viewer.jump(told.step.box)
    this.show.message(`${words}: ${name}, in another place, which is shown now. N goes on.`)
  }

  async apply(told) {
    if (!told.step) return
    const { grid, viewer, held } = this
    const now = held.slice()
    await grid.unpack(told.holds, told.step.box, now)
    grid.within(told.step.box, (at) => { // what the pen did meanwhile comes next, and stays
      if (viewer.bitmap[at] === held[at]) viewer.bitmap[at] = now[at]
      held[at] = now[at]
    })
    viewer.refresh()
  }

  /** Read both masks again. */
  async reload() {
    const [accepted, draft] = await Promise.all(['mask', 'draft/mask'].map((n) => this.server.bytes(`${this.address}/${n}?format=nii.gz`)))
    this.base = await this.viewer.bitmapOf(accepted)
    this.viewer.nv.drawBitmap = await this.viewer.bitmapOf(draft)
    this.held = this.viewer.bitmap.slice()
    this.viewer.refresh()
    this.stale = false
  }

  async heat() {
    if (this.viewer.heat) return this.viewer.hideHeat()
    await this.viewer.showHeat(await this.server.bytes(`${this.address}/heat?format=nii.gz`))
  }

  /** Send the mask as the label of the image; it is made from the label that counted when the image was opened. */
  async submit() {
    if (!this.image) throw new Error('Choose an image first.')
    await this.settle()
    await this.outbox.send()
    if (this.outbox.items.length) throw this.outbox.stopped
    const label = new File([await this.viewer.file()], `${this.image}.nii`)
    const headers = { 'If-Match': String(this.revision ?? 0) } // sent twice, the server knows it by its content
    try {
      const form = formOf({ params: '{}', label })
      const path = `/datastore/label?image=${encodeURIComponent(this.image)}&tag=final`
      const told = await this.server.json('PUT', path, { form, headers, timeout_s: 600 })
      this.revision = told.minivess?.revision ?? null
      this.show.message([`Submitted as revision ${this.revision}.`, ...(told.minivess?.changes ?? [])].join(' '))
    } catch (error) {
      if (error.status !== 409) throw new ServerError(error.status, `${error.message} Nothing is lost: submit again, or save a copy here.`)
      throw new Error(`Somebody else has submitted meanwhile. Your mask is kept beside theirs; a reviewer decides. (${error.message})`)
    }
  }
}

function addressOf(image) {
  return `/review/images/${encodeURIComponent(image)}`
}

function nameOf(step) {
  return STEPS[step.name] ?? step.name
}

function slicesOf(box) {
  return box[5] - box[4] === 1 ? `slice ${box[5]}` : `slices ${box[4] + 1} to ${box[5]}`
}
