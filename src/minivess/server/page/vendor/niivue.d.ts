// What the page uses of niivue 0.69.0.

export const SLICE_TYPE: { AXIAL: number; CORONAL: number; SAGITTAL: number }

/** A volume, as far as a drawing needs it too. */
export interface Drawing {
  hdr: object
  permRAS: number[]
  img: Uint8Array
}

export class NVImage {
  static loadFromUrl(options: {
    url: ArrayBuffer
    name: string
    colormap?: string
    colorbarVisible?: boolean
    opacity?: number
    cal_min?: number
    cal_max?: number
  }): Promise<NVImage>
  hdr: { affine: number[][]; pixDims: number[]; datatypeCode: number; numBitsPerVoxel: number }
  img: ArrayLike<number>
  cal_min: number
  cal_max: number
  permRAS: number[]
  calculateRAS(): void
  calMinMax(): unknown
}

/** A view that was drawn last. */
export interface Tile {
  axCorSag: number
  leftTopWidthHeight: number[]
  leftTopMM: number[]
  fovMM: number[]
}

export class Niivue {
  constructor(options: object)
  canvas: HTMLCanvasElement
  drawBitmap: Uint8Array
  drawOpacity: number
  drawScene: () => unknown
  onDrawingChanged: (action: string) => void
  opts: { penSize: number; drawingEnabled: boolean; is2DSliceShader: boolean }
  scene: { crosshairPos: ArrayLike<number>; pan2Dxyzmm: ArrayLike<number> & Iterable<number> }
  screenSlices: Tile[]
  volumes: NVImage[]
  addVolume(volume: NVImage): void
  attachToCanvas(canvas: HTMLCanvasElement): Promise<unknown>
  closeDrawing(): void
  frac2mm(fraction: ArrayLike<number>): number[]
  loadDrawing(drawing: Drawing): boolean
  refreshDrawing(redraw: boolean): void
  removeVolume(volume: NVImage): void
  saveImage(options: { filename: string; isSaveDrawing: boolean }): Promise<Uint8Array<ArrayBuffer>>
  setCustomLayout(layout: object[]): void
  setDrawColormap(colormap: object): void
  setOpacity(volume: number, opacity: number): void
  setDrawOpacity(opacity: number): void
  setDrawingEnabled(enabled: boolean): void
  setPan2Dxyzmm(panAndZoom: number[]): void
  updateGLVolume(): void
  setPenValue(value: number, filled: boolean): void
}
