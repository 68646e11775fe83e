// What applications for Node put on a Redis, against the server on the given port: queues, locks, sessions, caches.
// Each part runs where its packages are installed, and says so.
const assert = require('assert');
const port = Number(process.argv[2]);
const url = `redis://127.0.0.1:${port}`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const parts = {
  async ioredis(Redis) {
    const r = new Redis(port);
    const results = await r.pipeline().set('p', 1).incr('p').get('p').exec();
    assert.equal(results[2][1], '2');
    r.defineCommand('times', { numberOfKeys: 1, lua: "return redis.call('get', KEYS[1]) * ARGV[1]" });
    assert.equal(await r.times('p', 21), 42);
    assert.equal((await r.multi().incr('p').incr('p').exec())[1][1], 4);
    const heard = [];
    const subscriber = new Redis(port);
    await subscriber.subscribe('news');
    const all = new Promise((done) => {
      subscriber.on('message', (_, text) => heard.push(text) === 50 && done());
    });
    for (let i = 0; i < 50; i++) await r.publish('news', i);
    await all;
    r.disconnect();
    subscriber.disconnect();
  },

  async redlock({ default: Redlock }) {
    const Redis = require('ioredis');
    const r = new Redis(port);
    const patient = new Redlock([r], { retryCount: 50, retryDelay: 50 });
    const lock = await patient.acquire(['lock'], 5000);
    await assert.rejects(new Redlock([r], { retryCount: 0 }).acquire(['lock'], 1000));
    await (await lock.extend(5000)).release();
    await (await patient.acquire(['lock'], 5000)).release();
    r.disconnect();
  },

  async bullmq({ Queue, Worker, QueueEvents, FlowProducer }) {
    const connection = { port, maxRetriesPerRequest: null };
    const queue = new Queue('jobs', { connection });
    const events = new QueueEvents('jobs', { connection });
    await events.waitUntilReady();
    const work = async (job) => {
      if (job.name === 'bad' && job.attemptsMade < 1) throw new Error('on purpose');
      await job.updateProgress(50);
      return job.data.x * 2;
    };
    const worker = new Worker('jobs', work, { connection, concurrency: 5 });
    const jobs = [];
    for (let x = 0; x < 40; x++) {
      jobs.push(await queue.add('good', { x }, { priority: x % 3, delay: x % 5 === 0 ? 50 : 0 }));
    }
    const bad = await queue.add('bad', { x: 1 }, { attempts: 3, backoff: { type: 'exponential', delay: 20 } });
    for (const job of jobs) assert.equal(await job.waitUntilFinished(events, 30000), job.data.x * 2);
    assert.equal(await bad.waitUntilFinished(events, 30000), 2);
    const flow = new FlowProducer({ connection });
    const children = [{ name: 'child', queueName: 'jobs', data: { x: 1 } }];
    const { job } = await flow.add({ name: 'parent', queueName: 'jobs', data: { x: 5 }, children });
    assert.equal(await job.waitUntilFinished(events, 30000), 10);
    await worker.close();
    await queue.obliterate({ force: true });
    await Promise.all([events.close(), queue.close(), flow.close()]);
  },

  async redis({ createClient }) {
    const client = createClient({ url, RESP: 3, clientSideCache: { ttl: 0, maxEntries: 100 } });
    const other = createClient({ url });
    await Promise.all([client.connect(), other.connect()]);
    await client.set('cached', '1');
    assert.equal(await client.get('cached'), '1');
    await other.set('cached', '2');
    for (let i = 0; i < 100 && (await client.get('cached')) !== '2'; i++) await pause(50);
    assert.equal(await client.get('cached'), '2');
    await Promise.all([client.close(), other.close()]);
  },

  async 'connect-redis'({ RedisStore }) {
    const [session, express, { createClient }] = ['express-session', 'express', 'redis'].map(require);
    const client = createClient({ url });
    await client.connect();
    const app = express();
    const store = new RedisStore({ client });
    app.use(session({ store, secret: 'x', resave: false, saveUninitialized: true }));
    app.get('/', (request, reply) => {
      request.session.n = (request.session.n || 0) + 1;
      reply.send(String(request.session.n));
    });
    const server = app.listen(0);
    const address = `http://127.0.0.1:${server.address().port}`;
    const first = await fetch(address);
    const cookie = first.headers.get('set-cookie').split(';')[0];
    assert.equal(await first.text(), '1');
    assert.equal(await (await fetch(address, { headers: { cookie } })).text(), '2');
    server.close();
    await client.close();
  },
};

(async () => {
  for (const [name, part] of Object.entries(parts)) {
    let module;
    try {
      module = require(name);
    } catch {
      console.log(name, 'is not installed');
      continue;
    }
    await part(module);
    console.log(name, 'runs');
  }
  console.log('all is well');
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
