// Where the provider keeps sessions, grants and refresh tokens: in memory, without the limit of
// the library's own store (1000 entries), and, with a path, written down at a stop and read at a
// start, so that a restart of the IAM is no end of everyone's grants.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

const SWEEP_EVERY = 60_000;

export class Store {
  #entries = new Map(); // key -> {payload, until}
  #byGrant = new Map(); // grant id -> set of keys
  #byUid = new Map(); // session uid -> session id
  #path;

  constructor(path) {
    this.#path = path;
    if (path && existsSync(path)) {
      for (const [key, entry] of JSON.parse(readFileSync(path, 'utf8'))) this.#put(key, entry);
    }
    setInterval(() => this.#sweep(), SWEEP_EVERY).unref();
  }

  save() {
    if (!this.#path) return;
    this.#sweep();
    writeFileSync(`${this.#path}.new`, JSON.stringify([...this.#entries]), { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
  }

  // The library makes one adapter for each of its models.
  adapter(model) {
    const name = (id) => `${model}:${id}`;
    return {
      upsert: async (id, payload, expiresIn) => {
        const until = typeof expiresIn === 'number' ? Date.now() + expiresIn * 1000 : null;
        this.#put(name(id), { payload, until });
      },
      find: async (id) => this.#get(name(id)),
      findByUid: async (uid) => this.#get(name(this.#byUid.get(uid))),
      findByUserCode: async () => undefined, // the device flow is off
      consume: async (id) => {
        const payload = this.#get(name(id));
        if (payload) payload.consumed = Math.floor(Date.now() / 1000);
      },
      destroy: async (id) => this.#remove(name(id)),
      revokeByGrantId: async (grantId) => {
        for (const key of [...(this.#byGrant.get(grantId) ?? [])]) this.#remove(key);
      },
    };
  }

  #put(key, entry) {
    this.#entries.set(key, entry);
    const { grantId, uid, jti } = entry.payload;
    if (grantId) {
      if (!this.#byGrant.has(grantId)) this.#byGrant.set(grantId, new Set());
      this.#byGrant.get(grantId).add(key);
    }
    if (uid && key.startsWith('Session:')) this.#byUid.set(uid, jti);
  }

  #get(key) {
    const entry = this.#entries.get(key);
    if (!entry || (entry.until !== null && entry.until < Date.now())) return undefined;
    return entry.payload;
  }

  #remove(key) {
    const payload = this.#entries.get(key)?.payload;
    this.#entries.delete(key);
    if (!payload) return;
    const siblings = this.#byGrant.get(payload.grantId);
    siblings?.delete(key);
    if (siblings?.size === 0) this.#byGrant.delete(payload.grantId);
    if (payload.uid && key.startsWith('Session:')) this.#byUid.delete(payload.uid);
  }

  #sweep() {
    const now = Date.now();
    for (const [key, { until }] of this.#entries) {
      if (until !== null && until < now) this.#remove(key);
    }
  }
}
