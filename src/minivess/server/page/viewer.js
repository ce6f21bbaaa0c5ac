// What is seen: the image, the mask as a drawing over it, the model's doubt, and the frame of the place.
import { NVImage, Niivue, SLICE_TYPE } from './vendor/niivue.js'
import { Grid } from './grid.js'

const AXES = { 0: [0, 1, 2], 1: [0, 2, 1], 2: [1, 2, 0] } // axial, coronal, sagittal: which of R, A, S runs right, up, through

const LAYOUT = [
  { sliceType: SLICE_TYPE.AXIAL, position: [0, 0, 0.68, 1] },
  { sliceType: SLICE_TYPE.CORONAL, position: [0.69, 0, 0.31, 0.495] },
  { sliceType: SLICE_TYPE.SAGITTAL, position: [0.69, 0.505, 0.31, 0.495] },
]
const MASK_OPACITY = 0.45
const DOUBT_NATS = [0.2, Math.LN2]

export class Viewer {
  /** onStroke is called when the pen is lifted, onClick(ijk) when a voxel is clicked on, onSlice(number, count) when another is shown. */
  constructor(canvas, frame, { onStroke, onClick, onSlice }) {
    this.onSlice = onSlice
    this.down = null
    this.canvas = canvas
    this.frame = frame
    this.box = null
    this.clicking = false
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
    const draw = this.nv.drawScene.bind(this.nv)
    this.nv.drawScene = () => { const done = draw(); this.drawFrame(); return done }
    this.nv.setDrawColormap({ R: [0, 229], G: [0, 72], B: [0, 77], A: [0, 255], labels: ['', 'vessel'] })
    this.maskShown = true
  }

  get maskShown() {
    return this.nv.drawOpacity > 0
  }

  set maskShown(shown) {
    this.nv.setDrawOpacity(shown ? MASK_OPACITY : 0)
  }

  /** Show an image and its mask: bytes of NIfTI files, and the shape that the server states. */
  async show(image, mask, shape) {
    this.hide()
    const volume = await NVImage.loadFromUrl({ url: image, name: 'image.nii.gz', colormap: 'gray', colorbarVisible: false })
    this.nv.addVolume(volume)
    this.grid = new Grid(volume.permRAS, shape)
    this.nv.loadDrawing(await NVImage.loadFromUrl({ url: mask, name: 'mask.nii.gz' }))
    return this.bitmap.slice()
  }

  hide() {
    this.box = null
    this.nv.closeDrawing()
    for (const volume of [...this.nv.volumes].reverse()) this.nv.removeVolume(volume)
  }

  /** Read a mask into a bitmap of its own, without showing it. */
  async bitmapOf(mask) {
    const kept = this.bitmap
    this.nv.loadDrawing(await NVImage.loadFromUrl({ url: mask, name: 'mask.nii.gz' }))
    const read = this.bitmap
    this.nv.drawBitmap = kept
    this.nv.refreshDrawing(true)
    return read
  }

  get bitmap() {
    return this.nv.drawBitmap
  }

  /** Show what was changed in the bitmap. */
  refresh() {
    this.nv.refreshDrawing(true)
  }

  async showHeat(file) {
    const heat = await NVImage.loadFromUrl({ url: file, name: 'heat.nii.gz', colormap: 'inferno', opacity: 0.55, cal_min: DOUBT_NATS[0], cal_max: DOUBT_NATS[1] })
    this.nv.addVolume(heat)
  }

  hideHeat() {
    if (this.nv.volumes[1]) this.nv.removeVolume(this.nv.volumes[1])
  }

  get heat() {
    return this.nv.volumes.length > 1
  }

