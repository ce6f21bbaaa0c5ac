import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Regions, stateInWords } from '../../../src/minivess/server/page/regions.js'
import { ScriptedServer, panel, viewer } from './helpers.mjs'

const item = (id, state, by = '') => ({ id, case: 'a b', state, by, box: [0, 1, 0, 1, 0, 1], centre_ras: [0, 0, 0], kind: 'gap', reason: 'why', expected_errors: 1 })

function regions(reply) {
  const [server, said, views] = [new ScriptedServer(reply), panel(), viewer(null)]
  return { server, said: said.said, views, regions: new Regions(server, 'a b', 7, said, views, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]) }
}

test('list: as many as the server allows; accepted and corrected ones are locked', async () => {
  const states = ['pending', 'leased', 'accepted', 'fixed', 'skipped']
  const { server, regions: r } = regions(() => ({ places: states.map((state, n) => ({ ...item(state, state), box: [n] })) }))
  await r.list()
  assert.deepEqual(server.requests, ['GET /review/?image=a%20b&limit=7'])
  assert.deepEqual(r.locked, [[2], [3]])
})

test('next: the region that the server gives, with its advice', async () => {
  const { views, said, regions: r } = regions(() => ({ place: item('a:1.0', 'leased'), retrain_first: 'Train first.' }))
  assert.equal(await r.next(), 'Train first.')
  assert.deepEqual([r.required.id, views.jumps.length, said], ['a:1.0', 1, ['Train first.']])
})

test('next: without a region left', async () => {
  const { said, regions: r } = regions(() => ({ place: null }))
  await r.next()
  assert.match(said.at(-1), /No region is left/)
  assert.throws(() => r.required, /Press N/)
})

test('choose: an open region is reserved, an answered one is only shown', async () => {
  const { server, views, said, regions: r } = regions(() => item('a:1.0', 'leased'))
  await r.choose(item('a:1.0', 'pending'))
  assert.deepEqual([server.requests, r.current.state], [['POST /review/places/a%3A1.0/take'], 'leased'])
  await r.choose(item('a:1.1', 'fixed', 'bob'))
  assert.deepEqual([server.requests.length, r.current, views.jumps.length], [1, null, 2])
  assert.match(said.at(-1), /answered: corrected, by bob/)
})

test('choose: the region that is left is for others, unless the user has drawn in it', async () => {
  const { server, regions: r } = regions((_, path) => (path.endsWith('take') ? item(decodeURIComponent(path.split('/')[3]), 'leased') : {}))
  await r.choose(item('a:1.0', 'pending'))
  await r.choose(item('a:1.1', 'pending'))
  await r.choose(item('a:1.2', 'pending'), true)
  const paths = server.requests.map((request) => request.replace('POST /review/places/a%3A1.', ''))
  assert.deepEqual(paths, ['0/take', '1/take', '0/release', '2/take'])
})

test('choose: a region of another image is refused', async () => {
  const { server, regions: r } = regions()
  await assert.rejects(r.choose({ ...item('b:1.0', 'pending'), case: 'b' }), /That region is of b/)
  assert.deepEqual(server.requests, [])
})

test('list: a late reply does not replace a later one, nor is it shown when the image is closed', async () => {
  const waiting = []
  const { regions: r } = regions(() => new Promise((resolve) => waiting.push(resolve)))
  const [first, second] = [r.list(), r.list()]
  waiting[1]({ places: [item('new', 'pending')] })
  await second
  waiting[0]({ places: [item('old', 'pending')] })
  await first
  assert.deepEqual(r.items.map(({ id }) => id), ['new'])
  const third = r.list()
  r.close()
  waiting[2]({ places: [] })
  await third
  assert.equal(r.items.length, 1)
})

test('answerTo: it says whose mask was shown', () => {
  const { regions: r } = regions()
  r.show(item('a:1.0', 'leased'))
  assert.ok(!('model' in r.answerTo(r.current, 'accepted', '').form))
  r.model = 'ab12'
  assert.equal(r.answerTo(r.current, 'accepted', '').form.model, 'ab12')
})

test('answerTo: an entry for the outbox, which names the stroke before it', () => {
  const { regions: r } = regions()
  r.show(item('a:1.0', 'leased'))
  const { form, ...rest } = r.answerTo(r.current, 'fixed', 'blurred here', 'key')
  assert.deepEqual(rest, { method: 'POST', path: '/review/places/a%3A1.0/answer', after: 'key' })
  assert.equal(form.verdict, 'fixed')
  assert.equal(form.note, 'blurred here')
  assert.match(form.seconds, /^\d+\.\d$/)
  assert.ok(!('after' in r.answerTo(r.current, 'accepted', '')))
  assert.ok(!('note' in r.answerTo(r.current, 'accepted', '').form))
})

test('showUnreserved: the best open region of the list, marked as not reserved', () => {
  const { regions: r } = regions()
  r.items = [item('a', 'leased', 'bob'), item('b', 'pending'), item('c', 'pending')]
  r.setAnswered(r.items[1], 'accepted')
  r.showUnreserved()
  assert.deepEqual([r.current.id, r.current.unreserved, r.answered[0].id], ['c', true, 'b'])
})

test('stateInWords: the states whose names are not plain', () => {
  assert.deepEqual(['fixed', 'leased', 'accepted', 'pending'].map(stateInWords), ['corrected', 'reserved', 'accepted', 'open'])
})
