// The errors that are suspected in the current region: drawn in the views, walked through by a key; the model's probabilities in it.
import { inflate } from './grid.js'
import { t } from './texts.js'

/**
 * @typedef {{ kind: string, reason: string, expected_voxels: number, centre: number[], points: number[][] }} SuspectedError
 */

const RANDOM = 'random check'

/** Probabilities of the voxels of a box. */
export class Probabilities {
  /**
   * @param {import('./grid.js').Box} box
   * @param {Uint8Array} bytes K running fastest; 255 is 1
   */
  constructor(box, bytes) {
    this.box = box
    this.bytes = bytes
  }

  /**
   * Return the probability of a voxel of the file; null outside the box.
   * @param {number[]} ijk
   */
  at(ijk) {
    const [i0, i1, j0, j1, k0, k1] = this.box
    const [i, j, k] = ijk
    if (i < i0 || i >= i1 || j < j0 || j >= j1 || k < k0 || k >= k1) return null
    return this.bytes[((i - i0) * (j1 - j0) + (j - j0)) * (k1 - k0) + (k - k0)] / 255
  }
}

export class Suspects {
  /**
   * @param {import('./server.js').Server} server
   * @param {Pick<import('./viewer.js').Viewer, 'suspect' | 'look'>} viewer
   * @param {import('./panel.js').Panel} panel
   */
  constructor(server, viewer, panel) {
    this.server = server
    this.viewer = viewer
    this.panel = panel
    /** @type {SuspectedError[]} */
    this.errors = []
    this.shown = 0
    this.id = '' // of the region
    /** @type {import('./regions.js').QueueItem | null} */
    this.item = null
    this.state = '' // 'loading' or 'failed'
    /** @type {Probabilities | null} */
    this.probabilities = null
  }

  /**
   * Fetch and show what is suspected in a region; the user goes on meanwhile, and without it where the server does not answer.
   * @param {import('./regions.js').QueueItem | null} item
   */
  async show(item) {
    this.errors = []
    this.shown = 0
    this.id = item?.id ?? ''
    this.item = item
    this.state = item ? 'loading' : ''
    this.probabilities = null
    this.panel.point('')
    this.viewer.suspect([], 0)
    if (!item) return
    try {
      const { errors, probability } = await this.server.json('GET', `/review/places/${encodeURIComponent(item.id)}/errors`)
      const bytes = await inflate(probability)
      if (this.id !== item.id) return // another region is shown by now
      this.errors = item.kind === RANDOM ? [] : errors // who looks at a random check is to look everywhere
      this.probabilities = new Probabilities(item.box, bytes)
      this.state = ''
      this.viewer.suspect(this.errors, 0)
    } catch { // what is suspected is only an aid
      if (this.id === item.id) this.state = 'failed'
    }
  }

  /**
   * Return what the model says of a voxel of the region, in words; '' elsewhere.
   * @param {number[] | null} ijk
   */
  probabilityInWords(ijk) {
    const share = ijk && this.probabilities ? this.probabilities.at(ijk) : null
    return share === null ? '' : t`vessel with ${Math.round(100 * share)} %`
  }

  /** Go to the next error, after the last one to the first. */
  next() {
    if (this.state === 'loading') return this.panel.message(t`What is suspected here is still being computed. Press G again in a moment.`)
    if (this.state === 'failed') {
      this.show(this.item)
      return this.panel.message(t`What is suspected here could not be read; it is read again. Press G again in a moment.`)
    }
    if (!this.errors.length) return this.panel.message(t`No single error is suspected in this region.`)
    this.shown = (this.shown + 1) % this.errors.length
    const error = this.errors[this.shown]
    this.viewer.suspect(this.errors, this.shown)
    this.viewer.look(error.centre)
    this.panel.message(t`Error ${this.shown + 1} of ${this.errors.length}: ${error.kind}, ${error.reason}.`)
  }
}

const OTHERS = '#ff9df2', CURRENT = '#ffffff'

/**
 * Draw the centre lines of the errors that lie in the slice shown or beside it: the current one white, the others pink.
 * @param {CanvasRenderingContext2D} pen
 * @param {import('./tile.js').ShownSlice[]} slices
 * @param {ArrayLike<number>} crosshair fractions of the image along R, A, S
 * @param {import('./grid.js').Grid} grid
 * @param {SuspectedError[]} errors
 * @param {number} current
 */
export function drawSuspects(pen, slices, crosshair, grid, errors, current) {
  const radius = 1.6 * (window.devicePixelRatio || 1)
  for (const { axes: [, , through], at, rectangle } of slices) {
    const depth = Math.floor(crosshair[through] * grid.ras[through])
    const [left, top, width, height] = rectangle
    errors.forEach(({ points }, n) => {
      pen.fillStyle = n === current ? CURRENT : OTHERS
      for (const point of points) {
        const ras = grid.toRas(point)
        const apart = Math.abs(ras[through] - depth)
        if (apart > 1) continue
        const [x, y] = at(ras.map((v, r) => (v + 0.5) / grid.ras[r]))
        if (x < left || x > left + width || y < top || y > top + height) continue
        pen.globalAlpha = apart ? 0.45 : 0.95
        pen.beginPath()
        pen.arc(x, y, radius, 0, 2 * Math.PI)
        pen.fill()
      }
    })
  }
  pen.globalAlpha = 1
}