  /** Go to a place, and come so near that it fills a third of a view. */
  jump(box) {
    this.box = box
    const { nv, grid } = this
    const middle = grid.toRas([0, 1, 2].map((a) => Math.floor((box[2 * a] + box[2 * a + 1] - 1) / 2)))
    nv.scene.crosshairPos = grid.ras.map((n, r) => (middle[r] + 0.5) / n)
    const mm = nv.frac2mm(nv.scene.crosshairPos)
    const across = Math.max(box[1] - box[0], box[3] - box[2])
    const zoom = Math.min(12, Math.max(1, Math.max(grid.shape[0], grid.shape[1]) / (3 * across)))
    const centre = nv.frac2mm([0.5, 0.5, 0.5])
    nv.setPan2Dxyzmm([centre[0] - mm[0], centre[1] - mm[1], centre[2] - mm[2], zoom]) // and draws
  }

  /** The voxel of the file under the crosshair. */
  crosshair() {
    const { nv, grid } = this
    const ras = grid.ras.map((n, r) => Math.min(n - 1, Math.max(0, Math.floor(nv.scene.crosshairPos[r] * n))))
    return grid.toFile(ras)
  }

  /** Pen value 1 draws, 0 erases, null looks only. */
  pen(value, size) {
    this.nv.opts.penSize = size
    this.nv.setDrawingEnabled(value !== null)
    if (value !== null) this.nv.setPenValue(value, false)
  }

  /** The drawing as a NIfTI file on the image's own grid. */
  async file() {
    return this.nv.saveImage({ filename: '', isSaveDrawing: true })
  }

  drawFrame() {
    const { frame, nv, grid, box } = this
    const scale = window.devicePixelRatio || 1
    if (frame.width !== this.canvas.width) frame.width = this.canvas.width
    if (frame.height !== this.canvas.height) frame.height = this.canvas.height
    const pen = frame.getContext('2d')
    pen.clearRect(0, 0, frame.width, frame.height)
    if (grid) this.onSlice(this.crosshair()[2] + 1, grid.shape[2])
    if (!box || !grid) return
    pen.strokeStyle = '#ffd166'
    pen.lineWidth = 1.5 * scale
    const ends = [grid.toRas([box[0], box[2], box[4]]), grid.toRas([box[1] - 1, box[3] - 1, box[5] - 1])]
    const low = ends[0].map((v, r) => Math.min(v, ends[1][r]) / grid.ras[r])
    const high = ends[0].map((v, r) => (Math.max(v, ends[1][r]) + 1) / grid.ras[r])
    for (const tile of nv.screenSlices) {
      const axes = AXES[tile.axCorSag]
      if (!axes || !tile.fovMM?.length) continue
      pen.save()
      const [left, top, width, height] = upright(tile.leftTopWidthHeight)
      pen.beginPath()
      pen.rect(left, top, width, height)
      pen.clip()
      const [a, b] = [low, high].map((frac) => onTile(nv.frac2mm(frac), tile, axes))
      pen.setLineDash(this.insideOf(axes[2], low, high) ? [] : [4 * scale, 4 * scale])
      pen.strokeRect(Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1]))
      pen.restore()
    }
  }

  insideOf(axis, low, high) {
    const at = this.nv.scene.crosshairPos[axis]
    return at >= low[axis] && at <= high[axis]
  }
}

/** Whether a press of the main button, or of one finger, ended where it began: dragging and pinching are no clicks. */
function isClick(down, up) {
  return down !== null && up.isPrimary && up.button === 0 && Math.hypot(up.clientX - down.clientX, up.clientY - down.clientY) < 6
}

function upright([left, top, width, height]) {
  return width < 0 ? [left + width, top, -width, height] : [left, top, width, height]
}

function onTile(mm, tile, [right, up]) {
  const [left, top, width, height] = upright(tile.leftTopWidthHeight)
  let across = (mm[right] - tile.leftTopMM[0]) / tile.fovMM[0]
  if (tile.leftTopWidthHeight[2] < 0) across = 1 - across
  return [left + across * width, top + (1 - (mm[up] - tile.leftTopMM[1]) / tile.fovMM[1]) * height]
}
