// The three masks of the open image, bitmaps along R, A, S: shown, draft, and base.
import { intersection } from './grid.js'

/**
 * What the masks need of the viewer: `mask` is the bitmap that the pen changes, `refresh` shows changes of it.
 * @typedef {{ mask: Uint8Array, refresh: () => void }} Shown
 *
 * A step of the draft: what changed, and what its box holds now (see Grid.pack).
 * @typedef {{ step: { name: string, voxels: number, box: import('./grid.js').Box } | null, holds: string, reserved_for?: string }} DraftReply
 */

export class Masks {
  /**
   * @param {import('./grid.js').Grid} grid
   * @param {Shown} viewer its mask is shown; it differs from the draft where the pen was used since
   * @param {Uint8Array} base prediction and accepted regions, without the draft
   * @param {Uint8Array} draft with the user's draft: what the server has, or will have when all is sent
   */
  constructor(grid, viewer, base, draft) {
    this.grid = grid
    this.viewer = viewer
    this.base = base
    this.draft = draft
  }

  /**
   * Return whether the pen has changed something in a box that is not in the draft.
   * @param {import('./grid.js').Box} box
   */
  penChanged(box) {
    return !this.grid.equal(this.viewer.mask, this.draft, box)
  }

  /**
   * Take what the pen did in a box into the draft, except over locked boxes; put all else back. Return how many voxels of the draft
   * changed, and whether the pen had done anything since.
   * @param {import('./grid.js').Box} box
   * @param {import('./grid.js').Box[]} locked
   */
  takeStroke(box, locked) {
    const { grid, viewer, draft } = this
    const drawn = this.penChanged(box) || differ(viewer.mask, draft)
    for (const other of locked) grid.copy(draft, viewer.mask, intersection(other, box))
    let changed = 0
    grid.within(box, (index) => { changed += Number(viewer.mask[index] !== draft[index]) })
    grid.copy(viewer.mask, draft, box)
    this.putBack()
    return { changed, drawn }
  }

  /** Show the draft, without what the pen did. */
  putBack() {
    this.viewer.mask.set(this.draft)
    this.viewer.refresh()
  }

  /**
   * Take a reply of the server into the draft.
   * @param {DraftReply} reply
   */
  async apply({ step, holds }) {
    if (!step) return
    const now = this.draft.slice()
    await this.grid.unpack(holds, step.box, now)
    this.grid.within(step.box, (index) => this.update(index, now[index]))
    this.viewer.refresh()
  }

  /**
   * Take both masks as the server has them now.
   * @param {Uint8Array} base
   * @param {Uint8Array} draft
   */
  replace(base, draft) {
    this.base = base
    for (let index = 0; index < draft.length; index++) this.update(index, draft[index])
    this.viewer.refresh()
  }

  /**
   * Change a voxel of the draft; what the pen did there since stays shown.
   * @param {number} index
   * @param {number} value
   */
  update(index, value) {
    const shown = this.viewer.mask
    if (shown[index] === this.draft[index]) shown[index] = value
    this.draft[index] = value
  }

  /**
   * Return whether a box was corrected: its draft differs from the base.
   * @param {import('./grid.js').Box} box
   */
  corrected(box) {
    return !this.grid.equal(this.draft, this.base, box)
  }

  /**
   * Take a box of the draft into the base: it was accepted.
   * @param {import('./grid.js').Box} box
   */
  accept(box) {
    this.grid.copy(this.draft, this.base, box)
  }
}

/**
 * Return whether two masks differ. A plain loop: with a callback it takes a tenth of a second on large images.
 * @param {Uint8Array} first
 * @param {Uint8Array} second
 */
function differ(first, second) {
  for (let index = 0; index < first.length; index++) if (first[index] !== second[index]) return true
  return false
}
