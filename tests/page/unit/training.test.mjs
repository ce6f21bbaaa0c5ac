import assert from 'node:assert/strict'
import test from 'node:test'
import { trainingInWords } from '../../../src/minivess/server/page/training.js'

test('a training in words: none, running, published, refused with what would have been lost', () => {
  assert.equal(trainingInWords({}), 'No training yet.')
  assert.match(trainingInWords({ state: 'running' }), /^The training is prepared/)
  assert.equal(trainingInWords({ state: 'rolled back', by: 'ada' }), 'ada has gone back to the model before: it is in use.')
  assert.equal(trainingInWords({ state: 'running', epoch: 2, epochs: 8 }), 'Training: epoch 2 of 8.')
  const scores = { dice: 0.8, cldice: 0.75 }
  const words = trainingInWords({ state: 'published', scores, scores_before: { dice: 0.7, cldice: 0.5 } })
  assert.equal(words, 'Last training: published. Dice 0.700 before, 0.800 now; clDice 0.500 before, 0.750 now.')
  const refused = 'kept the published model: the new one would have lost 0.12 Dice on synthetic dim capillaries'
  assert.match(trainingInWords({ state: refused, scores, scores_before: scores }), /would have lost 0\.12 Dice/)
})
