// Corrections inside the current region: pen strokes, tools that the server runs, undo and redo; and catching up with the server.
import { intersection, slicesOf, volumeOf } from './grid.js'
import { isTemporary } from './server.js'
import { t } from './texts.js'

const undoHint = () => t`Press U to undo.`

export class Editing {
  /**
   * @param {import('./image.js').OpenImage} image
   * @param {import('./regions.js').Regions} regions
   * @param {import('./outbox.js').Outbox} outbox
   * @param {import('./server.js').Capabilities['tools']} tools
   */
  constructor(image, regions, outbox, tools) {
    this.image = image
    this.regions = regions
    this.outbox = outbox
    this.panel = regions.panel
    this.clicksOf = new Map(tools.map(({ name, clicks }) => [name, clicks]))
    /** @type {{ item: string, points: number[][] }} */
    this.clicks = { item: '', points: [] }
    /** @type {Map<string, string>} */
    this.unsentStrokes = new Map() // by item: key of the last one in the outbox
    this.onStep = () => {} // the draft has one step more
  }

  /** Forget the clicks of a tool that needs more of them. */
  forgetClicks() {
    if (this.clicks.points.length) this.panel.message('')
    this.clicks = { item: '', points: [] }
  }

  /**
   * Before each step: take a stroke that the viewer did not report, since the pen left the picture. Send what is unsent, and
   * read both masks again where they may differ from the server's.
   */
  async catchUp() {
    const { image, regions, outbox } = this
    if (regions.current && image.masks.penChanged(regions.current.box) && !await this.stroke()) return
    if (!image.stale && !outbox.size) return
    const mine = this.unsentStrokes.get(regions.current?.id ?? '') ?? ''
    image.stale = true
    await outbox.send(mine)
    const refusal = outbox.refused.get(mine)
    if (!outbox.size) await this.reload() // else later: the masks are to hold what is unsent
    if (refusal) throw refusal // what is shown now is not what the next step was meant for
  }

  /** Read both masks again, unless the server does not answer. */
  async reload() {
    try {
      await this.image.reload()
      this.unsentStrokes.clear()
    } catch (error) {
      if (!isTemporary(error)) throw error
      this.image.stale = true
    }
  }

  /**
   * Take what the pen did: inside the region it is sent; outside it, and over accepted regions, it is put back.
   * Return whether it was sent at once; false where it is unsent.
   */
  async stroke() {
    const { image, regions, outbox } = this
    if (!regions.current) image.masks.putBack()
    const { id, box } = regions.required
    const { changed, drawn } = image.masks.takeStroke(box, regions.locked)
    if (!drawn) return true // the step before has taken this stroke with its own
    if (!changed) throw new Error(t`Nothing was changed. Draw inside the yellow frame, and not over accepted regions.`)
    const voxels = await image.masks.grid.pack(image.masks.draft, box)
    const { key, reply } = await this.post({ method: 'POST', path: `${image.path}/draft/draw`, body: { box, voxels, place: id } })
    if (!reply || reply.step) this.onStep()
    if (reply && reply.step?.voxels !== changed) { // others have accepted a part of it since the list was read
      await this.reload()
      this.regions.list().catch(() => {})
      this.panel.message(reply.step ? t`Drawn, except where regions were accepted meanwhile. ${undoHint()}` : t`Nothing was changed: it lies in regions that were accepted meanwhile.`, !reply.step)
    } else if (reply) {
      await image.masks.apply(reply)
      this.panel.message(t`Drawn. ${undoHint()}`)
    } else {
      this.unsentStrokes.set(id, key)
      image.stale = true
      this.panel.message(t`Drawn, and unsent. ${outbox.stopped?.message}`, true)
    }
    this.sayReserved(reply?.reserved_for)
    return Boolean(reply)
  }

  /**
   * Take a click of a tool that the server runs.
   * @param {string} tool
   * @param {number[]} ijk
   */
  async click(tool, ijk) {
    const { id } = this.regions.required
    await this.catchUp()
    if (this.clicks.item !== id) this.clicks = { item: id, points: [] }
    this.clicks.points.push(ijk)
    if (this.clicks.points.length < (this.clicksOf.get(tool) ?? 1)) {
      return this.panel.message(tool === 'box' ? t`Click on the opposite corner, in this slice or in another one.` : t`Click on the other end.`)
    }
    const { points } = this.clicks
    this.forgetClicks()
    const { step, reserved_for: other } = await this.image.changeDraft('prompt', { tool, points, place: id })
    if (!step) {
      this.panel.message(t`Nothing was changed: it is so already, maybe in the slice above or below, or it lies outside the frame.`)
      return this.sayReserved(other)
    }
    this.onStep()
    const { viewer } = this.regions
    const { first, last, axis } = slicesOf(step.box, viewer.grid)
    const there = [...ijk]
    there[axis] = Math.min(Math.max(ijk[axis] ?? 0, first), last)
    if (there[axis] !== ijk[axis]) viewer.look(there)
    const slices = first === last ? t`slice ${first + 1}` : t`slices ${first + 1} to ${last + 1}`
    this.panel.message(t`${step.name}: ${step.voxels} voxels, ${slices}. ${undoHint()}`)
    this.sayReserved(other)
  }

  /**
   * Say that somebody else has the region: its reservation has ended in a pause.
   * @param {string | undefined} other
   */
  sayReserved(other) {
    if (other) this.panel.message(t`This region is reserved for ${other} now: your pause was long. What you drew stays in your draft, but the answer will be theirs. Press N to go on.`, true)
  }

  /** Undo the last step of the draft. Return whether there was one. */
  async undo() {
    const { step } = await this.image.changeDraft('undo')
    if (step) this.showStep(t`Undone`, step)
    return Boolean(step)
  }

  /** Redo the last step that was undone. */
  async redo() {
    await this.catchUp()
    const { step } = await this.image.changeDraft('redo')
    if (!step) return this.panel.message(t`There is nothing to redo.`)
    this.onStep()
    this.showStep(t`Redone`, step)
  }

  /**
   * Go where a step was undone or redone, if it lies in another region.
   * @param {string} done
   * @param {{ name: string, box: import('./grid.js').Box }} step
   */
  showStep(done, { name, box }) {
    const { current, viewer } = this.regions
    if (current && volumeOf(intersection(box, current.box))) return this.panel.message(`${done}: ${name}.`)
    this.regions.show(null)
    viewer.jump(box)
    this.panel.message(t`${done}: ${name}, in another region, which is shown now. Press N to go on.`)
  }

  /**
   * Send an entry; where the server refuses it, show what the server has.
   * @param {import('./unsent.js').Entry} entry
   */
  async post(entry) {
    try {
      return await this.outbox.post(entry)
    } catch (error) {
      this.image.stale = true
      await this.image.reload().catch(() => {})
      throw error
    }
  }
}
