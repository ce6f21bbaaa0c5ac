// The intensities of the open image, and how they are shown: greys of each slice or of the whole stack, each slice alone or with its neighbours.
import { greys, slabMaximum } from './display.js'

const SLAB_REACH = 2 // slices to each side of the one shown
const UINT8 = 2 // NIfTI's code

export class Intensities {
  /**
   * Take the intensities of a volume.
   * @param {import('./vendor/niivue.js').NVImage} volume
   * @param {number[]} shape voxels along the file's axes
   */
  constructor(volume, shape) {
    this.shape = shape
    this.img = /** @type {Uint8Array | Int16Array | Uint16Array | Float32Array | Float64Array} */ (volume.img)
    this.code = volume.hdr.datatypeCode
    this.bits = volume.hdr.numBitsPerVoxel
    this.bytes = greys(this.img, shape) // in the file's order
  }

  /**
   * Let a volume show them.
   * @param {import('./vendor/niivue.js').NVImage} volume
   * @param {{ bySlice: boolean, slab: boolean }} how greys of each slice; the brightest of five slices
   */
  show(volume, { bySlice, slab }) {
    const shown = bySlice ? this.bytes : this.img
    volume.img = slab ? slabMaximum(shown, this.shape, SLAB_REACH) : shown
    volume.hdr.datatypeCode = bySlice ? UINT8 : this.code
    volume.hdr.numBitsPerVoxel = bySlice ? 8 : this.bits
    volume.calMinMax()
    if (bySlice) Object.assign(volume, { cal_min: 0, cal_max: 255, robust_min: 0, robust_max: 255 }) // a double-click goes back to the robust ones
  }
}
