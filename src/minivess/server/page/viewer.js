// The views: image, mask, and uncertainty of the model. Only this file and frame.js touch niivue.
import { NVImage, Niivue, SLICE_TYPE } from './vendor/niivue.js'
import { drawFrame } from './frame.js'
import { Grid } from './grid.js'

const LAYOUT = [
  { sliceType: SLICE_TYPE.AXIAL, position: [0, 0, 0.68, 1] },
  { sliceType: SLICE_TYPE.CORONAL, position: [0.69, 0, 0.31, 0.495] },
  { sliceType: SLICE_TYPE.SAGITTAL, position: [0.69, 0.505, 0.31, 0.495] },
]
const MASK_OPACITY = 0.45
const UNCERTAINTY_NATS = [0.2, Math.LN2] // range of the colours

export class Viewer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLCanvasElement} frame a canvas over it
   * @param {{ onStroke: () => void, onClick: (ijk: number[]) => void, onSlice: (number: number, count: number) => void }} events
   *   the pen is lifted; a voxel is clicked on; another slice is shown
   */
  constructor(canvas, frame, { onStroke, onClick, onSlice }) {
    this.onSlice = onSlice
    this.canvas = canvas
    this.frame = frame
    this.clicking = false // whether a click on a voxel means something
    /** @type {Grid | null} */
    this.grid = null
    /** @type {import('./grid.js').Box | null} */
    this.box = null // that is framed
    /** @type {PointerEvent | null} */
    this.down = null
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [1, 0.82, 0.4, 0.5], crosshairGap: 12, crosshairWidth: 0.4, dragAndDropEnabled: false,
      clipPlaneHotKey: '', cycleClipPlaneHotKey: '', viewModeHotKey: '', loadingText: '', maxDrawUndoBitmaps: 2, logLevel: 'error',
      isRuler: false, isColorbar: false, isOrientationTextVisible: false,
    })
    this.nv.onDrawingChanged = (action) => { if (action === 'draw') onStroke() }
    canvas.addEventListener('pointerdown', (event) => { this.down = event.isPrimary && event.button === 0 ? event : null })
    canvas.addEventListener('pointerup', (event) => { if (this.clicking && this.grid && isClick(this.down, event)) onClick(this.crosshair()) })
  }

  async start() {
    await this.nv.attachToCanvas(this.canvas)
    this.nv.setCustomLayout(LAYOUT)
    // niivue has no event after a redraw: its drawScene is wrapped. Tested with niivue 0.69.0.
    const draw = this.nv.drawScene.bind(this.nv)
    this.nv.drawScene = () => { const done = draw(); this.redrawn(); return done }
    this.nv.setDrawColormap({ R: [0, 229], G: [0, 72], B: [0, 77], A: [0, 255], labels: ['', 'vessel'] })
    this.maskShown = true
  }

  get maskShown() {
    return this.nv.drawOpacity > 0
  }

  set maskShown(shown) {
    this.nv.setDrawOpacity(shown ? MASK_OPACITY : 0)
  }

  /**
   * Show an image and its mask in place of the ones before. Return the image's grid.
   * @param {ArrayBuffer} file NIfTI
   * @param {number[]} shape voxels along the file's axes, as the server states them
   * @param {Uint8Array} voxels of the mask, in the file's order
   */
  async open(file, shape, voxels) {
    const volume = await NVImage.loadFromUrl({ url: file, name: 'image.nii.gz', colormap: 'gray', colorbarVisible: false })
    const { drawingEnabled } = this.nv.opts
    this.close()
    this.nv.addVolume(volume)
    this.grid = new Grid(volume.permRAS, shape)
    // Of a drawing niivue reads header, orientation and voxels only. Tested with niivue 0.69.0.
    this.nv.loadDrawing({ hdr: volume.hdr, permRAS: volume.permRAS, img: voxels })
    this.nv.setDrawingEnabled(drawingEnabled)
    return this.grid
  }

  close() {
    this.box = null
    this.nv.setDrawingEnabled(false)
    this.nv.closeDrawing()
    for (const volume of [...this.nv.volumes].reverse()) this.nv.removeVolume(volume)
  }

  /** The mask that is shown, and that the pen changes. niivue may replace it after a stroke: do not keep it. */
  get mask() {
    return this.nv.drawBitmap
  }

  /** Show what was changed in the mask. */
  refresh() {
    this.nv.refreshDrawing(true)
  }

  /** @param {ArrayBuffer} file NIfTI, in nats */
  async showHeat(file) {
    const [low, high] = UNCERTAINTY_NATS
    this.nv.addVolume(await NVImage.loadFromUrl({ url: file, name: 'heat.nii.gz', colormap: 'inferno', opacity: 0.55, cal_min: low, cal_max: high }))
  }

  hideHeat() {
    if (this.nv.volumes[1]) this.nv.removeVolume(this.nv.volumes[1])
  }

  get heat() {
    return this.nv.volumes.length > 1
  }

  /**
   * Frame a box and go there, so near that it fills a third of a view.
   * @param {import('./grid.js').Box} box
   */
  jump(box) {
    const { nv, grid } = this
    if (!grid) return
    this.box = box
    const middle = grid.toRas([0, 1, 2].map((a) => Math.floor((box[2 * a] + box[2 * a + 1] - 1) / 2)))
    nv.scene.crosshairPos = grid.ras.map((n, r) => (middle[r] + 0.5) / n)
    const mm = nv.frac2mm(nv.scene.crosshairPos)
    const across = Math.max(box[1] - box[0], box[3] - box[2])
    const zoom = Math.min(12, Math.max(1, Math.max(grid.shape[0], grid.shape[1]) / (3 * across)))
    const centre = nv.frac2mm([0.5, 0.5, 0.5])
    nv.setPan2Dxyzmm([centre[0] - mm[0], centre[1] - mm[1], centre[2] - mm[2], zoom]) // and draws
  }

  /** Return the voxel of the file under the crosshair. */
  crosshair() {
    const { nv, grid } = this
    if (!grid) throw new Error('No image is open.')
    return grid.toFile(grid.ras.map((n, r) => Math.min(n - 1, Math.max(0, Math.floor(nv.scene.crosshairPos[r] * n)))))
  }

  /**
   * @param {number | null} value 1 draws, 0 erases, null does neither
   * @param {number} size in voxels
   */
  pen(value, size) {
    this.nv.opts.penSize = size
    this.nv.setDrawingEnabled(value !== null)
    if (value !== null) this.nv.setPenValue(value, false)
  }

  /** Return the mask as a NIfTI file on the image's own grid. */
  async file() {
    return new Blob([await this.nv.saveImage({ filename: '', isSaveDrawing: true })])
  }

  redrawn() {
    drawFrame(this.frame, this.nv, this.grid, this.box)
    if (this.grid) this.onSlice(this.crosshair()[2] + 1, this.grid.shape[2])
  }
}

/**
 * Return whether a press of the main button, or of one finger, ended where it began: dragging and pinching are no clicks.
 * @param {PointerEvent | null} down
 * @param {PointerEvent} up
 */
function isClick(down, up) {
  return down !== null && up.isPrimary && up.button === 0 && Math.hypot(up.clientX - down.clientX, up.clientY - down.clientY) < 6
}
