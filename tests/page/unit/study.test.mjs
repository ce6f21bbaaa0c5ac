import assert from 'node:assert/strict'
import { test } from 'node:test'

globalThis.HTMLElement ??= class {}
const { stateOf } = await import('../../../src/minivess/server/page/study.js')

test('stateOf: from not segmented to a label', () => {
  const image = { predicted: false, places: 0, answered: 0, skipped: 0, rivals: 0, revision: null }
  assert.equal(stateOf(image), 'not segmented yet')
  assert.equal(stateOf({ ...image, unreadable: 'two channels' }), 'cannot be read: two channels')
  assert.equal(stateOf({ ...image, predicted: true, places: 9 }), 'segmented')
  assert.equal(stateOf({ ...image, predicted: true, places: 9, answered: 2 }), 'in review')
  assert.equal(stateOf({ ...image, predicted: true, places: 9, answered: 9 }), 'reviewed, no label yet')
  assert.equal(stateOf({ ...image, predicted: true, places: 9, answered: 9, revision: 12 }), 'label 12')
  assert.equal(stateOf({ ...image, predicted: true, places: 9, answered: 2, revision: 12 }), 'label 12, 7 regions open')
  assert.equal(stateOf({ ...image, predicted: true, places: 9, answered: 9, skipped: 2, revision: 12 }), 'label 12, 2 regions open')
  assert.match(stateOf({ ...image, predicted: true, places: 9, answered: 9, revision: 12, rivals: 1 }), /^label 12, and 1 of others: a reviewer decides/)
})
