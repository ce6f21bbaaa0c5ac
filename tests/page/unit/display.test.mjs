import assert from 'node:assert/strict'
import test from 'node:test'
import { greys, slabMaximum, stretchOf } from '../../../src/minivess/server/page/display.js'
import { drawOutline } from '../../../src/minivess/server/page/outline.js'

test('a dim slice is shown from black to white, an empty one stays dark', () => {
  const size = 1000
  const values = new Uint16Array(3 * size)
  for (let n = 0; n < size; n++) {
    values[n] = 1000 + n // bright
    values[size + n] = 100 + n / 4 // dim
    values[2 * size + n] = 50 + (n % 4) // noise alone
  }
  const shown = greys(values, [100, 10, 3])
  const most = [0, 1, 2].map((slice) => Math.max(...shown.subarray(slice * size, (slice + 1) * size)))
  assert.equal(most[0], 255)
  assert.equal(most[1], 255)
  assert.ok(most[2] < 64, `noise is shown up to ${most[2]}`)
})

test('a slice of one value has no grey that is not a number', () => {
  assert.deepEqual([...greys(new Float32Array(8).fill(3), [2, 2, 2])], Array(8).fill(0))
})

test('a thin stack is shown thicker, a thick one as it is', () => {
  const affine = (dz) => [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, -dz, 0], [0, 0, 0, 1]]
  assert.equal(stretchOf([512, 512, 25], affine(5)), 3.5)
  assert.equal(stretchOf([512, 512, 1], affine(5)), 12)
  assert.equal(stretchOf([64, 64, 64], affine(1)), 1)
})

test('the outline is the edges of the mask in the slice shown', () => {
  const lines = []
  let from = null
  const pen = new Proxy({}, { get: (_, name) => (...given) => {
    if (name === 'moveTo') from = given
    if (name === 'lineTo') lines.push([...from, ...given])
  }, set: () => true })
  globalThis.window = { devicePixelRatio: 1 }
  const mask = new Uint8Array(4 * 4 * 2)
  for (const [x, y] of [[1, 1], [2, 1]]) mask[x + 4 * y + 16] = 1 // two voxels of the upper slice
  const slice = { axes: [0, 1, 2], rectangle: [0, 0, 40, 40], at: (f) => [40 * f[0], 40 * (1 - f[1])] }
  drawOutline(pen, [slice], [0.5, 0.5, 0.75], [4, 4, 2], mask)
  assert.deepEqual(lines.sort(), [[10, 30, 30, 30], [10, 20, 30, 20], [10, 30, 10, 20], [30, 30, 30, 20]].sort())
  lines.length = 0
  drawOutline(pen, [slice], [0.5, 0.5, 0.25], [4, 4, 2], mask)
  assert.deepEqual(lines, [])
})

test('a slab shows each voxel as the brightest one of the slices around it, and leaves the intensities', () => {
  const values = Uint16Array.from([9, 0, 0, 0, 5, 0, 0, 0, 7]) // nine slices of one voxel
  assert.deepEqual([...slabMaximum(values, [1, 1, 9], 2)], [9, 9, 9, 5, 5, 5, 7, 7, 7])
  assert.deepEqual([...slabMaximum(values, [1, 1, 9], 0)], [...values])
  assert.equal(values[1], 0)
})
