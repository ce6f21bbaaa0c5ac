// The review of one image: places come, are mended and answered; nothing that was done is lost.
import { meet } from './grid.js'
import { ServerError, formOf } from './server.js'

const CLICKS = { path: 2, connect: 2, cut: 1, remove: 1 }

export class Review {
  constructor(server, viewer, outbox, show) {
    Object.assign(this, { server, viewer, outbox, show })
    this.image = ''
    this.place = null
    this.answered = []
    this.clicks = []
    this.locked = [] // boxes of accepted places
    this.stop = null // ends what is waited for
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
    return `/review/images/${encodeURIComponent(this.image)}`
  }

  async open(image) {
    this.image = image
    this.place = null
    this.answered = []
    this.show.place(null)
    let standing = await this.server.json('GET', this.address)
    if (!standing.predicted) {
      await this.predict()
      standing = await this.server.json('GET', this.address)
    }
    this.show.message('Loading ...')
    const [volume, accepted, draft] = await Promise.all(
      ['volume', 'mask', 'draft/mask'].map((name) => this.server.bytes(`${this.address}/${name}?format=nii.gz`)),
    )
    this.viewer.pen(null, 1)
    this.base = await this.viewer.show(volume, accepted, standing.shape)
    this.grid = this.viewer.grid
    this.viewer.nv.drawBitmap = await this.viewer.bitmapOf(draft)
    this.viewer.refresh()
    this.held = this.viewer.bitmap.slice()
    this.revision = standing.revision
    this.show.message(standing.retrain_first || standing.zones || '')
    this.show.progress(standing.progress)
    await this.list()
  }

  /** Ask the first model that segments, and say how far it is. */
  async predict() {
    const { models } = await this.server.json('GET', '/info/')
    const model = Object.keys(models).find((name) => models[name].type === 'segmentation')
    if (!model) throw new Error('No model of this server segments by itself.')
    const id = crypto.randomUUID?.() ?? `page-${Date.now()}`
    const follow = setInterval(async () => {
      const job = await this.server.json('GET', `/jobs/${id}`).catch(() => null)
      if (job && this.stop) this.show.waiting(job.progress)
    }, 1000)
    this.stop = () => this.server.ask('DELETE', `/jobs/${id}`).catch(() => {})
    this.show.message(`The model looks at ${this.image} ...`)
    this.show.waiting(0)
    try {
      const path = `/infer/${encodeURIComponent(model)}?image=${encodeURIComponent(this.image)}&output=json`
      await this.server.ask('POST', path, { headers: { 'X-Request-ID': id }, timeout_s: 3600 })
    } finally {
      clearInterval(follow)
      this.stop = null
      this.show.waiting(null)
    }
  }

  async list() {
    const { places } = await this.server.json('GET', `/review/?image=${encodeURIComponent(this.image)}&limit=1000`)
    this.locked = places.filter(({ state }) => state === 'accepted' || state === 'fixed').map(({ box }) => box)
    this.show.queue(places, this.place?.id)
  }

  /** Say which image to look at next: that of the best place of all, or else what the server's strategy says. */
  async nextImage() {
    const { place } = await this.server.json('POST', '/review/next')
    if (place) return place.case
    return (await this.server.json('POST', '/activelearning/uncertainty', { body: {} })).id
  }

  /** Go to a place of the list; one that was answered is only looked at. */
  async choose(place) {
    await this.settle()
    if (place.state === 'pending' || place.state === 'leased') {
      this.take(await this.server.json('POST', `/review/places/${encodeURIComponent(place.id)}/take`))
      this.list().catch(() => {})
      return
    }
    this.take(null)
    this.viewer.jump(place.box)
    this.show.message(`This place is answered: ${place.state}, by ${place.by}. N goes on.`)
  }

  async next() {
    await this.settle()
    await this.outbox.send()
    const told = await this.server.json('POST', `/review/next?image=${encodeURIComponent(this.image)}`)
    this.take(told.place)
    if (!told.place) this.show.message('No place is left. Submit the mask as the label.')
    else if (told.retrain_first) this.show.message(told.retrain_first)
  }

  take(place) {
    this.place = place
    this.clicks = []
    this.since = performance.now()
    this.show.place(place)
    if (place) this.viewer.jump(place.box)
  }

  /** Say that the place is right: as it was drawn, or as it has been mended. */
  async accept() {
    await this.settle()
    if (this.place) await this.answer(this.grid.same(this.viewer.bitmap, this.base, this.place.box) ? 'accepted' : 'fixed')
  }

  async skip() {
    await this.settle()
    if (this.place) await this.answer('skipped')
  }

