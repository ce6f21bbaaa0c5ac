// How an image is displayed: intensities slice by slice, and thin stacks thicker than they are. Voxels and their places stay.

const LOW = 0.02, HIGH = 0.998 // quantiles of a slice that become black and white
const LEAST_RANGE = 0.12 // of the whole stack's range: the noise of an empty slice is not spread over all greys
const SAMPLES = 20_000 // voxels of a slice that are looked at
const GAMMA = 0.6 // below 1 dim vessels are brighter
const STEPS = 4096
const CURVE = Uint8Array.from({ length: STEPS }, (_, n) => Math.round(255 * (n / (STEPS - 1)) ** GAMMA)) // a power for each voxel takes seconds
const LEAST_DEPTH = 0.9 // of a stack, as a share of its width
const MOST_STRETCHED = 12

/**
 * Return the intensities as bytes: in each slice from black to white, so that deep, dim slices show their vessels, too.
 * @param {ArrayLike<number>} values in the file's order
 * @param {number[]} shape voxels along the file's axes; the last one counts the slices
 */
export function greys(values, shape) {
  const size = shape[0] * shape[1]
  const ranges = rangesOf(values, size, shape[2])
  const bytes = new Uint8Array(size * shape[2])
  ranges.forEach(([low, high], slice) => {
    const scale = (STEPS - 1) / (high - low)
    for (let n = slice * size; n < (slice + 1) * size; n++) {
      bytes[n] = CURVE[Math.min(STEPS - 1, Math.max(0, (values[n] - low) * scale)) | 0]
    }
  })
  return bytes
}

/**
 * Return each voxel as the brightest one of the slices around it.
 * @template {Uint8Array | Int16Array | Uint16Array | Float32Array | Float64Array} T
 * @param {T} values in the file's order
 * @param {number[]} shape voxels along the file's axes; the last one counts the slices
 * @param {number} reach slices to each side
 * @returns {T}
 */
export function slabMaximum(values, shape, reach) {
  const size = shape[0] * shape[1]
  const slab = /** @type {T} */ (values.slice())
  for (let slice = 0; slice < shape[2]; slice++) {
    const [first, last] = [Math.max(0, slice - reach), Math.min(shape[2] - 1, slice + reach)]
    for (let other = first; other <= last; other++) {
      for (let n = slice * size, m = other * size; n < (slice + 1) * size; n++, m++) {
        if (values[m] > slab[n]) slab[n] = values[m]
      }
    }
  }
  return slab
}

/**
 * Return what is black and what is white in each slice.
 * @param {ArrayLike<number>} values
 * @param {number} size voxels of a slice
 * @param {number} count slices
 */
function rangesOf(values, size, count) {
  const found = Array.from({ length: count }, (_, slice) => quantiles(values, slice * size, size))
  const least = LEAST_RANGE * (Math.max(...found.map(([, high]) => high)) - Math.min(...found.map(([low]) => low)))
  return found.map(([low, high]) => [low, Math.max(high, low + least, low + Number.EPSILON)])
}

/**
 * @param {ArrayLike<number>} values
 * @param {number} start
 * @param {number} size
 */
function quantiles(values, start, size) {
  const step = Math.max(1, Math.floor(size / SAMPLES))
  const some = Float32Array.from({ length: Math.ceil(size / step) }, (_, n) => values[start + n * step]).sort()
  return [LOW, HIGH].map((share) => some[Math.min(some.length - 1, Math.floor(share * some.length))])
}

/**
 * Return how many times thicker a stack is to be shown, so that its side views are of use; 1 for as it is.
 * @param {number[]} shape voxels along the file's axes
 * @param {number[][]} affine rows of the voxel to mm matrix
 */
export function stretchOf(shape, affine) {
  const extent = [0, 1, 2].map((axis) => shape[axis] * Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]))
  const factor = (LEAST_DEPTH * Math.max(extent[0], extent[1])) / extent[2]
  return Math.min(MOST_STRETCHED, Math.max(1, Math.round(2 * factor) / 2))
}

/**
 * Show a volume thicker than it is; its header, and so what is saved, stays as it is. Return how many times thicker: 1 where that
 * cannot be done, since the volume is so oblique that its axes would change their names.
 * @param {import('./vendor/niivue.js').NVImage} volume
 * @param {number} stretch
 */
export function stretchDepth(volume, stretch) {
  const { hdr, permRAS } = volume
  const { affine, pixDims } = hdr
  hdr.affine = affine.map((row) => row.map((value, column) => (column === 2 ? value * stretch : value)))
  hdr.pixDims = pixDims.map((size, n) => (n === 3 ? size * stretch : size))
  volume.calculateRAS()
  const renamed = volume.permRAS.some((axis, n) => axis !== permRAS[n])
  Object.assign(hdr, { affine, pixDims })
  if (!renamed) return stretch
  volume.calculateRAS()
  return 1
}
