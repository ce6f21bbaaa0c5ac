import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { readMask } from '../../../src/minivess/server/page/nifti.js'

function nifti(shape, voxels, { little = true, datatype = 2, offset = 352 } = {}) {
  const bytes = new Uint8Array(offset + voxels.length)
  const header = new DataView(bytes.buffer)
  header.setInt32(0, 348, little)
  header.setInt16(40, 3, little)
  shape.forEach((size, axis) => header.setInt16(42 + 2 * axis, size, little))
  header.setInt16(70, datatype, little)
  header.setFloat32(108, offset, little)
  bytes.set(voxels, offset)
  return gzipSync(bytes)
}

test('readMask: the voxels in the order of the file, in both byte orders', async () => {
  const voxels = Uint8Array.from({ length: 24 }, (_, n) => n % 2)
  assert.deepEqual(await readMask(nifti([4, 3, 2], voxels), [4, 3, 2]), voxels)
  assert.deepEqual(await readMask(nifti([4, 3, 2], voxels, { little: false, offset: 368 }), [4, 3, 2]), voxels)
})

test('readMask: what is refused', async () => {
  const voxels = new Uint8Array(24)
  await assert.rejects(readMask(nifti([4, 3, 2], voxels), [3, 4, 2]), /The mask has 4,3,2 voxels; the image has 3,4,2/)
  await assert.rejects(readMask(nifti([4, 3, 2], voxels, { datatype: 16 }), [4, 3, 2]), /data type 16; expected 2/)
  await assert.rejects(readMask(nifti([4, 3, 2], voxels.subarray(1)), [4, 3, 2]), /cut off/)
  await assert.rejects(readMask(gzipSync(voxels), [4, 3, 2]), /no NIfTI-1/)
})
