// Two models compared: the mask of the model before left of a line that follows the pointer, the mask as it is now right of it.
import { drawOutline } from './outline.js'
import { t } from './texts.js'
import { partOf } from './tile.js'

const BEFORE = '#58b4ff', LINE = '#ffffff'

export class Comparison {
  /**
   * @param {Uint8Array} before mask of the model before, R running fastest
   * @param {Uint8Array} now
   */
  constructor(before, now) {
    this.before = before
    this.share = 0.5 // of each view's width that shows the model before
    this.gained = 0 // voxels that only the mask of now has
    this.lost = 0
    for (let index = 0; index < now.length; index++) {
      if (now[index] && !before[index]) this.gained += 1
      else if (before[index] && !now[index]) this.lost += 1
    }
  }

  /** What is seen, in words. */
  get inWords() {
    const [gained, lost] = [this.gained, this.lost].map((count) => count.toLocaleString('en'))
    return t`Left of the line, in blue: the model before. Right of it: the mask as it is now, ${gained} voxels more and ${lost} fewer. Y ends the comparison.`
  }

  /**
   * Put the line under the pointer.
   * @param {import('./tile.js').ShownSlice[]} slices
   * @param {number} x canvas pixels
   * @param {number} y
   */
  follow(slices, x, y) {
    const under = slices.find(({ rectangle: [left, top, width, height] }) => x >= left && x <= left + width && y >= top && y <= top + height)
    if (under) this.share = (x - under.rectangle[0]) / under.rectangle[2]
  }

  /**
   * Draw both outlines, each on its side of the line.
   * @param {CanvasRenderingContext2D} pen
   * @param {import('./tile.js').ShownSlice[]} slices
   * @param {ArrayLike<number>} crosshair fractions of the image along R, A, S
   * @param {number[]} ras voxels along R, A, S
   * @param {Uint8Array} now
   */
  draw(pen, slices, crosshair, ras, now) {
    drawOutline(pen, slices.map((slice) => partOf(slice, 0, this.share)), crosshair, ras, this.before, BEFORE)
    drawOutline(pen, slices.map((slice) => partOf(slice, this.share, 1)), crosshair, ras, now)
    pen.strokeStyle = LINE
    pen.beginPath()
    for (const { rectangle: [left, top, width, height] } of slices) {
      pen.moveTo(left + this.share * width, top)
      pen.lineTo(left + this.share * width, top + height)
    }
    pen.stroke()
  }
}
