// The map: the whole stack seen from above, with all regions, and where the views are. A click goes to a region.
import { element } from './panel.js'

const MOST_PIXELS = 320 // of the longer side
/** @type {Record<string, string>} */
const COLOURS = { pending: '#ffd166', leased: '#ff9f40', accepted: '#63d471', fixed: '#5bb8ff', skipped: '#b9c3cc' }

export class StackMap {
  /** @param {(item: import('./regions.js').QueueItem) => void} onChoose a region is clicked on */
  constructor(onChoose) {
    this.canvas = element('map', HTMLCanvasElement)
    this.scale = 1
    this.hidden = false // by the user
    /** @type {import('./grid.js').Grid | null} */
    this.grid = null
    /** @type {HTMLCanvasElement | null} */
    this.stack = null // its projection
    /** @type {import('./regions.js').QueueItem[]} */
    this.items = []
    /** @type {string | undefined} */
    this.current = undefined
    this.canvas.addEventListener('click', (event) => {
      const item = this.itemAt(event.offsetX * this.canvas.width / this.canvas.clientWidth, event.offsetY * this.canvas.height / this.canvas.clientHeight)
      if (item) onChoose(item)
    })
  }

  /**
   * Project another stack along its slices.
   * @param {Uint8Array} bytes intensities as they are displayed, in the file's order
   * @param {import('./grid.js').Grid} grid
   */
  open(bytes, grid) {
    this.grid = grid
    const [nx, ny] = grid.ras
    this.scale = Math.min(1, MOST_PIXELS / Math.max(nx, ny))
    const [width, height] = [nx, ny].map((n) => Math.max(1, Math.round(n * this.scale)))
    const brightest = projected(bytes, grid, width, height)
    const canvas = document.createElement('canvas')
    Object.assign(canvas, { width, height })
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'))
    const image = pen.createImageData(width, height)
    brightest.forEach((value, n) => image.data.set([value, value, value, 255], 4 * n))
    pen.putImageData(image, 0, 0)
    this.stack = canvas
    Object.assign(this.canvas, { width, height, hidden: this.hidden })
    this.items = []
    this.draw()
  }

  /** @param {boolean} hidden whether the user wants no map */
  hide(hidden) {
    this.hidden = hidden
    this.canvas.hidden = hidden || !this.stack
  }

  /**
   * Do not cover a region.
   * @param {number[]} rectangle where it lies: left, top, width, height in CSS pixels
   */
  giveWay([left, top, width, height]) {
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = this.canvas
    const covered = left + width > offsetLeft && left < offsetLeft + offsetWidth && top + height > offsetTop && top < offsetTop + offsetHeight
    this.canvas.style.visibility = covered ? 'hidden' : ''
  }

  /**
   * Show the regions.
   * @param {import('./regions.js').QueueItem[]} items
   * @param {string | undefined} current
   */
  show(items, current) {
    this.items = items
    this.current = current
    this.draw()
  }

  draw() {
    if (!this.stack) return
    const pen = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext('2d'))
    pen.globalAlpha = 1
    pen.drawImage(this.stack, 0, 0)
    for (const item of [...this.items].reverse()) { // the first of the queue on top
      const [x, y, width, height] = this.rectangle(item)
      const here = item.id === this.current
      pen.strokeStyle = here ? '#ffffff' : COLOURS[item.state] ?? COLOURS.pending
      pen.lineWidth = here ? 2.5 : 1
      pen.globalAlpha = here ? 1 : 0.8
      pen.strokeRect(x, y, width, height)
    }
  }

  /**
   * Return where a region lies on the map: left, top, width, height.
   * @param {import('./regions.js').QueueItem} item
   */
  rectangle({ box }) {
    const { grid, scale } = this
    if (!grid) return [0, 0, 0, 0]
    const corners = [grid.toRas([box[0], box[2], box[4]]), grid.toRas([box[1] - 1, box[3] - 1, box[5] - 1])]
    const [low, high] = [Math.min, Math.max].map((extreme) => [0, 1].map((r) => extreme(corners[0][r], corners[1][r])))
    return [low[0] * scale, (grid.ras[1] - high[1] - 1) * scale, (high[0] - low[0] + 1) * scale, (high[1] - low[1] + 1) * scale]
  }

  /**
   * Return the region at a point of the map, the first of the queue where several are.
   * @param {number} x
   * @param {number} y
   */
  itemAt(x, y) {
    return this.items.find((item) => {
      const [left, top, width, height] = this.rectangle(item)
      return x >= left && y >= top && x <= left + width && y <= top + height
    })
  }
}

/**
 * Return the brightest voxel along S of each pixel, row by row from the top: R to the right, A up.
 * @param {Uint8Array} bytes in the file's order
 * @param {import('./grid.js').Grid} grid
 * @param {number} width
 * @param {number} height
 */
function projected(bytes, grid, width, height) {
  const [nr, na, ns] = grid.ras
  const strides = [1, grid.shape[0], grid.shape[0] * grid.shape[1]]
  const step = grid.axis.map((axis, r) => (grid.flipped[r] ? -1 : 1) * strides[axis])
  const start = grid.toFile([0, 0, 0]).reduce((sum, n, axis) => sum + n * strides[axis], 0)
  const columns = Uint32Array.from({ length: nr }, (_, r) => Math.min(width - 1, Math.floor((r * width) / nr)))
  const found = new Uint8Array(width * height)
  for (let s = 0; s < ns; s++) {
    for (let a = 0; a < na; a++) {
      const row = width * Math.min(height - 1, Math.floor(((na - 1 - a) * height) / na))
      for (let r = 0, n = start + s * step[2] + a * step[1]; r < nr; r++, n += step[0]) {
        if (bytes[n] > found[row + columns[r]]) found[row + columns[r]] = bytes[n]
      }
    }
  }
  return found
}
