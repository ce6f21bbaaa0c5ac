import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Grid } from '../../../src/minivess/server/page/grid.js'
import { Masks } from '../../../src/minivess/server/page/masks.js'
import { viewer } from './helpers.mjs'

const BOX = [0, 2, 0, 2, 0, 1]
const ALL = [0, 4, 0, 3, 0, 1]

function masks() {
  const grid = new Grid([-1, 2, 3], [4, 3, 1])
  const shown = viewer(new Uint8Array(12))
  return { grid, shown, masks: new Masks(grid, shown, new Uint8Array(12), new Uint8Array(12)) }
}

test('takeStroke: inside the box it is in the draft, outside and over locked boxes it is put back', () => {
  const { grid, shown, masks: m } = masks()
  for (const ijk of [[0, 0, 0], [1, 1, 0], [3, 2, 0]]) shown.mask[grid.index(ijk)] = 1
  assert.ok(m.penChanged(BOX))
  assert.deepEqual(m.takeStroke(BOX, [[1, 4, 1, 3, 0, 1]]), { changed: 1, drawn: true })
  assert.equal(shown.mask[grid.index([0, 0, 0])], 1)
  assert.equal(shown.mask[grid.index([1, 1, 0])] + shown.mask[grid.index([3, 2, 0])], 0)
  assert.deepEqual(m.draft, shown.mask)
  assert.ok(!m.penChanged(ALL))
  assert.ok(m.corrected(BOX))
  m.accept(BOX)
  assert.ok(!m.corrected(BOX))
})

test('takeStroke: a stroke outside only changes nothing', () => {
  const { grid, shown, masks: m } = masks()
  shown.mask[grid.index([3, 2, 0])] = 1
  assert.deepEqual(m.takeStroke(BOX, []), { changed: 0, drawn: true })
  assert.deepEqual(m.takeStroke(BOX, []), { changed: 0, drawn: false })
  assert.ok(!shown.mask.includes(1))
})

test('apply: the box holds what the server says, and what the pen did meanwhile stays', async () => {
  const { grid, shown, masks: m } = masks()
  shown.mask[grid.index([0, 1, 0])] = 1 // the pen, not taken yet
  const server = new Uint8Array(12)
  server[grid.index([1, 0, 0])] = 1
  await m.apply({ step: { name: 'path', voxels: 1, box: BOX }, holds: await grid.pack(server, BOX) })
  assert.deepEqual(m.draft, server)
  assert.equal(shown.mask[grid.index([1, 0, 0])], 1)
  assert.equal(shown.mask[grid.index([0, 1, 0])], 1)
  assert.ok(m.penChanged(BOX))
  await m.apply({ step: null, holds: '' })
})

test('replace: both masks are the server\'s', () => {
  const { shown, masks: m } = masks()
  const [base, draft] = [new Uint8Array(12).fill(1), new Uint8Array(12)]
  draft[5] = 1
  m.replace(base, draft)
  assert.deepEqual([m.base, m.draft, shown.mask], [base, draft, draft])
  assert.equal(shown.refreshed, 1)
})