  async answer(verdict) {
    const place = this.place
    const seconds = Math.min(86400, (performance.now() - this.since) / 1000).toFixed(1)
    const path = `/review/places/${encodeURIComponent(place.id)}/answer`
    const kept = await this.sent({ method: 'POST', path, form: { verdict, seconds } })
    if (verdict !== 'skipped') {
      this.grid.copy(this.viewer.bitmap, this.base, place.box)
      this.locked.push(place.box)
    }
    this.answered.push(place)
    if (!kept) {
      this.take(null)
      const { status, message } = this.outbox.stopped
      throw new ServerError(status, `${message} Your answer is kept here and sent when you go on: press N then.`)
    }
    this.show.message(verdict === 'fixed' ? 'Mended and kept.' : verdict === 'accepted' ? 'Accepted.' : 'Skipped.')
    await this.next()
    this.standing()
    this.list().catch(() => {})
  }

  /** Send something that must not be lost; gives the reply, null where it waits in the outbox. */
  async sent(item) {
    try {
      return await this.outbox.send(item)
    } catch (error) {
      if (error.status === 409) await this.changed(error)
      throw error
    }
  }

  /** Somebody else was faster, or a newer model has drawn the image anew: look again. */
  async changed(error) {
    await this.open(this.image)
    await this.next()
    throw error
  }

  async standing() {
    const told = await this.server.json('GET', this.address).catch(() => null)
    if (told) this.show.progress(told.progress)
  }

  /** Take what the pen did and did not tell, since it left the picture before it was lifted. */
  async settle() {
    if (this.place && !this.grid.same(this.viewer.bitmap, this.held, this.place.box)) await this.stroke()
  }

  /** Take what the pen did: inside the place it is kept, outside it and over what is accepted it is put back. */
  async stroke() {
    const { viewer, grid, place } = this
    if (!place) {
      viewer.bitmap.set(this.held)
      viewer.refresh()
      throw new Error('Ask for a place first (N): only inside it something is mended.')
    }
    for (const locked of this.locked) grid.copy(this.held, viewer.bitmap, meet(locked, place.box))
    grid.copy(viewer.bitmap, this.held, place.box)
    viewer.bitmap.set(this.held)
    viewer.refresh()
    const drawn = await grid.pack(this.held, place.box)
    const told = await this.sent({ method: 'POST', path: `${this.address}/draft/draw`, body: { box: place.box, voxels: drawn } })
    if (told) {
      await this.apply(told)
      this.show.message('Drawn. U takes it back.')
    } else this.show.message(`Drawn, and kept here until it can be sent. ${this.outbox.stopped.message}`, true)
  }

  /** Take a click of a tool that asks the server. */
  async click(tool, ijk) {
    if (!this.place) throw new Error('Ask for a place first (N).')
    await this.settle()
    this.clicks.push(ijk)
    if (this.clicks.length < CLICKS[tool]) return this.show.message('And the other end.')
    const points = this.clicks
    this.clicks = []
    const told = await this.server.json('POST', `${this.address}/draft/prompt`, { body: { tool, points, place: this.place.id } })
    await this.apply(told)
    this.show.message(told.step ? `${told.step.name}: ${told.step.voxels} voxels. U takes it back.` : 'That changes nothing here.')
  }

  /** Take back the last step of the draft, or else the last answer. */
  async undo() {
    await this.settle()
    await this.outbox.send()
    const told = await this.server.json('POST', `${this.address}/draft/undo`)
    if (told.step) {
      await this.apply(told)
      return this.show.message(`Taken back: ${told.step.name}.`)
    }
    const place = this.answered.pop()
    if (!place) return this.show.message('There is nothing to take back.')
    await this.server.ask('DELETE', `/review/places/${encodeURIComponent(place.id)}/answer`)
    await this.reload()
    if (this.place) await this.server.ask('POST', `/review/places/${encodeURIComponent(this.place.id)}/release`)
    this.take(place)
    this.show.message('The last answer is taken back.')
    await Promise.all([this.standing(), this.list()])
  }

  async redo() {
    const told = await this.server.json('POST', `${this.address}/draft/redo`)
    await this.apply(told)
    this.show.message(told.step ? `Done again: ${told.step.name}.` : 'There is nothing to do again.')
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
  }

  async heat() {
    if (this.viewer.heat) return this.viewer.hideHeat()
    await this.viewer.showHeat(await this.server.bytes(`${this.address}/heat?format=nii.gz`))
  }

  /** Send the mask as the label of the image; it is made from the label that counted when the image was opened. */
  async submit() {
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
