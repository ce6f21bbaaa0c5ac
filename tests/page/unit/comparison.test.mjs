import assert from 'node:assert/strict'
import test from 'node:test'
import { Comparison } from '../../../src/minivess/server/page/comparison.js'

const SIZE = 4
const slice = { axes: [0, 1, 2], rectangle: [100, 0, 40, 40], at: (f) => [100 + 40 * f[0], 40 * (1 - f[1])] }

/** A pen that notes each rectangle that it is clipped to, and the colours of what is drawn there. */
function noting() {
  const drawn = []
  const pen = {
    save() {}, restore() {}, beginPath() {}, clip() {}, setLineDash() {}, moveTo() {}, lineTo() {},
    rect: (...edges) => { pen.clipped = edges },
    stroke: () => drawn.push([pen.strokeStyle, pen.clipped]),
  }
  return { pen, drawn }
}

test('voxels that only one of the masks has are counted', () => {
  const [before, now] = [new Uint8Array(8), new Uint8Array(8)]
  before.set([1, 1, 0, 0])
  now.set([0, 1, 1, 1])
  const comparison = new Comparison(before, now)
  assert.deepEqual([comparison.gained, comparison.lost], [2, 1])
  assert.match(comparison.inWords, /2 voxels more and 1 fewer/)
})

test('the line follows the pointer, and each mask is drawn on its side of it', () => {
  globalThis.window = { devicePixelRatio: 1 }
  const comparison = new Comparison(new Uint8Array(SIZE ** 3).fill(1), new Uint8Array(SIZE ** 3))
  comparison.follow([slice], 110, 20)
  assert.equal(comparison.share, 0.25)
  comparison.follow([slice], 300, 20) // not over a view
  assert.equal(comparison.share, 0.25)
  const { pen, drawn } = noting()
  comparison.draw(pen, [slice], [0.5, 0.5, 0.5], [SIZE, SIZE, SIZE], new Uint8Array(SIZE ** 3))
  const [[before, left], [now, right]] = drawn
  assert.notEqual(before, now)
  assert.deepEqual([left, right], [[100, 0, 10, 40], [110, 0, 30, 40]])
})
