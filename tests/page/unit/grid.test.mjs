import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Grid, intersection, slicesOf, volumeOf, voxelAt } from '../../../src/minivess/server/page/grid.js'

// permRAS of a plain, a mirrored and a permuted image
const GRIDS = [[1, 2, 3], [-1, 2, -3], [3, -1, 2], [-2, -3, -1]].map((perm) => new Grid(perm, [5, 4, 3]))

test('toRas, toFile and index: one voxel, one index, there and back', () => {
  for (const grid of GRIDS) {
    const indices = new Set()
    for (let i = 0; i < 5; i++) for (let j = 0; j < 4; j++) for (let k = 0; k < 3; k++) {
      assert.deepEqual(grid.toFile(grid.toRas([i, j, k])), [i, j, k])
      indices.add(grid.index([i, j, k]))
    }
    assert.deepEqual([...indices].sort((a, b) => a - b), [...Array(60).keys()])
  }
})

test('index: a mirrored axis is counted from its other end', () => {
  assert.equal(new Grid([-1, 2, 3], [5, 4, 3]).index([0, 0, 0]), 4)
  assert.equal(new Grid([1, 2, 3], [5, 4, 3]).index([1, 2, 2]), 1 + 5 * (2 + 4 * 2))
})

test('within: the voxels of a box, K running fastest', () => {
  for (const grid of GRIDS) {
    const [seen, expected] = [[], []]
    grid.within([1, 3, 0, 2, 1, 3], (index, n) => { seen[n] = index })
    for (let i = 1; i < 3; i++) for (let j = 0; j < 2; j++) for (let k = 1; k < 3; k++) expected.push(grid.index([i, j, k]))
    assert.deepEqual(seen, expected)
  }
})

test('bitmapOf: voxels of a file, I running fastest, become 0 and 1', () => {
  for (const grid of GRIDS) {
    const voxels = new Uint8Array(60)
    voxels[4 + 5 * (3 + 4 * 1)] = 255
    const bitmap = grid.bitmapOf(voxels)
    assert.equal(bitmap[grid.index([4, 3, 1])], 1)
    assert.equal(bitmap.reduce((sum, value) => sum + value), 1)
  }
})

test('pack and unpack: one bit a voxel, in a box only', async () => {
  const box = [1, 4, 1, 4, 0, 3]
  for (const grid of GRIDS) {
    const bitmap = Uint8Array.from({ length: 60 }, (_, n) => (n * 7) % 3 === 0)
    const copy = new Uint8Array(60).fill(1)
    await grid.unpack(await grid.pack(bitmap, box), box, copy)
    assert.ok(grid.equal(bitmap, copy, box))
    const outside = new Uint8Array(60).fill(1)
    grid.copy(copy, outside, box)
    assert.deepEqual(outside, copy)
  }
})

test('pack: what Python packs', async () => { // base64.b64encode(zlib.compress(numpy.packbits([1, 0, 0, 0, 0, 0, 0, 0, 1])))
  const grid = new Grid([1, 2, 3], [1, 1, 9])
  const bitmap = new Uint8Array(9)
  await grid.unpack('eJxraAAAAYIBAQ==', [0, 1, 0, 1, 0, 9], bitmap)
  assert.deepEqual([...bitmap], [1, 0, 0, 0, 0, 0, 0, 0, 1])
})

test('equal: any value but 0 is vessel', () => {
  const grid = GRIDS[0]
  assert.ok(grid.equal(new Uint8Array(60).fill(255), new Uint8Array(60).fill(1), [0, 5, 0, 4, 0, 3]))
})

test('intersection and volumeOf: boxes that do not meet have no voxels', () => {
  assert.deepEqual(intersection([0, 4, 0, 4, 0, 2], [2, 6, 1, 3, 1, 9]), [2, 4, 1, 3, 1, 2])
  assert.equal(volumeOf([2, 4, 1, 3, 1, 2]), 4)
  assert.equal(volumeOf(intersection([0, 2, 0, 2, 0, 2], [3, 5, 3, 5, 0, 2])), 0)
})

test('voxelAt: there and back for an oblique, mirrored affine', () => {
  const affine = [[-0.8, 0.3, 0, 12], [0.3, 0.8, 1, -7], [0, 0.2, 5, 3], [0, 0, 0, 1]]
  for (const ijk of [[0, 0, 0], [17, 3, 9], [120, 500, 13]]) {
    const ras = affine.slice(0, 3).map((row) => row[3] + row[0] * ijk[0] + row[1] * ijk[1] + row[2] * ijk[2])
    assert.deepEqual(voxelAt(affine, ras), ijk)
  }
})

test('slicesOf: the slices of the main view, whatever axis of the file they lie along', () => {
  const box = [0, 2, 1, 4, 2, 3]
  assert.deepEqual(slicesOf(box, null), { first: 2, last: 2, axis: 2 })
  assert.deepEqual(slicesOf(box, GRIDS[0]), { first: 2, last: 2, axis: 2 })
  assert.deepEqual(slicesOf(box, GRIDS[2]), { first: 1, last: 3, axis: 1 }) // S runs along J
  assert.deepEqual(slicesOf(box, GRIDS[3]), { first: 0, last: 1, axis: 0 }) // and along I
})
